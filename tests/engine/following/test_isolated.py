"""A stream that fails leaves those that share its log alone: it keeps its place, and goes on from there later."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Batch, Mode
from tongqu.core.errors import ConnectError
from tongqu.core.events import Committed, StreamEnded, Warned
from tongqu.core.events import Event as Happened
from tongqu.engine.compile import Wanted
from tongqu.engine.report import Report
from tongqu.testing import log_file
from tongqu.testing.following import around, crash, follow, wanted
from tongqu.testing.log_file import LogFile

DEADLINE = 90.0
TABLES = ("orders", "parts", "stock")
FROZEN = wanted(tables=TABLES, changes="freeze")
ASKED = wanted(tables=TABLES)


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    made = LogFile(tmp_path / "source.db")
    for table in TABLES:
        made.create(table, "id INTEGER PRIMARY KEY, v TEXT")
        made.write(("c", table, {"id": 1, "v": "first"}))
    return made


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/target.db"


def rows(url: str, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:"))) as db:
        return db.execute(f"SELECT id, v FROM {table} ORDER BY 1").fetchall()


def statuses(report: Report) -> dict[str, str]:
    return {one["name"]: one["status"] for one in report.to_json()["streams"]}


def kept(log: LogFile) -> int:
    with closing(sqlite3.connect(log.path)) as db:
        return int(db.execute("SELECT n FROM _tongqu_test_slot").fetchone()[0])


def end(log: LogFile) -> int:
    with closing(sqlite3.connect(log.path)) as db:
        return int(db.execute("SELECT max(n) FROM _tongqu_test_log").fetchone()[0])


def altered(log: LogFile) -> None:
    """What a frozen `parts` does not take, and changes of all three after it."""
    log.alter("parts", "ALTER TABLE parts ADD COLUMN extra TEXT")
    for table in TABLES:
        more = {"extra": "e"} if table == "parts" else {}
        log.write(("c", table, {"id": 2, "v": "second", **more}))


class Live:
    """The three streams in a thread, until the end of the block."""

    def __init__(self, log: LogFile, target: str):
        self.told: list[Happened] = []
        self.ended = Event()
        self._read: dict[str, int] = {}
        self._stop, self._news, self._found = Event(), Event(), list[Report]()
        self._thread = Thread(target=self._run, args=(log.path, target))
        self._thread.start()

    def _run(self, path: Path, target: str) -> None:
        asked = {"until_caught_up": False, "surroundings": around(self._stop), "emit": self._hear}
        self._found.append(follow(path, target, FROZEN, **asked))  # type: ignore[arg-type]  # values of three types

    def _hear(self, event: Happened) -> None:
        self.told.append(event)
        if isinstance(event, Committed):
            self._read[event.stream] = event.counts.read
        if isinstance(event, StreamEnded):
            self.ended.set()
        self._news.set()

    def until(self, stream: str, read: int) -> None:
        """Wait until so many changes of a stream were committed and told."""
        while self._read.get(stream, 0) < read:
            assert self._news.wait(DEADLINE), self._read
            self._news.clear()

    @property
    def report(self) -> Report:
        return self._found[0]

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE)


def test_the_others_go_on_and_it_catches_up_later(log: LogFile, target: str) -> None:
    assert follow(log.path, target, FROZEN).status == "succeeded"
    with Live(log, target) as live:
        log.write(("c", "parts", {"id": 5, "v": "whole"}))
        live.until("parts", 1)
        before = end(log)
        altered(log)
        live.until("stock", 1)
        assert live.ended.wait(DEADLINE)
        log.write(("c", "stock", {"id": 3, "v": "live"}))
        live.until("stock", 2)
        assert kept(log) <= before < end(log)  # what the one that failed still needs
    assert statuses(live.report) == {"orders": "stopped", "parts": "failed", "stock": "stopped"}
    assert (live.report.exit_code, [one["path"] for one in live.report.problems]) == (1, ["parts"])
    assert [event.stream for event in live.told if isinstance(event, Warned)] == ["parts"]
    assert sorted(event.stream for event in live.told if isinstance(event, StreamEnded)) == sorted(TABLES)
    assert [rows(target, table)[-1][0] for table in TABLES] == [2, 5, 3]

    log.write(("u", "orders", {"id": 2, "v": "third"}))
    again = follow(log.path, target, ASKED)
    assert (again.status, again.run) == ("succeeded", live.report.run)
    assert (rows(target, "orders"), rows(target, "stock")[-1]) == ([(1, "first"), (2, "third")], (3, "live"))
    assert rows(target, "parts") == [(1, "first"), (2, "second"), (5, "whole")]
    numbers = {one["name"]: one["read"] for one in again.to_json()["streams"]}
    assert numbers == {"orders": 2, "parts": 2, "stock": 2}  # nothing came twice
    assert kept(log) == end(log)


def in_blocks(self: Any, db: sqlite3.Connection, found: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Batch, int]]:
    """The batches of a log that is read in blocks: all changes of a table in one, which can be cut at its end only."""
    del db
    by_table = sorted(found, key=lambda row: str(row[2]))
    runs = [list(run) for _, run in groupby(by_table, key=lambda row: (row[2], row[3] == "schema"))]
    for place, run in enumerate(runs):
        name, end = run[0][2], found[-1][0]
        position = {"n": end} if place + 1 == len(runs) else None
        if run[0][3] == "schema":
            self._known[name] = self._altered(name, json.loads(run[-1][5]))
            yield Batch(name, pa.RecordBatch.from_pylist([], schema=self._known[name]), position, kind="schema"), end
        else:
            yield Batch(name, self._rows(name, run), position), end


@pytest.mark.parametrize("faults", [0, 2])
def test_changes_that_are_kept_one_by_one_come_once_after_lost_connections(
    log: LogFile, target: str, faults: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block holds changes from before and behind the place that the stream ahead has come to."""
    frozen, evolving = (wanted("append", "ignore", one, TABLES) for one in ("freeze", "evolve"))
    follow(log.path, target, frozen)
    altered(log)
    assert statuses(follow(log.path, target, frozen))["parts"] == "failed"
    log.write(("c", "orders", {"id": 3, "v": "third"}))
    monkeypatch.setattr(log_file._FileLog, "_batches", in_blocks)
    gone = [(0, ConnectError("gone"))] * faults
    report = follow(log.path, target, evolving, faults=gone, surroundings=around(wait=lambda seconds: False))
    assert report.status == "succeeded", report.problems
    assert rows(target, "orders") == [(1, "first"), (2, "second"), (3, "third")]
    assert rows(target, "parts") == rows(target, "stock") == [(1, "first"), (2, "second")]


