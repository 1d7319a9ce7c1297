"""Rows that leave a filter over changes are deleted exactly once, in every database, killed at any moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside, make
from tongqu.testing.drills import Command, ended

PROJECT = """\
project: workshop
connections:
  mes: {type: sqlite, path: mes.db}
  lake: LAKE
  copy: {type: sqlite, path: copy.db}
pipelines:
  open_orders:
    source: {connection: mes, dataset: orders, mode: incremental, cursor: at}
    steps:
      - {rename: {no: id}}
      - {filter: "state <> 'closed'"}
    sink: {connection: lake, dataset: open_orders, write: WRITE}
    limit: {chunk_rows: 40}
  read_back:
    source: {connection: lake, dataset: open_orders}
    steps:
      - {derive: {id: "id::bigint", state: "state::varchar", at: "at::bigint", now: "CURRENT"}}
      - {filter: "now"}
      - {select: [id, state, at]}
    sink: {connection: copy, dataset: found, write: replace}
"""
LAKES = {
    "sqlite": "{type: sqlite, path: lake.db}",
    "duckdb": "{type: duckdb, path: lake.duckdb}",
    "postgres": '{type: postgres, url: "${env:LAKE}"}',
    "mysql": '{type: mysql, url: "${env:LAKE}"}',
}
URLS = {"postgres": "pg_url", "mysql": "mysql_url"}
CELLS = [
    ("sqlite", "upsert", "before_commit:2"),
    ("sqlite", "history", "in_commit:2"),
    ("duckdb", "upsert", "after_commit:1"),
    ("duckdb", "history", "before_commit:2"),
    ("postgres", "upsert", "in_commit:2"),
    ("postgres", "history", "after_commit:2"),
    ("mysql", "upsert", "before_commit:3"),
    ("mysql", "history", "after_commit:1"),
]


def execute(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "mes.db")) as db, db:
        db.executescript(sql)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


@pytest.mark.parametrize(("lake", "write", "point"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_killed_while_rows_leave(
    lake: str, write: str, point: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = {"LAKE": request.getfixturevalue(URLS[lake])} if lake in URLS else {}
    text = PROJECT.replace("lake: LAKE", f"lake: {LAKES[lake]}").replace("WRITE", write)
    text = text.replace("CURRENT", "_current::boolean" if write == "history" else "true")
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    orders = [(n, "open" if n % 10 else "closed", n) for n in range(1, 201)]
    make(tmp_path / "mes.db", "orders", "no INTEGER PRIMARY KEY, state TEXT, at INTEGER NOT NULL", orders)
    first = inside(tmp_path, "run", "open_orders", "--json", **url)
    assert first.code == 0, first.out
    (stream,) = first.document["streams"]
    assert (first.code, stream["inserted"], stream["filtered"], stream["deleted"]) == (0, 180, 20, 0), first.err

    execute(tmp_path, "UPDATE orders SET state = 'closed', at = at + 1000 WHERE no % 3 = 0")
    execute(tmp_path, "UPDATE orders SET state = 'again', at = at + 1000 WHERE no % 10 = 0 AND no % 3 <> 0")
    command = Command(tmp_path / "home", ["run", "open_orders", "--project", str(tmp_path)])
    with command.start(TONGQU_CRASH_AT=point, **url) as process:
        killed = ended(process)
    assert killed.killed, killed
    done = inside(tmp_path, "run", "open_orders", "--json", **url)

    (stream,) = done.document["streams"]
    assert (done.code, done.document["attempts"]) == (0, 2), done.err
    assert (stream["deleted"], stream["inserted"]) == (60, 14)
    assert stream["read"] == stream["written"] + stream["filtered"]
    assert inside(tmp_path, "run", "read_back", "--json", **url).code == 0
    expected = rows(tmp_path / "mes.db", "SELECT no, state, at FROM orders WHERE state <> 'closed' ORDER BY no")
    assert rows(tmp_path / "copy.db", "SELECT id, state, at FROM found ORDER BY id") == expected
