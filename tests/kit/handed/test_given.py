"""Each message is taken from its queue once, however its rows are written."""

from __future__ import annotations

import sqlite3
from collections import deque
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tongqu.connectors.stomp.settings import StompSettings
from tongqu.core.data import Mode, WriteMode
from tongqu.core.events import silent
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits
from tongqu.engine.run import run
from tongqu.kit.handed.line import Letter, Line
from tongqu.kit.handed.log import HandedLog
from tongqu.kit.handed.source import HandedSource
from tongqu.kit.handed.table import Queue
from tongqu.testing.following import around, opened

SAID = {"queue": "/queue/orders", "fields": {"id": "int64"}, "key": ["id"]}
SETTINGS = StompSettings.parse({"host": "none", "quiet_seconds": 0.2, "queues": {"orders": SAID}})


class Broker:
    """A queue in memory: what a connection was given and did not settle goes back when it ends."""

    def __init__(self, count: int):
        self.waiting = deque(f'{{"id": {number}}}'.encode() for number in range(count))
        self.given = 0

    def connect(self) -> Line:
        return Connection(self)


class Connection(Line):
    where, product, secured = "memory", "none", ""

    def __init__(self, broker: Broker):
        self._broker, self._name = broker, ""
        self._out: dict[int, bytes] = {}

    def consume(self, name: str, address: str, most: int) -> None:
        self._name = name

    def next(self, seconds: float) -> tuple[str, Letter] | None:
        if not self._broker.waiting:
            Event().wait(seconds)
            return None
        self._broker.given += 1
        body = self._out[self._broker.given] = self._broker.waiting.popleft()
        return self._name, Letter(body, tag=self._broker.given)

    def settle(self, tag: Any, taken: bool) -> None:
        del self._out[tag]

    def send(self, address: str, letter: Letter, told: Any) -> None:
        raise AssertionError

    def flush(self) -> None:
        """Nothing is noted."""

    def answer(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        self._broker.waiting.extendleft(reversed(self._out.values()))
        self._out = {}


@pytest.mark.parametrize("write", ["append", "upsert"])
def test_a_message_is_given_once(tmp_path: Path, write: str) -> None:
    broker, sink = Broker(5), opened(f"sqlite:{tmp_path}/t.db")
    source = HandedSource(SETTINGS, broker.connect)
    asked = Wanted(mode=Mode.STREAM, write=WriteMode(write))
    streams = plan_sync(source, sink, source_id="bus", sink_id="lake", wanted=asked)
    with closing(source), closing(sink):
        assert run(Job(streams, until_caught_up=True, limits=Limits()), silent, around()).status == "succeeded"
    with closing(sqlite3.connect(tmp_path / "t.db")) as db:
        assert db.execute("SELECT id FROM orders ORDER BY id").fetchall() == [(number,) for number in range(5)]
    assert (broker.given, len(broker.waiting)) == (5, 0)


def test_a_time_that_no_column_holds_is_left_out() -> None:
    """Writers set it as they like: a message is read all the same."""
    said = SETTINGS.queues["orders"].model_copy(update={"metadata": ("_timestamp",)})
    rows = Queue.of("orders", said, None).rows([Letter(b'{"id": 1}', at=10**20), Letter(b'{"id": 2}', at=0)]).rows
    assert [at is None for at in rows.column("_timestamp").to_pylist()] == [True, False]


def test_places_have_an_order() -> None:
    with closing(HandedLog(SETTINGS, Broker(0).connect, "lab", [])) as log:
        own = log._session

        def place(of: str, at: int, **more: bool) -> dict[str, Any]:
            return {"queues": {"orders": {"of": of, "at": at, **more}}}

        assert log.reached(place(own, 3), place(own, 3))
        assert not log.reached(place(own, 3), place(own, 4))
        assert log.reached(place(own, 0), place("earlier", 9))
        assert not log.reached(place("earlier", 9), place(own, 1))
        assert not log.reached(place(own, 9), place(own, 0, dry=True))
        assert log.reached(place(own, 9, dry=True), place(own, 3, dry=True))
