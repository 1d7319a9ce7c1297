"""Repairs in the counts: beside the balance, and unknown to checkpoints of older versions."""

from __future__ import annotations

from tongqu.core.balance import StepCounts, added
from tongqu.core.data import BadRow, Counts

STEP = {
    "id": "c",
    "verb": "clean",
    "in": 5,
    "out": 4,
    "filtered": 0,
    "deduplicated": 0,
    "generated": 0,
    "quarantined": 1,
}


def test_repairs_are_no_part_of_the_balance() -> None:
    step = StepCounts("c", "clean", rows_in=5, rows_out=4, quarantined=1, repaired=3, cleaned=2)
    step.check()
    assert step.to_json() == {**STEP, "repaired": 3, "cleaned": 2}
    assert StepCounts.from_json(step.to_json()) == step
    total = added({"c": step}, [step])["c"]
    assert (total.repaired, total.cleaned, step.repaired) == (6, 4, 3)


def test_older_checkpoints_had_no_repairs() -> None:
    counts = Counts.from_json({"read": 5, "quarantined": 1, "steps": [STEP]})
    assert (counts.repaired, counts.steps["c"].repaired, counts.steps["c"].cleaned) == (0, 0, 0)
    assert counts.steps["c"].to_json() == STEP


def test_a_repaired_row_was_not_refused() -> None:
    assert BadRow("c", "clean.date", "d", "x", "{}", "").refused
    assert not BadRow("c", "clean.clamp", "d", "x", "{}", "", "repaired").refused
