"""A sync is killed with SIGKILL at every crash point; the same command again must leave exactly the source's rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from tongqu.core import registry
from tongqu.kit.faults import POINTS
from tongqu.testing.drills import Cell, Command, Ended, cells, covering, name_of
from tongqu.testing.psql import Row, execute, rows
from tongqu.testing.services import Postgres

ONCE = ("after_open", "after_begin", "before_finish", "in_finish", "after_swap", "after_finish")
"""Points that are reached once a run; the others once a chunk."""
ELSEWHERE = (
    "in_undo", "before_call", "after_call", "after_new_key", "mid_rotation", "before_retire", "in_retire",
    "before_append", "after_append", "after_intent", "after_side", "before_undo", "before_agreed",
    "after_join", "before_state", "after_state", "after_loss", "after_rejoin",
)  # fmt: skip
"""Points that a sync never reaches."""
FACTORS: dict[str, list[str]] = {
    "point": [name for name in POINTS if name not in ELSEWHERE],
    "lane": ["pass", "columnar"],
    "write": ["replace", "upsert", "append", "history"],
    "sink": [name for name in ("postgres", "sqlite", "duckdb", "mysql", "file") if name in registry.names()],
    "table": ["composite", "keyed", "bare", "dirty"],
}
ROWS = 1000
OLD = 40
"""Rows of an old generation that a target holds before the sync; their keys are among the source's."""

TABLES = f"""
CREATE TABLE composite (k text, n int, name text, amount numeric(12,2), PRIMARY KEY (k, n));
INSERT INTO composite SELECT (ARRAY['a','B','b','é','中','zz Z'])[1 + i % 6], i, nullif('名'||(i%50), '名7'), i / 7.0
  FROM generate_series(1, {ROWS}) i;
CREATE TABLE keyed (n bigint PRIMARY KEY, k text NOT NULL, name text, amount numeric(12,2));
INSERT INTO keyed SELECT i::bigint * i * 1000003, 'k'||i%3, CASE i%4 WHEN 0 THEN '' WHEN 1 THEN NULL ELSE '😀'||i END,
  -i FROM generate_series(1, {ROWS}) i;
CREATE TABLE bare (k text, n int, name text, amount numeric(12,2));
INSERT INTO bare SELECT 'k'||i%5, i%10, 'same', 1.5 FROM generate_series(1, {ROWS}) i;
CREATE TABLE dirty (k text, n int, name text, amount numeric(12,2), PRIMARY KEY (k, n));
INSERT INTO dirty SELECT 'k'||i%5, i, CASE WHEN i % 143 = 0 THEN 'much too long' ELSE 'n'||i END, i
  FROM generate_series(1, {ROWS}) i;
"""
DIRTY = ROWS // 143


@pytest.fixture(scope="module")
def source_url(postgres: Postgres) -> str:
    url = postgres.database()
    execute(url, TABLES)
    execute(url, "ANALYZE")
    return url


def possible(cell: Cell) -> bool:
    """Combinations that exist: what the sink can write, and where raw bytes fit."""
    modes = {"append": "APPEND", "upsert": "UPSERT", "replace": "REPLACE", "history": "HISTORY"}
    can = registry.connector(cell["sink"]).can
    return (
        (cell["lane"] == "columnar" or cell["sink"] == "postgres")
        and any(flag.name == modes[cell["write"]] for flag in can)
        and (cell["table"] != "bare" or cell["write"] in ("append", "replace"))
        and (cell["table"] != "dirty" or (cell["sink"] == "postgres" and cell["write"] != "history"))
    )


