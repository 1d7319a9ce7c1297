"""Rules about rows and datasets: conditions over several fields, values that another dataset has, age and volume."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Literal

from pydantic import field_validator, model_validator

from tongqu.core.arrow import pa
from tongqu.core.errors import ExpressionError, InvalidPlanError
from tongqu.core.operator import Fault
from tongqu.core.settings import Settings, titled
from tongqu.meaning.expressions import column, parsed, predicate

KNOWN = "_tongqu_known"
"""The column of a relation that holds the values a reference allows."""
_UNITS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400,
          "w": 604_800, "week": 604_800}  # fmt: skip


class Reference(Settings):
    """Where the allowed values of a field stand: a field of another dataset."""

    connection: str = titled("连接", "Connection")
    """Name of the connection."""
    dataset: str = titled("数据集", "Dataset")
    """Remote name of the dataset."""
    field: str = titled("字段", "Field")
    """The field that holds the values."""

    def __str__(self) -> str:
        return f"{self.connection}.{self.dataset}.{self.field}"


class RowRule(Settings):
    """A condition that each row must meet; a condition that is null (since a field is) is met."""

    name: str = titled("名称", "Name", min_length=1)
    """Name of the rule."""
    expression: str = titled("表达式", "Expression")
    """SQL condition over the fields of the row: `shipped_at >= ordered_at`."""
    message: dict[Literal["zh", "en"], str] | str = titled("说明", "Message", "")
    """What is wrong with a row that does not meet it, in words; by language or one text."""

    @field_validator("expression")
    @classmethod
    def _parses(cls, value: str) -> str:
        try:
            parsed(value)
        except ExpressionError as error:
            raise ValueError(error.message) from None
        return value

    @property
    def words(self) -> str:
        """The message, or else the rule itself."""
        several = () if isinstance(self.message, str) else self.message.values()
        told = self.message if isinstance(self.message, str) else " / ".join(several)
        return told or f"does not meet {self.expression}"


class Freshness(Settings):
    """How old the newest row may be."""

    field: str = titled("字段", "Field")
    """The timestamp or date to look at."""
    within: str = titled("时限", "Within")
    """Greatest age: `30 min`, `36 h`, `2 days`."""
    severity: Literal["warning", "error"] = titled("严重程度", "Severity", "warning")
    """`warning`: the run needs attention; `error`: it fails."""

    @field_validator("within")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        span(value)
        return value


class Volume(Settings):
    """How many rows a run brings, in numbers or against the runs before it."""

    min: int | None = titled("最少", "Least", None, ge=0)
    """Least number of rows."""
    max: int | None = titled("最多", "Most", None, ge=0)
    """Greatest number of rows."""
    change: str | None = titled("变化", "Change", None)
    """Greatest difference to the median of the last runs: `50%`."""
    last: int = titled("最近次数", "Last", 7, ge=1, le=365)
    """How many runs are looked back at."""
    severity: Literal["warning", "error"] = titled("严重程度", "Severity", "warning")
    """`warning`: the run needs attention; `error`: it fails."""

    @model_validator(mode="after")
    def _limits_something(self) -> Volume:
        if self.min is None and self.max is None and self.change is None:
            raise ValueError("volume needs min, max or change")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        self.share()
        return self

    def share(self) -> float | None:
        """`change` as a number: 0.5 for `50%`."""
        if self.change is None:
            return None
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", self.change)
        if found is None:
            raise ValueError(f"change is a share such as 50% (got {self.change!r})")
        return float(found[1]) / 100


@dataclass(frozen=True)
class Verdict:
    """A dataset rule that does not hold."""

    code: str
    field: str
    message: str
    error: bool


def span(text: str) -> timedelta:
    """`36 h` as a time; raises ValueError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", text.lower())
    unit = found[2] if found else ""
    if found is None or (unit not in _UNITS and f"{unit}s" not in _UNITS):
        raise ValueError(f"{text!r} is no time; for example 30 min, 36 h, 2 days")
    return timedelta(seconds=float(found[1]) * _UNITS.get(unit, 1))


