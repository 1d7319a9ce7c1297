"""GraphQL over HTTP: methods, media types, versions, remembered documents, and what a web page cannot send."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.graphql.asking import Graphql, code_of
from tests.gateway.rest.plant import QUALITY, Plant, run

from tongqu.gateway.graphql.callers import Schemas
from tongqu.gateway.publication import Publication
from tongqu.gateway.settings import GraphqlEntry

QUERY = "{items{totalCount}}"
DATA = {"data": {"items": {"totalCount": 4}}}


def test_media_types(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        for media in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded",
                      "application/graphql", ""):  # fmt: skip
            told = await gql.send({"query": QUERY}, content_type=media)
            assert (told.status, code_of(told)) == (415, "media.unknown"), media
        for accept, status, given in (
            ("", 422, "application/graphql-response+json"), ("*/*", 422, "application/graphql-response+json"),
            ("application/json", 200, "application/json"),
            ("application/graphql-response+json, application/json;q=0.9", 422, "application/graphql-response+json"),
        ):  # fmt: skip
            told = await gql.send({"query": "{items{nodes{x}}}"}, accept=accept)
            assert (told.status, told["content-type"]) == (status, f"{given}; charset=utf-8")
            assert (await gql.send({"query": QUERY}, accept=accept)).status == 200
        assert code_of(await gql.send({"query": QUERY}, accept="text/html")) == "accept.unknown"

    run(tmp_path, work)


def test_a_get_asks_and_never_changes(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        told = await gql.send("", method="GET", query={"query": QUERY})
        assert (told.status, told.json) == (200, DATA)
        query = "query A($w: items_where) {items(where: $w) {totalCount}}"
        told = await gql.send(
            "", method="GET", query={"query": query, "variables": '{"w":{"id":{"eq":1}}}', "operationName": "A"}
        )
        assert told.json == {"data": {"items": {"totalCount": 1}}}
        told = await gql.send("", method="GET", query={"query": "mutation{delete_items_by_key(id:1){touched}}"})
        assert (told.status, code_of(told), told["allow"]) == (405, "method.refused", "POST")
        assert (await gql.send("", method="PUT")).status == 405
        assert (await gql.send("", method="OPTIONS"))["allow"] == "GET, POST, OPTIONS"

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "body.malformed"), ("7", "body.malformed"), ("{", "body.malformed"), ('{"query":7}', "body.malformed"),
        ('{"query":"{a}","variables":[]}', "body.malformed"),
        ('{"query":"{a}","variables":{"x":NaN}}', "body.malformed"),
        ('{"query":"' + "x" * (2 << 20) + '"}', "body.too_large"),
    ],
    ids=range(7),
)  # fmt: skip
def test_bodies_that_are_none(tmp_path: Path, body: str, code: str) -> None:
    async def work(there: Plant) -> None:
        assert code_of(await Graphql(there).send(body)) == code

    run(tmp_path, work)


def test_documents_are_remembered_by_their_digest(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        digest = sha256(QUERY.encode()).hexdigest()
        by_digest: dict[str, Any] = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}}
        told = await gql.send(by_digest)
        assert told.json["errors"][0]["message"] == "PersistedQueryNotFound"
        assert (await gql.send({**by_digest, "query": QUERY})).json == DATA
        assert (await gql.send(by_digest)).json == DATA
        query = {"extensions": json.dumps(by_digest["extensions"])}
        assert (await gql.send("", method="GET", query=query)).json == DATA
        wrong = await gql.send({**by_digest, "query": "{items{nodes{id}}}"})
        assert wrong.json["errors"][0]["extensions"]["code"] == "query.malformed"
        off = Graphql(there, GraphqlEntry(persisted=False))
        assert (await off.send({**by_digest, "query": QUERY})).json == DATA
        assert (await off.send(by_digest)).json["errors"][0]["message"] == "PersistedQueryNotSupported"

    run(tmp_path, work)


def test_versions(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        apis = dict(there.publication.apis)
        for version, old in (("v2", None), ("v10", "2026-01-01")):
            entry = there.api().entry.model_copy(update={"version": version, "deprecated": old})
            apis[version, "items"] = replace(there.api(), version=version, entry=entry)
        there.publication = Publication("8", apis, {("v0", "items"): "2026-01-01"})
        sdl = (await gql.send("", method="GET", path="/graphql/schema.graphql")).body.decode()
        assert "lines" not in sdl  # v2: the newest that is not deprecated
        told = await gql.send({"query": QUERY}, path="/graphql")
        assert told.json == DATA and told.request.notes.version == "v2"
        sdl = (await gql.send("", method="GET", path="/graphql/v10/schema.graphql")).body.decode()
        assert '@deprecated(reason: "deprecated since 2026-01-01")' in sdl
        for path, code in (
            ("/graphql/v0", "version.gone"),
            ("/graphql/v3", "api.unknown"),
            ("/graphql/v1/x", "api.unknown"),
        ):
            assert code_of(await gql.send("", method="GET", path=path)) == code

    run(tmp_path, work)


def test_only_what_is_published_for_graphql_is_there(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        assert await gql.code("{lines{totalCount}}") == "field.unknown"
        assert await gql.code("{items{nodes{line{title}}}}") == "field.unknown"

    run(tmp_path, work, entries={"lines": {"protocols": ["rest"]}})


def test_equal_rights_share_a_schema(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        schemas = Schemas(lambda: 0.0)
        one = schemas.of(there.publication, "v1", QUALITY)
        assert schemas.of(there.publication, "v1", replace(QUALITY, attributes={"plant": "B"}, id="client:b")) is one
        assert schemas.of(there.publication, "v1", replace(QUALITY, roles=frozenset(("quality", "hr")))) is not one

    run(tmp_path, work)