@pytest.mark.parametrize("cell", covering(FACTORS, possible), ids=name_of)
def test_nothing_is_lost_or_doubled(
    cell: Cell, source_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    survives(cell, source_url, tmp_path, request)


if os.environ.get("TONGQU_EXHAUSTIVE"):

    @pytest.mark.crash
    @pytest.mark.parametrize("cell", list(cells(FACTORS, possible)), ids=name_of)
    def test_nothing_is_lost_or_doubled_anywhere(
        cell: Cell, source_url: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        survives(cell, source_url, tmp_path, request)


def survives(cell: Cell, source_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Kill, look, run again, compare."""
    table = cell["table"]
    target_url, read = TARGETS[cell["sink"]](tmp_path, request)
    old = old_generation(cell, source_url, target_url)
    options = ["--table", table, "--write", cell["write"], "--lane", cell["lane"], "--chunk-rows", "100"]
    command = Command(tmp_path / "home", ["sync", source_url, target_url, *options])
    arriving = rows(source_url, f"SELECT k, n, name, amount FROM {table}")
    clean = [row for row in arriving if row[2] is None or len(row[2]) <= 5 or table != "dirty"]
    count = 1 if cell["point"] in ONCE or table == "bare" else 3

    died = command.run(crash_at=f"{cell['point']}:{count}")
    assert died.killed, f"{cell['point']} was not reached: {died}"
    visible_after_the_kill(cell, read(table), old, clean)

    again = command.run()
    after = again.document
    assert (again.code, after["attempts"]) == (3 if table == "dirty" else 0, 2), again
    balanced(cell, again, len(arriving), len(old))
    expected = sorted([*clean, *(old if cell["write"] == "append" else [])], key=repr)
    assert sorted(read(table), key=repr) == expected
    if table == "dirty":
        kept = rows(target_url, "SELECT original, code, field FROM _tongqu_quarantine")
        assert len(kept) == DIRTY == len(set(kept)), kept
    if cell["sink"] == "postgres":
        left = rows(target_url, "SELECT relname FROM pg_class WHERE relname LIKE '\\_tongqu\\_stage%'")
        assert not left, "a staged generation was left behind"


def balanced(cell: Cell, again: Ended, total: int, old: int) -> None:
    """Counts are totals over both attempts and say where every row went."""
    stream = again.stream(cell["table"])
    written = sum(stream[name] for name in ("inserted", "updated", "unchanged", "merged"))
    bad = DIRTY if cell["table"] == "dirty" else 0
    assert (stream["read"], written, stream["quarantined"]) == (total, total - bad, bad), stream
    if cell["write"] == "upsert":
        assert (stream["inserted"], stream["updated"]) == (total - bad - old, old), stream
    elif cell["write"] != "history":
        assert stream["inserted"] == total - bad, stream


def visible_after_the_kill(cell: Cell, seen: list[Row], old: list[Row], new: list[Row]) -> None:
    """I4: a reader sees the old generation, a prefix of whole chunks, or everything; never half a swap."""
    if cell["write"] == "replace" or cell["table"] == "bare":
        finished = [*old, *new] if cell["write"] == "append" else new
        assert sorted(seen, key=repr) in (sorted(old, key=repr), sorted(finished, key=repr))
        return
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(old) | set(new)
    fresh = len(set(seen) - set(old))
    assert -fresh % 100 <= (DIRTY if cell["table"] == "dirty" else 0), f"{fresh} rows are no whole chunks"


def old_generation(cell: Cell, source_url: str, target_url: str) -> list[Row]:
    """Rows that a PostgreSQL target holds before; those of an upsert have the source's keys and other values."""
    if cell["sink"] != "postgres" or cell["write"] == "history":
        return []
    kept = "k, n" if cell["write"] == "upsert" else "'old ' || k, n"
    own = {"composite": "k, n", "dirty": "k, n", "keyed": "n", "bare": ""}[cell["table"]]
    limit = "name NOT LIKE 'much%'" if cell["table"] == "dirty" else "TRUE"
    if cell["table"] == "keyed" and cell["write"] == "append":
        kept = "'old ' || k, -n"
    found = rows(source_url, f"SELECT {kept}, 'old', 0.00 FROM {cell['table']} WHERE {limit} ORDER BY n, k LIMIT {OLD}")
    size = "varchar(5)" if cell["table"] == "dirty" else "text"
    with psycopg.connect(target_url) as connection:
        key = f", PRIMARY KEY ({own})" if own else ""
        connection.execute(
            f"CREATE TABLE {cell['table']} (k text, n bigint, name {size}, amount numeric(12,2){key})".encode()
        )
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {cell['table']} VALUES (%s, %s, %s, %s)".encode(), found)
    return found


# ---- what a target is, and how its rows are read without our own code


def postgres_target(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Callable[[str], list[Row]]]:
    url: str = request.getfixturevalue("pg_url")
    return url, lambda table: rows(url, f"SELECT k, n, name, amount FROM {table}")


def sqlite_target(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Callable[[str], list[Row]]]:
    path = tmp_path / "target.db"

    def read(table: str) -> list[Row]:
        with sqlite3.connect(path) as connection:
            try:
                found = connection.execute(f"SELECT k, n, name, amount FROM {table}").fetchall()
            except sqlite3.OperationalError:
                return []
        return [(*row, Decimal(str(amount)).quantize(Decimal("0.01"))) for *row, amount in found]

    return f"sqlite:{path}", read


def duckdb_target(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Callable[[str], list[Row]]]:
    import duckdb

    path = tmp_path / "target.duckdb"

    def read(table: str) -> list[Row]:
        with duckdb.connect(path) as connection:
            try:
                return connection.execute(f"SELECT k, n, name, amount FROM {table}").fetchall()
            except duckdb.CatalogException:
                return []

    return f"duckdb:{path}", read


def mysql_target(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Callable[[str], list[Row]]]:
    import pymysql

    url: str = request.getfixturevalue("mysql_url")
    at = urlsplit(url)

    def read(table: str) -> list[Row]:
        connection = pymysql.connect(
            host=at.hostname, port=at.port or 3306, user=at.username, password=unquote(at.password or ""),
            database=at.path[1:], charset="utf8mb4",
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            try:
                cursor.execute(f"SELECT k, n, name, amount FROM {table}")
            except pymysql.err.ProgrammingError:
                return []
            return list(cursor.fetchall())

    return url, read


def file_target(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Callable[[str], list[Row]]]:
    import pyarrow.parquet as pq

    folder = tmp_path / "files"
    folder.mkdir()

    def read(table: str) -> list[Row]:
        path = folder / f"{table}.parquet"
        if not path.exists():
            return []
        found = pq.ParquetFile(path).read(columns=["k", "n", "name", "amount"])
        return [tuple(row[name] for name in ("k", "n", "name", "amount")) for row in found.to_pylist()]

    return f"file:{folder}/", read


TARGETS = {
    "postgres": postgres_target,
    "sqlite": sqlite_target,
    "duckdb": duckdb_target,
    "mysql": mysql_target,
    "file": file_target,
}
