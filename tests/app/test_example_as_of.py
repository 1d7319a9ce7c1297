"""The example with lookups as of the rows' own time: one file as a stream and as a batch, and through kills."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import Done, inside, query, tongqu

EXAMPLE = Path(__file__).parents[2] / "examples" / "as-of"
DAY = "2026-0{}-01T00:00:00Z"
CONVERTED = "SELECT id, converted FROM converted ORDER BY id"


class Shop:
    """The example in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".tongqu"), dirs_exist_ok=True)
        self.do(
            "till",
            "CREATE TABLE sales (id INTEGER PRIMARY KEY, item TEXT, currency TEXT, amount INTEGER, sold_at TEXT)",
        )
        self.do("erp", "CREATE TABLE rates (code TEXT, rate INTEGER, valid_from TEXT, valid_to TEXT)")
        self.do("erp", "CREATE TABLE prices (item TEXT PRIMARY KEY, price INTEGER, revision INTEGER)")
        self.do("erp", "INSERT INTO rates VALUES (?, ?, ?, ?)", ("EUR", 7, DAY.format(1), DAY.format(2)),
                ("EUR", 8, DAY.format(2), DAY.format(4)), ("EUR", 9, DAY.format(5), None))  # fmt: skip

    def do(self, file: str, statement: str, *rows: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(self.folder / f"{file}.db")) as db, db:
            db.executemany(statement, rows) if rows else db.execute(statement)

    def sell(self, *sales: tuple[int, str]) -> None:
        self.do("till", "INSERT INTO sales VALUES (?, 'nut', 'EUR', 10, ?)", *sales)
        self.run("captured")

    def price(self, price: int) -> None:
        self.do("erp", "INSERT OR REPLACE INTO prices VALUES ('nut', ?, ?)", (price, price))
        self.run("price_changes")

    def run(self, *arguments: str, code: int = 0) -> Done:
        done = inside(self.folder, "run", *arguments, "--json")
        assert done.code == code, done
        return done

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return query(self.folder / "lake.db", sql)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_stream_and_a_batch_of_the_same_file_give_the_same_rows(shop: Shop) -> None:
    shop.sell((1, DAY.format(3)), (2, DAY.format(1)), (3, "2026-04-15T00:00:00Z"))
    for point in ("before_commit", "after_commit"):
        died = tongqu(shop.folder, "run", "converted", "--until-caught-up", "--json", TONGQU_CRASH_AT=point)
        assert died.code in (0, 3, -9), died
    shop.sell((4, "2026-01-31T23:59:59.999999Z"), (5, DAY.format(2)), (6, DAY.format(9)))
    shop.run("converted", "--until-caught-up", code=3)
    expected = [(1, 80), (2, 70), (4, 70), (5, 80), (6, 90)]
    assert shop.rows(CONVERTED) == expected
    (bad,) = inside(shop.folder, "quarantine", "list", "--json").document["rows"]
    assert bad["code"] == "lookup.missing" and '"id": 3' in bad["original"]
    shop.do("lake", "DELETE FROM converted")
    shop.run("converted", "--full", code=3)
    assert shop.rows(CONVERTED) == expected


def test_a_price_that_changed_is_found_by_the_time_of_the_sale(shop: Shop) -> None:
    shop.price(1)
    shop.sell((1, datetime.now(UTC).isoformat()))
    first = datetime.now(UTC).isoformat()
    shop.price(2)
    second = datetime.now(UTC).isoformat()
    shop.sell((2, second), (3, first))
    shop.run("priced", "--until-caught-up")
    found = shop.rows("SELECT id, list_price FROM priced ORDER BY id")
    assert found == [(1, 1), (2, 2), (3, 1)]
    shop.do("lake", "DELETE FROM priced")
    shop.run("priced", "--full")
    assert shop.rows("SELECT id, list_price FROM priced ORDER BY id") == found


def test_a_queue_says_how_late_changes_come(shop: Shop) -> None:
    file = shop.folder / "tongqu.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("lateness: 1s, ", ""), encoding="utf-8")
    done = inside(shop.folder, "run", "priced", "--json")
    assert done.code == 2 and "through queue, into which changes come later" in done.out, done


def test_plan_and_check_tell_of_it(shop: Shop) -> None:
    shop.price(1)
    shop.sell((1, DAY.format(1)))
    assert inside(shop.folder, "check", "--json").code == 0
    targets = inside(shop.folder, "plan", "--json").document["targets"]
    told = {one["pipeline"]: one["notes"] for one in targets}
    assert told["converted"][-1:] == ["step 'lookup' looks up 'versions' as of 'sold_at', by its own versions"]
    assert told["priced"][-1:] == [
        "step 'lookup' looks up 'prices' as of 'sold_at', by the history of its log, of which 30d are kept"
    ]
