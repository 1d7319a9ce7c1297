"""Random rules over a small table: what SQL gives is, cell by cell, what the rules say by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.published import CURSORS, Database, actor, api, people

from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask
from tongqu.gateway.policy.conditions import rule
from tongqu.gateway.policy.judging import judged
from tongqu.gateway.policy.settings import Access
from tongqu.gateway.rewrite import filtered_view, rewrite

TABLE = people()
SCHEMA = TABLE.schema
ROWS = TABLE.to_pylist()
ROLES = ("a", "b", "c")
OPEN = ("id", "plant", "weight", "made")
CLOSED = ("inspector", "salary")
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)

conditions = st.sampled_from(
    [
        "plant = actor.plant", "plant <> actor.plant", "plant in actor.plants", "plant in ('A', 'B')", "plant is null",
        "not plant = 'A'", "weight > 1.5", "weight between 2 and 4", "weight >= actor.level",
        "made >= date '2026-01-03'",
        "id < 4", "salary > 200", "inspector like '张%'", "starts_with(plant, actor.plant)",
        "coalesce(plant, 'B') = 'B'",
        "plant = 'A' or weight > 4", "(weight > 2) is true", "plant is distinct from actor.plant",
        "actor.department = 'qa'",
        "plant = 'A' and actor.department is null", "true", "weight = null", "actor.missing = plant",
    ]
)  # fmt: skip
some_roles = st.lists(st.sampled_from(ROLES), max_size=2, unique=True)
some_fields = st.lists(st.sampled_from((*OPEN, *CLOSED)), max_size=3, unique=True)
entries = st.fixed_dictionaries(
    {"effect": st.sampled_from(("allow", "allow", "allow", "deny")), "roles": some_roles, "fields": some_fields},
    optional={"rows": conditions, "purposes": st.just(["audit"])},
)
accesses = st.fixed_dictionaries(
    {
        "roles": some_roles,
        "rules": st.lists(entries, max_size=4),
        "fields": st.dictionaries(
            st.sampled_from(("weight", "inspector", "salary")),
            st.fixed_dictionaries({"roles": some_roles}, optional={"purposes": st.just(["audit"])}),
            max_size=2,
        ),
    },
    optional={"rows": conditions},
)
callers = st.builds(
    lambda roles, purpose, attributes: actor(*roles, purpose=purpose, **attributes),
    st.lists(st.sampled_from(ROLES), max_size=3, unique=True),
    st.sampled_from(("", "audit")),
    st.fixed_dictionaries(
        {},
        optional={
            "plant": st.sampled_from(("A", "B")), "plants": st.sampled_from((["A"], ["A", "B"], [])),
            "level": st.sampled_from((2, "x")), "department": st.sampled_from(("qa", "it")),
        },
    ),
)  # fmt: skip


def holds(text: str | None, row: dict[str, Any], who: Actor) -> bool | None:
    """A row rule by itself."""
    return True if text is None else judged(rule(text, SCHEMA), row, who.attributes)


def fits(entry: dict[str, Any], who: Actor) -> bool:
    """Whether a rule is about a caller."""
    return (not entry["roles"] or bool(set(entry["roles"]) & who.roles)) and (
        "purposes" not in entry or who.purpose in entry["purposes"]
    )


def given_by(access: dict[str, Any], entry: dict[str, Any], name: str, who: Actor) -> bool:
    """Whether an allowing rule gives a field."""
    if entry["fields"] and name not in entry["fields"]:
        return False
    told = access["fields"].get(name)
    if told is None:
        return name in OPEN or name in entry["fields"]
    if "purposes" in told and who.purpose not in told["purposes"]:
        return False
    if set(told["roles"]) & who.roles:
        return True
    return bool(not told["roles"] and "purposes" in told)


def expected(access: dict[str, Any], who: Actor) -> dict[int, dict[str, Any]]:
    """Cell by cell, from the words of `docs/access.md`: rows by id, and of each row the fields with values or nulls."""
    allow = [e for e in access["rules"] if e["effect"] == "allow" and fits(e, who)]
    if set(access["roles"]) & who.roles:
        allow.append({"roles": access["roles"], "fields": []})
    deny = [e for e in access["rules"] if e["effect"] == "deny" and fits(e, who)]
    if any(not e["fields"] and "rows" not in e for e in deny):
        return {}
    gone = {name for e in deny if "rows" not in e for name in e["fields"]}
    names = [n for n in SCHEMA.names if n not in gone and any(given_by(access, e, n, who) for e in allow)]
    useful = [e for e in allow if any(given_by(access, e, n, who) for n in names)]
    seen: dict[int, dict[str, Any]] = {}
    for row in ROWS:
        mine = [e for e in useful if holds(e.get("rows"), row, who)]
        denied = [e for e in deny if "rows" in e and holds(e["rows"], row, who) is not False]
        if not mine or not holds(access.get("rows"), row, who) or any(not e["fields"] for e in denied):
            continue
        seen[row["id"]] = {
            n: row[n]
            if any(given_by(access, e, n, who) for e in mine) and not any(n in e["fields"] for e in denied)
            else None
            for n in names
        }
    return seen


@pytest.mark.parametrize("dialect", ["duckdb", "sqlite"])
def test_the_rules_and_their_sql_agree(dialect: str) -> None:
    database = Database(dialect, "items", TABLE)

    @QUIET
    @given(accesses, callers)
    def check(access: dict[str, Any], who: Actor) -> None:
        one = api(database, TABLE, access)
        decision = one.policy.decide(who, "read")
        wanted = expected(access, who)
        if not decision.allowed:
            assert wanted == {}
            return
        query = rewrite(Ask(), one, decision, CURSORS).query
        names = [field.name for field in query.columns]
        found = [dict(zip(names, row, strict=False)) for row in database.rows(query)]
        assert ([sorted(map(repr, row.values())) for row in found] and names == list(decision.fields)) or not found
        shown = sorted(tuple(_shown(row[name]) for name in names) for row in found)
        assert shown == sorted(tuple(_shown(row[name]) for name in names) for row in wanted.values())

    check()
    database.close()


@QUIET
@given(accesses, callers, st.sampled_from(ROLES))
def test_a_role_only_ever_adds(access: dict[str, Any], who: Actor, role: str) -> None:
    access = {**access, "rules": [entry for entry in access["rules"] if entry["effect"] == "allow"]}
    database = Database("duckdb", "items", TABLE)
    one = api(database, TABLE, {**access, "fields": {**access["fields"], "id": {"roles": list(ROLES)}}})
    more = Actor(who.id, roles=who.roles | {role}, attributes=who.attributes, purpose=who.purpose)
    before, after = _cells(one, database, who), _cells(one, database, more)
    assert before <= after
    alone = set[Any]()
    ground = [{"roles": access["roles"], "fields": [], "effect": "allow"}] if access["roles"] else []
    for rule_ in [*access["rules"], *ground]:
        entry = {**rule_, "fields": rule_["fields"] and [*rule_["fields"], "id"]}  # its cells are found by the key
        single = {**access, "roles": [], "rules": [entry], "fields": {**access["fields"], "id": {"roles": list(ROLES)}}}
        alone |= _cells(api(database, TABLE, single), database, more)
    assert after <= alone
    database.close()


@settings(QUIET, max_examples=12)
@given(accesses, callers)
def test_rows_that_come_as_values_are_seen_as_from_the_table(access: dict[str, Any], who: Actor) -> None:
    database = Database("duckdb", "items", TABLE)
    one = api(database, TABLE, access)
    decision = one.policy.decide(who, "read")
    if decision.allowed:
        wanted = sorted(map(repr, _seen(one, database, who)))
        live = filtered_view(Ask(), one, decision)
        places, shown = live.rows(TABLE)
        assert sorted(map(repr, (tuple(row.values()) for row in shown.to_pylist()))) == wanted
        assert [ROWS[place]["id"] for place in places] == sorted(expected(access, who))
        live.close()
    database.close()


def _seen(one: Any, database: Database, who: Actor) -> list[tuple[Any, ...]]:
    decision = one.policy.decide(who, "read")
    rows = database.rows(rewrite(Ask(), one, decision, CURSORS).query)
    return [row[: len(decision.fields)] for row in rows]


def _cells(one: Any, database: Database, who: Actor) -> set[Any]:
    """Every cell that is shown with a value, of callers who see the key."""
    decision = one.policy.decide(who, "read")
    if not decision.allowed:
        return set()
    query = rewrite(Ask(), one, decision, CURSORS).query
    names = [field.name for field in query.columns]
    rows = [dict(zip(names, row, strict=False)) for row in database.rows(query)]
    return {(row.get("id"), n, _shown(v)) for row in rows if row.get("id") for n, v in row.items() if v is not None}


def _shown(value: Any) -> str:
    """A value of either database in one form."""
    if value is None or isinstance(value, str):
        return f"{value}"
    return value.isoformat() if hasattr(value, "isoformat") else f"{float(value):g}"


def test_access_rules_of_the_tests_are_valid() -> None:
    assert Access.parse({"roles": "a", "rules": [{"effect": "deny", "fields": ["salary"]}]}).roles == ["a"]
