"""`lookup` in a dataset that follows its own log: a change there is seen by the next rows, and outlives kills."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tongqu.testing.command_line import Done, inside, query, tongqu

PROJECT = """\
project: shop
connections:
  till: {type: sqlite, path: till.db}
  erp: {type: sqlite, path: erp.db}
  bus: {type: queue, path: bus.queue}
  log: {type: queue, path: log.queue}
  lake: {type: sqlite, path: lake.db}
pipelines:
  priced:
    sources:
      sales: {connection: bus, dataset: sales, mode: stream}
      prices: {connection: log, dataset: prices, mode: cdc}
    steps:
      - from: sales
        lookup: {in: prices, on: {item: item}, fields: {price: price}, many: first, order: [-code]}
    sinks: {table: {connection: lake, dataset: priced, write: upsert, key: [id]}}
"""
CATCH_UP = ("run", "priced", "--until-caught-up", "--json")


class Shop:
    """Sales that come as messages, and prices that come as changes, both through queues."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
        for file, table in (("till", "sales (id INTEGER PRIMARY KEY, item TEXT)"),
                            ("erp", "prices (code INTEGER PRIMARY KEY, item TEXT, price INTEGER)")):  # fmt: skip
            with closing(sqlite3.connect(folder / f"{file}.db")) as db:
                db.execute(f"CREATE TABLE {table}")
        self._sold = 0

    def price(self, *rows: tuple[int, str, int], without: tuple[int, ...] = ()) -> None:
        """The price list is that of these codes besides those before; the log gets what changed."""
        with closing(sqlite3.connect(self.folder / "erp.db")) as db, db:
            db.executemany("INSERT OR REPLACE INTO prices VALUES (?, ?, ?)", rows)
            db.executemany("DELETE FROM prices WHERE code = ?", [(code,) for code in without])
        self._sent("erp", "log", "prices", "--write", "upsert", "--deletes", "hard")

    def sell(self, *items: str) -> None:
        with closing(sqlite3.connect(self.folder / "till.db")) as db, db:
            db.execute("DELETE FROM sales")
            db.executemany("INSERT INTO sales VALUES (?, ?)", enumerate(items, self._sold + 1))
        self._sold += len(items)
        self._sent("till", "bus", "sales", "--write", "append")

    def _sent(self, source: str, sink: str, table: str, *more: str) -> None:
        done = inside(self.folder, "sync", source, sink, "--table", table, *more, "--json")
        assert done.code == 0, done

    def run(self) -> Done:
        return inside(self.folder, *CATCH_UP)

    def rows(self) -> list[tuple[object, ...]]:
        return query(self.folder / "lake.db", "SELECT id, price FROM priced ORDER BY id")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Two prices, and a sale."""
    made = Shop(tmp_path)
    made.price((1, "A", 10), (2, "B", 20))
    made.sell("A")
    return made


def test_each_batch_sees_the_changes_before_it_and_rows_that_were_written_stay(shop: Shop) -> None:
    """An update, a new row, one that is deleted, and one that goes over to another item; only changes are read."""
    assert shop.run().code == 0
    assert shop.rows() == [(1, 10)]
    shop.price((1, "A", 11), (3, "B", 21), (4, "C", 40))
    shop.sell("A", "B", "C")
    assert shop.run().code == 0
    assert shop.rows() == [(1, 10), (2, 11), (3, 21), (4, 40)]
    shop.price((1, "D", 12), without=(3,))
    shop.sell("A", "B", "C", "D")
    assert shop.run().code == 0
    assert shop.rows()[4:] == [(5, None), (6, 20), (7, 40), (8, 12)]
    assert inside(shop.folder, "run", "priced", "--full", "--json").code == 0  # the same file as a batch
    assert shop.rows() == [(1, None), (2, None), (3, 20), (4, 40), (5, None), (6, 20), (7, 40), (8, 12)]


@pytest.mark.parametrize("point", ["before_state", "after_state"])
def test_after_a_kill_the_copy_goes_on_where_its_rows_are(shop: Shop, point: str) -> None:
    for number in (1, 2):  # the first read of all rows is killed, then the reading of a change
        assert tongqu(shop.folder, *CATCH_UP, TONGQU_CRASH_AT=point).code == -9
        assert shop.run().code == 0
        shop.price((number, "A", 10 + number))
        shop.sell("A")
    assert shop.run().code == 0
    assert shop.rows() == [(1, 10), (2, 11), (3, 12)]


def test_what_is_looked_up_is_followed_only_beside_a_log(shop: Shop) -> None:
    file = shop.folder / "tongqu.yaml"
    file.write_text(PROJECT.replace("mode: stream", "mode: full"), encoding="utf-8")
    done = shop.run()
    assert done.code in (1, 2) and "'prices' gives only changes" in done.document["problems"][0]["message"], done