def test_a_stream_that_cannot_be_opened_leaves_the_others_alone(log: LogFile, target: str) -> None:
    follow(log.path, target, FROZEN)
    before = kept(log)
    altered(log)
    follow(log.path, target, FROZEN)
    log.write(("c", "stock", {"id": 3, "v": "third"}))
    failed = follow(log.path, target, FROZEN)  # its table has another schema from the beginning now
    assert statuses(failed) == {"orders": "succeeded", "parts": "failed", "stock": "succeeded"}
    assert rows(target, "stock")[-1] == (3, "third")
    assert kept(log) == before
    assert follow(log.path, target, ASKED).status == "succeeded"
    assert rows(target, "parts")[-1] == (2, "second")


def test_a_first_load_that_fails_is_done_later(log: LogFile, target: str) -> None:
    with closing(sqlite3.connect(target.removeprefix("sqlite:"))) as db:
        db.execute("CREATE TABLE parts (id INTEGER PRIMARY KEY, v TEXT, must TEXT NOT NULL)")
    failed = follow(log.path, target, ASKED)
    assert statuses(failed) == {"orders": "succeeded", "parts": "failed", "stock": "succeeded"}
    log.write(("c", "parts", {"id": 2, "v": "second"}), ("c", "orders", {"id": 2, "v": "second"}))
    with closing(sqlite3.connect(target.removeprefix("sqlite:"))) as db:
        db.execute("DROP TABLE parts")
    assert follow(log.path, target, ASKED).status == "succeeded"
    assert [rows(target, table) for table in ("orders", "parts")] == [[(1, "first"), (2, "second")]] * 2


def test_a_position_that_one_stream_has_lost_is_its_own_loss(log: LogFile, target: str) -> None:
    follow(log.path, target, FROZEN)
    altered(log)
    follow(log.path, target, FROZEN)
    with closing(sqlite3.connect(log.path)) as db, db:
        db.execute("UPDATE _tongqu_test_slot SET n = ?", (end(log),))  # as a server that keeps only so much
    failed = follow(log.path, target, ASKED)
    assert statuses(failed) == {"orders": "succeeded", "parts": "failed", "stock": "succeeded"}
    assert failed.problems[0]["code"] == "connector.lost_position"
    log.write(("c", "orders", {"id": 5, "v": "fifth"}))
    follow(log.path, target, ASKED)
    assert rows(target, "orders")[-1] == (5, "fifth")


@pytest.mark.parametrize("point", ["after_swap:2", "after_finish:2"])
def test_a_process_that_dies_while_streams_end_goes_on(log: LogFile, target: str, point: str) -> None:
    follow(log.path, target)
    for table in TABLES:
        log.write(("c", table, {"id": 2, "v": "second"}))
    killed = crash(log.path, target, point)
    assert killed.returncode == -9, killed.stderr
    log.write(("u", "orders", {"id": 2, "v": "third"}))
    report = follow(log.path, target)
    assert report.status == "succeeded", report.problems
    assert [rows(target, table)[-1] for table in TABLES] == [(2, "third"), (2, "second"), (2, "second")]


def test_topics_of_their_own_do_not_stop_each_other(log: LogFile, target: str) -> None:
    asked = Wanted(mode=Mode.STREAM, tables=TABLES)
    refused: Sequence[str] = ("parts",)
    with closing(sqlite3.connect(target.removeprefix("sqlite:"))) as db:
        db.execute("CREATE TABLE parts (id INTEGER PRIMARY KEY, v TEXT, must TEXT NOT NULL)")
    failed = follow(log.path, target, asked, changes=False)
    assert {name for name, status in statuses(failed).items() if status == "failed"} == set(refused)
    assert rows(target, "orders") == rows(target, "stock") == [(1, "first")]
