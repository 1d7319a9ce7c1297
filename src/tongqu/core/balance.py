"""What happened to the rows in one step, and the law it must obey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tongqu.core.errors import BalanceError


@dataclass
class StepCounts:
    """Rows of one step; `generated` may be negative (a join or aggregate gives fewer rows than go in)."""

    step: str
    verb: str
    rows_in: int = 0
    rows_out: int = 0
    filtered: int = 0
    deduplicated: int = 0
    generated: int = 0
    quarantined: int = 0

    def add(self, other: StepCounts) -> None:
        """Add the numbers of another chunk of the same step."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.filtered += other.filtered
        self.deduplicated += other.deduplicated
        self.generated += other.generated
        self.quarantined += other.quarantined

    def check(self) -> None:
        """Raise BalanceError unless in + generated = out + filtered + deduplicated + quarantined."""
        left = self.rows_in + self.generated
        right = self.rows_out + self.filtered + self.deduplicated + self.quarantined
        if left != right:
            raise BalanceError(
                f"step {self.step!r} ({self.verb}): {self.rows_in} in + {self.generated} generated is not "
                f"{self.rows_out} out + {self.filtered} filtered + {self.deduplicated} deduplicated + "
                f"{self.quarantined} quarantined",
                hint="rows were lost or invented; nothing of this chunk was committed",
            )

    def to_json(self) -> dict[str, str | int]:
        """The step as the run document shows it."""
        return {
            "id": self.step,
            "verb": self.verb,
            "in": self.rows_in,
            "out": self.rows_out,
            "filtered": self.filtered,
            "deduplicated": self.deduplicated,
            "generated": self.generated,
            "quarantined": self.quarantined,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StepCounts:
        """The opposite of `to_json`."""
        return cls(
            step=str(values["id"]),
            verb=str(values["verb"]),
            rows_in=int(values["in"]),
            rows_out=int(values["out"]),
            filtered=int(values["filtered"]),
            deduplicated=int(values["deduplicated"]),
            generated=int(values["generated"]),
            quarantined=int(values["quarantined"]),
        )


def added(steps: Mapping[str, StepCounts], more: Iterable[StepCounts]) -> dict[str, StepCounts]:
    """The numbers of both by step, in the order of the steps; neither argument is changed."""
    total = dict(steps)
    for step in more:
        total[step.step] = replace(total[step.step]) if step.step in total else StepCounts(step.step, step.verb)
        total[step.step].add(step)
    return total
