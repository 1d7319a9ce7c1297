"""Rows of erased persons are left out wherever a pipeline reads or writes them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Step
from tongqu.core.plan import Plan, trunk
from tongqu.engine.forgetting import Forgetting, guarded

TABLE = pa.table({"id": [1, 2, 3, 4], "who": ["E1", "E2", None, "E1"]})
STAFF = Dataset("staff", TABLE.schema, ("id",))


def digest(identity: str, value: Any) -> str:
    return f"{identity}:{value}"


def forgetting(dataset: str = "staff", field: str = "who") -> Forgetting | None:
    return Forgetting.of({dataset: {"employee": field}}, {"employee": frozenset({"employee:E1"})}, digest)


def kept(step: Forgetting | None) -> list[int]:
    assert step is not None
    return [int(one) for one in step.apply([TABLE], [STAFF]).column("id").to_pylist() if one is not None]


def test_rows_of_an_erased_person_are_left_out() -> None:
    assert kept(forgetting()) == [2, 3]
    assert kept(forgetting("")) == [2, 3]
    assert kept(forgetting("orders")) == [1, 2, 3, 4]
    assert kept(forgetting(field="gone")) == [1, 2, 3, 4]


def test_nothing_is_looked_at_where_nobody_was_erased() -> None:
    assert Forgetting.of({"staff": {"patient": "who"}}, {"employee": frozenset({"x"})}, digest) is None


def test_a_plan_is_guarded_behind_its_sources_and_before_its_sinks() -> None:
    inner = Step("mine", "forget", Forgetting(), ("a",), "")
    plan = guarded(
        Plan(("a",), (inner,), {"out": "mine"}), {"a": forgetting(), "b": forgetting()}, {"out": forgetting()}
    )
    along = trunk(plan)
    assert along is not None and along.source == "a"
    assert [step.id for step in along.steps] == ["a_erased", "mine", "out_erased_before"]
