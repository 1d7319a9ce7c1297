"""The rewriter's questions on real servers: the same rows, pages, counts and masks from each of them."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import psycopg
import pyarrow as pa
import pymysql
from tests.gateway.published import CURSORS, Database, actor, api, people

from tongqu.core.data import Dataset
from tongqu.core.registry import connector
from tongqu.core.server import Limits, Server
from tongqu.gateway.asking import Ask, Compare, Joined, Negated, Order, Wanted
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite import rewrite

TABLE = people()
LIMITS = Limits(seconds=20)
ROWS = ", ".join(
    "({})".format(", ".join("NULL" if v is None else str(v) if isinstance(v, int) else f"'{v}'" for v in row.values()))
    for row in TABLE.to_pylist()
)
DDL = (
    "CREATE TABLE items (id BIGINT NOT NULL PRIMARY KEY, plant VARCHAR(20), weight DECIMAL(12,3), made DATE, "
    "inspector VARCHAR(40), salary BIGINT)"
)
FILL = f"INSERT INTO items VALUES {ROWS}"
QUESTIONS = {
    "all": Ask(count="exact"),
    "tree": Ask(where=Joined("or", (Compare("weight", "gt", "2"), Negated(Compare("plant", "eq", "A"))))),
    "text": Ask(where=Joined("or", (Compare("plant", "like", "B%"), Compare("plant", "ilike", "a")))),
    "list": Ask(where=Compare("id", "in", ("1", "5"))),
    "dates": Ask(where=Compare("made", "gte", "2026-01-04"), order=(Order("made", True),)),
    "distinct": Ask(where=Compare("plant", "isdistinct", "A")),
    "mixed order": Ask(order=(Order("plant", True, False), Order("weight")), limit=2),
    "nulls first": Ask((Wanted("id"), Wanted("weight")), order=(Order("weight", nulls_first=True),), limit=2),
    "group": Ask((Wanted("plant"), Wanted("weight", aggregate="sum"), Wanted("", aggregate="count"))),
    "cast": Ask((Wanted("id", "number", "text"), Wanted("made"))),
}
CALLERS = {"everything": actor("r"), "masked": actor("q", plant="A"), "partly": actor("q", "b", plant="B")}
ACCESS: dict[str, Any] = {
    "fields": {"inspector": {"roles": ["r"], "otherwise": "mask"}},
    "rules": [
        {"roles": ["r"]}, {"roles": ["q"], "rows": "plant = actor.plant"},
        {"roles": ["b"], "fields": ["id", "weight"], "rows": "weight >= 2 or plant is null"},
    ],
}  # fmt: skip


def told(value: Any) -> str:
    """A value in one form."""
    return str(value) if value is None or isinstance(value, str) else f"{float(value):g}"


async def heard(one: Api, server: Any, ask: Ask, who: Any) -> list[list[list[str]]]:
    """Every page of a question, and its count."""
    decision = one.policy.decide(who, "read")
    pages: list[list[list[str]]] = []
    for _ in range(9):
        made = rewrite(ask, one, decision, CURSORS)
        page = await server.query(made.query, "rows", LIMITS)
        pages.append([[told(value) for value in row] for row in page.values])
        if made.count is not None:
            counted = await server.query(made.count, "rows", LIMITS)
            pages.append([[told(counted.values[0][0])]])
        ask = replace(ask, after=made.next(page), count="none")
        if not ask.after:
            break
    return pages


class _Plain:
    """The reference: DuckDB run by the test itself."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def query(self, query: Any, format: str, limits: Limits) -> Any:
        """The page, dates as their text."""
        del format, limits
        page = self.database.page(query)
        values = [[v.isoformat() if hasattr(v, "isoformat") else v for v in row] for row in page.values]
        return replace(page, values=values)


def compared(type_: str, settings: dict[str, Any] | str) -> None:
    """Ask everything of a server and of the reference."""
    reference = Database("duckdb", "items", TABLE)
    expected = api(reference, TABLE, ACCESS)
    found = connector(type_)
    assert found.server is not None
    given = found.from_url(settings) if isinstance(settings, str) else found.settings.parse(settings)
    server: Server = found.server(given)

    async def work() -> None:
        await server.open()
        try:
            described = await server.describe("items")
            told_fields = [
                TABLE.schema.field(f.name).with_type(f.type).with_nullable(f.nullable) for f in described.schema
            ]
            schema = pa.schema(told_fields)
            own: Any = server
            one = replace(expected, server=own, dataset=Dataset("items", schema, described.key))
            for caller, who in CALLERS.items():
                for name, ask in QUESTIONS.items():
                    got = await heard(one, server, ask, who)
                    want = await heard(expected, _Plain(reference), ask, who)
                    assert got == want, (type_, caller, name)
        finally:
            await server.close()

    asyncio.run(work())
    reference.close()


def test_postgres(pg_url: str) -> None:
    with psycopg.connect(pg_url) as connection:
        connection.execute(DDL)
        connection.execute(FILL.encode())
    compared("postgres", pg_url)


def test_mariadb(mysql_url: str) -> None:
    parts = urlsplit(mysql_url)
    connection = pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path[1:], charset="utf8mb4", autocommit=True,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute(DDL + " CHARACTER SET utf8mb4")
        cursor.execute(FILL)
    compared("mysql", mysql_url)


def test_duckdb(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute(DDL)
        connection.execute(FILL)
    compared("duckdb", {"path": str(tmp_path / "x.duckdb")})


def test_sqlite(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    with connection:
        connection.execute(DDL)
        connection.execute(FILL)
    connection.close()
    compared("sqlite", {"path": str(tmp_path / "x.db")})
