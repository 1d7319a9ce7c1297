"""Two plants that differ only in what a client may not see give it the same in every protocol, down to the byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.gateway.soap.messages import message
from websockets.sync.client import connect

from tongqu.testing.command_line import inside, make
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: plant.db}}
datasets:
  items:
    key: id
    fields: {inspector: {class: personal, mask: name}, salary: {class: secret}}
apis:
  items:
    source: {connection: db, dataset: items}
    fields: [id, plant, weight, inspector, salary]
    access:
      roles: [quality]
      write_roles: [quality]
      rows: "plant = actor.plant"
      fields: {inspector: {roles: [hr], otherwise: mask}, salary: {roles: [hr]}}
    write: {insert: true, update: true, delete: true}
    limit: {requests: 100000, per: second}
"""
COLUMNS = "id INTEGER PRIMARY KEY, plant TEXT, weight REAL, inspector TEXT, salary INTEGER"
WORLDS: Sequence[Sequence[tuple[Any, ...]]] = (
    [(1, "A", 1.5, "张三丰", 100), (2, "A", 2.5, "李小四", 200), (3, "B", 3.5, "王五", 300), (5, "A", None, None, 5)],
    [(1, "A", 1.5, "张四丰", 999), (2, "A", 2.5, "李大四", 1), (4, "B", 9.5, "赵六", 7), (5, "A", None, None, None),
     (6, "B", 0.1, "", 1)],
)  # fmt: skip
"""Other hidden rows, other salaries, other names behind masks that show the same."""
REST = [
    "", "select=*", "select=id,inspector", "select=n:inspector&order=inspector.desc,id", "select=salary",
    "select=weight,salary::text", "salary=gt.0", "or=(salary.is.null,id.eq.1)", "order=salary", "select=salary.sum()",
    "inspector=eq.张三丰", "inspector=like.张*", "inspector=match.^张", "inspector=gt.李",
    "inspector=in.(张三丰,张四丰)", "inspector=is.null", "inspector=isdistinct.张三丰", "select=inspector,count()",
    "select=inspector.max()",
    "select=count()", "weight=gt.0&select=weight.sum(),weight.avg()", "limit=2&offset=1", "id=in.(3,4,6)",
    "plant=eq.B", "select=plant,count()", "order=id.desc&limit=2", "select=id,salary&salary=eq.100",
]  # fmt: skip
MEDIA = ["application/json", "text/csv", "application/xml", "application/vnd.apache.arrow.stream"]
GRAPHQL = [
    "{items{totalCount nodes{id plant weight inspector}}}", "{items{nodes{salary}}}",
    '{items(where:{inspector:{eq:"张三丰"}}){totalCount}}', '{items(where:{inspector:{like:"张%"}}){totalCount}}',
    "{items(orderBy:[{inspector:DESC}]){nodes{id}}}", "{items_groups{by{inspector} count}}",
    "{items_groups{max{inspector weight} sum{weight} count}}", "{items_groups{max{salary}}}",
    "{items_by_key(id:3){id}}", "{items_by_key(id:4){id}}", "{items_by_key(id:1){id inspector}}",
    "{items(where:{salary:{gt:1}}){totalCount}}", "{__type(name:\"items\"){fields{name}}}",
    "mutation{update_items(where:{id:{in:[3,4,6]}},set:{weight:1}){touched}}",
    "mutation{delete_items(where:{plant:{eq:\"B\"}}){touched}}",
    "mutation{update_items_by_key(id:1,set:{salary:1}){touched}}",
]  # fmt: skip
_SPACE = "urn:tongqu:soap:v1:items"
SOAP = [
    f'<Query xmlns="{_SPACE}"/>', f'<Query xmlns="{_SPACE}"><fields><field>salary</field></fields></Query>',
    f'<Query xmlns="{_SPACE}"><filter><inspector operator="eq">张三丰</inspector></filter></Query>',
    f'<Query xmlns="{_SPACE}"><filter><salary operator="gt">1</salary></filter></Query>',
    f'<Query xmlns="{_SPACE}"><order><by field="inspector"/></order></Query>',
    f'<Get xmlns="{_SPACE}"><id>1</id></Get>', f'<Get xmlns="{_SPACE}"><id>3</id></Get>',
    f'<Get xmlns="{_SPACE}"><id>4</id></Get>',
]  # fmt: skip
CHANGES = [
    ("PATCH", "?id=in.(3,4,6)", {"weight": 7}), ("PATCH", "?id=eq.1", {"salary": 7}), ("DELETE", "?plant=eq.B", None),
    ("PATCH", "/3", {"weight": 7}), ("PATCH", "/4", {"weight": 7}), ("DELETE", "/6", None),
    ("PATCH", "?salary=gt.0", {"weight": 7}), ("PATCH", "?inspector=eq.张三丰", {"weight": 8}),
]  # fmt: skip
_OWN = re.compile(rb"[0-9a-f]{16,}|[A-Za-z0-9_-]{40,}")
"""Ids, entity tags and cursors, which each gateway makes with a key of its own."""


