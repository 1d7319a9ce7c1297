"""What SQLite lacks to answer as other databases do: patterns, exact sums, instants in one form, masks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.sqlite.types import EXACT_DIGITS
from tongqu.meaning.masks import Mask, masked_value

MOMENT, MASK, SUM, LOWER, NUMBER = (
    "tongqu_moment", "tongqu_mask", "tongqu_sum", "tongqu_lower", "tongqu_number",
)  # fmt: skip
_LONGEST_PATTERN = 2000
EXACT = Context(prec=200)
"""Python's own context would round sums to 28 digits."""


def install(connection: sqlite3.Connection) -> None:
    """Give a connection all of them, and LIKE the case that it compares by."""
    for name, count, function in (
        ("regexp", 2, _regexp),
        ("regexp_i_like", 2, lambda value, pattern: _regexp(pattern, value, ignore_case=True)),
        ("starts_with", 2, _starts_with),
        (LOWER, 1, lambda value: value.lower() if isinstance(value, str) else value),
        (MOMENT, 2, moment),
        (MASK, 3, _masked),
    ):
        connection.create_function(name, count, function, deterministic=True)
    connection.create_aggregate(SUM, 1, _Sum)  # type: ignore[arg-type]  # the stubs forget None
    connection.create_collation(NUMBER, _compare)
    connection.execute("PRAGMA case_sensitive_like = ON")
    limit = getattr(connection, "setlimit", None)
    if limit is not None:
        limit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _LONGEST_PATTERN)


def stored(value: Any) -> Any:
    """A value as it is compared with what the file holds: instants in the form of `moment`."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.isoformat(" ", "microseconds")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds") + "Z"
    if isinstance(value, time):
        return value.isoformat("microseconds")
    return value.isoformat() if isinstance(value, date) else value


def number(value: Decimal) -> int | float | str:
    """A number as SQLite keeps it exactly: an integer, a real of at most 15 digits, else its digits."""
    if not value.is_finite():
        return float(value)
    if value == value.to_integral_value(context=EXACT) and -(2**63) <= value < 2**63:
        return int(value)
    return float(value) if len(value.normalize(EXACT).as_tuple().digits) <= EXACT_DIGITS else format(value, "f")


def moment(value: Any, kind: str) -> Any:
    """A stored time (`time`), timestamp (`local`) or instant (`instant`) in the one form that sorts by time, which the
    connector writes too; what is none stays as it is, and its row cannot be read."""
    if not isinstance(value, str):
        return value
    if kind == "instant":
        if len(value) == 27 and value[10] == " " and value[19] == "." and value[26] == "Z":
            return value
    elif kind == "local" and len(value) == 26 and value[10] == " " and value[19] == ".":
        return value
    try:
        if kind == "time":
            return time.fromisoformat(value).isoformat("microseconds")
        found = datetime.fromisoformat(value)
        if (found.tzinfo is None) != (kind == "local") and kind == "local":
            return value
        return stored(found.replace(tzinfo=UTC) if kind == "instant" and found.tzinfo is None else found)
    except ValueError:
        return value


def _regexp(pattern: Any, value: Any, ignore_case: bool = False) -> int | None:
    """RE2, whose time is linear in the text."""
    if pattern is None or value is None:
        return None
    found: Any = pc.match_substring_regex(pa.scalar(str(value)), str(pattern), ignore_case=ignore_case)
    return int(found.as_py())


def _starts_with(value: Any, beginning: Any) -> int | None:
    return None if value is None or beginning is None else int(str(value).startswith(str(beginning)))


class _Sum:
    """An exact sum: of integers without overflow, of decimals by their digits."""

    def __init__(self) -> None:
        self._sum: Decimal | None = None

    def step(self, value: Any) -> None:
        """Add a value; null adds nothing."""
        if value is not None:
            exact = Decimal(str(value))
            self._sum = exact if self._sum is None else EXACT.add(self._sum, exact)

    def finalize(self) -> int | float | str | None:
        """The sum; null without a value."""
        return None if self._sum is None else number(self._sum)


def _compare(left: str, right: str) -> int:
    try:
        one, other = Decimal(left), Decimal(right)
    except InvalidOperation:
        return (left > right) - (left < right)
    return (one > other) - (one < other)


# ---- masks


@lru_cache(maxsize=256)
def _mask(told: str) -> Mask:
    return Mask.model_validate_json(told)


_READ: dict[str, Callable[[Any], Any]] = {
    "decimal": lambda value: Decimal(str(value)),
    "date": date.fromisoformat,
    "local": lambda value: datetime.fromisoformat(moment(value, "local")),
    "instant": lambda value: datetime.fromisoformat(moment(value, "instant")),
}


def _masked(told: str, kind: str, value: Any) -> Any:
    """A stored value as the mask shows it. What cannot be read is hidden altogether."""
    mask = _mask(told)
    try:
        read = _READ.get(kind, lambda plain: plain)(value) if value is not None else None
        return stored(masked_value(mask, read))
    except (ValueError, TypeError, ArithmeticError):
        return None
