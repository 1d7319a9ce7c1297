"""Nested values and soft deletes in PostgreSQL: JSON where it has no array, and rows that return."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from tongqu.testing.command_line import make, tongqu


def test_structs_maps_and_lists_of_lists_become_json(pg_url: str, tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2],
            "place": [{"x": 1, "tags": ["a"]}, None],
            "uses": [[{"a": 1}], []],
            "grid": [[[1, 2], [3]], [[]]],
            "flat": [[1, None], None],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    done = tongqu(tmp_path, "sync", "file:t.parquet", pg_url, "--json")
    assert done.code == 0, done.out
    with psycopg.connect(pg_url) as connection:
        assert connection.execute("SELECT * FROM t ORDER BY id").fetchall() == [
            (1, {"x": 1, "tags": ["a"]}, [{"a": 1}], [[1, 2], [3]], [1, None]),
            (2, None, [], [[]], None),
        ]


def test_soft_deleted_rows_return_and_history_closes_them(pg_url: str, tmp_path: Path) -> None:
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY, v TEXT", [(1, "a"), (2, "b")])
    upsert = ("sync", "sqlite:a.db", pg_url, "--write", "upsert", "--json")
    history = ("sync", "sqlite:a.db", pg_url, "--table", "t=h", "--write", "history", "--deletes", "soft", "--json")

    def synced(*command: str) -> tuple[int, int, int]:
        done = tongqu(tmp_path, *command)
        assert done.code == 0, done.out
        [stream] = done.document["streams"]
        return stream["inserted"], stream["updated"], stream["deleted"]

    assert [synced(*upsert, "--deletes", "soft"), synced(*history)] == [(2, 0, 0), (2, 0, 0)]
    _run(tmp_path, "DELETE FROM t WHERE id = 2")
    assert [synced(*upsert, "--deletes", "soft"), synced(*history)] == [(0, 0, 1), (0, 0, 1)]
    _run(tmp_path, "INSERT INTO t VALUES (2, 'b')")
    assert [synced(*upsert), synced(*history)] == [(0, 1, 0), (1, 0, 0)]
    with psycopg.connect(pg_url) as connection:
        assert connection.execute("SELECT id, _deleted_at FROM t ORDER BY id").fetchall() == [(1, None), (2, None)]
        found = connection.execute("SELECT id, _current FROM h ORDER BY id, _valid_from").fetchall()
    assert found == [(1, True), (2, False), (2, True)]


def _run(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "a.db") as connection:
        connection.execute(statement)
