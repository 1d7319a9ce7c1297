"""Commits that do not wait for the disk: what a crash of the sink's server undoes comes again from the log."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psycopg
import pyarrow as pa
import pytest

from tongqu.core.data import Dataset, Split, Write, WriteMode
from tongqu.core.errors import FencedError
from tongqu.engine.report import Report
from tongqu.testing.following import around, follow, opened, wanted
from tongqu.testing.log_file import LogFile
from tongqu.testing.services import Postgres, start_postgres

DEADLINE = 90.0


@pytest.fixture(scope="module")
def slow_to_the_disk() -> Iterator[Postgres]:
    """A server whose relaxed commits wait long for the disk, so that a crash loses some."""
    with start_postgres({"wal_writer_delay": "10s"}) as server:
        yield server


def count(url: str) -> int:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            found = connection.execute("SELECT count(*) FROM orders").fetchone()
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return -1
    return int(found[0]) if found else -1


def stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT position FROM _tongqu_checkpoint WHERE position IS NOT NULL").fetchone()
    assert found is not None
    (number,) = json.loads(found[0]).values()
    return int(number)


def test_the_place_in_the_sink_that_a_stream_took_survives_a_crash_of_its_server(slow_to_the_disk: Postgres) -> None:
    """Else the next process would be given the same fence, and both could write."""
    url, rows = slow_to_the_disk.database(), pa.schema([pa.field("id", pa.int64(), nullable=False)])
    write = Write(
        stream="t", dataset=Dataset("t", rows, ("id",)), mode=WriteMode.UPSERT, sync="s", run="r", key=("id",),
        incremental=True, follows=True,
    )  # fmt: skip
    split = Split("log", "t", {"after": {"at": 0}, "load": False})
    with closing(opened(url)) as first:
        first.start("s", "r", False)
        before = first.open(write).fence
        first.begin(write, [split])
    with closing(opened(url)) as second, closing(opened(url)) as third:
        second.start("s", "r", False)
        fence = second.open(write).fence
        slow_to_the_disk.kill9()
        slow_to_the_disk.restart()
        third.start("s", "r", False)
        assert before < fence < third.open(write).fence
        with pytest.raises(FencedError):
            second.reopen(write)


def test_only_what_survives_the_sinks_server_is_acknowledged(slow_to_the_disk: Postgres, tmp_path: Path) -> None:
    server, url = slow_to_the_disk, slow_to_the_disk.database()
    log = LogFile(tmp_path / "source.db")
    log.create("orders", "id INTEGER PRIMARY KEY, v TEXT")
    surroundings, found = around(), []

    def run() -> None:
        asked = wanted(tables=["orders"])
        found.append(follow(log.path, url, asked, until_caught_up=False, surroundings=surroundings))

    thread = Thread(target=run)
    thread.start()
    id, name = 0, ""
    try:
        for wave in (1, 2, 3):
            until = time.monotonic() + DEADLINE
            arrived = max(count(url), 0)
            while count(url) < arrived + 20:  # while it follows, not when all has come to rest
                assert thread.is_alive()
                assert time.monotonic() < until
                id += 1
                log.write(("c", "orders", {"id": id, "v": f"wave {wave}"}))
            server.kill9()
            name = name or _name(log)
            kept = log.kept(name)
            server.restart()
            assert kept is None or stored(url) >= kept
        id += 1
        log.write(("c", "orders", {"id": id, "v": "the last"}))
        until = time.monotonic() + DEADLINE
        while count(url) != id:
            assert thread.is_alive()
            assert time.monotonic() < until
    finally:
        surroundings.stop.set()
        thread.join(DEADLINE)
    report: Report = found[0]
    assert report.to_json().get("problems") is None
    assert stored(url) == log.kept(name)  # at the end all of it is durable, and acknowledged


def _name(log: LogFile) -> str:
    with closing(sqlite3.connect(log.path)) as db:
        return str(db.execute("SELECT name FROM _tongqu_test_slot").fetchone()[0])
