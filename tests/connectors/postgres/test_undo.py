"""Undoing a replace in PostgreSQL: names, shape, rights and tied tables come through; a crash leaves one generation."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tongqu.connectors.postgres import connector
from tongqu.core.connector import Sink
from tongqu.core.data import Dataset, Split, Write, WriteMode
from tongqu.core.errors import BusyError, DataError, NotFoundError
from tongqu.testing.command_line import tongqu
from tongqu.testing.pour import pour

OLD, NEW = [(1, "old"), (2, "old")], [(2, "new"), (3, "new"), (4, "new")]
SHAPE = """
SELECT c.relname, pg_get_indexdef(i.indexrelid), k.conname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u')
WHERE i.indrelid = 'orders'::regclass ORDER BY 1
"""


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute statements; the rows of the last one if it has any."""
    found: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            found = cursor.fetchall() if cursor.description else []
    return found


def visible(url: str) -> list[tuple[Any, ...]]:
    return run(url, "SELECT id, name FROM orders ORDER BY id, name")


@pytest.fixture
def sink(pg_url: str) -> Iterator[Sink]:
    assert connector.sink is not None
    opened = connector.sink(connector.from_url(pg_url))
    yield opened
    opened.close()


def writing(values: list[tuple[int, str]], *, key: bool = True, number: int = 1, **more: Any) -> tuple[Write, pa.Table]:
    fields: list[pa.Field[Any]] = [pa.field("id", pa.int64(), not key), pa.field("name", pa.string())]
    columns: dict[str, Any] = {"id": [id for id, _ in values], "name": [name for _, name in values]}
    for name, value in more.items():
        fields.append(pa.field(name, pa.int64()))
        columns[name] = [value] * len(values)
    schema = pa.schema(fields)
    keys = ("id",) if key else ()
    started = "2026-01-01T00:00:00+00:00"
    write = Write(
        "orders", Dataset("orders", schema, keys), WriteMode.REPLACE, "s", f"r{number}", keys, started_at=started
    )
    return write, pa.table(columns, schema=schema)


def replaced(sink: Sink, *, key: bool = True, **more: Any) -> None:
    """Replace the table by the old rows and then by the new ones, which may have more columns."""
    for number, (values, added) in enumerate([(OLD, {}), (NEW, more)]):
        write, rows = writing(values, key=key, number=number, **added)
        pour(sink, write, [rows])


def test_undo_and_undo_again(pg_url: str, sink: Sink) -> None:
    replaced(sink)
    for rows in (OLD, NEW, OLD):
        assert sink.undo("orders") == len(rows)
        assert visible(pg_url) == rows


def test_columns_keys_and_indexes_come_back_under_their_names(pg_url: str, sink: Sink) -> None:
    run(
        pg_url,
        "CREATE TABLE orders (id bigint CONSTRAINT my_key PRIMARY KEY, name text DEFAULT 'none' CHECK (name <> ''))",
        "CREATE INDEX by_name ON orders (lower(name)) WHERE id > 0",
        "ALTER TABLE orders ADD CONSTRAINT one_each UNIQUE (name, id)",
        "COMMENT ON TABLE orders IS 'Orders'",
    )
    before = run(pg_url, SHAPE)
    replaced(sink, added=7)
    for columns in (["id", "name"], ["id", "name", "added"], ["id", "name"]):
        sink.undo("orders")
        assert run(pg_url, SHAPE) == before
        names = (
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position"
        )
        assert [name for (name,) in run(pg_url, names)] == columns
        assert run(pg_url, "INSERT INTO orders (id) VALUES (9) RETURNING name") == [("none",)]
        run(pg_url, "DELETE FROM orders WHERE id = 9")
    pour(sink, *_again(writing(NEW, number=9)))
    assert run(pg_url, SHAPE) == before


def _again(made: tuple[Write, pa.Table]) -> tuple[Write, list[pa.Table]]:
    return made[0], [made[1]]


def test_rights_of_the_visible_table_stay(pg_url: str, sink: Sink) -> None:
    run(pg_url, "DROP ROLE IF EXISTS tq_kept, tq_gone", "CREATE ROLE tq_kept", "CREATE ROLE tq_gone")
    try:
        run(pg_url, "CREATE TABLE orders (id bigint PRIMARY KEY, name text)")
        run(pg_url, "GRANT SELECT ON orders TO tq_kept, tq_gone")
        replaced(sink)
        run(pg_url, "REVOKE SELECT ON orders FROM tq_gone", "GRANT INSERT ON orders TO PUBLIC")
        sink.undo("orders")
        rights = "SELECT has_table_privilege('{}', 'orders', '{}')"
        assert run(pg_url, rights.format("tq_kept", "SELECT")) == [(True,)]
        assert run(pg_url, rights.format("tq_gone", "SELECT")) == [(False,)]
        assert run(pg_url, rights.format("tq_gone", "INSERT")) == [(True,)]
    finally:
        run(pg_url, "DROP OWNED BY tq_kept, tq_gone", "DROP ROLE tq_kept, tq_gone")


