"""The shape of a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from tongqu.core.errors import ConfigError, InvalidPlanError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import Plan, plan


def made(sources: list[str], steps: list[dict[str, Any]], sinks: dict[str, str | None]) -> Plan:
    return plan(sources, [parse_step(s, f"steps[{n}]") for n, s in enumerate(steps)], sinks, "pipelines.p")


def test_a_bare_step_follows_the_one_above() -> None:
    found = made(["s"], [{"filter": "a"}, {"drop": ["b"]}], {"sink": None})
    assert [step.inputs for step in found.steps] == [("s",), ("filter",)]
    assert found.sinks == {"sink": "drop"} and found.linear


def test_steps_are_put_in_order() -> None:
    found = made(["s"], [{"id": "b", "from": "a", "filter": "x"}, {"id": "a", "from": "s", "drop": ["y"]}], {"k": "b"})
    assert [step.id for step in found.steps] == ["a", "b"]


@pytest.mark.parametrize(
    ("sources", "steps", "sinks", "error", "words"),
    [
        (["s"], [{"id": "a", "from": "b", "filter": "x"}, {"id": "b", "from": "a", "filter": "x"}], {"k": "b"},
         InvalidPlanError, "circle"),
        (["s"], [{"from": "t", "filter": "x"}], {"k": None}, UnknownNameError, "'t'"),
        (["s"], [{"filter": "x"}], {"k": "nope"}, UnknownNameError, "'nope'"),
        (["s"], [{"filter": "x"}, {"filter": "y"}], {"k": None}, InvalidPlanError, "named 'filter'"),
        (["s", "s"], [], {"k": "s"}, InvalidPlanError, "named 's'"),
        (["s", "t"], [{"filter": "x"}], {"k": None}, InvalidPlanError, "which source"),
        (["s", "t"], [], {"k": None}, InvalidPlanError, "which source"),
        (["s"], [{"id": "a", "filter": "x"}, {"id": "b", "from": "s", "filter": "x"}], {"k": "b"},
         InvalidPlanError, "nothing takes"),
    ],
)  # fmt: skip
def test_unsound_plan_is_refused(
    sources: list[str], steps: list[dict[str, Any]], sinks: dict[str, str | None], error: type[ConfigError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        made(sources, steps, sinks)
    assert caught.value.path
