"""The same pipeline file, run as a batch and followed as a stream: the rows are the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside

PROJECT = """
project: plant
connections:
  erp: {type: sqlite, path: erp.db}
  changes: {type: queue, path: changes.queue}
  lake: {type: sqlite, path: lake.db}
pipelines:
  by_line:
    source: {connection: changes, dataset: orders, mode: stream}
    steps:
      - filter: "qty > 0"
      - aggregate: {by: [line], n: "count(*)", total: "sum(qty)", most: "max(qty)"}
    sink: {connection: lake, dataset: by_line}
  in_all:
    source: {connection: changes, dataset: orders, mode: stream}
    steps: [{aggregate: {total: "sum(qty)"}}]
    sink: {connection: lake, dataset: in_all}
  newest:
    source: {connection: changes, dataset: orders, mode: stream}
    steps: [{sort: [qty]}]
    sink: {connection: lake, dataset: newest}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    return tmp_path


def given(folder: Path, *rows: tuple[int, str, int]) -> None:
    """Orders that come into the queue."""
    with closing(sqlite3.connect(folder / "erp.db")) as db, db:
        db.execute("DROP TABLE IF EXISTS orders")
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, line TEXT, qty INTEGER)")
        db.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    done = inside(folder, "sync", "erp", "changes", "--table", "orders", "--write", "append", "--json")
    assert done.code == 0, done


def result(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "lake.db")) as db:
        return db.execute("SELECT line, n, CAST(total AS INTEGER), most FROM by_line ORDER BY line").fetchall()


def test_one_file_as_stream_and_as_batch(folder: Path) -> None:
    given(folder, (1, "a", 5), (2, "b", 7), (3, "a", 0))
    first = inside(folder, "run", "by_line", "--until-caught-up", "--json")
    assert (first.code, first.document["streams"][0]["mode"]) == (0, "stream"), first
    assert result(folder) == [("a", 1, 5, 5), ("b", 1, 7, 7)]
    given(folder, (4, "a", 9), (5, "c", 1))
    assert inside(folder, "run", "by_line", "--until-caught-up", "--json").code == 0
    followed = result(folder)
    assert followed == [("a", 2, 14, 9), ("b", 1, 7, 7), ("c", 1, 1, 1)]
    whole = inside(folder, "run", "by_line", "--full", "--json")
    assert whole.code == 0, whole
    assert result(folder) == followed


@pytest.mark.parametrize(("pipeline", "told"), [("in_all", "without `by`"), ("newest", "sort needs all rows")])
def test_what_cannot_be_followed_says_why(folder: Path, pipeline: str, told: str) -> None:
    given(folder, (1, "a", 5))
    done = inside(folder, "run", pipeline, "--until-caught-up", "--json")
    assert done.code == 2 or pipeline == "in_all", done
    (problem,) = done.document["problems"]
    assert told in problem["message"] and problem["hint"]