PINS = {
    "view": "CREATE VIEW names AS SELECT name FROM orders",
    "foreign key": "CREATE TABLE lines (id bigint REFERENCES orders)",
    "identity": "ALTER TABLE orders ALTER id ADD GENERATED ALWAYS AS IDENTITY",
    "generated": "ALTER TABLE orders ADD twice bigint GENERATED ALWAYS AS (id * 2) STORED; "
    "CREATE VIEW v AS TABLE orders",
}


@pytest.mark.parametrize("pin", PINS)
def test_a_pinned_table_is_refilled(pg_url: str, sink: Sink, pin: str) -> None:
    run(pg_url, "CREATE TABLE orders (id bigint PRIMARY KEY, name text)", PINS[pin])
    replaced(sink, added=7)
    identity = "SELECT 'orders'::regclass::oid"
    before = run(pg_url, identity)
    for rows, added in ((OLD, [(None,)]), (NEW, [(7,)]), (OLD, [(None,)])):
        assert sink.undo("orders") == len(rows)
        assert visible(pg_url) == rows
        assert run(pg_url, "SELECT DISTINCT added FROM orders") == added
    assert run(pg_url, identity) == before


def test_a_pinned_table_without_key_is_refilled(pg_url: str, sink: Sink) -> None:
    run(pg_url, "CREATE TABLE orders (id bigint, name text)", PINS["view"])
    replaced(sink, key=False)
    for rows in (OLD, NEW):
        assert sink.undo("orders") == len(rows)
        assert visible(pg_url) == rows


def test_a_table_pinned_or_freed_since_the_replace(pg_url: str, sink: Sink) -> None:
    replaced(sink)
    shape = run(pg_url, SHAPE)
    run(pg_url, PINS["view"])
    sink.undo("orders")
    assert visible(pg_url) == OLD
    run(pg_url, "DROP VIEW names")
    sink.undo("orders")
    assert visible(pg_url) == NEW
    assert run(pg_url, SHAPE) == shape


def test_rows_that_others_refer_to_stop_an_undo(pg_url: str, sink: Sink) -> None:
    run(pg_url, "CREATE TABLE orders (id bigint PRIMARY KEY, name text)", PINS["foreign key"])
    replaced(sink)
    run(pg_url, "INSERT INTO lines VALUES (4)")
    with pytest.raises(DataError, match="cannot be put back"):
        sink.undo("orders")
    assert visible(pg_url) == NEW
    run(pg_url, "DELETE FROM lines")
    assert sink.undo("orders") == 2


def test_a_dropped_table_comes_back(pg_url: str, sink: Sink) -> None:
    replaced(sink)
    run(pg_url, "DROP TABLE orders")
    assert sink.undo("orders") == 2
    assert visible(pg_url) == OLD
    with pytest.raises(NotFoundError):
        sink.undo("orders")


def test_nothing_kept_and_an_unfinished_run(pg_url: str, sink: Sink) -> None:
    with pytest.raises(NotFoundError, match="'orders'"):
        sink.undo("orders")
    replaced(sink)
    write, rows = writing(OLD, number=5)
    sink.start(write.sync, write.run, False)
    sink.open(write)
    sink.begin(write, [Split("0", "orders")])
    with pytest.raises(BusyError, match="r5"):
        sink.undo("orders")
    pour(sink, write, [rows])
    assert sink.undo("orders") == 3


def test_a_schema_in_the_name(pg_url: str, sink: Sink) -> None:
    run(pg_url, "CREATE SCHEMA other")
    for number, values in enumerate((OLD, NEW)):
        write, rows = writing(values, number=number)
        moved = Write("o", Dataset("other.orders", rows.schema, ("id",)), write.mode, "s", write.run, ("id",))
        pour(sink, moved, [rows])
    assert sink.undo("other.orders") == 2
    assert run(pg_url, "SELECT count(*) FROM other.orders") == [(2,)]


@pytest.mark.parametrize("pin", ["", PINS["view"]], ids=["swapped", "refilled"])
def test_a_crash_leaves_the_generation_that_was_visible(pg_url: str, sink: Sink, tmp_path: Path, pin: str) -> None:
    run(pg_url, "CREATE TABLE orders (id bigint PRIMARY KEY, name text)", pin or "SELECT 1")
    replaced(sink)
    command = ("undo", pg_url, "--table", "orders", "--json")
    assert tongqu(tmp_path, *command, TONGQU_CRASH_AT="in_undo").code == -signal.SIGKILL
    assert visible(pg_url) == NEW
    done = tongqu(tmp_path, *command)
    assert done.document == {"ok": True, "tables": [{"name": "orders", "rows": 2}]}
    assert visible(pg_url) == OLD
