"""Rows are looked up as of their own time in the history of a table's log: late rows and kills find the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.testing.command_line import Done, inside, query, tongqu

PROJECT = """
project: shop
connections:
  erp: {type: postgres, url: "URL"}
  lake: {type: sqlite, path: lake.db}
pipelines:
  priced:
    sources:
      sales: {connection: erp, dataset: sales, mode: cdc}
      prices: {connection: erp, dataset: prices, mode: cdc}
    steps:
      - from: sales
        lookup:
          in: prices
          on: {item: code}
          fields: {price: price, about: about}
          missing: quarantine
          at: {on: sold_at, retention: 1d, lateness: 1ms}
          wait: 2s
    sinks: {table: {connection: lake, dataset: priced, write: upsert}}
"""
RUN = ("run", "priced", "--until-caught-up", "--json")


class Shop:
    """Prices that change, and sales at instants between."""

    def __init__(self, erp: psycopg.Connection[Any], folder: Path, url: str):
        self.erp, self.folder = erp, folder
        (folder / "tongqu.yaml").write_text(PROJECT.replace("URL", url), encoding="utf-8")
        erp.execute("create table prices (code text primary key, price int, about text)")
        erp.execute("alter table prices alter about set storage external")
        erp.execute("create table sales (id int primary key, item text, sold_at timestamptz)")
        erp.execute("insert into prices values ('p', 10, repeat('x', 3000)), ('q', 1, '')")

    def moment(self) -> Any:
        """The server's time, before and after which something is committed."""
        found = self.erp.execute("select clock_timestamp()").fetchone()
        assert found is not None
        return found[0]

    def sell(self, *sales: tuple[int, str, Any]) -> None:
        with self.erp.cursor() as cursor:
            cursor.executemany("insert into sales values (%s, %s, %s)", sales)

    def run(self, *more: str) -> Done:
        return inside(self.folder, *RUN, *more)

    def rows(self) -> list[tuple[Any, ...]]:
        return query(self.folder / "lake.db", "SELECT id, price, length(about) FROM priced ORDER BY id")

    def refused(self) -> list[str]:
        document = inside(self.folder, "quarantine", "list", "--json").document
        return sorted(f"{row['code']} {row['original'][:9]}" for row in document["rows"])


def test_late_rows_and_kills_find_what_held_then(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as erp:
        shop = Shop(erp, tmp_path, pg_url)
        assert shop.run().code == 0
        ten = shop.moment()
        erp.execute("update prices set price = 11 where code = 'p'")  # the log does not send `about`
        eleven = shop.moment()
        erp.execute("begin; update prices set price = 12 where code = 'p'; update prices set price = 13; commit")
        thirteen = shop.moment()
        shop.sell((1, "p", thirteen), (2, "p", ten), (3, "p", eleven))
        for point in ("before_state", "after_state", "before_commit", "after_commit"):
            assert tongqu(tmp_path, *RUN, TONGQU_CRASH_AT=point).code == -9
        done = shop.run()
        assert done.code == 0, done
        expected = [(1, 13, 3000), (2, 10, 3000), (3, 11, 3000)]
        assert shop.rows() == expected
        erp.execute("delete from prices where code = 'p'")
        gone = shop.moment()
        erp.execute("insert into prices values ('p', 20, 'new')")
        shop.sell((4, "p", gone), (5, "p", shop.moment()), (6, "p", eleven), (7, "q", ten), (8, "q", None))
        assert shop.run().code == 3
        expected += [(5, 20, 3), (6, 11, 3000), (7, 1, 0)]
        assert shop.rows() == expected
        assert [code.split()[0] for code in shop.refused()] == ["lookup.missing", "lookup.missing"]
        erp.execute("update sales set item = 'q' where id = 1")  # a change of a row, looked up as of its own time
        assert shop.run().code in (0, 3)
        assert shop.rows() == [(1, 13, 0), *expected[1:]]
        full = inside(tmp_path, "run", "priced", "--full", "--json")  # the same file as a batch
        assert full.code == 3, full
        assert shop.rows() == [(1, 13, 0), *expected[1:]]


def test_a_batch_follows_the_history_between_its_runs(pg_url: str, tmp_path: Path) -> None:
    """Its own rows are read by a cursor; prices of the time between two runs come from their log."""
    with psycopg.connect(pg_url, autocommit=True) as erp:
        shop = Shop(erp, tmp_path, pg_url)
        file = tmp_path / "tongqu.yaml"
        by_cursor = file.read_text(encoding="utf-8").replace(
            "dataset: sales, mode: cdc", "dataset: sales, mode: incremental, cursor: id"
        )
        file.write_text(by_cursor, encoding="utf-8")
        assert inside(tmp_path, "run", "priced", "--json").code == 0
        ten = shop.moment()
        erp.execute("update prices set price = 11 where code = 'p'")
        shop.sell((1, "p", ten), (2, "p", shop.moment()))
        done = inside(tmp_path, "run", "priced", "priced", "--json")  # it ends, so another may come behind it
        assert done.code == 0, done
        assert shop.rows() == [(1, 10, 3000), (2, 11, 3000)]


def test_what_cannot_be_known_is_never_answered(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as erp:
        shop = Shop(erp, tmp_path, pg_url)
        before = shop.moment()
        assert shop.run().code == 0
        known = shop.moment()
        shop.sell((0, "p", known))
        assert shop.run().code == 0
        erp.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
            "where starts_with(slot_name, 'tongqu_side_') and database = current_database()"
        )
        lost = shop.moment()
        erp.execute("update prices set price = 14 where code = 'p'")
        ahead = "2999-01-01T00:00:00Z"
        shop.sell((1, "p", before), (2, "p", lost), (3, "p", ahead))
        done = shop.run()
        assert done.code == 3, done
        assert shop.refused() == ['lookup.early {"id": 3,', 'lookup.late {"id": 1,', 'lookup.late {"id": 2,']
        shop.sell((4, "p", known), (5, "p", shop.moment()))
        assert shop.run().code in (0, 3)
        assert shop.rows() == [(0, 10, 3000), (4, 10, 3000), (5, 14, 3000)]
        rule = f"set sold_at='{known.isoformat()}'"
        assert inside(tmp_path, "quarantine", "fix", "--code", "lookup.early", "--rule", rule, "--json").code == 0
        assert inside(tmp_path, "quarantine", "replay", "--json").document["written"] == 1
        again = inside(tmp_path, "quarantine", "replay", "--state", "new", "--json")
        assert again.code == 3 and again.document["still_bad"] == 2, again
        assert shop.rows() == [(0, 10, 3000), (3, 10, 3000), (4, 10, 3000), (5, 14, 3000)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("prices, mode: cdc", "prices", "which is no source with `mode: cdc`"),
        ("retention: 1d", "retention: 1d, valid_from: since", "where the dataset has its versions itself"),
        ("retention: 1d", "valid_to: until", "`valid_to` goes with `valid_from`"),
        ("missing: quarantine", "many: all", "the one version that holds"),
        ("wait: 2s", "refresh: 2s", "it follows the log"),
        ("lateness: 1ms", "lateness: soon", "span of time"),
    ],
)
def test_what_cannot_work_is_refused_from_the_files_alone(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = PROJECT.replace("URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert old in text
    (tmp_path / "tongqu.yaml").write_text(text.replace(old, new), encoding="utf-8")
    for command in (("check",), ("run", "priced")):
        done = inside(tmp_path, *command, "--json")
        assert done.code == 2 and told in done.out, done
