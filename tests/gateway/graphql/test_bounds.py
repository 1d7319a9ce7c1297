"""Attacks: what asks for too much is refused before any database hears of it, and cheaply."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.graphql.asking import Counting, Graphql, code_of
from tests.gateway.rest.plant import Plant, run

from tongqu.gateway.settings import GraphqlEntry

NEST = "{items{nodes{" + "defects{item{" * 25 + "id" + "}}" * 25 + "}}}"
CHEAP_SECONDS = 2.0
"""Far more than any of them takes (milliseconds), and far less than what they ask for would."""


def spread(levels: int) -> str:
    """Each fragment twice in the one before: 2^levels fields out of a short document."""
    parts = [f"fragment F{n} on items{{a{n}:id ...F{n + 1} ... on items{{...F{n + 1}}}}}" for n in range(levels)]
    return " ".join([*parts, f"fragment F{levels} on items{{id}}", "{items{nodes{...F0}}}"])


ATTACKS = [
    (NEST, "query.costly"),
    ("{" + " ".join(f"a{n}:items{{totalCount}}" for n in range(1000)) + "}", "query.costly"),
    ("{items{nodes{" + " ".join(f"a{n}:id" for n in range(1000)) + "}}}", "query.costly"),
    ("{items{nodes{" + "id " * 1000 + "}}}", "query.costly"),
    ("{" + " ".join("items{totalCount}" for _ in range(300)) + "}", "query.costly"),
    ("fragment A on items{...B} fragment B on items{...A} {items{nodes{...A}}}", "query.costly"),
    ("fragment A on items{line{items{...A}}} {items{nodes{...A}}}", "query.costly"),
    (spread(20), "query.costly"),
    ("{items{nodes{id}}}" + "#" * 200_000, "query.costly"),
    ("{items{nodes{id" + " \n," * 40_000 + "}}}", "query.costly"),
    ("{items" * 3000, "query.costly"),
    ("{items(where:" + "{and:[" * 800 + "{id:{eq:1}}" + "]}" * 800 + "){totalCount}}", "query.costly"),
    ("{items(where:{id:{in:[" + "1," * 6000 + "]}}){totalCount}}", "query.costly"),
    ("{items(limit:1000){nodes{defects(limit:1000){item{id}}}} b:items{nodes{defects{no}}}}", "query.costly"),
    ("{__schema{types{fields{type{fields{type{fields{type{fields{type{fields{name}}}}}}}}}}}}", "query.invalid"),
    ("subscription{items{totalCount}}", "query.malformed"),
    ("{items{nodes{id}", "query.malformed"),
    ("{items{nodes{}}}", "query.malformed"),
    ("", "query.malformed"),
]


def test_attacks_are_refused_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(there: Plant) -> None:
        gql, count = Graphql(there, GraphqlEntry(rows=10_000)), Counting(there, monkeypatch)
        for query, code in ATTACKS:
            begun = time.process_time()
            assert await gql.code(query) == code, query[:100]
            assert time.process_time() - begun < CHEAP_SECONDS, query[:100]
        assert count.asked == [] and gql.shared == []

    run(tmp_path, work)


def test_a_batch_is_bounded_as_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(there: Plant) -> None:
        gql, count = Graphql(there), Counting(there, monkeypatch)
        one = {"query": "{items{totalCount}}"}
        told = await gql.send([one] * 1000)
        assert (told.status, code_of(told)) == (422, "query.costly")
        five = {"query": "{" + " ".join(f"a{n}:items{{totalCount}}" for n in range(5)) + "}"}
        told = await gql.send([five] * 10)
        assert "errors" in told.json[-1] and len(count.asked) <= 2 * 20
        assert [one["data"] for one in (await gql.send([one, one])).json] == [{"items": {"totalCount": 4}}] * 2
        assert code_of(await gql.send([])) == "body.malformed"

    run(tmp_path, work)


def test_values_that_nest_are_bounded(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        where: Any = {"id": {"eq": 1}}
        for _ in range(200):
            where = {"and": [where]}
        told = await gql.send(
            {"query": "query($w:items_where){items(where:$w){totalCount}}", "variables": {"w": where}}
        )
        assert code_of(told) == "body.too_large"

    run(tmp_path, work)


def test_an_ordinary_document_is_within_the_bounds(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        query = "{lines{nodes{items(limit:20){defects{item{line{title}}}}}}}"
        assert "data" in await gql.call(query)

    run(tmp_path, work)


def test_limits_count_every_question_not_the_request(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        gql = Graphql(there)
        await gql.data("{items{nodes{id}}}")
        await gql.data("{a:items{nodes{id}} b:items{totalCount nodes{id defects{no}}} lines{nodes{id}}}")
        assert gql.costs == [("items", 1, True), ("items", 1, True), ("items", 2, False), ("lines", 1, False)]

    run(tmp_path, work)
