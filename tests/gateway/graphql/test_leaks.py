"""What a caller may not see has no name in its GraphQL: nowhere can it be told from what is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query
from tests.gateway.graphql.asking import Counting, Graphql, code_of
from tests.gateway.rest.plant import ACCESS, QUALITY, Plant, run

from tongqu.core.policy import Actor
from tongqu.gateway.settings import GraphqlEntry

HR = Actor("client:hr", roles=frozenset(("quality", "hr")), attributes={"plant": "A", "clearance": "secret"})
STRANGER = Actor("client:x", roles=frozenset(("other",)))
CHANNELS = [
    "{items{nodes{NAME}}}",
    "{items_by_key(id:1){NAME}}",
    "{items(where:{NAME:{eq:1}}){totalCount}}",
    "{items(where:{or:[{not:{NAME:{isNull:true}}}]}){totalCount}}",
    "{items(orderBy:[{NAME:ASC}]){nodes{id}}}",
    "{items_groups{by{NAME} count}}",
    "{items_groups{sum{NAME}}}",
    "{items_groups{max{NAME}}}",
    "{items_groups(orderBy:[{NAME:DESC}]){by{id} count}}",
    "{lines{nodes{items{NAME}}}}",
    "{lines{nodes{items(where:{NAME:{gt:1}}){id}}}}",
    "{lines(with:{items:{NAME:{eq:1}}}){nodes{id}}}",
    "{lines{nodes{items_groups{max{NAME}}}}}",
    'mutation{insert_items(rows:[{id:77,lot:"x",plant:"A",NAME:1}]){touched}}',
    "mutation{update_items_by_key(id:1,set:{NAME:1}){touched}}",
    "mutation{update_items(where:{NAME:{eq:1}},set:{plant:\"A\"}){touched}}",
    "mutation{delete_items(where:{NAME:{gt:1}}){touched}}",
    "mutation{insert_items(rows:[{id:77,lot:\"x\",plant:\"A\"}]){rows{NAME}}}",
    "fragment F on items{NAME} {items{nodes{...F}}}",
    "query($w:items_where={NAME:{eq:1}}){items(where:$w){totalCount}}",
]  # fmt: skip


def test_a_hidden_field_and_one_that_is_not_there_are_told_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(there: Plant) -> None:
        gql, count = Graphql(there), Counting(there, monkeypatch)
        for channel in CHANNELS:
            hidden = json.dumps(await gql.call(channel.replace("NAME", "salary")))
            unknown = json.dumps(await gql.call(channel.replace("NAME", "salarx")))
            assert hidden.replace("salary", "salarx") == unknown, channel
            error = json.loads(hidden)["errors"][0]
            assert error["extensions"]["code"] == "field.unknown", channel
            assert "mean" not in error["message"], channel  # nothing is suggested
            near = await gql.call(channel.replace("NAME", "inspectr"))
            assert "inspector" not in json.dumps(near), channel
        assert count.asked == []

    run(tmp_path, work)


@pytest.mark.parametrize("variables", [{"w": {"NAME": {"eq": 1}}}, {"w": {"not": {"NAME": {"isNull": True}}}}])
def test_nor_in_variables(tmp_path: Path, variables: Mapping[str, Any]) -> None:
    async def work(there: Plant) -> None:
        gql, query = Graphql(there), "query($w:items_where){items(where:$w){totalCount}}"
        text = json.dumps(variables)
        hidden = await gql.call(query, **json.loads(text.replace("NAME", "salary")))
        unknown = await gql.call(query, **json.loads(text.replace("NAME", "salarx")))
        assert json.dumps(hidden).replace("salary", "salarx") == json.dumps(unknown)
        assert hidden["errors"][0]["extensions"]["code"] == "field.unknown"

    run(tmp_path, work)


def test_the_schema_holds_what_the_caller_may_use(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        whole = json.dumps(await gql.data(get_introspection_query()))
        printed = (await gql.send("", method="GET", path="/graphql/v1/schema.graphql")).body.decode()
        assert "salary" not in whole and "salary" not in printed
        assert "inspector" in printed and "insert_lines" not in printed and "insert_items" in printed
        more = (await gql.send("", method="GET", path="/graphql/v1/schema.graphql", actor=HR)).body.decode()
        assert ("salary" in more) and '"""masked"""' in printed
        named = '{__type(name:"NAME"){name fields{name}}}'
        assert await gql.data(named.replace("NAME", "secrets")) == {"__type": None}

    hr = {**ACCESS["items"], "fields": {**ACCESS["items"]["fields"], "salary": {"roles": ["hr"]}}}
    run(tmp_path, work, access={"items": hr})


def test_an_api_that_may_not_be_used_is_none(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        hidden, unknown = await gql.call("{lines{totalCount}}"), await gql.call("{lanes{totalCount}}")
        assert json.dumps(hidden).replace("lines", "lanes") == json.dumps(unknown)

    run(tmp_path, work, access={"lines": {"roles": ["nobody"]}})


def test_who_may_use_nothing_finds_nothing(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        for path in ("/graphql/v1", "/graphql/v1/schema.graphql", "/graphql"):
            told = await gql.send({"query": "{__typename}"}, actor=STRANGER, path=path)
            assert (told.status, code_of(told)) == (404, "api.unknown")
            told = await gql.send({"query": "{__typename}"}, actor=Actor.nobody(), path=path)
            assert (told.status, code_of(told)) == (401, "auth.missing")

    run(tmp_path, work)


@pytest.mark.parametrize(("entry", "answers"), [("everyone", True), ("known", True), ("nobody", False)])
def test_introspection_may_be_kept_from_callers(tmp_path: Path, entry: Any, answers: bool) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there, GraphqlEntry(introspection=entry))
        told = await gql.call("{__schema{queryType{name}} items{totalCount}}")
        sdl = await gql.send("", method="GET", path="/graphql/v1/schema.graphql")
        assert ("errors" not in told, sdl.status) == (answers, 200 if answers else 404)
        assert (await gql.data("{__typename items{totalCount}}"))["__typename"] == "Query"
        nobody = await gql.call("{__schema{queryType{name}}}", Actor.nobody())
        assert ("errors" in nobody) == (entry != "everyone")

    run(tmp_path, work, access={"lines": {"public": True}})


def test_rows_of_others_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        for other in (4, 99):
            assert await gql.data(f"{{items_by_key(id:{other}){{lot}}}}") == {"items_by_key": None}
            assert (
                await gql.code(f'mutation{{update_items_by_key(id:{other},set:{{lot:"x"}}){{touched}}}}')
                == "row.unknown"
            )
            assert await gql.code(f"mutation{{delete_items_by_key(id:{other}){{touched}}}}") == "row.unknown"
            told = await gql.data(f"mutation{{delete_items(where:{{id:{{eq:{other}}}}}){{touched}}}}")
            assert told == {"delete_items": {"touched": 0}}

    run(tmp_path, work)


def test_rights_that_change_hold_within_a_second(tmp_path: Path) -> None:
    """A schema that is a moment old names fields; whether they are given is decided by each read."""

    async def work(there: Plant) -> None:
        gql = Graphql(there)
        assert await gql.data("{items{nodes{id}}}")
        demoted = Actor(QUALITY.id, roles=frozenset())
        told = await gql.send({"query": "{items{nodes{id}}}"}, actor=demoted)
        assert code_of(told) == "api.unknown"

    run(tmp_path, work)
