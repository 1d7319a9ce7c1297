"""Related APIs inside rows: one query each, under their own rules, wherever their rows lie."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.rest.plant import ACCESS, Plant, plant, run

from tongqu.core.server import Format, Limits, Page, Query
from tongqu.gateway.publication import Publication


class Counting:
    """Counts the queries of a server."""

    def __init__(self, there: Plant, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        ask = there.server.query

        async def query(query: Query, format: Format, limits: Limits) -> Page:
            self.asked.append(query.tree.sql())
            return await ask(query, format, limits)

        patch.setattr(there.server, "query", query)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        (
            "items?select=id,line(title),defects(word)&order=id&id=lt.3",
            [
                {"id": 1, "line": {"title": "press"}, "defects": [{"word": "dent"}, {"word": "scratch"}]},
                {"id": 2, "line": {"title": "press"}, "defects": []},
            ],
        ),
        ("items?select=id,...line(at:title)&id=eq.1", [{"id": 1, "at": "press"}]),
        ("items?select=id,...line(at:title)&id=eq.5", [{"id": 5, "at": None}]),
        ("items?select=id,...defects(word)&id=eq.1", [{"id": 1, "word": ["dent", "scratch"]}]),
        ("items?select=id,d:defects(no,word)&d.order=no.desc&d.limit=1&id=eq.1",
         [{"id": 1, "d": [{"no": 2, "word": "scratch"}]}]),
        ("items?select=id,defects!inner(word)&defects.word=eq.stain", [{"id": 3, "defects": [{"word": "stain"}]}]),
        ("items?select=id,defects()&defects=is.null&order=id", [{"id": 2}, {"id": 5}]),
        ("items?select=id,defects()&defects=not.is.null&order=id", [{"id": 1}, {"id": 3}]),
        ("lines?select=title,items(count(),weight.sum())&order=id",
         [{"title": "press", "items": [{"count": 2, "sum": 3.75}]},
          {"title": "涂装", "items": [{"count": 1, "sum": None}]},
          {"title": "spare", "items": [{"count": 0, "sum": None}]}]),
        ("lines?select=title,items(id,defects(word))&id=eq.2",
         [{"title": "涂装", "items": [{"id": 3, "defects": [{"word": "stain"}]}]}]),
        ("lines?select=items(id)&id=eq.4", [{"items": []}]),
        ("lines?select=title,items!inner(id,defects!inner())&items.defects.word=eq.dent",
         [{"title": "press", "items": [{"id": 1}]}]),
        ("defects?select=word,item(inspector)&order=word", [
            {"word": "crack", "item": None}, {"word": "dent", "item": {"inspector": "张*丰"}},
            {"word": "scratch", "item": {"inspector": "张*丰"}}, {"word": "stain", "item": {"inspector": "王*"}}]),
    ],
)  # fmt: skip
def test_related_rows(tmp_path: Path, query: str, rows: list[Mapping[str, Any]]) -> None:
    async def work(there: Plant) -> None:
        told = await there.call("GET", query)
        assert told.json == rows, told.body

    run(tmp_path, work)


def test_a_relation_is_one_query_however_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(there: Plant) -> None:
        count = Counting(there, monkeypatch)
        await there.call("GET", "lines?select=title,items(id,defects(word),line(title))")
        assert len(count.asked) == 4

    run(tmp_path, work)


def test_a_relation_by_fields_that_are_hidden_is_none(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        hidden = await there.call("GET", "items?select=id,line(title)")
        unknown = await there.call("GET", "items?select=id,lane(title)")
        assert hidden.status == 422 and hidden.body.replace(b"line", b"lane") == unknown.body
        assert (await there.call("GET", "items?select=id,defects(word)")).status == 200

    hide = {**ACCESS["items"], "fields": {**ACCESS["items"]["fields"], "line_id": {"roles": ["hr"]}}}
    run(tmp_path, work, access={"items": hide})


def test_a_relation_to_an_api_that_may_not_be_read_is_none(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        assert (await there.call("GET", "items?select=id,line(title)")).json["code"] == "field.unknown"

    run(tmp_path, work, access={"lines": {"roles": ["other"]}})


def test_related_rows_may_lie_in_another_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        (tmp_path / "other").mkdir()
        async with plant(tmp_path) as here, plant(tmp_path / "other") as there:
            apis = {
                **here.publication.apis,
                ("v1", "defects"): there.api("defects"),
                ("v1", "lines"): there.api("lines"),
            }
            here.publication = Publication("7", apis)
            counts = Counting(here, monkeypatch), Counting(there, monkeypatch)
            told = await here.call(
                "GET", "items?select=id,line!inner(title),defects(word)&line.title=eq.press&order=id"
            )
            assert [row["id"] for row in told.json] == [1, 2] and told.json[0]["defects"][1] == {"word": "scratch"}
            assert [len(count.asked) for count in counts] == [1, 3]
            none = await here.call("GET", "items?select=id,defects()&defects=is.null&order=id")
            assert none.json == [{"id": 2}, {"id": 5}]

    asyncio.run(work())


def test_more_related_rows_than_fit_are_refused_not_cut(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        rows = ",".join(f'{{"item_id":2,"no":{number},"word":"w"}}' for number in range(2))
        for start in range(0, 24, 2):
            body = f"[{rows}]".replace('"no":', f'"no":{start + 1}')
            assert (await there.call("POST", "defects", body)).status == 201
        told = await there.call("GET", "items?select=id,defects(no)&id=eq.2")
        assert told.json["code"] == "answer.too_large"

    run(tmp_path, work, entries={"defects": {"limit": {"rows": 2}}})


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("items?select=id,count(),line(title)", "query.malformed"),
        ("items?select=id,id:lot,line(title)", "query.malformed"),
        ("items?select=line(items(line(items(line(items(line(title)))))))", "query.malformed"),
        ("items?select=id,line!line_fk(title)", "query.malformed"),
        ("items?select=id,line(salary)", "field.unknown"),
        ("lines?select=id,items(salary)", "field.unknown"),
        ("lines?select=id,items(id)&items.salary=eq.1", "field.unknown"),
    ],
)
def test_what_cannot_be_put_together_is_refused(tmp_path: Path, query: str, code: str) -> None:
    async def work(there: Plant) -> None:
        assert (await there.call("GET", query)).json["code"] == code

    run(tmp_path, work)


def test_nested_rows_in_csv_are_json(tmp_path: Path) -> None:
    async def work(there: Plant) -> None:
        told = await there.call("GET", "items?select=id,defects(word)&id=in.(1,2)&order=id", accept="text/csv")
        assert told.body.decode().splitlines() == [
            "id,defects", '1,"[{""word"":""dent""},{""word"":""scratch""}]"', "2,[]",
        ]  # fmt: skip

    run(tmp_path, work)
