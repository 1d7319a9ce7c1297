"""PostgREST's grammar becomes a question."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.gateway.asking import Ask, Compare, Joined, Negated, Order, Related, Wanted
from tongqu.gateway.problems import Problem
from tongqu.gateway.rest.filtering import condition
from tongqu.gateway.rest.ordering import ordered
from tongqu.gateway.rest.preferences import preferences
from tongqu.gateway.rest.query import words
from tongqu.gateway.rest.ranges import content_range, status, within
from tongqu.gateway.rest.selecting import selected


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("id", Wanted("id")),
        ("short:a very long name", Wanted("a very long name", "short")),
        ('"a,b"', Wanted("a,b")),
        ("批号", Wanted("批号")),
        ("a-b", Wanted("a-b")),
        ("price::text", Wanted("price", cast="text")),
        ("p:price::decimal(12,2)", Wanted("price", "p", "decimal(12,2)")),
        ("data->a->0->>b", Wanted("data", "b", path=("a", "0", "b"), text=True)),
        ("data->a->0", Wanted("data", "a", path=("a", "0"))),
        ("weight.sum()", Wanted("weight", "sum", aggregate="sum")),
        ("total:weight.sum()::text", Wanted("weight", "total", "text", "sum")),
        ("count()", Wanted("", "count", aggregate="count")),
    ],
)
def test_outputs(text: str, wanted: Wanted) -> None:
    assert selected(text).wanted == [wanted]


def test_related_apis() -> None:
    level = selected("*,line!inner(title),...owner(nick:name),lots:items(id,defects())")
    assert level.wanted == [Wanted("*")]
    assert [(one.relation, one.name, one.inner, one.spread) for one in level.related] == [
        ("line", "", True, False), ("owner", "", False, True), ("items", "lots", False, False),
    ]  # fmt: skip
    assert level.related[2].inside.related[0].inside.wanted == []


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("qty", "gt.5", Compare("qty", "gt", "5")),
        ("qty", "not.gt.5", Negated(Compare("qty", "gt", "5"))),
        ("note", "eq.a,b(c).d", Compare("note", "eq", "a,b(c).d")),
        ("name", "like.*x*", Compare("name", "like", "%x%")),
        ("name", "like(any).{a*,*b}", Compare("name", "like", ("a%", "%b"), "any")),
        ("qty", "eq(all).{1,2}", Compare("qty", "eq", ("1", "2"), "all")),
        ("id", 'in.(1,"2,3","say \\"hi\\"")', Compare("id", "in", ("1", "2,3", 'say "hi"'))),
        ("id", "in.()", Compare("id", "in", ())),
        ("done", "is.not_null", Compare("done", "is", "not_null")),
        ("done", "is.NULL", Compare("done", "is", "null")),
        ("tags", 'cs.{a,"b,c"}', Compare("tags", "cs", ("a", "b,c"))),
        ("data->>a", "eq.1", Compare("data", "eq", "1", path=("a",), text=True)),
        ('"order"', "eq.1", Compare("order", "eq", "1")),
        (
            "or",
            '(a.eq.1,b.not.in.(1,2),and(c.is.null,d.eq."x,)"),not.or(e.eq.1,f.eq.2))',
            Joined(
                "or",
                (
                    Compare("a", "eq", "1"),
                    Negated(Compare("b", "in", ("1", "2"))),
                    Joined("and", (Compare("c", "is", "null"), Compare("d", "eq", "x,)"))),
                    Negated(Joined("or", (Compare("e", "eq", "1"), Compare("f", "eq", "2")))),
                ),
            ),
        ),
        ("not.and", "(a.eq.1,b.eq.2)", Negated(Joined("and", (Compare("a", "eq", "1"), Compare("b", "eq", "2"))))),
    ],
)
def test_conditions(name: str, text: str, meant: object) -> None:
    assert condition(name, text) == meant


@pytest.mark.parametrize(
    ("name", "text", "character"),
    [
        ("qty", "5", "character 1"), ("qty", "fts.x", "character 1"), ("or", "(a.eq.1", "character 8"),
        ("or", "(a.eq.1)x", "character 9"), ("id", "in.(1,2", "character 8"), ("id", "in.(1)2", "character 7"),
        ("done", "is.maybe", ""), ("or", "(" * 40, "character"), ("id", 'in.("a', "character 7"),
    ],
)  # fmt: skip
def test_a_malformed_filter_names_parameter_and_character(name: str, text: str, character: str) -> None:
    with pytest.raises(Problem) as told:
        condition(name, text)
    assert told.value.code == "query.malformed"
    assert told.value.errors[0]["parameter"] == name and character in told.value.detail


def test_order() -> None:
    assert ordered("ts.desc.nullslast,name,data->a.asc.nullsfirst") == (
        Order("ts", True, False), Order("name"), Order("data", False, True, ("a",)),
    )  # fmt: skip
    with pytest.raises(Problem):
        ordered("ts.down")


def test_conditions_of_related_apis_go_to_their_level() -> None:
    found = words(
        [
            ("select", "id,line!inner(title,items(id))"), ("line.title", "eq.press"), ("line.items.order", "id.desc"),
            ("line.items.limit", "2"), ("line.or", "(plant.eq.A,plant.eq.B)"), ("plant", "eq.A"), ("limit", "3"),
        ]
    )  # fmt: skip
    line = found.ask.related[0]
    assert line.inner and line.ask.where == Joined(
        "and",
        (Compare("title", "eq", "press"), Joined("or", (Compare("plant", "eq", "A"), Compare("plant", "eq", "B")))),
    )
    assert line.ask.related[0].ask == Ask(wanted=(Wanted("id"),), order=(Order("id", True),), limit=2)
    assert (found.ask.where, found.ask.limit, found.filtered) == (Compare("plant", "eq", "A"), 3, True)


def test_rows_with_or_without_related_ones() -> None:
    without = words([("select", "id,defects()"), ("defects", "is.null")]).ask
    assert without.related == (Related("defects", Ask(wanted=()), none=True),) and without.where is None
    some = words([("select", "id,d:defects(no)"), ("d", "not.is.null")]).ask
    assert some.related == (Related("defects", Ask(wanted=(Wanted("no"),)), "d", inner=True),)


def test_parameters_of_an_sql_source_are_plain_values() -> None:
    found = words([("since", "2026-01-01"), ("plant", "eq.A"), ('"since"', "gt.5")], arguments={"since": None})
    assert found.ask.arguments == {"since": "2026-01-01"}
    assert found.ask.where == Joined("and", (Compare("plant", "eq", "A"), Compare("since", "gt", "5")))


@pytest.mark.parametrize("pairs", [[("limit", "-1")], [("limit", "1e3")], [("offset", "١")], [("select", "a:b:c")]])
def test_malformed_queries_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(Problem) as told:
        words(pairs)
    assert told.value.code == "query.malformed"


def test_too_many_words_are_refused() -> None:
    with pytest.raises(Problem):
        words([("id", "eq.1")] * 101)
    with pytest.raises(Problem):
        words([("select", ",".join(f"a{number}" for number in range(501)))])
    with pytest.raises(Problem):
        words([("select", "a(" * 30 + "id" + ")" * 30)])


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet='ab_.,:()"\\{}->!*=0 中not.orineqsum', max_size=40),
    st.sampled_from(["select", "or", "a", "order"]),
)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        words([(name, text)])
    except Problem as problem:
        assert problem.code == "query.malformed"


def test_preferences() -> None:
    wish = preferences("return=representation, count=exact,resolution=merge-duplicates,foo=bar", writing=True)
    assert (wish.returned, wish.count, wish.resolution, wish.others) == (
        "representation", "exact", "merge-duplicates", ("foo=bar",),
    )  # fmt: skip
    assert wish.header() == [("preference-applied", "count=exact, return=representation, resolution=merge-duplicates")]
    assert preferences("handling=strict,max-affected=5", writing=True).most == 5
    assert preferences("max-affected=5", writing=True).most is None
    with pytest.raises(Problem):
        preferences("handling=strict,foo=bar", writing=False)
    with pytest.raises(Problem):
        preferences("handling=strict,resolution=merge-duplicates", writing=False)


@pytest.mark.parametrize(
    ("limit", "offset", "header", "cut"),
    [
        (None, 0, "0-24", (25, 0)), (None, 0, "10-", (None, 10)), (5, 10, "2-9", (3, 12)),
        (None, 3, "items=0-1", (2, 3)), (7, 0, "bytes=0-1", (7, 0)),
    ],
)  # fmt: skip
def test_ranges_cut_the_question(limit: int | None, offset: int, header: str, cut: tuple[int | None, int]) -> None:
    ask = within(Ask(limit=limit, offset=offset), header, "items")
    assert (ask.limit, ask.offset) == cut


def test_what_a_range_comes_to() -> None:
    assert (content_range(0, 20, 40), content_range(5, 0, None)) == ("0-19/40", "*/*")
    assert (status(0, 20, None), status(0, 20, 40), status(20, 20, 20 + 20), status(0, 0, 0)) == (200, 206, 206, 200)
    for offset, total in ((41, 40), (40, 40), (1, 0)):
        with pytest.raises(Problem) as told:
            status(offset, 0, total)
        assert told.value.headers == [("content-range", f"*/{total}")]
    with pytest.raises(Problem):
        within(Ask(), "5-2", "")


@pytest.mark.parametrize(
    ("pairs", "parameter"),
    [
        ([("limit", "1"), ("limit", "3")], "limit"),
        ([("offset", "1"), ("offset", "2")], "offset"),
        ([("order", "a.asc"), ("order", "a.desc")], "order"),
        ([("select", "a,lines(b)"), ("lines.limit", "1"), ("lines.limit", "2")], "lines.limit"),
        ([("select", "a"), ("select", "b")], "select"),
        ([("limit", "-1")], "limit"),
    ],
)
def test_what_says_two_things_or_no_number_is_refused_by_name(pairs: list[tuple[str, str]], parameter: str) -> None:
    """A proxy before the gateway may have read the other one of two."""
    with pytest.raises(Problem) as refused:
        words(pairs)
    assert [one["parameter"] for one in refused.value.errors] == [parameter]
    assert words([("limit", "2"), ("limit", "2")]).ask.limit == 2
