"""Rows that were there get the values of a column that came later: of a default, or of a column that was renamed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.engine.following.conftest import Live, System

from tongqu.engine.following.pieces import Pieces
from tongqu.testing.following import follow

CASES = ["postgres_system", "mariadb_system"]


def rows(system: System, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(system.target)) as db:
        return db.execute(f"SELECT {columns} FROM a ORDER BY id").fetchall()


@pytest.mark.parametrize("system", CASES, indirect=True)
def test_while_the_log_is_followed(system: System) -> None:
    """The table is read again in its place of the log, while it and others are written."""
    for id in range(2, 40):
        system.put("a", id, "old")
    with Live(system):
        system.arrives("a", 39)
        system.do("ALTER TABLE a ADD COLUMN kind VARCHAR(9) DEFAULT 'plain'")
        system.do("INSERT INTO a VALUES (100, 'new', 'own')")
        system.do("DELETE FROM a WHERE id = 5")
        system.arrives("a", 100)
        system.put("b", 50, "beside it")
        system.arrives("b", 50)
        system.until(lambda: all(kind == "plain" for id, kind in rows(system, "id, kind") if id != 100))
    system.do("UPDATE a SET v = 'last' WHERE id = 7")
    assert system.follow().status == "succeeded"
    found = rows(system, "id, v, kind")
    assert (found[0], found[-1], len(found)) == ((1, "first", "plain"), (100, "new", "own"), 39)
    assert (7, "last", "plain") in found
    assert 5 not in [row[0] for row in found]


@pytest.mark.parametrize("system", CASES, indirect=True)
def test_where_it_was_altered_between_two_runs(system: System) -> None:
    """One run is enough, whichever rows were changed meanwhile; a column that is null everywhere is not read again."""
    system.put("a", 2, "second")
    system.follow()
    system.do("ALTER TABLE a RENAME COLUMN v TO w")
    system.do("ALTER TABLE a ADD COLUMN n INT DEFAULT 7")
    system.do("UPDATE a SET w = 'changed' WHERE id = 2")
    assert system.follow().status == "succeeded"
    assert rows(system, "id, w, n") == [(1, "first", 7), (2, "changed", 7)]

    system.do("ALTER TABLE a ADD COLUMN empty INT")
    system.do("INSERT INTO a VALUES (3, 'third', 8, NULL)")
    report = system.follow()
    assert [(one.name, one.counts.read) for one in report.streams if one.name == "a"] == [("a", 1)]
    assert rows(system, "id, w, n, empty")[-1] == (3, "third", 8, None)


def test_a_log_that_cannot_says_how(tmp_path: Path) -> None:
    from tongqu.core.events import Event, Warned
    from tongqu.testing.log_file import LogFile

    log, told = LogFile(tmp_path / "log.db"), list[Event]()
    log.create("a", "id INTEGER PRIMARY KEY, v TEXT")
    log.write(("c", "a", {"id": 1, "v": "first"}))
    target = f"sqlite:{tmp_path}/target.db"
    follow(log.path, target)
    log.alter("a", "ALTER TABLE a ADD COLUMN n INTEGER DEFAULT 7")
    log.write(("c", "a", {"id": 2, "v": "second", "n": 1}))
    follow(log.path, target, emit=told.append)
    (warned,) = [event for event in told if isinstance(event, Warned)]
    assert (warned.code, warned.message.endswith("until --reload a")) == ("stream.unfilled", True)


def test_rows_that_were_read_again_are_not_overtaken_with_the_changes_around_them() -> None:
    """They are of now, wherever in the log they come: who has those changes already has not got them."""
    pieces = Pieces()
    for op in ("u", "r", "d"):
        pieces.add(pa.RecordBatch.from_pydict({"id": [1], "_op": [op]}))
    pieces.barrier()
    pieces.overtaken()
    assert [table.to_pylist() for table in pieces.tables() if table is not None] == [[{"id": 1, "_op": "r"}]]
