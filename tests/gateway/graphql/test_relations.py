"""Related rows: any nesting, one query for each relation and level, also across connections."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.graphql.asking import Counting, Graphql
from tests.gateway.rest.plant import ACCESS, Plant, plant, run

from tongqu.gateway.publication import Publication

ANSWERS: list[tuple[str, Any]] = [
        ("{items(orderBy:[{id:ASC}],limit:2){nodes{id line{title} defects(orderBy:[{no:DESC}],limit:1){word}}}}",
         {"items": {"nodes": [{"id": 1, "line": {"title": "press"}, "defects": [{"word": "scratch"}]},
                              {"id": 2, "line": {"title": "press"}, "defects": []}]}}),
        ('{items_by_key(id:1){a:defects(where:{word:{eq:"dent"}}){no} b:defects(where:{no:{eq:2}}){word}}}',
         {"items_by_key": {"a": [{"no": 1}], "b": [{"word": "scratch"}]}}),
        ("{items_by_key(id:5){line{title} defects{__typename}}}", {"items_by_key": {"line": None, "defects": []}}),
        ("{items_by_key(id:1){line{__typename} defects{__typename}}}",
         {"items_by_key": {"line": {"__typename": "lines"},
                           "defects": [{"__typename": "defects"}, {"__typename": "defects"}]}}),
        ('{items(with:{defects:{word:{eq:"stain"}}}){nodes{id}}}', {"items": {"nodes": [{"id": 3}]}}),
        ('{items(with:{defects:{word:{eq:"dent"},no:{eq:2}}}){nodes{id}}}', {"items": {"nodes": []}}),
        ("{items(without:{defects:{}},orderBy:[{id:ASC}]){nodes{id} totalCount}}",
         {"items": {"nodes": [{"id": 2}, {"id": 5}], "totalCount": 2}}),
        ("{items_groups(with:{defects:{}}){count}}", {"items_groups": [{"count": 2}]}),
        ("{lines(orderBy:[{id:ASC}]){nodes{title items_groups{count sum{weight}}}}}",
         {"lines": {"nodes": [{"title": "press", "items_groups": [{"count": 2, "sum": {"weight": 3.75}}]},
                              {"title": "涂装", "items_groups": [{"count": 1, "sum": {"weight": None}}]},
                              {"title": "spare", "items_groups": [{"count": 0, "sum": {"weight": None}}]}]}}),
        ("{defects(where:{no:{eq:1}},orderBy:[{item_id:ASC}]){nodes{item{inspector line{items{id}}}}}}",
         {"defects": {"nodes": [{"item": {"inspector": "张*丰", "line": {"items": [{"id": 1}, {"id": 2}]}}},
                                {"item": {"inspector": "王*", "line": {"items": [{"id": 3}]}}}, {"item": None}]}}),
]  # fmt: skip


def test_related_rows(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        for query, data in ANSWERS:
            assert await Graphql(there).data(query) == data, query

    run(tmp_path, work)


def test_nesting_never_multiplies_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(there: Plant) -> None:
        count = Counting(there, monkeypatch)
        query = "{lines{nodes{title items{id defects{word item{lot}} line{title}}}}}"
        await Graphql(there).data(query)
        assert len(count.asked) == 5  # lines, items, defects, item, line: however many rows there are
        await Graphql(there).data("{lines{nodes{title} totalCount pageInfo{endCursor}}}")
        assert len(count.asked) == 6  # the last page tells the number by itself

    run(tmp_path, work)


def test_across_connections_it_is_one_query_for_each_source_and_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        (tmp_path / "other").mkdir()
        async with plant(tmp_path) as here, plant(tmp_path / "other") as there:
            moved = {("v1", name): there.api(name) for name in ("defects", "lines")}
            here.publication = Publication("8", {**here.publication.apis, **moved})
            counts = Counting(here, monkeypatch), Counting(there, monkeypatch)
            gql = Graphql(here)
            told = await gql.data(
                '{items(with:{line:{title:{eq:"press"}}},orderBy:[{id:ASC}])'
                "{nodes{id line{title items{id}} defects{word}}}}"
            )
            first = told["items"]["nodes"][0]
            assert first["line"] == {"title": "press", "items": [{"id": 1}, {"id": 2}]}
            assert [one["word"] for one in first["defects"]] == ["dent", "scratch"]
            assert [len(count.asked) for count in counts] == [2, 3]

    asyncio.run(work())


def test_relations_that_the_caller_cannot_follow_have_no_name(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        hidden = await gql.call("{items{nodes{line{title}}}}")
        unknown = await gql.call("{items{nodes{lane{title}}}}")
        assert hidden["errors"][0]["extensions"]["code"] == "field.unknown"
        assert json.dumps(hidden).replace("'line'", "'lane'") == json.dumps(unknown)
        assert await gql.code('{items(with:{line:{title:{eq:"press"}}}){nodes{id}}}') == "field.unknown"

    hide = {**ACCESS["items"], "fields": {**ACCESS["items"]["fields"], "line_id": {"roles": ["hr"]}}}
    run(tmp_path, work, access={"items": hide})
    run(tmp_path, work, access={"lines": {"roles": ["other"]}})


def test_more_related_rows_than_fit_are_refused_not_cut(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        for number in range(24):
            await gql.data(f'mutation{{insert_defects(rows:[{{item_id:2,no:{number},word:"w"}}]){{touched}}}}')
        assert await gql.code("{items(where:{id:{eq:2}}){nodes{id defects{no}}}}") == "answer.too_large"

    run(tmp_path, work, entries={"defects": {"limit": {"rows": 2}}})
