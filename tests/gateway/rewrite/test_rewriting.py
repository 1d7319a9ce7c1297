"""Questions become one SELECT over the effective view: exact rows, pages without gaps, every value bound."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp
from tests.gateway.published import CURSORS, Database, actor, api, people

from tongqu.core.data import Dataset
from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Order, Related, Wanted
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Relation
from tongqu.gateway.rewrite import Cursors, rewrite

TABLE = people()
DATABASE = Database("duckdb", "items", TABLE)
ACCESS = {
    "roles": ["quality"],
    "fields": {"inspector": {"roles": ["hr"], "otherwise": "mask"}},
    "rows": "plant = actor.plant",
}
ITEMS = api(DATABASE, TABLE, ACCESS)
OPEN = api(DATABASE, TABLE, {"roles": ["r"]})
MINE = ITEMS.policy.decide(actor("quality", plant="A"), "read")
ALL = OPEN.policy.decide(actor("r"), "read")


def rows(ask: Ask, one: Api = OPEN, decision: Decision = ALL) -> list[list[Any]]:
    """What a question is answered with."""
    return [list(row) for row in DATABASE.page(rewrite(ask, one, decision, CURSORS).query).values]


def ids(where: Condition) -> list[int]:
    """The ids of the rows that a condition chooses."""
    return [row[0] for row in rows(Ask((Wanted("id"),), where=where))]


def refused(ask: Ask, one: Api = ITEMS, decision: Decision = MINE) -> str:
    """The code that a question is refused with."""
    with pytest.raises(Problem) as caught:
        rewrite(ask, one, decision, CURSORS)
    return caught.value.code


def test_only_visible_rows_and_fields_are_given_and_masked_ones_are_masked() -> None:
    assert rows(Ask((Wanted("id"), Wanted("inspector"))), ITEMS, MINE) == [[1, "张*丰"], [2, "李*"], [6, "欧阳**"]]
    assert rows(Ask((Wanted("id"),), where=Compare("inspector", "eq", "张三丰")), ITEMS, MINE) == []
    assert rows(Ask((Wanted("id"),), where=Compare("inspector", "eq", "张*丰")), ITEMS, MINE) == [[1]]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (Compare("weight", "gt", "2"), [4, 5]), (Compare("weight", "lte", "1.5"), [1]),
        (Compare("plant", "neq", "A"), [3, 4]),
        (Compare("plant", "is", "null"), [5]), (Compare("plant", "is", "not_null"), [1, 2, 3, 4, 6]),
        (Negated(Compare("plant", "eq", "A")), [3, 4]), (Compare("plant", "isdistinct", "A"), [3, 4, 5]),
        (Compare("id", "in", ("1", "5", "9")), [1, 5]), (Compare("id", "in", ()), []),
        (Compare("plant", "like", "A%"), [1, 2, 6]),
        (Compare("plant", "ilike", "a"), [1, 2, 6]), (Compare("plant", "match", "^[AB]$"), [1, 2, 3, 4, 6]),
        (Compare("id", "gt", ("4", "2"), "any"), [3, 4, 5, 6]), (Compare("id", "gt", ("4", "2"), "all"), [5, 6]),
        (Compare("made", "gte", "2026-01-05"), [5, 6]),
        (Joined("or", (Compare("id", "eq", "1"), Joined("and", (Compare("plant", "eq", "B"), Compare("id",
        "gt", "3"))))), [1, 4]),
    ],
)  # fmt: skip
def test_filters(where: Condition, found: list[int]) -> None:
    assert ids(where) == found


@pytest.mark.parametrize("order", [(), (Order("weight"),), (Order("weight", True),),
(Order("weight", nulls_first=True),),
                                   (Order("plant", True, False), Order("weight")),
                                   (Order("plant"), Order("weight", True, False)),
                                   (Order("made", True), Order("id"))])  # fmt: skip
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_pages_give_every_row_once_in_order(order: tuple[Order, ...], limit: int) -> None:
    ask = Ask((Wanted("id"), Wanted("plant"), Wanted("weight")), order=order)
    whole, found = rows(ask), []
    paged = replace(ask, limit=limit, count="exact")
    for _ in range(10):
        made = rewrite(paged, OPEN, ALL, CURSORS)
        page = DATABASE.page(made.query)
        found += [list(row) for row in page.values]
        assert made.count is not None and DATABASE.rows(made.count) == [(6,)]
        if not (token := made.next(page)):
            break
        paged = replace(paged, after=token)
    assert found == whole and len(whole) == 6


def test_a_cursor_fits_only_its_own_question_rights_and_configuration() -> None:
    ask = Ask(limit=2, where=Compare("id", "gt", "0"))
    made = rewrite(ask, OPEN, ALL, CURSORS)
    token = made.next(DATABASE.page(made.query))
    assert rewrite(replace(ask, after=token, limit=3), OPEN, ALL, CURSORS).limit == 3
    others = (
        replace(ask, where=Compare("id", "gt", "1")),
        replace(ask, order=(Order("made"),)),
        replace(ask, where=None),
    )
    for other in others:
        assert refused(replace(other, after=token), OPEN, ALL) == "cursor.invalid"
    assert refused(replace(ask, after=token), ITEMS, MINE) == "cursor.invalid"
    assert refused(replace(ask, after=token[:-2] + "AA"), OPEN, ALL) == "cursor.invalid"
    assert refused(replace(ask, after="x" * 5000), OPEN, ALL) == "cursor.invalid"
    for cursors in (replace(CURSORS, version="8"), replace(CURSORS, key=b"other"), replace(CURSORS, now=lambda: 1e6)):
        with pytest.raises(Problem):
            rewrite(replace(ask, after=token), OPEN, ALL, cursors)


def test_pages_of_rows_whose_key_is_hidden_go_by_number() -> None:
    one = api(DATABASE, TABLE, {"rules": [{"roles": ["r"], "fields": ["plant", "weight"]}]})
    decision = one.policy.decide(actor("r"), "read")
    ask = Ask(limit=4)
    found: list[Any] = []
    for _ in range(3):
        made = rewrite(ask, one, decision, CURSORS)
        assert made.query.keys == 0 and '"id"' not in made.query.tree.sql()
        page = DATABASE.page(made.query)
        found += page.values
        ask = replace(ask, after=made.next(page))
        if not ask.after:
            break
    assert len(found) == 6


def test_aggregates_group_by_what_is_plain() -> None:
    wanted = (Wanted("plant"), Wanted("weight", "total", aggregate="sum"), Wanted("", aggregate="count"))
    assert rows(Ask(wanted, order=(Order("plant", True),))) == [
        [None, Decimal(5), 1],
        ["B", Decimal(4), 2],
        ["A", Decimal("5.5"), 3],
    ]
    made = rewrite(Ask(wanted, count="exact"), OPEN, ALL, CURSORS)
    assert made.count is not None and DATABASE.rows(made.count) == [(3,)]
    assert [str(field.type) for field in made.columns] == ["string", "decimal128(38, 3)", "int64"]
    assert refused(Ask(wanted, order=(Order("made"),)), OPEN, ALL) == "query.malformed"


def test_outputs_are_renamed_and_cast_where_no_cast_can_fail() -> None:
    assert rows(Ask((Wanted("id", "number", "text"), Wanted("made", cast="timestamp")), limit=1))[0][0] == "1"
    for wanted in (
        Wanted("plant", cast="int"),
        Wanted("id", cast="nothing"),
        Wanted("id", 'x" from y'),
        Wanted("weight", cast="int"),
    ):
        assert refused(Ask((wanted,)), OPEN, ALL) == "query.malformed"
    assert refused(Ask((Wanted("id"), Wanted("plant", "id"))), OPEN, ALL) == "query.malformed"


@pytest.mark.parametrize(
    ("where", "code"),
    [
        (Compare("salary", "eq", "1"), "field.unknown"), (Compare("nothing", "eq", "1"), "field.unknown"),
        (Compare("id", "eq", "one"), "value.invalid"), (Compare("id", "eq", str(2**70)), "value.invalid"),
        (Compare("made", "eq", "31.1.2026"), "value.invalid"), (Compare("plant", "eq", "a\0"), "value.invalid"),
        (Compare("id", "is", "true"), "value.invalid"), (Compare("plant", "like", "a\\"), "value.invalid"),
        (Compare("plant", "match", "("), "value.invalid"), (Compare("id", "like", "1"), "query.malformed"),
        (Compare("rel.id", "eq", "1"), "field.unknown"), (Compare("plant", "eq", "1", path=("a",)), "query.malformed"),
        (Compare("id", "in", tuple("1" * 6000)), "query.malformed"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(where: Condition, code: str) -> None:
    assert refused(Ask(where=where)) == code


def test_limits_hold() -> None:
    few = api(DATABASE, TABLE, {"roles": ["r"]}, entry={"limit": {"rows": 3}})
    decision = few.policy.decide(actor("r"), "read")
    assert len(rows(Ask(), few, decision)) == len(rows(Ask(limit=99), few, decision)) == 3
    assert (
        rows(Ask(offset=5))
        and refused(Ask(limit=-1), OPEN, ALL) == refused(Ask(offset=-1), OPEN, ALL) == "query.malformed"
    )
    assert refused(Ask(), few, replace(decision, allowed=False)) == "access.denied"


def test_equal_shapes_give_the_same_tree() -> None:
    first = rewrite(Ask(where=Compare("id", "gt", "1"), limit=8), OPEN, ALL, CURSORS).query
    again = rewrite(Ask(where=Compare("id", "gt", "5"), limit=7), OPEN, ALL, CURSORS).query
    assert first.tree is again.tree and first.params != again.params


def test_usual_limits_are_written_out_so_that_databases_plan_once() -> None:
    first, again = (rewrite(Ask(where=Compare("id", "gt", n), limit=20), OPEN, ALL, CURSORS).query for n in "15")
    assert first.tree is again.tree and first.tree.sql().endswith("LIMIT 20") and first.params == {"p0": 1}


def test_a_mask_that_is_put_on_after_the_query_cannot_be_compared() -> None:
    plain = Database("duckdb", "items", TABLE, masks=False)
    one = api(plain, TABLE, ACCESS)
    decision = one.policy.decide(actor("quality", plant="A"), "read")
    made = rewrite(Ask((Wanted("inspector"),)), one, decision, CURSORS)
    assert [row[0] for row in plain.page(made.query).values] == ["张*丰", "李*", "欧阳**"]
    for ask in (
        Ask(where=Compare("inspector", "is", "null")), Ask(order=(Order("inspector"),)),
        Ask((Wanted("inspector", aggregate="count"),)), Ask((Wanted("inspector"), Wanted("", aggregate="count"))),
        Ask((Wanted("inspector", cast="text"),)),
    ):  # fmt: skip
        assert refused(ask, one, decision) == "field.masked"
    plain.close()


def test_hashes_are_keyed_and_equal_for_equal_values() -> None:
    access = {"roles": ["r"], "fields": {"inspector": {"mask": {"with": "hash", "key": "${secret:k}"}}}}
    one = api(DATABASE, TABLE, access, secret=lambda name: b"0123456789abcdef")
    decision = one.policy.decide(actor("r"), "read")
    found = [row[0] for row in rows(Ask((Wanted("inspector"),)), one, decision)]
    assert found[0] == found[2] != found[1] and len(found[0]) == 64 and found[3] is None


def test_rows_are_chosen_by_a_relation_only_as_far_as_both_are_seen() -> None:
    lines = pa.table({"plant": ["A", "B", "C"], "boss": ["x", "y", "x"], "secret_code": ["1", "2", "3"]})
    database = Database("duckdb", "items", TABLE)
    database.add("lines", lines)
    to = {"line": Relation("line", "lines", {"plant": "plant"}, many=False)}
    other = api(
        database,
        lines,
        {"roles": ["r"], "rows": "boss <> 'y'", "fields": {"secret_code": {}}},
        key=("plant",),
        name="lines",
    )
    one = api(database, TABLE, {"roles": ["r"]}, relations=to)
    who = actor("r")
    decision = one.policy.decide(who, "read")

    def found(ask: Ask) -> list[int]:
        made = rewrite(ask, one, decision, CURSORS, relations=lambda name: (other, other.policy.decide(who, "read")))
        return [row[0] for row in database.page(made.query).values]

    assert found(Ask(where=Compare("line.boss", "eq", "x"))) == [1, 2, 6]
    assert found(Ask(where=Compare("line.boss", "eq", "y"))) == []  # the related row itself is hidden
    assert found(Ask(related=(Related("line", Ask(), inner=True),))) == [1, 2, 6]
    assert found(Ask(related=(Related("line", Ask(where=Compare("boss", "eq", "x")), none=True),))) == [3, 4, 5]
    with pytest.raises(Problem, match=r"field\.unknown"):
        found(Ask(where=Compare("line.secret_code", "eq", "1")))
    with pytest.raises(Problem, match=r"field\.unknown"):
        rewrite(Ask(where=Compare("line.boss", "eq", "x")), one, decision, CURSORS)
    database.close()


def test_an_approved_statement_is_asked_as_a_table() -> None:
    sql = "select id, plant, weight from items where made >= :since and plant = :plant"
    table = TABLE.select(["id", "plant", "weight"])
    source = {
        "connection": "c", "query": sql,
        "parameters": {"since": {"type": "date"}, "plant": {"type": "string", "required": False, "default": "A"}},
    }  # fmt: skip
    one = api(DATABASE, table, {"roles": ["r"]}, sql=sql, entry={"source": source})
    decision = one.policy.decide(actor("r"), "read")
    ask = Ask(where=Compare("weight", "gt", "1.5"), arguments={"since": "2026-01-02"})
    made = rewrite(ask, one, decision, CURSORS)
    assert [row[0] for row in DATABASE.page(made.query).values] == [2, 6]
    for arguments, code in (
        ({}, "value.invalid"),
        ({"since": "x"}, "value.invalid"),
        ({"since": "2026-01-01", "b": 1}, "query.malformed"),
    ):
        assert refused(Ask(arguments=arguments), one, decision) == code


words = st.text("abcXYZ'\"\\%_-;中*()", min_size=12, max_size=20).filter(lambda text: not text.endswith("\\"))
comparisons = st.one_of(
    st.builds(Compare, st.just("plant"), st.sampled_from(("eq", "neq", "gt", "like", "ilike", "isdistinct")), words),
    st.builds(Compare, st.just("plant"), st.just("in"), st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.builds(Compare, st.just("id"), st.sampled_from(("eq", "lt", "gte")), st.integers(10**9, 10**12).map(str)),
    st.builds(Compare, st.just("weight"), st.sampled_from(("eq", "lt")), st.decimals(10**6, 10**8, places=3).map(str)),
)
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Negated, inner),
        st.builds(Joined, st.sampled_from(("and", "or")), st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def values(part: Condition) -> list[str]:
    """Every value in a condition."""
    if isinstance(part, Compare):
        return list(part.value) if isinstance(part.value, tuple) else [part.value]
    parts = [part.part] if isinstance(part, Negated) else part.parts
    return [value for one in parts for value in values(one)]


@settings(max_examples=50, deadline=None, database=None)
@given(trees, st.integers(0, 5))
def test_no_value_is_ever_part_of_the_sql(where: Condition, offset: int) -> None:
    made = rewrite(Ask(where=where, offset=offset, count="planned"), ITEMS, MINE, CURSORS)
    assert made.count is not None and made.planned is not None
    for query in (made.query, made.count, made.planned):
        for dialect in ("duckdb", "postgres", "mysql", "sqlite"):
            sql = query.tree.sql(dialect)
            assert not any(value in sql or value.replace("'", "''") in sql for value in values(where))
        assert {node.name for node in query.tree.find_all(exp.Placeholder)} <= set(query.params)
        try:
            DATABASE.rows(query)
        except duckdb.Error as error:  # only what a database itself refuses of a pattern
            assert "escape" in str(error).lower()


def test_cursors_are_opaque_and_short() -> None:
    cursors = Cursors(b"k", "1", lambda: 0.0)
    token = cursors.made("q", [1, Decimal("1.50"), "中", None])
    assert cursors.opened("q", token) == [1, "1.50", "中", None] and token.isascii()
    assert cursors.made("q", ["x" * 4000]) == ""
    assert "k" not in repr(replace(cursors, key=b"kkk")).replace("Cursors", "").split("version")[0]


def test_a_dataset_keeps_its_meaning_in_the_answer() -> None:
    field = TABLE.schema.field("plant").with_metadata({"tongqu.title": "工厂"})
    table = TABLE.set_column(1, field, TABLE["plant"])
    one = api(DATABASE, table, {"roles": ["r"]})
    assert Dataset("items", table.schema).columns == tuple(TABLE.schema.names)
    made = rewrite(Ask((Wanted("plant"),)), one, one.policy.decide(actor("r"), "read"), CURSORS)
    assert (made.columns[0].metadata or {})[b"tongqu.title"].decode() == "工厂"


def test_what_is_made_for_thousands_of_values_is_not_kept() -> None:
    def asked(count: int) -> Any:
        ask = Ask(where=Compare("id", "in", tuple(str(number) for number in range(count))))
        return rewrite(ask, OPEN, ALL, CURSORS).query.tree

    assert asked(200) is asked(200)
    assert asked(201) is not asked(201)


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?<=a)b", r"(a)\1", "(?P<n>a)(?P=n)", "a{2000}", "a{2,256}", r"\Z", "(?#x)", "(?i)a", "(?P<n>a)", "("],
)
def test_patterns_that_some_database_cannot_read_are_refused_by_all(pattern: str) -> None:
    for operator in ("match", "imatch"):
        with pytest.raises(Problem, match=r"value\.invalid"):
            rewrite(Ask(where=Compare("plant", operator, pattern)), OPEN, ALL, CURSORS)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^a{2,255}(?:b|c)+$",
        r"\(?a",
        "[(?=]",
        "[[:alpha:]]",
        r"[^](?!]x",
        ".*",
        r"\d{4}-\d\d",
        "(ab?c)+",
        r"a{,3}",
        "a{",
        "[a-z]+?-.*",
        "(a|b|cd)*x",
        r"\(+",
    ],
)
def test_patterns_that_all_databases_read_are_taken(pattern: str) -> None:
    assert rewrite(Ask(where=Compare("plant", "match", pattern)), OPEN, ALL, CURSORS).query.params["p0"] == pattern


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(x+x+)+y", "(a*)*b", "((a{1,50}){1,20})", "(a?){30}", "(a|){3}", r"(?:\w{2,9},?)*", ".{200}.{101}",
     "a*" * 11, "(((ab){8}){8}){8}"],
)  # fmt: skip
def test_patterns_that_may_take_long_are_refused(pattern: str) -> None:
    for operator in ("match", "imatch"):
        with pytest.raises(Problem, match=r"value\.invalid"):
            rewrite(Ask(where=Compare("plant", operator, pattern)), OPEN, ALL, CURSORS)


def test_many_patterns_of_one_question_cost_too_much_together() -> None:
    parts = tuple(Compare("plant", "match", f"x{number}.{{250}}") for number in range(3))
    with pytest.raises(Problem, match=r"query\.costly"):
        rewrite(Ask(where=Joined("or", parts)), OPEN, ALL, CURSORS)
    assert rewrite(Ask(where=Joined("or", parts[:2])), OPEN, ALL, CURSORS).query.params


def test_an_output_may_have_the_name_that_the_order_would_have() -> None:
    ask = Ask(wanted=(Wanted("plant", "_key0"), Wanted("id", "_KEY_1")), order=(Order("id"),), limit=2)
    made = rewrite(ask, OPEN, ALL, CURSORS)
    names = [one.alias.lower() for one in made.query.tree.selects]
    assert len(names) == len(set(names)) == 3
    assert DATABASE.page(made.query).values == [["A", 1], ["A", 2]]
