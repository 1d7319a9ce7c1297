"""A served SQLite file: values as the connector reads them, compared by what they mean."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from tongqu.connectors.sqlite.serving.functions import install
from tongqu.connectors.sqlite.serving.server import SqliteServer
from tongqu.connectors.sqlite.settings import SqliteSettings
from tongqu.core.errors import AccessError, BusyError, CastError, DuplicateError, RefusedRowsError, TongquError
from tongqu.core.server import Change, Query
from tongqu.meaning.masks import Mask, masked_value
from tongqu.testing.conformance.asked import LIMITS, column, hole, query

T = TypeVar("T")


def made(folder: Path, *statements: str, wal: bool = True) -> SqliteSettings:
    path = folder / "plant.db"
    database = sqlite3.connect(path)
    if wal:
        database.execute("PRAGMA journal_mode = wal")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    return SqliteSettings(path=str(path), busy_seconds=0.2)


def serve(settings: SqliteSettings, work: Callable[[SqliteServer], Awaitable[T]]) -> T:
    async def whole() -> T:
        server = SqliteServer(settings)
        await server.open()
        try:
            return await work(server)
        finally:
            await server.close()

    return asyncio.run(whole())


async def rows(server: SqliteServer, names: list[str], **asked: Any) -> list[list[Any]]:
    dataset = await server.describe("items")
    return [list(row) for row in (await server.query(query(dataset, names, **asked), "rows", LIMITS)).values]


def test_instants_in_many_forms_are_ordered_by_time(tmp_path: Path) -> None:
    forms = ("2026-01-01T10:00:00+08:00", "2026-01-01 03:00:00Z", "2026-01-01 01:00:00.5", "2026-01-01T02:30")
    place = made(
        tmp_path,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, at TIMESTAMPTZ)",
        *(f"INSERT INTO items (at) VALUES ('{form}')" for form in forms),
    )

    async def work(server: SqliteServer) -> Any:
        return await rows(server, ["id", "at"], order=[exp.Ordered(this=column("at"), desc=False)])

    assert serve(place, work) == [
        [3, "2026-01-01T01:00:00.5+00:00"], [1, "2026-01-01T02:00:00+00:00"], [4, "2026-01-01T02:30:00+00:00"],
        [2, "2026-01-01T03:00:00+00:00"],
    ]  # fmt: skip


def test_numbers_kept_as_texts_are_compared_and_summed_as_numbers(tmp_path: Path) -> None:
    place = made(
        tmp_path,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, w DECIMAL_TEXT(38,2))",
        "INSERT INTO items (w) VALUES ('9.10'), ('10.10'), ('99999999999999999999999999.99')",
    )

    async def work(server: SqliteServer) -> None:
        asked = {"where": exp.GT(this=column("w"), expression=hole("p")), "params": {"p": Decimal("9.5")}}
        assert await rows(server, ["id"], **asked) == [[2], [3]]
        found = await rows(server, ["w"], order=[exp.Ordered(this=column("w"), desc=True)])
        assert found == [[Decimal("99999999999999999999999999.99")], [Decimal("10.10")], [Decimal("9.10")]]
        tree = exp.select(exp.alias_(exp.Sum(this=column("w")), "s")).from_(exp.to_table("items"))
        page = await server.query(Query(tree, {}, (pa.field("s", pa.decimal128(38, 2)),)), "json", LIMITS)
        assert page.body == b'[{"s":100000000000000000000000019.19}]'

    serve(place, work)


def test_a_column_without_case_is_compared_by_code_point(tmp_path: Path) -> None:
    place = made(
        tmp_path, "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)",
        "INSERT INTO items (name) VALUES ('b'), ('B'), ('a')",
    )  # fmt: skip

    async def work(server: SqliteServer) -> None:
        equal = exp.EQ(this=column("name"), expression=hole("p"))
        assert await rows(server, ["id"], where=equal, params={"p": "B"}) == [[2]]
        order = [exp.Ordered(this=column("name"), desc=False)]
        assert await rows(server, ["name"], order=order) == [["B"], ["a"], ["b"]]

    serve(place, work)


def test_a_name_that_is_no_column_is_never_taken_for_a_text(tmp_path: Path) -> None:
    place = made(tmp_path, "CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (1)")

    async def work(server: SqliteServer) -> None:
        with pytest.raises(TongquError):
            await rows(server, ["id"], where=exp.EQ(this=column("gone"), expression=hole("p")), params={"p": "gone"})

    serve(place, work)


def test_a_value_that_contradicts_its_column_is_told_without_it(tmp_path: Path) -> None:
    place = made(
        tmp_path, "CREATE TABLE items (id INTEGER PRIMARY KEY, n INT)", "INSERT INTO items (n) VALUES (1), ('sécret')"
    )

    async def work(server: SqliteServer) -> None:
        with pytest.raises(CastError) as told:
            await rows(server, ["n"])
        assert told.value.field == "n" and "sécret" not in str(told.value.problem())
        assert await rows(server, ["id"]) == [[1], [2]]

    serve(place, work)


def test_readers_do_not_wait_for_a_writer_and_never_write(tmp_path: Path) -> None:
    place = made(tmp_path, "CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (1)")
    other = sqlite3.connect(place.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO items VALUES (2)")

    async def work(server: SqliteServer) -> None:
        assert await rows(server, ["id"]) == [[1]]
        change = Change("insert", "items", (pa.field("id", pa.int64()),), [(3,)])
        with pytest.raises(BusyError):
            await server.transact([change], LIMITS)
        other.execute("COMMIT")
        assert (await server.transact([change], LIMITS)).touched == (1,)
        assert await rows(server, ["id"]) == [[1], [2], [3]]

    serve(place, work)
    other.close()


def test_a_file_that_was_put_in_place_of_another_is_read(tmp_path: Path) -> None:
    place = made(tmp_path, "CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (1)", wal=False)
    (tmp_path / "new").mkdir()
    other = made(
        tmp_path / "new", "CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (7)", wal=False
    )

    async def work(server: SqliteServer) -> None:
        assert await rows(server, ["id"]) == [[1]]
        Path(other.path).replace(place.path)
        assert await rows(server, ["id"]) == [[7]]

    serve(place, work)


def test_changes_keep_what_the_connector_would_write(tmp_path: Path) -> None:
    place = made(
        tmp_path,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, at TIMESTAMPTZ, w DECIMAL_TEXT(38,2), raw BLOB, ok BOOLEAN, "
        "parent INTEGER REFERENCES items (id), code TEXT UNIQUE CHECK (length(code) < 5))",
    )

    async def work(server: SqliteServer) -> None:
        dataset = await server.describe("items")
        fields = tuple(dataset.schema)
        back = query(dataset, dataset.schema.names)
        row = (1, "2026-01-01T10:00:00+08:00", "1.50", "\\x00ff", True, None, "a")
        outcome = await server.transact([Change("insert", "items", fields, [row], returning=back)], LIMITS)
        assert outcome.pages[0] is not None
        assert json.loads(outcome.pages[0].body, parse_float=Decimal) == [
            {"id": 1, "at": "2026-01-01T02:00:00+00:00", "w": Decimal("1.50"), "raw": "\\x00ff", "ok": True,
             "parent": None, "code": "a"}
        ]  # fmt: skip
        with pytest.raises(DuplicateError):
            await server.transact([Change("insert", "items", (fields[6],), [("a",)])], LIMITS)
        with pytest.raises(RefusedRowsError):
            await server.transact([Change("insert", "items", (fields[6],), [("long one",)])], LIMITS)
        with pytest.raises(RefusedRowsError):
            await server.transact([Change("insert", "items", (fields[5],), [(77,)])], LIMITS)
        with pytest.raises(CastError):
            await server.transact([Change("insert", "items", (fields[1],), [("yesterday",)])], LIMITS)
        rule = exp.LT(this=column("at"), expression=hole("p"))
        late = Change("insert", "items", (fields[1],), [("2026-01-01 09:00:00Z",)], check=rule,
                      params={"p": pa.scalar(0, pa.timestamp("us", "UTC")).as_py()})  # fmt: skip
        with pytest.raises(AccessError):
            await server.transact([late], LIMITS)

    serve(place, work)
    stored = sqlite3.connect(place.path)
    assert stored.execute("SELECT at, w, raw, ok FROM items").fetchall() == [
        ("2026-01-01 02:00:00.000000Z", "1.50", b"\x00\xff", 1)
    ]
    stored.close()


def test_the_plan_tells_what_an_index_saves(tmp_path: Path) -> None:
    place = made(
        tmp_path,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, plant TEXT)",
        "CREATE INDEX by_name ON items (name)",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
        "INSERT INTO items (name, plant) SELECT 'n' || i, 'p' FROM n",
        "ANALYZE",
    )

    async def cost(server: SqliteServer, name: str) -> float:
        where = exp.EQ(this=column(name), expression=hole("p"))
        dataset = await server.describe("items")
        return (await server.explain(query(dataset, ["name"], where=where, params={"p": "x"}))).rows

    async def work(server: SqliteServer) -> None:
        assert await cost(server, "id") == 1
        assert await cost(server, "name") == 1
        assert await cost(server, "plant") == 1000

    serve(place, work)


def test_casts_mean_what_they_mean_elsewhere(tmp_path: Path) -> None:
    place = made(
        tmp_path,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, made DATE, at TIMESTAMP, w DECIMAL(12,2), doc JSON)",
        "INSERT INTO items VALUES (1, '2026-01-02', '2026-01-02T03:04', 0.1, '{\"a\": {\"b\": 5}}'), "
        "(2, '2025-12-31', NULL, 0.2, NULL)",
    )

    async def work(server: SqliteServer) -> None:
        since = exp.GTE(this=column("made"), expression=exp.cast(exp.Literal.string("2026-01-01"), "date"))
        assert await rows(server, ["id"], where=since) == [[1]]
        until = exp.LT(this=column("at"), expression=exp.cast(exp.Literal.string("2026-01-02 03:05:00"), "timestamp"))
        assert await rows(server, ["id"], where=until) == [[1]]
        day = exp.EQ(this=exp.cast(column("at"), "date"), expression=column("made"))
        assert await rows(server, ["id"], where=day) == [[1]]
        whole = exp.cast(exp.Sum(this=column("w")), "decimal(38, 2)")
        step = exp.JSONPath(expressions=[exp.JSONPathRoot(), exp.JSONPathKey(this="a")])
        document = exp.Max(this=exp.JSONExtract(this=column("doc"), expression=step, only_json_types=True))
        tree = exp.select(exp.alias_(whole, "s"), exp.alias_(document, "d")).from_(exp.to_table("items"))
        fields = (pa.field("s", pa.decimal128(38, 2)), pa.field("d", pa.string(), metadata={"tongqu.logical": "json"}))
        page = await server.query(Query(tree, {}, fields), "json", LIMITS)
        assert page.body == b'[{"s":0.30,"d":{"b":5}}]'

    serve(place, work)


@settings(max_examples=40, deadline=None)
@example(["张三", "欧阳娜娜", "𠮷田一", "", "a@b@c", "😀😀😀😀😀😀", "x\ny z"])
@given(st.lists(st.text(), min_size=1, max_size=20))
def test_a_mask_is_the_same_for_every_text(texts: list[str]) -> None:
    server = SqliteServer(SqliteSettings(path="x.db"))
    connection = sqlite3.connect(":memory:")
    install(connection)
    connection.execute("CREATE TABLE items (v TEXT)")
    connection.executemany("INSERT INTO items VALUES (?)", [(text,) for text in texts])
    for told in ({"with": "name"}, {"with": "phone"}, {"with": "email"}, {"with": "keep", "first": 2, "last": 1}):
        mask = Mask.parse(told)
        tree = server.mask(mask, pa.field("v", pa.string()))
        assert tree is not None
        found = connection.execute(f"SELECT {tree.sql(dialect='sqlite')} FROM items").fetchall()
        assert [value for (value,) in found] == [masked_value(mask, text) for text in texts]
    connection.close()
