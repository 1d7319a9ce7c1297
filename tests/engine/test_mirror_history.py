"""What rows look up as of their own time: the history of a followed log, for as long as it is wanted."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Dataset
from tongqu.core.errors import CancelledError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.engine.mirror import Mirror
from tongqu.engine.sides import Side
from tongqu.meaning.versions import EVER
from tongqu.testing.log_file import LogFile, LogSource

INSTANT = pa.timestamp("us", "UTC")
SALES = Dataset("sales", pa.schema({"item": pa.string()}).append(pa.field("at", INSTANT)))
DEADLINE = 60.0


def now() -> int:
    """The clock of the log and of those who follow it are the same here."""
    return time.time_ns() // 1000


class Shop:
    """A price list that is followed by its log, and rows that are looked up in it."""

    def __init__(self, folder: Path, **at: Any):
        self.file = LogFile(folder / "erp.db")
        with closing(sqlite3.connect(folder / "erp.db")) as db, db:
            db.execute("CREATE TABLE prices (code INTEGER PRIMARY KEY, item TEXT, price INTEGER)")
            db.execute("INSERT INTO prices VALUES (1, 'a', 10)")
        raw = {"in": "prices", "on": {"item": "item"}, "fields": ["price"], "wait": "5m",
               "at": {"on": "at", "retention": "1s", "lateness": "0s", **at}}  # fmt: skip
        self.step = parse_step({"from": "sales", "lookup": raw}, "steps[0]")
        self.stop, self.folder, self.stack = Event(), folder, ExitStack()
        self.open()

    def open(self) -> None:
        """As a process begins."""
        source = LogSource(self.folder / "erp.db")
        (prices,) = source.datasets(["prices"])
        history = self.step.operator.side_history
        self.mirror = Mirror(source, prices, (self.folder / "side.duckdb", "side"), self.stop, history=history)
        side = Side(prices, lambda: iter(()), stop=self.stop, mirror=self.mirror)
        self.chain = Chain(SALES, [self.step], sides={"prices": side})
        for one in (source, self.mirror, self.chain):
            self.stack.callback(one.close)

    def close(self) -> None:
        self.stack.close()

    def look(self, *instants: int, item: str = "a") -> tuple[list[int | None], list[str]]:
        """The prices at these instants, and why there are none."""
        times = pa.array(instants, pa.int64()).cast(INSTANT)
        with closing(self.chain.fork(live=True)) as live:
            done = live.run(pa.table({"item": [item] * len(instants), "at": times}, schema=SALES.schema))
        return done.rows["price"].to_pylist(), [bad.code for bad in done.bad]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, initial="always")
    yield made
    made.close()


def test_each_instant_finds_what_held_then_also_for_another_process(shop: Shop) -> None:
    before = now()
    assert shop.look(before) == ([10], [])
    shop.file.write(("u", "prices", {"code": 1, "item": "a", "price": 11}))
    eleven = now()
    shop.file.write(("c", "prices", {"code": 2, "item": "b", "price": 20}))
    shop.file.write(("u", "prices", {"code": 1, "item": "b", "price": 11}), ("d", "prices", {"code": 2}))
    moved = now()
    asked = (moved, eleven, before, EVER + 1)
    assert shop.look(*asked) == ([None, 11, 10, 10], [])
    assert shop.look(moved, eleven, item="b") == ([11, None], [])
    shop.close()
    shop.open()
    assert shop.look(*asked) == ([None, 11, 10, 10], [])


def test_rows_wait_for_the_log_to_come_to_their_instants(shop: Shop) -> None:
    soon, found = now() + 1_500_000, Event()
    answers: list[Any] = []

    def ask() -> None:
        answers.append(shop.look(soon))
        answers.append(now())
        found.set()

    asking = Thread(target=ask)
    asking.start()
    began = now()
    shop.file.write(("u", "prices", {"code": 1, "item": "a", "price": 12}))
    committed = now()
    asking.join(DEADLINE)
    assert found.is_set() and answers[1] > soon
    allowed = [12] if committed <= soon else [10] if began > soon else [10, 12]
    assert answers[0][0][0] in allowed and answers[0][1] == []


def test_waiting_ends_when_it_is_stopped(shop: Shop) -> None:
    assert shop.look(now()) == ([10], [])
    shop.stop.set()
    with pytest.raises(CancelledError):
        shop.look(now() + 200_000_000)


def test_what_is_too_far_ahead_is_not_waited_for(shop: Shop) -> None:
    assert shop.look(now() + 3_600_000_000, now()) == ([10], ["lookup.early"])


def test_versions_are_let_go_when_rows_are_written_that_are_so_much_newer(shop: Shop) -> None:
    first = now()
    assert shop.look(first) == ([10], [])
    shop.file.write(("u", "prices", {"code": 1, "item": "a", "price": 11}))
    later = now() + 2_000_000
    assert shop.look(first, later) == ([10, 11], [])
    assert shop.look(first) == ([10], [])  # the newer row is not written yet
    shop.chain.committed()
    newest = now()
    assert newest > later and shop.look(newest, first) == ([11], ["lookup.late"])


@pytest.mark.parametrize(
    ("late", "missing", "expected"),
    [("missing", "null", ([10, None], [])), ("drop", "null", ([10], [])), ("missing", "drop", ([10], [])),
     ("missing", "quarantine", ([10], ["lookup.missing"])), ("quarantine", "drop", ([10], ["lookup.late"]))],
)  # fmt: skip
def test_what_is_not_known_goes_where_it_is_told_to(tmp_path: Path, late: str, missing: str, expected: Any) -> None:
    shop = Shop(tmp_path, late=late)
    raw = shop.step.operator.model_dump(by_alias=True)
    shop.step = parse_step({"from": "sales", "lookup": {**raw, "missing": missing}}, "steps[0]")
    shop.close()
    shop.open()
    before = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    with closing(shop.stack):
        assert shop.look(now())[1] in ([], ["lookup.late"], ["lookup.missing"])  # the history begins
        assert shop.look(now(), before) == expected
