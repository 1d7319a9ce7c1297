"""Who may open the file, and what is said to the others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.duckdb import connector
from tongqu.connectors.duckdb.db import open_sink
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.core.connector import Sink
from tongqu.core.data import Counts, Split, WriteMode
from tongqu.core.errors import (
    BusyError,
    InvalidPlanError,
    NotFoundError,
    SchemaError,
)
from tongqu.testing.pour import pour, put, table
from tongqu.testing.small_table import rows, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.duckdb"


@pytest.fixture
def sink(path: Path) -> Iterator[Sink]:
    opened = new_sink(path)
    yield opened
    opened.close()


def new_sink(path: Path, **settings: Any) -> Sink:
    """A sink on the file."""
    assert connector.sink is not None
    return connector.sink(DuckdbSettings(path=str(path), **settings))


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """All rows of a query, over this process's one database of the file."""
    db = open_sink(DuckdbSettings(path=str(path)))
    try:
        return db.rows(sql)
    finally:
        db.close()


def read_back(path: Path, name: str = "t") -> pa.Table:
    """The table through the connector's own source."""
    assert connector.source is not None
    source = connector.source(DuckdbSettings(path=str(path)))
    try:
        return table(source, name)
    finally:
        source.close()


@pytest.mark.parametrize("end", ["source", "sink"])
def test_another_owner_is_named_at_once(path: Path, end: str) -> None:
    code = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"is open in process {other.pid}"):
            if end == "sink":
                new_sink(path).start("sync-1", "run-1", False)
            else:
                read_back(path)
        other.stdin.close()
        other.wait(10)
        sink = new_sink(path)
        assert sink.start("sync-1", "run-1", False).attempt == 1
        sink.close()


def test_a_source_reads_while_a_sink_of_the_same_process_writes(sink: Sink, path: Path) -> None:
    pour(sink, write(WriteMode.UPSERT), [rows((1, "a"))])
    asked = write(WriteMode.UPSERT, run="run-2")
    sink.start(asked.sync, asked.run, False)
    sink.open(asked)
    split = Split("0", "t")
    sink.begin(asked, [split])
    session = sink.session(asked, split)
    put(session, rows((2, "b")), Counts())
    assert read_back(path).num_rows == 1
    session.close()


def test_what_cannot_be_written_says_so(sink: Sink, path: Path, tmp_path: Path) -> None:
    query(path, "CREATE TABLE t (id INT, v TEXT, other TEXT NOT NULL)")
    with pytest.raises(SchemaError, match="needs values for other"):
        pour(sink, write(WriteMode.APPEND), [])
    with pytest.raises(InvalidPlanError):
        pour(sink, write(WriteMode.UPSERT, key=()), [])
    with pytest.raises(NotFoundError, match="no folder"):
        new_sink(tmp_path / "gone" / "x.db").start("s", "r", False)


def test_check_names_its_stages(sink: Sink, path: Path) -> None:
    assert list(sink.check()) == ["folder", "privilege"]
    assert not path.exists()
    query(path, "CREATE TABLE x (y INT)")
    assert list(sink.check()) == ["folder", "file", "privilege"]
    assert query(path, "SELECT table_name FROM duckdb_tables()") == [("x",)]


def test_asking_for_quarantined_rows_asks_nothing_of_a_file_that_is_not_there(sink: Sink, path: Path) -> None:
    assert sink.quarantined() == []
    assert not path.exists()
