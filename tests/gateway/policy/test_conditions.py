"""The language of rules: what it takes, what it refuses with a caret, and what it means."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.published import people

from tongqu.core.errors import ExpressionError
from tongqu.gateway.policy.conditions import rule
from tongqu.gateway.policy.judging import judged, plain_pattern

SCHEMA = people().schema
ROW = {"id": 3, "plant": "A_1", "weight": None, "made": None, "inspector": "张三", "salary": 5}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("id = 3", True), ("id <> 3", False), ("weight > 1", None), ("not weight > 1", None), ("weight is null", True),
        ("weight > 1 or id = 3", True), ("weight > 1 and id = 4", False), ("id in (1, 2)", False),
        ("id in (1, null)", None), ("id not in (1, 2)", True), ("(weight > 1) is true", False),
        ("id between 2 and 3", True),
        ("plant like 'A%'", True), ("plant like 'A!_1' escape '!'", True), ("plant like 'A!_2' escape '!'", False),
        ("plant like '__'", False), ("starts_with(plant, 'A_')", True), ("starts_with(plant, 'AB')", False),
        ("coalesce(plant, 'x') = 'A_1'", True), ("weight is distinct from null", False), ("id = 2.5", False),
        ("plant = actor.plant", None), ("actor.plant is null", True), ("actor.level > 1", True),
        ("id = actor.level", True),
        ("plant in actor.plants", True), ("plant not in actor.plants", False), ("-3 < id", True), ("true", True),
        ("null", None), ("made = date '2026-01-01'", None), ("'x' = 'x'", True),
    ],
)  # fmt: skip
def test_rules_follow_three_valued_logic(text: str, holds: bool | None) -> None:
    attributes: dict[str, Any] = {"level": "3", "plants": ["B", "A_1"]}
    assert judged(rule(text, SCHEMA), ROW, attributes) is holds


@pytest.mark.parametrize(
    "text",
    [
        "upper(plant) = 'A'", "weight / 2 > 1", "id + 1 = 2", "plant || 'x' = 'y'", "plant = 1", "id = 'one'",
        "made > 'soon'",
        "plant > id", "cast(id as varchar) = '1'", "plant ilike 'a'", "plant like inspector",
        "starts_with(plant, inspector)",
        "plant like 'a\\b'", "case when id = 1 then true end", "regexp_matches(plant, 'a')", "user.plant = plant",
        "exists (select 1)", "id in (select 1)", "length(plant) > 2", "plant", "now > made",
        "id between symmetric 1 and 2",
        "other.actor.plant = plant",
    ],
)  # fmt: skip
def test_what_may_differ_between_databases_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        rule(text, SCHEMA, "apis.x.access.rows")
    assert caught.value.path == "apis.x.access.rows"
    assert "^" in caught.value.message


@pytest.mark.parametrize(
    ("text", "escape", "start", "made"),
    [("a%b", "", False, "a%b"), ("a!%b", "!", False, "a\\%b"), ("a!!b", "!", False, "a!b"),
    ("a%_\\", "", True, "a\\%\\_\\\\%"),
     ("a\\b", "!", False, "a\\\\b")],
)  # fmt: skip
def test_patterns_are_brought_to_one_escape(text: str, escape: str, start: bool, made: str) -> None:
    assert plain_pattern(text, escape, start=start) == made
