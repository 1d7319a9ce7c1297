"""What is true of a log that is written as it comes is true of one that a writer has fallen behind of."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tongqu.core.events import Committed
from tongqu.core.events import Event as Happened
from tongqu.engine.following.queue import Item, Queue
from tongqu.engine.report import Report
from tongqu.testing.following import around, follow, wanted
from tongqu.testing.log_file import LogFile

DEADLINE = 60.0


@pytest.mark.parametrize("write", ["append", "history", "upsert"])
def test_a_table_that_was_altered_between_two_transactions_is_followed(
    tmp_path: Path, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "source.db")
    log.create("orders", "id INTEGER PRIMARY KEY, v TEXT")
    log.write(("c", "orders", {"id": 1, "v": "v1"}))
    asked = wanted(write=write, deletes="ignore", tables=["orders"])
    target = f"sqlite:{tmp_path}/target.db"
    assert follow(log.path, target, asked).status == "succeeded"

    reading, arrived, stop, done = Event(), Event(), Event(), Event()
    take, put = Queue.take, Queue.put

    def late(queue: Queue, seconds: float) -> Item | None:
        arrived.wait(DEADLINE)
        return take(queue, seconds)

    def noted(queue: Queue, item: Item) -> bool:
        given = put(queue, item)
        reading.set()
        if item.batch is not None and 3 in item.batch.rows.to_pydict().get("id", []):
            arrived.set()
        return given

    def hear(event: Happened) -> None:
        if isinstance(event, Committed) and event.counts.read >= 3:
            done.set()

    monkeypatch.setattr(Queue, "take", late)
    monkeypatch.setattr(Queue, "put", noted)
    found: list[Report] = []

    def run() -> None:
        found.append(follow(log.path, target, asked, until_caught_up=False, surroundings=around(stop), emit=hear))
        done.set()

    thread = Thread(target=run)
    thread.start()
    log.write(("c", "orders", {"id": 10, "v": "first"}))
    assert reading.wait(DEADLINE)
    log.write(("c", "orders", {"id": 2, "v": "old"}))
    log.alter("orders", "ALTER TABLE orders ADD COLUMN extra TEXT")
    log.write(("c", "orders", {"id": 3, "v": "new", "extra": "e"}))
    assert done.wait(DEADLINE)
    stop.set()
    arrived.set()
    thread.join(DEADLINE)
    assert found[0].problems == []
    with closing(sqlite3.connect(tmp_path / "target.db")) as db:
        rows: list[tuple[Any, ...]] = db.execute("SELECT id, v, extra FROM orders ORDER BY id").fetchall()
    assert rows == [(1, "v1", None), (2, "old", None), (3, "new", "e"), (10, "first", None)]