def row_faults(rules: Sequence[RowRule], schema: pa.Schema, path: str = "") -> list[Fault]:
    """The conditions for rows that break a rule; raises InvalidPlanError for a rule that does not fit the fields."""
    from sqlglot import exp

    found: list[Fault] = []
    for rule in rules:
        try:
            made = predicate(rule.expression, schema)
        except ExpressionError as error:
            raise InvalidPlanError(
                f"the rule {rule.name!r} does not fit: {error.message}", hint=error.hint, path=path
            ) from None
        broken = exp.Not(this=exp.Paren(this=made.tree.copy()))
        condition = exp.Coalesce(this=broken, expressions=[exp.Boolean(this=False)])
        field = made.columns[0] if len(made.columns) == 1 else ""
        found.append(Fault("check.expression", field, condition, f"[{rule.name}] {rule.words}"))
    return found


def reference_fault(name: str, reference: Reference, relation: str) -> Fault:
    """The condition for values that the relation of allowed values (column KNOWN) does not hold."""
    from sqlglot import exp

    there = exp.Not(this=exp.Is(this=column(name), expression=exp.Null()))
    known = exp.select(exp.column(KNOWN, quoted=True)).from_(exp.to_identifier(relation, quoted=True))
    missing = exp.Not(this=exp.In(this=column(name), query=exp.Subquery(this=known)))
    return Fault("check.reference", name, exp.and_(there, missing), f"is not in {reference}")


def comparable(mine: pa.DataType, theirs: pa.DataType) -> bool:
    """Whether values of the two types can be the same without a cast that guesses."""
    return _family(mine) is not None and _family(mine) == _family(theirs)


def _family(kind: pa.DataType) -> str | None:
    t = pa.types
    if t.is_dictionary(kind):
        kind = kind.value_type
    tests = {
        "number": t.is_integer(kind) or t.is_decimal(kind),
        "float": t.is_floating(kind),
        "text": t.is_string(kind) or t.is_large_string(kind),
        "bool": t.is_boolean(kind),
        "date": t.is_date(kind),
        "time": t.is_time(kind),
        "instant": t.is_timestamp(kind) and kind.tz is not None,
        "timestamp": t.is_timestamp(kind) and kind.tz is None,
        "binary": t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind),
    }
    return next((name for name, fits in tests.items() if fits), None)


def stale(rule: Freshness, newest: str | None, now: datetime) -> Verdict | None:
    """The verdict on the newest value (ISO, UTC), None if it is young enough."""
    if newest is None:
        return Verdict(
            "check.freshness", rule.field, f"{rule.field}: there is no value at all", rule.severity == "error"
        )
    age = now - datetime.fromisoformat(newest)
    if age <= span(rule.within):
        return None
    words = f"{rule.field}: the newest value is {newest}, {_words(age)} old; allowed are {rule.within}"
    return Verdict("check.freshness", rule.field, words, rule.severity == "error")


def unusual(rule: Volume, rows: int, before: Sequence[int]) -> Verdict | None:
    """The verdict on a run's number of rows, given those of the runs before (newest first)."""
    words = ""
    usual = median(before[: rule.last]) if before else None
    share = rule.share()
    if rule.min is not None and rows < rule.min:
        words = f"{rows} rows came, fewer than {rule.min}"
    elif rule.max is not None and rows > rule.max:
        words = f"{rows} rows came, more than {rule.max}"
    elif share is not None and usual is not None and abs(rows - usual) > share * usual:
        count = len(before[: rule.last])
        words = f"{rows} rows came; the median of the last {count} runs is {usual:g}, allowed are ±{rule.change}"
    return Verdict("check.volume", "", words, rule.severity == "error") if words else None


def _words(age: timedelta) -> str:
    for name, seconds in (("days", 86_400), ("h", 3600), ("min", 60)):
        if age.total_seconds() >= 2 * seconds:
            return f"{age.total_seconds() / seconds:.1f} {name}"
    return f"{age.total_seconds():.0f} s"


def newest_of(column: Any) -> str | None:
    """The greatest value of a date or timestamp column as ISO text in UTC; None if there is none."""
    import pyarrow.compute as pc

    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    greatest = pc.max(column.cast(pa.timestamp("us", "UTC") if column.type.tz else pa.timestamp("us"), safe=False))
    if not greatest.is_valid:
        return None
    return f"{pc.strftime(greatest.cast(pa.timestamp('us')), '%Y-%m-%dT%H:%M:%S').as_py()}+00:00"


def refers(rules: Mapping[str, Any]) -> dict[str, Reference]:
    """The references among rules by field."""
    return {name: rule.reference for name, rule in rules.items() if rule.reference is not None}
