"""Who may open the file, and what is said to the others."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.sqlite import connector
from tongqu.connectors.sqlite.settings import SqliteSettings
from tongqu.core.connector import Sink
from tongqu.core.data import WriteMode
from tongqu.core.errors import BusyError, InvalidPlanError, NotFoundError, SchemaError
from tongqu.testing.pour import pour
from tongqu.testing.small_table import rows, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.db"


@pytest.fixture
def sink(path: Path) -> Iterator[Sink]:
    opened = new_sink(path)
    yield opened
    opened.close()


def new_sink(path: Path, **settings: Any) -> Sink:
    """A sink on the file."""
    assert connector.sink is not None
    return connector.sink(SqliteSettings(path=str(path), **settings))


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


def test_a_writer_of_another_process_is_named(path: Path) -> None:
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('CREATE TABLE IF NOT EXISTS x (y)'); db.execute('BEGIN IMMEDIATE'); "
        "db.execute('INSERT INTO x VALUES (1)'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        sink = new_sink(path, busy_seconds=0.2)
        with pytest.raises(BusyError, match=f"process {other.pid}; gave up after 0.2 s"):
            sink.start("sync-1", "run-1", False)
        other.stdin.close()
        other.wait(10)
        assert sink.start("sync-1", "run-1", False).attempt == 1
        sink.close()


def test_what_cannot_be_written_says_so(sink: Sink, path: Path, tmp_path: Path) -> None:
    query(path, "CREATE TABLE t (id INT, v TEXT, other TEXT NOT NULL)")
    with pytest.raises(SchemaError, match="needs values for other"):
        pour(sink, write(WriteMode.APPEND), [])
    query(path, "ALTER TABLE t DROP COLUMN other")
    with pytest.raises(SchemaError, match="no unique key on id"):
        pour(sink, write(WriteMode.UPSERT), [rows((1, "a"))])
    with pytest.raises(InvalidPlanError):
        pour(sink, write(WriteMode.UPSERT, key=()), [])
    with pytest.raises(NotFoundError, match="no folder"):
        new_sink(tmp_path / "gone" / "x.db").start("s", "r", False)


def test_check_names_its_stages(sink: Sink, path: Path) -> None:
    assert list(sink.check()) == ["folder", "privilege"]
    assert not path.exists()
    query(path, "CREATE TABLE x (y)")
    assert list(sink.check()) == ["folder", "file", "privilege"]
    assert query(path, "SELECT name FROM sqlite_master") == [("x",)]


def test_asking_for_quarantined_rows_asks_nothing_of_a_file_that_is_not_there(sink: Sink, path: Path) -> None:
    assert sink.quarantined() == []
    assert not path.exists()
