"""A scenario: what is measured, against which limit, and how good it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.measure import Row
from bench.world import World


@dataclass(frozen=True)
class Scenario:
    """`run` gives the limit's row first, then ours.

    `measure` says what `goal` and `defect` mean: at least this `ratio` of the limit's speed, at most so many seconds
    `extra`, at most so many MiB of memory (`peak`), or at least this `value`, of every row.
    """

    name: str
    title: str
    limit: str
    goal: float
    defect: float
    run: Callable[[World], list[Row]]
    measure: Literal["ratio", "extra", "peak", "value"] = "ratio"

    def value(self, row: Row) -> float:
        """The number that is held against the goal."""
        return {"ratio": row.ratio, "extra": row.extra, "peak": row.peak_mb, "value": row.value}[self.measure]

    def verdict(self, row: Row) -> str:
        """`met`, `below goal` or `defect`."""
        value, sign = self.value(row), 1 if self.measure in ("ratio", "value") else -1
        if sign * value >= sign * self.goal:
            return "met"
        return "below goal" if sign * value >= sign * self.defect else "defect"
