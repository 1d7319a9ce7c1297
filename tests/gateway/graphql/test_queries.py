"""Queries: rows with filters, order and pages, one row by its key, groups, and what documents may be made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.gateway.graphql.asking import Graphql
from tests.gateway.rest.plant import Plant, run

ANSWERS: list[tuple[str, Any]] = [
        ("{items(orderBy:[{id:DESC}], limit:2){nodes{id lot}}}",
         {"items": {"nodes": [{"id": 5, "lot": 'L"5, =x'}, {"id": 3, "lot": "L3"}]}}),
        ("{items(orderBy:[{id:ASC}], limit:1, offset:1){nodes{kg:weight id again:id inspector}}}",
         {"items": {"nodes": [{"kg": 2.25, "id": 2, "again": 2, "inspector": "李*"}]}}),
        ("{items_by_key(id:1){id made weight @text}}",
         {"items_by_key": {"id": 1, "made": "2026-01-01", "weight": "1.500"}}),
        ("{items_by_key(id:4){id}}", {"items_by_key": None}),
        ('{defects_by_key(item_id:"1", no:2){word}}', {"defects_by_key": {"word": "scratch"}}),
        ("{a:items_by_key(id:1){lot} b:items_by_key(id:2){lot}}", {"a": {"lot": "L1"}, "b": {"lot": "L2"}}),
        ("{items{totalCount}}", {"items": {"totalCount": 4}}),
        ("{items(limit:0){nodes{id} totalCount}}", {"items": {"nodes": [], "totalCount": 4}}),
        ("{items(limit:1,where:{id:{eq:1}}){x:totalCount a:nodes{id} b:nodes{lot} __typename}}",
         {"items": {"x": 1, "a": [{"id": 1}], "b": [{"lot": "L1"}], "__typename": "items_page"}}),
        ("{items_groups(orderBy:[{line_id:ASC}]){by{line_id} count sum{weight} min{made} avg{weight}}}",
         {"items_groups": [
             {"by": {"line_id": 1}, "count": 2, "sum": {"weight": 3.75}, "min": {"made": "2026-01-01"},
              "avg": {"weight": 1.875}},
             {"by": {"line_id": 2}, "count": 1, "sum": {"weight": None}, "min": {"made": "2026-01-03"},
              "avg": {"weight": None}},
             {"by": {"line_id": None}, "count": 1, "sum": {"weight": 5}, "min": {"made": None},
              "avg": {"weight": 5.0}}]}),
        ("{items_groups{n:count all:sum{kg:weight @text} __typename}}",
         {"items_groups": [{"n": 4, "all": {"kg": "8.750"}, "__typename": "items_group"}]}),
        ("{items_groups(orderBy:[{passed:ASC}]){by{passed}}}",
         {"items_groups": [{"by": {"passed": False}}, {"by": {"passed": True}}, {"by": {"passed": None}}]}),
        ("{__typename}", {"__typename": "Query"}),
]  # fmt: skip


def test_what_is_asked_is_given(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        for query, data in ANSWERS:
            assert await Graphql(there).data(query) == data, query

    run(tmp_path, work)


FILTERS = [
    ("{id:{in:[1,2]}}", [1, 2]),
    ("{id:{gt:1, lte:3}}", [2, 3]),
    ('{lot:{like:"L%"}, not:{id:{eq:2}}}', [1, 3, 5]),
    ('{or:[{lot:{eq:"L1"}}, {and:[{weight:{gte:5}}, {plant:{neq:"B"}}]}]}', [1, 5]),
    ("{weight:{isNull:true}}", [3]),
    ("{weight:{isNull:false}, passed:{eq:true}}", [1]),
    ('{weight:{eq:"2.250"}}', [2]),
    ("{weight:{lt:2.2500000000000000000000001}}", [1, 2]),
    ('{made:{gte:"2026-01-02"}}', [2, 3]),
    ('{inspector:{eq:"李*"}}', [2]),
    ('{inspector:{eq:"李四"}}', []),
    ("{}", [1, 2, 3, 5]),
]


def test_filters(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        for where, ids in FILTERS:
            told = await Graphql(there).data(f"{{items(where:{where}, orderBy:[{{id:ASC}}]){{nodes{{id}}}}}}")
            assert [row["id"] for row in told["items"]["nodes"]] == ids, where

    run(tmp_path, work)


def test_values_come_from_variables_with_all_their_digits(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        query = "query Q($w: items_where, $n: Int = 1) {items(where: $w, limit: $n) {nodes {id}}}"
        assert await gql.data(query, w={"weight": {"gt": "2.2499"}}) == {"items": {"nodes": [{"id": 2}]}}
        assert await gql.code(query, w={"weight": {"gt": True}}) == "value.invalid"
        assert await gql.code(query, w={"id": {"gt": 2**63}}) == "value.invalid"
        assert await gql.code(query, n="x") == "value.invalid"

    run(tmp_path, work)


def test_what_demands_nothing_is_refused_since_more_rows_would_be_meant(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        for where in ("{id:null}", "{id:{eq:null}}", "{or:[]}", "{and:[{}]}", "{not:{}}", "{id:{}}"):
            assert await Graphql(there).code(f"{{items(where:{where}){{nodes{{id}}}}}}") == "value.invalid", where

    run(tmp_path, work)


def test_pages_follow_each_other(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        query = """query ($after: String, $order: [items_order!]) {
          items(orderBy: $order, limit: 2, after: $after) {nodes {id} pageInfo {hasNextPage endCursor}}}"""
        found, after = [], None
        while True:
            page = (await gql.data(query, after=after, order=[{"weight": "DESC_NULLS_LAST"}]))["items"]
            found += [row["id"] for row in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert found == [5, 2, 1, 3] and after is None
        first = (await gql.data(query, order=[{"id": "ASC"}]))["items"]["pageInfo"]["endCursor"]
        assert await gql.code(query, after=first, order=[{"id": "DESC"}]) == "cursor.invalid"
        assert await gql.code(query, after="x", order=[]) == "cursor.invalid"

    run(tmp_path, work)


def test_fragments_directives_and_names(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        query = """query Some($with: Boolean!) {items_by_key(id: 1) {...Whole ... on items {lot} id @skip(if: true)}}
          query Other {lines {totalCount}}
          fragment Whole on items {plant weight @include(if: $with) line {...Line __typename} line {id}}
          fragment Line on lines {title}"""
        told = await gql.send({"query": query, "operationName": "Some", "variables": {"with": False}})
        line = {"title": "press", "__typename": "lines", "id": 1}
        assert told.json["data"] == {"items_by_key": {"plant": "A", "line": line, "lot": "L1"}}
        assert await gql.code(query) == "query.malformed"

    run(tmp_path, work)


def test_other_names_never_meet_those_used_inside(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        for alias in ("_key0", "_here_line_id", "_there_id", "_one", "ID", "x0", "g0", "a" * 80, "__x"):
            fields = f"{alias}:lot id x:id line{{{alias}:title}}"
            told = await Graphql(there).data(f"{{items(orderBy:[{{id:ASC}}],limit:2){{nodes{{{fields}}}}}}}")
            assert told["items"]["nodes"][0] == {alias: "L1", "id": 1, "x": 1, "line": {alias: "press"}}

    run(tmp_path, work)


def test_queries_fail_by_themselves(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        told = await gql.send({"query": '{a:items(after:"x"){totalCount} b:items_by_key(id:1){id}}'})
        assert told.status == 200
        assert told.json["data"] == {"a": None, "b": {"id": 1}}
        (error,) = told.json["errors"]
        assert error["path"] == ["a"] and error["extensions"]["code"] == "cursor.invalid"
        assert told.request.notes.reason == "cursor.invalid"

    run(tmp_path, work)


def test_each_query_is_a_call_of_its_api(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        query = (
            '{items(where:{lot:{eq:"L1"}}){nodes{inspector line{title}}} lines{nodes{title}} b:items_by_key(id:1){id}}'
        )
        told = await gql.send({"query": query})
        assert [name for name, _ in gql.shared] == ["items", "lines", "items"]
        assert gql.shared[0][1] == [("eq", "L1")]
        notes = [told.request.notes, *(request.notes for request in gql.seen)]
        assert [(one.api, one.version, one.action, one.rows) for one in notes] == [
            ("items", "v1", "read", 1), ("lines", "v1", "read", 3), ("items", "v1", "read", 1)]  # fmt: skip
        assert "inspector" in notes[0].masks and "line.title" in notes[0].fields

    run(tmp_path, work)
