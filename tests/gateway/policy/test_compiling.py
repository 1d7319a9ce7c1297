"""What rules come to, by the effect and the field: who sees and sets what, when, from where and for what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from tests.gateway.published import NOON, actor, people

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, ExpressionError, InvalidPlanError, UnknownNameError
from tongqu.core.policy import Actor
from tongqu.gateway.policy.compiling import CompiledPolicy, compile_policy
from tongqu.gateway.policy.decision import Action, Conflict
from tongqu.gateway.policy.settings import Access

DATASET = Dataset("items", people().schema, ("id",))
OPEN = ["id", "plant", "weight", "made"]


def policy(now: datetime = NOON, zone: Any = UTC, **access: Any) -> CompiledPolicy:
    """The policy of rules over the table of people."""
    return compile_policy(
        Access.parse(access), DATASET, now=lambda: now, zone=zone, secret=lambda name: b"key of " + name.encode(),
        path="apis.items.access", name="items",
    )  # fmt: skip


def sees(made: CompiledPolicy, who: Actor) -> list[str]:
    """The fields a caller sees; masked ones with their mask."""
    fields = made.decide(who, "read").fields
    return [name if mask is None else f"{name}:{mask.with_}" for name, mask in fields.items()]


def test_without_rules_nobody_may_do_anything() -> None:
    made = policy()
    for who in (Actor.nobody(), actor(), actor("quality")):
        assert not any(made.decide(who, action).allowed for action in ("read", "insert", "update", "delete"))


def test_a_role_sees_what_is_public_or_internal() -> None:
    made = policy(roles=["quality"])
    assert sees(made, actor("quality")) == OPEN
    assert sees(made, actor("sales")) == []
    assert sees(made, Actor.nobody()) == []


def test_public_needs_no_token_and_shows_no_restricted_field() -> None:
    made = policy(public=True, fields={"weight": {"roles": ["quality"]}})
    assert sees(made, Actor.nobody()) == ["id", "plant", "made"]


def test_a_rule_without_roles_is_for_whoever_is_known() -> None:
    made = policy(rules=[{"fields": ["id"]}])
    assert sees(made, actor()) == ["id"]
    assert sees(made, Actor.nobody()) == []


def test_masks_come_from_the_dictionary_or_the_rule() -> None:
    made = policy(
        roles=["quality"],
        fields={"inspector": {"roles": ["hr"], "otherwise": "mask"}, "weight": {"mask": {"with": "round", "to": 1}}},
    )
    assert sees(made, actor("quality")) == ["id", "plant", "weight:round", "made", "inspector:name"]
    assert sees(made, actor("quality", "hr"))[-1] == "inspector"
    with pytest.raises(InvalidPlanError, match="no mask is known for 'salary'"):
        policy(fields={"salary": {"otherwise": "mask"}})
    with pytest.raises(InvalidPlanError, match="masks dates"):
        policy(fields={"plant": {"mask": {"with": "year"}}})


def test_a_denying_rule_wins() -> None:
    made = policy(roles=["quality"], rules=[
        {"effect": "deny", "roles": ["guest"]}, {"effect": "deny", "roles": ["trainee"], "fields": ["weight"]},
        {"effect": "deny", "rows": "plant = 'B'"},
    ])  # fmt: skip
    assert not made.decide(actor("quality", "guest"), "read").allowed
    assert "weight" not in sees(made, actor("quality", "trainee"))
    rows = made.decide(actor("quality"), "read").rows
    assert rows is not None and rows.sql() == 'NOT ("plant" = :rule_0)'.replace(":rule_0", ":row0_rule_0")


def test_fields_of_a_higher_class_need_a_rule_that_names_them() -> None:
    made = policy(roles=["quality"], rules=[{"roles": ["hr"], "fields": ["id", "inspector"], "rows": "plant = 'A'"}])
    decision = made.decide(actor("quality", "hr"), "read")
    assert list(decision.fields) == [*OPEN, "inspector"]
    assert list(decision.cells) == ["inspector"]  # only in rows of plant A
    assert not decision.cacheable and made.decide(actor("quality"), "read").cacheable


def test_clearance_dominates() -> None:
    made = policy(roles=["hr"], fields={"inspector": {"roles": ["hr"]}, "salary": {"roles": ["hr"]}})
    assert sees(made, actor("hr")) == [*OPEN, "inspector", "salary"]
    assert sees(made, actor("hr", clearance="personal")) == [*OPEN, "inspector"]
    assert sees(made, actor("hr", clearance="internal")) == OPEN
    assert sees(made, actor("hr", clearance="no class")) == []  # only what is public


@pytest.mark.parametrize(
    ("rule", "who", "fits"),
    [
        ({"when": "actor.department = 'quality'"}, actor(department="quality"), True),
        ({"when": "actor.department = 'quality'"}, actor(department="it"), False),
        ({"when": "actor.department = 'quality'"}, actor(), False),
        ({"when": "actor.level >= 3"}, actor(level=3), True),
        ({"when": "actor.level >= 3"}, actor(level="three"), False),
        ({"when": "now < timestamptz '2026-03-02 13:00:00+00'"}, actor(), True),
        ({"when": "starts_with(address, '10.1.')"}, actor(address="10.1.2.3"), True),
        ({"addresses": ["10.0.0.0/8", "fd00::/8"]}, actor(address="10.9.9.9"), True),
        ({"addresses": ["10.0.0.0/8"]}, actor(address="::ffff:10.9.9.9"), True),
        ({"addresses": ["10.0.0.0/8"]}, actor(address="11.0.0.1"), False),
        ({"addresses": ["10.0.0.0/8"]}, actor(), False),
        ({"purposes": ["audit"]}, actor(purpose="audit"), True),
        ({"purposes": ["audit"]}, actor(purpose="marketing"), False),
        ({"hours": "08:00-18:00"}, actor(), True),
        ({"hours": "12:01-18:00"}, actor(), False),
        ({"hours": "22:00-06:00"}, actor(), False),
        ({"hours": "22:00-12:01"}, actor(), True),
    ],
)
def test_a_rule_fits_by_attribute_purpose_hour_and_address(rule: dict[str, Any], who: Actor, fits: bool) -> None:
    assert policy(rules=[rule]).decide(who, "read").allowed is fits


def test_what_is_unknown_fits_a_rule_that_denies() -> None:
    made = policy(roles=["r"], rules=[{"effect": "deny", "when": "actor.department = 'it'"}])
    assert not made.decide(actor("r"), "read").allowed
    assert made.decide(actor("r", department="qa"), "read").allowed
    near = policy(roles=["r"], rules=[{"effect": "deny", "addresses": ["10.0.0.0/8"]}])
    assert not near.decide(actor("r"), "read").allowed


def test_hours_are_those_of_the_project() -> None:
    made = policy(
        now=datetime(2026, 3, 2, 1, tzinfo=UTC), zone=ZoneInfo("Asia/Shanghai"), rules=[{"hours": "09:00-10:00"}]
    )
    assert made.decide(actor(), "read").allowed


def test_a_field_may_be_for_a_purpose_only() -> None:
    made = policy(roles=["r"], fields={"inspector": {"purposes": ["audit"]}})
    assert sees(made, actor("r", purpose="audit")) == [*OPEN, "inspector"]
    assert sees(made, actor("r")) == OPEN


def test_what_is_hidden_or_masked_cannot_be_set_unless_it_says_so() -> None:
    made = policy(
        roles=["r"], write_roles=["w"], rows="plant = actor.plant",
        fields={"inspector": {"otherwise": "mask"}, "salary": {"write": ["payroll"]}, "made": {"write": []}},
    )  # fmt: skip
    decision = made.decide(actor("r", "w", plant="A"), "update")
    assert decision.writable == {"id", "plant", "weight"}
    assert sorted(decision.params.values()) == ["A"] or set(decision.params.values()) == {"A"}
    assert made.decide(actor("r", "w", "payroll"), "insert").writable == {"id", "plant", "weight", "salary"}
    assert list(decision.fields) == [*OPEN, "inspector"]
    assert made.decide(actor("w"), "delete").fields == {}
    assert not made.decide(actor("r"), "update").allowed


def test_changes_find_only_rows_that_may_be_read() -> None:
    made = policy(rules=[
        {"roles": ["r"], "actions": ["read"], "rows": "plant = 'A'"}, {"roles": ["w"], "actions": ["update"],
        "rows": "weight > 1"},
    ])  # fmt: skip
    rows = made.decide(actor("r", "w"), "update").rows
    assert rows is not None and '"weight" > 1' in rows.sql() and '"plant" = ' in rows.sql()


def test_a_list_attribute_is_a_list_of_values() -> None:
    made = policy(roles=["r"], rows="plant in actor.plants")
    assert set(made.decide(actor("r", plants=["A", "B"]), "read").params.values()) == {"A", "B"}
    nothing = made.decide(actor("r", plants=[]), "read").rows
    assert nothing is not None and nothing.sql() == "NULL"


def test_decisions_are_equal_only_if_their_answers_are() -> None:
    made = policy(roles=["a", "b"], rows="plant = actor.plant")
    first = made.decide(actor("a", plant="A"), "read")
    assert first is made.decide(actor("a", plant="A"), "read")
    assert first.fingerprint == made.decide(actor("a", "b", plant="A"), "read").fingerprint
    other = made.decide(actor("a", plant="B"), "read")
    assert first.fingerprint != other.fingerprint and first.plan == other.plan
    assert first.fingerprint != policy(roles=["a", "b"], rows="plant = actor.plant", public=True).decide(
        actor("a", plant="A"), "read"
    ).fingerprint  # fmt: skip


def test_the_key_of_a_mask_is_part_of_the_decision_and_never_shown() -> None:
    made = policy(roles=["r"], fields={"inspector": {"mask": {"with": "hash", "key": "${secret:k}"}}})
    decision = made.decide(actor("r"), "read")
    assert decision.secrets == {"${secret:k}": b"key of ${secret:k}"}
    assert "key of" not in repr(decision)


def test_personal_fields_do_not_cross_the_border() -> None:
    abroad = "actor.region is null or actor.region <> 'CN'"
    made = policy(
        roles=["r"], fields={"inspector": {"roles": ["r"]}},
        rules=[{"effect": "deny", "when": abroad, "fields": ["inspector"]}],
    )  # fmt: skip
    assert sees(made, actor("r", region="CN")) == [*OPEN, "inspector"]
    assert sees(made, actor("r", region="DE")) == OPEN
    assert sees(made, actor("r")) == OPEN


def test_conflicts_name_what_is_only_seen_together() -> None:
    made = policy(
        roles=["quality"], fields={"inspector": {"roles": ["hr"]}},
        rules=[{"roles": ["boss"], "fields": ["id", "salary"], "rows": "weight > 1"}],
    )  # fmt: skip
    assert made.conflicts == (
        Conflict("lifted", "hr", "boss", ("inspector",)),
        Conflict("lifted", "hr", "quality", ("inspector",)),
        Conflict("apart", "access.roles", "access.rules[0]", ("plant", "weight", "made", "inspector", "salary")),
    )


@pytest.mark.parametrize(
    ("access", "error", "path"),
    [
        ({"fields": {"nope": {}}}, UnknownNameError, "apis.items.access.fields"),
        ({"rules": [{"fields": ["nope"]}]}, UnknownNameError, "apis.items.access.rules[0].fields"),
        ({"rows": "plantt = 'A'"}, ExpressionError, "apis.items.access.rows"),
        ({"rules": [{"rows": "weight + 1 > 2"}]}, ExpressionError, "apis.items.access.rules[0].rows"),
        ({"rules": [{"when": "plant = 'A'"}]}, ExpressionError, "apis.items.access.rules[0].when"),
        ({"rules": [{"hours": "8-18"}]}, ConfigError, "apis.items.access.rules[0].hours"),
        ({"rules": [{"addresses": ["10.0.0"]}]}, ConfigError, "apis.items.access.rules[0].addresses"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(access: dict[str, Any], error: type[ConfigError], path: str) -> None:
    with pytest.raises(error) as caught:
        policy(**access)
    assert caught.value.path == path


def test_rows_may_be_chosen_by_columns_that_are_not_published() -> None:
    published = Dataset("items", pa.schema([DATASET.schema.field("id")]), ("id",))
    made = compile_policy(
        Access.parse({"roles": "r", "rows": "plant = 'A'"}), published, now=lambda: NOON, columns=DATASET.schema
    )
    decision = made.decide(actor("r"), "read")
    assert list(decision.fields) == ["id"] and decision.rows is not None


ACTIONS: tuple[Action, ...] = ("read", "insert", "update", "delete")


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ([], "read insert update delete"),
        (["read"], "read"),
        (["items:read"], "read"),
        (["write"], "insert update delete"),
        (["items:write", "items:read"], "read insert update delete"),
        (["orders:read", "items:reader", "manage", "items"], ""),
    ],
)
def test_the_scope_of_a_token_limits_what_roles_allow(scopes: list[str], may: str) -> None:
    made = policy(roles=["quality"], write_roles=["quality"])
    who = replace(actor("quality"), scopes=frozenset(scopes))
    assert [action for action in ACTIONS if made.decide(who, action).allowed] == may.split()
    outsider = replace(actor("sales"), scopes=frozenset(scopes))
    assert not any(made.decide(outsider, action).allowed for action in ACTIONS)


def test_a_token_to_write_finds_the_rows_that_its_caller_may_read_but_knows_no_field_of_them() -> None:
    made = policy(rules=[{"actions": ["read"], "rows": "plant = 'A'"}, {"actions": ["update"]}])
    whole = made.decide(actor("quality"), "update")
    narrow = made.decide(replace(actor("quality"), scopes=frozenset(("write",))), "update")
    assert (narrow.rows, narrow.writable, dict(narrow.fields)) == (whole.rows, whole.writable, {})
    assert narrow.fingerprint != whole.fingerprint
