"""Outliers: bounds that are given or come from the data, and what a value outside them becomes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from pydantic import model_validator

from tongqu.core.settings import Settings, titled
from tongqu.meaning.sandbox import ROW_COLUMN
from tongqu.meaning.surveys import PREFIX

MAD_SCALE = 1.4826
"""Makes the median absolute deviation of normal data its standard deviation (Rousseeuw and Croux, 1993)."""


class Outliers(Settings):
    """Which values are out of bounds, and what they become."""

    min: Decimal | None = titled("下限", "Least", None)
    """The least good value."""
    max: Decimal | None = titled("上限", "Greatest", None)
    """The greatest good value."""
    sigma: float | None = titled("标准差倍数", "Standard deviations", None, gt=0)
    """Good is within so many standard deviations of the mean."""
    iqr: float | None = titled("四分位距倍数", "Interquartile ranges", None, gt=0)
    """Good is within so many interquartile ranges of the quartiles (1.5 is usual)."""
    mad: float | None = titled("绝对中位差倍数", "Median absolute deviations", None, gt=0)
    """Good is within so many scaled median absolute deviations of the median (3.5 is usual)."""
    then: Literal["quarantine", "clamp", "last_good", "median", "null"] = titled("处理", "Then", "quarantine")
    """What an outlier becomes: its row goes to quarantine, it is set to the nearest bound, to the last good value
    before it, to the median of the good values, or to null."""
    by: tuple[str, ...] = titled("分组", "By", ())
    """Columns that make groups with bounds, medians and last values of their own."""
    order: tuple[str, ...] = titled("顺序", "Order", ())
    """Columns that order the rows for `last_good`, nulls first; rows equal in all of them stand as they came."""

    @model_validator(mode="after")
    def _sound(self) -> Outliers:
        ways = sum(given is not None for given in (self.sigma, self.iqr, self.mad)) + self.given
        if ways != 1:
            raise ValueError("give bounds one way: `min` and `max`, `sigma`, `iqr` or `mad`")
        if (self.then == "last_good") != bool(self.order):
            raise ValueError("`then: last_good` needs `order`, and only it")
        if self.by and not self.whole:
            raise ValueError("`by` needs bounds from the data, `last_good` or `median`")
        return self

    @property
    def given(self) -> bool:
        """Whether the bounds are stated."""
        return self.min is not None or self.max is not None

    @property
    def whole(self) -> bool:
        """Whether all rows must be known."""
        return not self.given or self.then in ("last_good", "median")

    @property
    def words(self) -> str:
        """The bounds for people, after "is "."""
        if not self.given:
            name, factor = next((n, f) for n in ("sigma", "iqr", "mad") if (f := getattr(self, n)) is not None)
            return f"outside {factor:g} {name}"
        if self.min is None or self.max is None:
            return f"below {self.min}" if self.max is None else f"above {self.max}"
        return f"outside {self.min} to {self.max}"


def low(rule: Outliers, at: str) -> str | None:
    """SQL of the lower bound; `at` ends the names of the column's survey columns."""
    return f'"{PREFIX}low{at}"' if not rule.given else None if rule.min is None else format(rule.min, "f")


def high(rule: Outliers, at: str) -> str | None:
    """SQL of the upper bound."""
    return f'"{PREFIX}high{at}"' if not rule.given else None if rule.max is None else format(rule.max, "f")


def outside(rule: Outliers, at: str, value: str) -> str:
    """True, never null, for a value out of bounds. NaN is above any bound; null is within."""
    tests = [f"{value} < {bound}" for bound in (low(rule, at),) if bound is not None]
    tests += [f"{value} > {bound}" for bound in (high(rule, at),) if bound is not None]
    return f"coalesce({' OR '.join(tests)}, FALSE)"


def levels(rule: Outliers, at: str, value: str, *, floating: bool, columns: dict[str, str]) -> list[dict[str, str]]:
    """The survey columns, level by level. `columns` are the SQL names of the columns of `by` and `order`.

    Bounds come from finite values. Where these do not vary (spread zero, or one value) nothing is an outlier.
    """
    group = f"PARTITION BY {', '.join(columns[c] for c in rule.by)} " if rule.by else ""
    number = f"CAST({value} AS DOUBLE)"
    if floating:
        number = f"CASE WHEN isfinite({value}) THEN {number} END"
    found = [] if rule.given else _bounds(rule, at, number, group)
    good = f"CASE WHEN NOT {outside(rule, at, value)} THEN"
    if rule.then == "median":
        found.append({f"{PREFIX}new{at}": f"median({good} {number} END) OVER ({group})"})
    if rule.then == "last_good":
        order = ", ".join([*(f"{columns[c]} NULLS FIRST" for c in rule.order), ROW_COLUMN])
        frame = f"ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
        last = f"last_value({good} {value} END IGNORE NULLS) OVER ({group}{frame})"
        found.append({f"{PREFIX}new{at}": last})
    return found


def _bounds(rule: Outliers, at: str, number: str, group: str) -> list[dict[str, str]]:
    a, b = f"{PREFIX}a{at}", f"{PREFIX}b{at}"
    over = f"OVER ({group})"
    if rule.sigma is not None:
        first = [{a: f"avg({number}) {over}", b: f"stddev_samp({number}) {over}"}]
        edges, spread = (a, a), f"{rule.sigma!r} * {b}"
    elif rule.iqr is not None:
        first = [{a: f"quantile_cont({number}, 0.25) {over}", b: f"quantile_cont({number}, 0.75) {over}"}]
        edges, spread = (a, b), f"{rule.iqr!r} * ({b} - {a})"
    else:
        first = [{a: f"median({number}) {over}"}, {b: f"median(abs({number} - {a})) {over}"}]
        edges, spread = (a, a), f"{rule.mad!r} * {MAD_SCALE} * {b}"
    some = f"nullif({spread}, 0)"
    return [*first, {f"{PREFIX}low{at}": f"{edges[0]} - {some}", f"{PREFIX}high{at}": f"{edges[1]} + {some}"}]


def merged(many: Sequence[Sequence[dict[str, str]]]) -> list[dict[str, str]]:
    """The levels of several columns side by side."""
    deepest = max(map(len, many), default=0)
    return [{k: v for one in many if n < len(one) for k, v in one[n].items()} for n in range(deepest)]
