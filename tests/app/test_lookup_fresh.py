"""`lookup` in a pipeline that follows a log: the other dataset changes meanwhile, and may come later than the rows."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tongqu.testing.command_line import inside, query, start, tongqu

PROJECT = """\
project: shop
connections:
  till: {type: sqlite, path: till.db}
  bus: {type: queue, path: bus.queue}
  erp: {type: sqlite, path: erp.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  priced:
    sources:
      sales: {connection: bus, dataset: sales, mode: MODE}
      prices: {connection: erp, dataset: prices}
    steps:
      - from: sales
        lookup: {in: prices, on: {item: code}, fields: {price: price}, as_of: seen, LOOKUP}
    sinks: {table: {connection: lake, dataset: priced, write: upsert, key: [id]}}
"""
DEADLINE = 45.0


class Shop:
    """Sales that come through a queue, and prices that change."""

    def __init__(self, folder: Path, lookup: str, mode: str = "stream"):
        self.folder, self.mode = folder, mode
        text = PROJECT.replace("LOOKUP", lookup).replace("MODE", mode)
        (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
        self.prices({"A": 1})
        with closing(sqlite3.connect(folder / "till.db")) as db:
            db.execute("CREATE TABLE sales (id INTEGER PRIMARY KEY, item TEXT)")
        self._last = 0

    def prices(self, given: dict[str, int]) -> None:
        with closing(sqlite3.connect(self.folder / "erp.db", timeout=DEADLINE)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS prices (code TEXT PRIMARY KEY, price INTEGER)")
            db.executemany("INSERT OR REPLACE INTO prices VALUES (?, ?)", given.items())

    def sell(self, *items: str) -> None:
        with closing(sqlite3.connect(self.folder / "till.db")) as db, db:
            db.execute("DELETE FROM sales")
            numbers = range(self._last + 1, self._last + 1 + len(items))
            db.executemany("INSERT INTO sales VALUES (?, ?)", zip(numbers, items, strict=True))
        self._last += len(items)
        write = "append" if self.mode == "stream" else "upsert"
        done = tongqu(self.folder, "sync", "till", "bus", "--table", "sales", "--write", write, "--json")
        assert done.code == 0, done

    def rows(self) -> list[tuple[object, ...]]:
        if not (self.folder / "lake.db").exists() or not query(
            self.folder / "lake.db", "SELECT 1 FROM sqlite_master WHERE name = 'priced'"
        ):
            return []
        return query(self.folder / "lake.db", "SELECT id, price FROM priced ORDER BY id")

    @contextmanager
    def following(self) -> Iterator[None]:
        """The pipeline in a process that goes on until it is stopped."""
        with start(self.folder, "run", "priced", "--json") as process:
            try:
                yield
            finally:
                process.terminate()
                out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode in (0, 3, 130, 143), (process.returncode, out, err)


def until(reached: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + DEADLINE, threading.Event()
    while not reached():
        assert time.monotonic() < deadline
        tick.wait(0.05)


def test_rows_are_looked_up_in_what_was_read_lately(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "refresh: 1ms")
    shop.sell("A")
    with shop.following():
        until(lambda: shop.rows() == [(1, 1)])
        shop.prices({"A": 2, "B": 9})
        shop.sell("A", "B")
        until(lambda: shop.rows() == [(1, 1), (2, 2), (3, 9)])  # rows that were written stay as they are
    (first,), (second,), (third,) = query(tmp_path / "lake.db", "SELECT seen FROM priced ORDER BY id")
    assert datetime.fromisoformat(first) < datetime.fromisoformat(second) <= datetime.fromisoformat(third)


def test_a_row_waits_for_what_comes_later(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "missing: quarantine, wait: 5m")
    shop.sell("A")
    with shop.following():
        until(lambda: shop.rows() == [(1, 1)])
        shop.sell("N", "A")
        shop.prices({"N": 7})
        until(lambda: shop.rows() == [(1, 1), (2, 7), (3, 1)])


def test_a_key_that_does_not_come_is_waited_for_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "missing: quarantine, wait: 3s")
    shop.sell("A")
    assert inside(tmp_path, "run", "priced", "--until-caught-up", "--json").code == 0
    shop.sell("N", "A")
    begun = time.monotonic()
    done = inside(tmp_path, "run", "priced", "--until-caught-up", "--json")
    assert time.monotonic() - begun >= 3
    (stream,) = done.document["streams"]
    assert (done.code, stream["quarantined"], stream["written"]) == (3, 1, 1), done
    assert shop.rows() == [(1, 1), (3, 1)]


def test_waiting_ends_when_it_is_stopped_and_nothing_is_lost(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "missing: quarantine, wait: 5m")
    shop.sell("A")
    with shop.following():
        until(lambda: shop.rows() == [(1, 1)])
        shop.sell("N")
    assert shop.rows() == [(1, 1)]
    shop.prices({"N": 7})
    assert inside(tmp_path, "run", "priced", "--until-caught-up", "--json").code == 0
    assert shop.rows() == [(1, 1), (2, 7)]


@pytest.mark.parametrize("point", ["before_commit", "in_commit", "after_commit"])
def test_after_a_crash_rows_are_looked_up_anew_or_stay(tmp_path: Path, point: str) -> None:
    shop = Shop(tmp_path, "refresh: 1ms", mode="cdc")
    shop.sell("A")
    assert inside(tmp_path, "run", "priced", "--until-caught-up", "--json").code == 0
    shop.prices({"A": 2})
    shop.sell("A")
    died = tongqu(tmp_path, "run", "priced", "--until-caught-up", "--json", TONGQU_CRASH_AT=point)
    assert died.code == -9, died
    shop.prices({"A": 3})
    done = inside(tmp_path, "run", "priced", "--until-caught-up", "--json")
    assert done.code == 0, done
    assert shop.rows() == [(1, 1), (2, 2 if point == "after_commit" else 3)]


@pytest.mark.parametrize(("lookup", "told"), [("wait: 6m", "5m at most"), ("refresh: soon", "span of time")])
def test_spans_are_checked(tmp_path: Path, lookup: str, told: str) -> None:
    Shop(tmp_path, lookup)
    done = inside(tmp_path, "run", "priced", "--json")
    assert done.code == 2 and told in done.out, done
