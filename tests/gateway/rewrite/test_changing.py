"""Changes find only rows that the caller may change, leave only such rows behind, and give back what it may see."""

from __future__ import annotations

import pytest
from sqlglot import exp
from tests.gateway.published import Database, actor, api, people

from tongqu.gateway.asking import Compare, Wanted
from tongqu.gateway.problems import Problem
from tongqu.gateway.rewrite import conditions, returning

TABLE = people()
DATABASE = Database("duckdb", "items", TABLE)
ITEMS = api(
    DATABASE,
    TABLE,
    {
        "roles": ["r"], "write_roles": ["w"], "rows": "plant = actor.plant",
        "fields": {"inspector": {"roles": ["hr"], "otherwise": "mask"}},
        "rules": [{"roles": ["heavy"], "actions": ["update"], "fields": ["made"], "rows": "weight > 1.6"},
                  {"roles": ["light"], "actions": ["update"], "fields": ["weight"], "rows": "weight < 1.6"}],
    },
)  # fmt: skip


def test_an_update_finds_what_the_rule_and_the_filter_say() -> None:
    decision = ITEMS.policy.decide(actor("r", "w", plant="A"), "update")
    made = conditions(ITEMS, decision, ["weight"], Compare("inspector", "eq", "李*"))
    assert made.where is not None and made.check is not None
    tree = f"SELECT id FROM items WHERE {made.where.sql('duckdb')}"
    names = {name: value for name, value in made.params.items() if f"${name}" in tree}
    assert DATABASE.duckdb.execute(tree, names).fetchall() == [(2,)]  # by the mask, for this caller
    assert '"inspector"' not in made.check.sql() and '"plant"' in made.check.sql()


def test_a_field_is_set_only_in_rows_in_which_it_may_be_set() -> None:
    decision = ITEMS.policy.decide(actor("r", "heavy", "light", plant="A"), "update")
    assert decision.writable == {"made", "weight"} and set(decision.settable) == {"made", "weight"}
    found = {}
    for columns in (["made"], ["weight"], ["made", "weight"]):
        made = conditions(ITEMS, decision, columns)
        assert made.where is not None
        tree = exp.select("id").from_("items").where(made.where).order_by("id")
        found[len(columns), columns[0]] = DATABASE.run(tree, made.params)
    assert found == {(1, "made"): [(2,), (6,)], (1, "weight"): [(1,)], (2, "made"): []}


@pytest.mark.parametrize("name", ["salary", "inspector", "nothing"])
def test_a_column_that_may_not_be_set_is_one_that_is_not_there(name: str) -> None:
    decision = ITEMS.policy.decide(actor("r", "w", plant="A"), "insert")
    with pytest.raises(Problem) as caught:
        conditions(ITEMS, decision, ["weight", name])
    assert (caught.value.code, caught.value.detail) == ("field.unknown", f"there is no field {name!r}")


def test_what_is_given_back_is_the_effective_view() -> None:
    query = returning(
        ITEMS, ITEMS.policy.decide(actor("r", plant="A"), "read"), (Wanted("id"), Wanted("inspector", "who"))
    )
    assert DATABASE.rows(query) == [(1, "张*丰"), (2, "李*"), (6, "欧阳**")]
    with pytest.raises(Problem, match=r"field\.unknown"):
        returning(ITEMS, ITEMS.policy.decide(actor("r", plant="A"), "read"), (Wanted("salary"),))


def test_who_may_not_read_filters_by_nothing() -> None:
    decision = ITEMS.policy.decide(actor("w", plant="A"), "delete")
    with pytest.raises(Problem, match=r"field\.unknown"):
        conditions(ITEMS, decision, [], Compare("id", "eq", "1"))
