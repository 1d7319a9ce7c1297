"""A small plant in a DuckDB file: inspections, their lines and their defects, published for tests of REST."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import duckdb
import orjson
import pyarrow as pa

from tongqu.connectors.duckdb import connector
from tongqu.core.policy import Actor
from tongqu.core.server import Server
from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.policy.compiling import compile_policy
from tongqu.gateway.policy.settings import Access
from tongqu.gateway.problems import Problem, refusal
from tongqu.gateway.publication import Api, Publication, Relation
from tongqu.gateway.reading import Reader, Shelf
from tongqu.gateway.rest.handler import RestHandler
from tongqu.gateway.writing import Writer
from tongqu.meaning.rules import Rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = b"k" * 32
TABLES = """
CREATE TABLE lines (id BIGINT PRIMARY KEY, title VARCHAR NOT NULL, plant VARCHAR);
INSERT INTO lines VALUES (1, 'press', 'A'), (2, '涂装', 'A'), (3, 'weld', 'B'), (4, 'spare', 'A');
CREATE TABLE items (
  id BIGINT PRIMARY KEY, lot VARCHAR NOT NULL, plant VARCHAR, weight DECIMAL(12,3), passed BOOLEAN DEFAULT true,
  made DATE, inspector VARCHAR, salary BIGINT, line_id BIGINT);
INSERT INTO items VALUES
  (1, 'L1', 'A', 1.5, true, '2026-01-01', '张三丰', 100, 1), (2, 'L2', 'A', 2.25, false, '2026-01-02', '李四', 200, 1),
  (3, 'L3', 'A', NULL, true, '2026-01-03', '王五', 300, 2), (4, 'L4', 'B', 4, true, '2026-01-04', '赵六', 400, 3),
  (5, 'L"5, =x', 'A', 5, NULL, NULL, NULL, 500, NULL);
CREATE TABLE defects (item_id BIGINT, no BIGINT, word VARCHAR, PRIMARY KEY (item_id, no));
INSERT INTO defects VALUES (1, 1, 'dent'), (1, 2, 'scratch'), (3, 1, 'stain'), (4, 1, 'crack');
"""
ACCESS: Mapping[str, Mapping[str, Any]] = {
    "items": {
        "roles": ["quality"], "write_roles": ["quality"], "rows": "plant = actor.plant",
        "fields": {"inspector": {"roles": ["hr"], "otherwise": "mask", "mask": {"with": "name"}}},
    },
    "lines": {"roles": ["quality"], "rows": "plant = actor.plant"},
    "defects": {"roles": ["quality"], "write_roles": ["quality"]},
}  # fmt: skip
RELATIONS = {
    "items": {
        "line": Relation("line", "lines", {"line_id": "id"}, many=False),
        "defects": Relation("defects", "defects", {"id": "item_id"}, many=True),
    },
    "lines": {"items": Relation("items", "items", {"id": "line_id"}, many=True)},
    "defects": {"item": Relation("item", "items", {"item_id": "id"}, many=False)},
}
WRITE = {"insert": True, "update": True, "delete": True}
QUALITY = Actor("client:mes", roles=frozenset(("quality",)), attributes={"plant": "A"})
CLASSES = {"inspector": "personal", "salary": "secret"}


@dataclass
class Plant:
    """The running APIs and what is asked of them."""

    publication: Publication
    server: Server
    handler: RestHandler
    reader: Reader
    writer: Writer
    numbers: list[int] = field(default_factory=list)

    async def call(
        self, method: str, target: str, body: bytes | str = b"", *, actor: Actor = QUALITY, **headers: str
    ) -> Told:
        """One call, answered as the site would: refusals as problem documents. Headers are written `if_match`."""
        request = asked(self.publication, method, target, body, actor=actor, headers=headers)
        try:
            reply = await self.handler.handle(request)
        except Problem as problem:
            reply = refusal(problem, request)
        return Told(request, reply)

    def api(self, name: str = "items") -> Api:
        """A published API."""
        found = self.publication.api("v1", name)
        assert found is not None
        return found


@dataclass
class Told:
    """An answer."""

    request: Request
    reply: Reply

    @property
    def status(self) -> int:
        """Its status."""
        return self.reply.status

    @property
    def body(self) -> bytes:
        """Its body."""
        assert isinstance(self.reply.body, bytes)
        return self.reply.body

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return orjson.loads(self.body)

    def __getitem__(self, name: str) -> str:
        return self.reply.header(name)


def asked(
    publication: Publication, method: str, target: str, body: bytes | str, *, actor: Actor, headers: Mapping[str, str]
) -> Request:
    """A request as the site hands it over; `target` is the address without `/api/v1/`."""
    path, _, query = target.partition("?")
    sent = body.encode() if isinstance(body, str) else body

    async def read(limit: int) -> bytes:
        if len(sent) > limit:
            raise Problem("body.too_large")
        return sent

    return Request(
        method, unquote(f"/api/v1/{path}"), query, {name.replace("_", "-"): text for name, text in headers.items()},
        "10.0.0.1", "r1", "0" * 32, 0.0, read, publication, actor=actor, target=f"/api/v1/{target}",
    )  # fmt: skip


async def published(
    server: Server, name: str, entry: Mapping[str, Any] | None = None, access: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
) -> Api:  # fmt: skip
    """One of the plant's tables as an API, as publishing compiles it."""
    dataset = await server.describe(name)
    fields = [
        one.with_metadata({"tongqu.class": CLASSES[one.name]}) if one.name in CLASSES else one for one in dataset.schema
    ]
    dataset = replace(dataset, schema=pa.schema(fields))
    told = {"write": WRITE, **(entry or {}), "source": {"connection": "c", "dataset": name}}
    made = ApiEntry.parse({**told, "access": dict(access or ACCESS[name])})
    policy = compile_policy(
        Access.parse(access or ACCESS[name]), dataset, now=lambda: NOON, path=f"apis.{name}.access", name=name
    )
    return Api(
        name, "v1", made, dataset, server, "c", policy, name, relations=RELATIONS[name],
        rules={one: Rule.model_validate(rule) for one, rule in (rules or {}).items()},
        tables=frozenset((f"c/{name}",)),
    )  # fmt: skip


@asynccontextmanager
async def plant(
    folder: Path, entries: Mapping[str, Mapping[str, Any]] | None = None, *, shelf: Shelf | None = None,
    access: Mapping[str, Mapping[str, Any]] | None = None, rules: Mapping[str, Any] | None = None,
    server: Server | None = None,
) -> AsyncIterator[Plant]:  # fmt: skip
    """The plant over a new DuckDB file in the folder, or over the server that is given."""
    if server is None:
        file = folder / "plant.duckdb"
        if not file.exists():
            with duckdb.connect(str(file)) as database:
                database.execute(TABLES)
        assert connector.server is not None
        server = connector.server(connector.from_url(f"duckdb:{file}"))
    await server.open()
    try:
        apis = [
            await published(
                server, name, (entries or {}).get(name), (access or {}).get(name), rules if name == "items" else None
            )
            for name in ACCESS
        ]  # fmt: skip
        publication = Publication("7", {(api.version, api.name): api for api in apis})
        reader = Reader(KEY, lambda: 1000.0, shelf)
        writer = Writer(reader)
        yield Plant(publication, server, RestHandler(reader, writer, Tags(KEY)), reader, writer)
    finally:
        await server.close()


def run(folder: Path, work: Callable[[Plant], Awaitable[T]], **settings: Any) -> T:
    """What the work gives, done with the plant."""

    async def whole() -> T:
        async with plant(folder, **settings) as there:
            return await work(there)

    return asyncio.run(whole())