class World:
    """A running gateway and the client that must not tell it from the other one."""

    def __init__(self, folder: Path, gateway: Gateway, key: str) -> None:
        self.folder, self.gateway, self.key = folder, gateway, key

    def heard(self, path: str, method: str = "GET", body: Any = None, *headers: tuple[str, str]) -> Any:
        """Status, what the headers tell, and the body."""
        told = self.gateway.ask(path, method, body, [("x-api-key", self.key), *headers])
        names = ("content-type", "content-range", "preference-applied", "link", "location", "allow")
        shown = {name: _OWN.sub(b"*", told.headers[name].encode()) for name in names if name in told.headers}
        return told.status, shown, _OWN.sub(b"*", told.body)

    def live(self) -> list[Any]:
        """What a subscriber hears while hidden rows change, and then one that it sees."""
        url = f"{self.gateway.url.replace('http', 'ws')}/live/v1/items"
        with connect(url, additional_headers={"x-api-key": self.key}, close_timeout=2) as opened:
            heard = []
            for query in ("select=id,inspector", "select=salary", "salary=gt.1"):
                opened.send(json.dumps({"type": "subscribe", "id": query, "query": query}))
                heard.append(json.loads(opened.recv(timeout=60)))
            hidden = [("authorization", f"Bearer {self.other}")]
            for row in range(20, 20 + self.changes):
                told = self.gateway.ask("/api/v1/items", "POST", {"id": row, "plant": "B"}, hidden)
                assert told.status == 201
            assert self.heard("/api/v1/items", "POST", {"id": 40, "plant": "A", "weight": 1})[0] == 201
            heard.append(json.loads(opened.recv(timeout=60)))
        return [{name: value for name, value in one.items() if name != "position"} for one in heard]

    other = ""
    """The key of a client of the other plant."""
    changes = 0
    """How many rows of the other plant change."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    with ExitStack() as opened:
        made = []
        for number, rows in enumerate(WORLDS):
            folder = tmp_path_factory.mktemp(f"world{number}")
            make(folder / "plant.db", "items", COLUMNS, rows)
            (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
            keys = [
                str(inside(folder, "client", "add", name, "--role", "quality", "--attribute", f"plant={plant}", "--key",
                           "api-key", "--json").document["api_key"])
                for name, plant in (("mes", "A"), ("far", "B"))
            ]  # fmt: skip
            made.append(World(folder, opened.enter_context(Gateway(folder)), keys[0]))
            made[-1].other, made[-1].changes = keys[1], number * 3
        yield made


def alike(worlds: Sequence[World], what: str, *asked: Any) -> Any:
    first, second = (world.heard(*asked) for world in worlds)
    assert first == second, what
    return first


def test_rest_in_every_representation(worlds: list[World]) -> None:
    statuses = set()
    for query in REST:
        path = f"/api/v1/items?{quote(query, safe='=&(),.*:^')}"
        for media in MEDIA:
            told = alike(worlds, f"{query} {media}", path, "GET", None, ("accept", media), ("prefer", "count=exact"))
            statuses.add(told[0])
    for segment in ("1", "3", "4", "6"):
        alike(worlds, segment, f"/api/v1/items/{segment}")
    assert {200, 422} <= statuses  # something was given, and something refused


def test_changes_tell_nothing_of_rows_that_are_hidden(worlds: list[World]) -> None:
    for method, rest, body in CHANGES:
        wish = ("prefer", "return=representation")
        alike(worlds, f"{method} {rest}", f"/api/v1/items{quote(rest, safe='=&(),.*?/')}", method, body, wish)


def test_graphql(worlds: list[World]) -> None:
    answered = [alike(worlds, text, "/graphql", "POST", {"query": text})[2] for text in GRAPHQL]
    counts = [body for body in answered if re.search(rb'"totalCount":[1-9]', body)]
    assert counts and any(b"field.unknown" in body for body in answered)


def test_soap(worlds: list[World]) -> None:
    kind = ("content-type", "text/xml; charset=utf-8")
    answered = [alike(worlds, body, "/soap/v1/items", "POST", message(body).encode(), kind)[2] for body in SOAP]
    assert any(b"<rows>" in body or b":rows>" in body for body in answered)


def test_live_streams(worlds: list[World]) -> None:
    first, second = (world.live() for world in worlds)
    assert first == second
    assert [one.get("code", one["type"]) for one in first] == ["subscribed", "field.unknown", "field.unknown", "change"]
    assert first[-1]["key"] == {"id": 40}
