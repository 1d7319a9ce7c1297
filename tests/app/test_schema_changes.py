"""Schema changes as a person meets them: an option of `sync`, and two words in the data dictionary."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tongqu.testing.command_line import tongqu

PROJECT = """
project: plant
connections:
  qms: {type: sqlite, path: s.db}
  lake: {type: duckdb, path: t.duckdb}
datasets:
  lots:
    schema_changes: discard_row
    fields: {}
  parts:
    fields:
      name: {renamed_from: label}
pipelines:
  lots: {source: {connection: qms, dataset: lots}, sink: {connection: lake}}
  parts: {source: {connection: qms, dataset: parts}, sink: {connection: lake}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source with two tables of two rows, both synced once."""
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    alter(tmp_path, "CREATE TABLE lots (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO lots VALUES (1, 'a'), (2, 'b')")
    alter(tmp_path, "CREATE TABLE parts (id INTEGER PRIMARY KEY, label TEXT); INSERT INTO parts VALUES (1, 'x')")
    return tmp_path


def alter(folder: Path, sql: str) -> None:
    """Run statements in the source."""
    with closing(sqlite3.connect(folder / "s.db")) as db:
        db.executescript(sql)


def target(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the target."""
    with closing(duckdb.connect(str(folder / "t.duckdb"), read_only=True)) as db:
        return db.execute(query).fetchall()


def sync(folder: Path, *more: str) -> Any:
    """One sync of `lots`."""
    return tongqu(folder, "sync", "sqlite:s.db", "duckdb:t.duckdb", "--table", "lots", "--json", *more)


def test_sync_takes_a_mode(folder: Path) -> None:
    assert sync(folder).code == 0
    alter(folder, "ALTER TABLE lots ADD COLUMN n INTEGER; UPDATE lots SET n = 7 WHERE id = 1")
    frozen = sync(folder, "--schema-changes", "freeze")
    assert frozen.code == 1
    assert frozen.document["problems"][0]["code"] == "data.schema"
    left_out = sync(folder, "--schema-changes", "discard_column").document["streams"][0]
    assert (left_out["schema"][0]["outcome"], left_out["discarded"]) == ("left out", 1)
    evolved = sync(folder).document["streams"][0]
    assert evolved["schema"] == [{"column": "n", "change": "new", "outcome": "added", "after": "INTEGER"}]
    assert target(folder, "SELECT id, v, n FROM lots ORDER BY id") == [(1, "a", 7), (2, "b", None)]
    assert "schema" not in sync(folder).document["streams"][0]


def test_an_unknown_mode_is_refused(folder: Path) -> None:
    refused = sync(folder, "--schema-changes", "evolv")
    assert refused.code == 2
    assert refused.document["problems"][0]["path"] == "--schema-changes"


def test_the_dictionary_says_what_to_do(folder: Path) -> None:
    assert tongqu(folder, "run", "lots", "parts", "--json").code == 0
    alter(folder, "ALTER TABLE lots ADD COLUMN n INTEGER; UPDATE lots SET n = 7 WHERE id = 1")
    alter(folder, "ALTER TABLE parts RENAME COLUMN label TO name")
    told = tongqu(folder, "run", "lots", "parts", "--json")
    assert told.code == 3
    lots, parts = told.document["streams"]
    assert (lots["quarantined"], lots["schema"][0]["outcome"]) == (1, "quarantined")
    assert parts["schema"] == [
        {"column": "name", "change": "renamed", "outcome": "renamed", "before": "label", "after": "name"}
    ]
    assert target(folder, "SELECT * FROM lots") == [(2, "b")]
    assert target(folder, "SELECT name FROM parts") == [("x",)]


def test_people_are_told(folder: Path) -> None:
    sync(folder)
    alter(folder, "ALTER TABLE lots ADD COLUMN n INTEGER")
    told = tongqu(folder, "sync", "sqlite:s.db", "duckdb:t.duckdb", "--table", "lots", "--lang", "en")
    assert "schema of lots: column n is new (INTEGER): the target gets it" in told.out + told.err
