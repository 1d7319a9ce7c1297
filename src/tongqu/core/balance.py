"""What happened to the rows in one step, and the law it must obey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    repaired: int = 0
    """Cells changed by rule whose originals are kept; their rows go on, so the law does not count them."""
    cleaned: int = 0
    """Cells whose spelling changed and nothing else (spaces, width, case)."""
    marks: dict[str, int] = field(default_factory=dict)
    """Rows that came out by the mark the step gave them (`compare`: new, changed, deleted, same)."""
    newest: str | None = None
    """Greatest value of the field whose age is watched, as ISO text in UTC."""

    def add(self, other: StepCounts) -> None:
        """Add the numbers of another chunk of the same step."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.filtered += other.filtered
        self.deduplicated += other.deduplicated
        self.generated += other.generated
        self.quarantined += other.quarantined
        self.repaired += other.repaired
        self.cleaned += other.cleaned
        self.marks = {
            mark: self.marks.get(mark, 0) + other.marks.get(mark, 0) for mark in {**self.marks, **other.marks}
        }
        self.see(other.newest)

    def see(self, newest: str | None) -> None:
        """Note a greatest value of the field that is watched."""
        self.newest = max(filter(None, (self.newest, newest)), default=None)

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

    def to_json(self) -> dict[str, Any]:
        """The step as the run document shows it; repairs only where there are some."""
        changed = {"repaired": self.repaired, "cleaned": self.cleaned}
        return {
            "id": self.step,
            "verb": self.verb,
            "in": self.rows_in,
            "out": self.rows_out,
            "filtered": self.filtered,
            "deduplicated": self.deduplicated,
            "generated": self.generated,
            "quarantined": self.quarantined,
            **{name: number for name, number in changed.items() if number},
            **({"newest": self.newest} if self.newest else {}),
            **({"marks": dict(self.marks)} if self.marks else {}),
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
            repaired=int(values.get("repaired", 0)),
            cleaned=int(values.get("cleaned", 0)),
            newest=values.get("newest"),
            marks={str(mark): int(number) for mark, number in values.get("marks", {}).items()},
        )


def added(steps: Mapping[str, StepCounts], more: Iterable[StepCounts]) -> dict[str, StepCounts]:
    """The numbers of both by step, in the order of the steps; neither argument is changed."""
    total = dict(steps)
    for step in more:
        total[step.step] = replace(total[step.step]) if step.step in total else StepCounts(step.step, step.verb)
        total[step.step].add(step)
    return total
