"""Whose rows were given is noted exactly, and the answer is the same as without noting it, on every server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import psycopg
import pyarrow as pa
import pymysql
from tests.gateway.published import Database, actor, api, people
from tests.gateway.rewrite.test_on_servers import DDL, FILL

from tongqu.core.data import Dataset
from tongqu.core.registry import connector
from tongqu.core.server import Server
from tongqu.gateway.asking import Ask, Compare, Order, Wanted
from tongqu.gateway.exchange import Notes
from tongqu.gateway.persons import Persons
from tongqu.gateway.publication import Api
from tongqu.gateway.reading import Reader
from tongqu.meaning.ciphers import decrypted

TABLE = people()
KEY = bytes(range(16))
ACCESS: dict[str, Any] = {
    "roles": ["q"], "rows": "plant = actor.plant",
    "fields": {"inspector": {"mask": {"with": "encrypt", "cipher": "sm4-gcm", "key": "${secret:k}"}},
               "salary": {"mask": {"with": "tokenise", "key": "${secret:k}"}}},
}  # fmt: skip
WHO = actor("q", plant="A")
PLAIN = (Wanted("id"), Wanted("weight"))
CASES: list[tuple[Ask, list[str]]] = [
    (Ask(PLAIN), ["张三丰", "李四", "欧阳娜娜"]),
    (Ask(PLAIN, where=Compare("id", "eq", "2")), ["李四"]),
    (Ask(PLAIN, where=Compare("id", "gt", "90")), []),
    (Ask(PLAIN, order=(Order("weight", True),), limit=1), []),
    (Ask((Wanted("plant"), Wanted("", aggregate="count"))), []),
]


def person(identity: str, value: Any) -> str:
    return f"{identity}:{value}"


async def subjects(one: Api, ask: Ask, format: Any) -> tuple[list[str], bytes, str]:
    """The persons noted, the body and the cursor; the body and cursor are as a reader has them that notes nothing."""
    notes, plain = Notes(), Notes()
    noting = await Reader(b"k" * 32, lambda: 0.0, persons=Persons(person)).read(one, WHO, ask, format, notes)
    bare = await Reader(b"k" * 32, lambda: 0.0).read(one, WHO, ask, format, plain)
    if format == "json":
        assert json.loads(noting.body) == json.loads(bare.body)
    else:
        assert noting.body == bare.body
    assert list(map(list, noting.values)) == list(map(list, bare.values))
    assert (noting.next, noting.names, notes.rows) == (bare.next, bare.names, plain.rows)
    assert "subjects" not in plain.more
    return [one.partition(":")[2] for one in notes.more.get("subjects", [])], noting.body, noting.next


def tried(type_: str, settings: dict[str, Any] | str) -> None:
    """Ask everything of a server."""
    expected = api(Database("duckdb", "items", TABLE), TABLE, ACCESS, secret=lambda name: KEY.hex().encode())
    found = connector(type_)
    assert found.server is not None
    given = found.from_url(settings) if isinstance(settings, str) else found.settings.parse(settings)
    server: Server = found.server(given)

    async def work() -> None:
        await server.open()
        try:
            schema = (await server.describe("items")).schema
            own: Any = server
            fields = [TABLE.schema.field(f.name).with_type(f.type).with_nullable(f.nullable) for f in schema]
            one = replace(expected, server=own, dataset=Dataset("items", pa.schema(fields), ("id",)),
                          subjects={"inspector": schema.field("inspector")})  # fmt: skip
            for ask, persons in CASES:
                for format in ("json", "csv", "rows", "arrow"):
                    told, _, following = await subjects(one, ask, format)
                    if ask.limit is None:
                        assert sorted(told) == sorted(persons), (type_, ask, format)
                    else:
                        assert len(told) == 1 and following
            sealed = await Reader(b"k" * 32, lambda: 0.0, persons=Persons(person)).read(
                one, WHO, Ask((Wanted("inspector"), Wanted("salary"))), "json", Notes()
            )
            rows = json.loads(sealed.body)
            for name, own_values in (("inspector", ["张三丰", "李四", "欧阳娜娜"]), ("salary", None)):
                opened = decrypted(pa.array([row[name] for row in rows]), {"1": KEY}).to_pylist()
                wanted = own_values or [str(v) for v, p in zip(TABLE["salary"].to_pylist(), TABLE["plant"].to_pylist(),
                                                               strict=True) if p == "A"]  # fmt: skip
                assert sorted(map(str, opened)) == sorted(wanted)
        finally:
            await server.close()

    asyncio.run(work())


def test_postgres(pg_url: str) -> None:
    with psycopg.connect(pg_url) as connection:
        connection.execute(DDL)
        connection.execute(FILL.encode())
    tried("postgres", pg_url)


def test_mariadb(mysql_url: str) -> None:
    parts = urlsplit(mysql_url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path[1:], charset="utf8mb4", autocommit=True,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute(DDL + " CHARACTER SET utf8mb4")
        cursor.execute(FILL)
    tried("mysql", mysql_url)


def test_duckdb(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute(DDL)
        connection.execute(FILL)
    tried("duckdb", {"path": str(tmp_path / "x.duckdb")})
