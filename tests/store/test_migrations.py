"""Schemas of the home's databases: every step is taken once, whoever comes at the same time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tongqu.core.errors import CheckpointError
from tongqu.store.migrations import migrate

STEPS = (
    "CREATE TABLE a (x TEXT DEFAULT ';');",
    """ALTER TABLE a ADD COLUMN y TEXT;
    CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET y = 'one; two'; UPDATE a SET x = 'z'; END;
    INSERT INTO a (x) VALUES ('first');""",
)


def test_processes_that_come_at_the_same_moment_take_each_step_once(tmp_path: Path) -> None:
    together, failed = threading.Barrier(8), list[Exception]()

    def come() -> None:
        with closing(sqlite3.connect(tmp_path / "x.db", timeout=30)) as database:
            together.wait()
            try:
                migrate(database, STEPS)
            except sqlite3.Error as error:
                failed.append(error)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        assert (failed, database.execute("SELECT x, y FROM a").fetchall()) == ([], [("z", "one; two")])


def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        with pytest.raises(sqlite3.Error):
            migrate(database, (*STEPS, "CREATE TABLE b (x); CREATE TABLE a (x);"))
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'b'").fetchall() == []


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        migrate(database, STEPS)
        with pytest.raises(CheckpointError, match="version 2, this Tongqu knows 1"):
            migrate(database, STEPS[:1])
