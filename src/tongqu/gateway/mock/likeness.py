"""What made-up values of a column should be like, out of the dictionary and of what a profile tells of real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.catalog.suspicions import personal
from tongqu.core.data import Meta
from tongqu.meaning.fields import metadata
from tongqu.meaning.rules import Rule

_SHARED = 5
"""A real value is used only if so many rows have it: what fewer have could tell of one of them."""
_PERSONAL = ("personal", "sensitive", "secret")


@dataclass(frozen=True)
class Likeness:
    """What values of one column are drawn from.

    `gaps` is the share of nulls, `distinct` about how many different values there are (0: not known). `quantiles` are
    numbers at even steps of the distribution as `(share, value)`. `common` are values with their numbers of rows.
    `shapes` are patterns of text (`AA-999`) with theirs. `person` is what kind of personal data it is, empty if none.
    """

    gaps: float = 0.0
    distinct: int = 0
    quantiles: tuple[tuple[float, float], ...] = ()
    common: tuple[tuple[Any, int], ...] = ()
    shapes: tuple[tuple[str, float], ...] = ()
    person: str = ""
    least: Any = None
    greatest: Any = None


def likeness(field: pa.Field[Any], rule: Rule | None, profile: Mapping[str, Any] | None) -> Likeness:
    """What the column is like. `profile` is its part of a profile's document, if there is one; of a column that holds,
    or may hold, personal data only the shares of nulls and of distinct values are taken from it."""
    told = metadata(field)
    required = not field.nullable or (rule is not None and rule.required)
    column = profile or {}
    rows = max(1, int(column.get("rows") or 0))
    gaps = int(column.get("nulls") or 0) / rows if column else 0.05
    found = Likeness(
        gaps=0.0 if required else min(gaps, 0.95),
        distinct=int(column.get("distinct") or 0),
        person=_person(field.name, told, column),
    )
    if not column or found.person:
        return found
    return Likeness(
        gaps=found.gaps, distinct=found.distinct, quantiles=_quantiles(column),
        common=_common(column.get("top"), found.distinct), shapes=_shapes(column.get("patterns")),
        least=column.get("min"), greatest=column.get("max"),
    )  # fmt: skip


def _person(name: str, told: Mapping[Any, Any], column: Mapping[str, Any]) -> str:
    """The kind of personal data: the mask's word where there is one, else what the name or the profile suggests."""
    suspected = column.get("personal") or {}
    guessed = personal(name, told.get(Meta.TITLE, ""), {})
    kind = str(suspected.get("value") or (guessed[0].value if guessed else ""))
    if told.get(Meta.CLASS) in _PERSONAL or told.get(Meta.MASK) or kind:
        return str(told.get(Meta.MASK) or kind or told[Meta.CLASS])
    return ""


def _quantiles(column: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    given = column.get("quantiles")
    if not isinstance(given, Mapping):
        return ()
    points = [(int(name[1:]) / 100, float(value)) for name, value in given.items() if value is not None]
    return tuple(sorted(points))


def _common(entries: Any, distinct: int) -> tuple[tuple[Any, int], ...]:
    """Values that enough rows share; none where many others would be missing."""
    if not isinstance(entries, Sequence) or distinct > len(entries):
        return ()
    counts = [(entry.get("value"), int(entry.get("count") or 0)) for entry in entries]
    return tuple((value, count) for value, count in counts if count >= _SHARED and value is not None)


def _shapes(entries: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(entries, Sequence):
        return ()
    return tuple((str(entry["pattern"]), float(entry.get("share") or 0)) for entry in entries if entry.get("pattern"))
