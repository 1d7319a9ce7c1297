"""Two projects, homes or environments on one database never take each other's place, nor each other's agreements."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.app.services import twoway_sides
from tongqu.testing.command_line import inside, make, query, tongqu

PLANT = """
project: plant
connections:
  erp: {type: sqlite, path: "${env:AT}-erp.db"}
  mes: {type: sqlite, path: "${env:AT}-mes.db"}
sync:
  parts: {between: [{connection: erp, dataset: parts}, {connection: mes, dataset: parts}]}
"""
RUN = ("twoway", "run", "parts", "--json")


def ids(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as database:
        return [id for (id,) in database.execute("SELECT id FROM parts ORDER BY id")]


def test_what_one_environment_agreed_on_deletes_nothing_in_another(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PLANT, encoding="utf-8")
    for file, rows in {"prod-erp": [1, 2], "prod-mes": [], "test-erp": [1, 9], "test-mes": [2]}.items():
        make(tmp_path / f"{file}.db", "parts", "id INTEGER PRIMARY KEY, name TEXT", [(id, "a") for id in rows])
    assert inside(tmp_path, *RUN, AT="prod").code == 0

    refused = inside(tmp_path, *RUN, AT="test")
    assert refused.code == 2
    (problem,) = refused.document["problems"]
    assert problem["message"].startswith("'erp' is in ") and "prod-erp.db" in problem["message"]
    assert "TONGQU_HOME" in problem["hint"]
    assert (ids(tmp_path / "test-erp.db"), ids(tmp_path / "test-mes.db")) == ([1, 9], [2])
    assert inside(tmp_path, *RUN, AT="test", TONGQU_HOME=str(tmp_path / "other")).code == 0
    assert ids(tmp_path / "test-erp.db") == ids(tmp_path / "test-mes.db") == [1, 2, 9]

    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))  # with its files: the same systems
    assert inside(moved, *RUN, AT="prod").code == 0
    assert inside(moved, "twoway", "forget", "parts", AT="test").code == 0
    assert inside(moved, *RUN, AT="test").code == 0
    assert ids(moved / "test-erp.db") == [1, 2, 9]


BOTH = """
project: p
connections: {pg: {type: postgres, url: "${env:PG}"}}
sync:
  parts:
    between: [{connection: pg, dataset: ours, name: erp}, {connection: pg, dataset: theirs, name: mes}]
    mode: cdc
"""
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"


def passed(database: psycopg.Connection[Any], slots: list[str], more: Callable[[], object]) -> None:
    """Do more until all of these slots are behind what is now the end of the log."""
    now = database.execute("SELECT pg_current_wal_lsn()::text").fetchall()[0][0]
    behind = (
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = ANY (%s) AND confirmed_flush_lsn <= %s::pg_lsn"
    )
    for _ in range(30):
        more()
        if database.execute(behind, [slots, now]).fetchone() == (0,):
            return
    raise AssertionError(f"the server was not told of {slots}")


def test_each_home_follows_logs_of_its_own_and_a_copy_steals_none(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tongqu.yaml").write_text(BOTH, encoding="utf-8")
    with psycopg.connect(pg_url, autocommit=True) as database:
        for table in ("ours", "theirs"):
            database.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, name text)")

        def changed(home: str) -> list[str]:
            """The slots after a change that this home carries from one side to the other."""
            caplog.clear()
            database.execute("INSERT INTO theirs SELECT count(*), 'a' FROM theirs")
            done = inside(tmp_path, *RUN, PG=pg_url, TONGQU_HOME=str(tmp_path / home))
            assert done.code == 0, (done.err, done.out)
            both = [database.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in ("ours", "theirs")]
            assert both[0] == both[1]
            return [name for (name,) in database.execute(SLOTS)]

        with monkeypatch.context() as before:  # as logs were named in earlier versions
            before.setattr(twoway_sides, "own_name", lambda end, *told: "_".join(("tongqu", *told)))
            old = changed("one")
        assert old == ["tongqu_twoway_parts_erp", "tongqu_twoway_parts_mes"]
        assert changed("one") == old
        assert "is lost" not in caplog.text
        four = changed("two")
        assert (len(four), set(old) < set(four)) == (4, True)
        looked = inside(tmp_path, "cdc", "doctor", "--json", PG=pg_url, TONGQU_HOME=str(tmp_path / "two")).document
        assert [one["name"] for one in looked["connections"]] == ["pg"]
        assert not [one for one in looked["connections"][0]["findings"] if one["what"] == "kept_log"]

        shutil.copytree(tmp_path / "one", tmp_path / "copy")
        passed(database, old, lambda: changed("one"))
        six = changed("copy")
        assert (len(six), set(four) < set(six)) == (6, True)
        assert "somebody else has read on in the log tongqu_twoway_parts_erp" in caplog.text
        shutil.copytree(tmp_path / "copy", tmp_path / "again")
        passed(database, list(set(six) - set(four)), lambda: changed("copy"))
        eight = changed("again")
        for home in ("one", "two", "copy", "again"):
            assert changed(home) == eight
            assert "is lost" not in caplog.text
        assert len(eight) == 8

        for home, left in (("two", 6), ("again", 4)):
            (tmp_path / "tongqu.yaml").write_text(BOTH.partition("sync:")[0], encoding="utf-8")
            told = {"PG": pg_url, "TONGQU_HOME": str(tmp_path / home)}
            findings = inside(tmp_path, "cdc", "doctor", "pg", "--json", **told).document["connections"][0]["findings"]
            kept = [one["found"] for one in findings if one["what"] == "kept_log"]
            assert len(kept) == 2 and all("'sync.parts'" in one for one in kept)
            assert len(inside(tmp_path, "cdc", "forget", "--json", **told).document["forgotten"]) == 2
            assert len(database.execute(SLOTS).fetchall()) == left
        (tmp_path / "tongqu.yaml").write_text(BOTH, encoding="utf-8")
        for home in ("one", "copy"):
            changed(home)
            assert "is lost" not in caplog.text
        assert inside(tmp_path, "twoway", "forget", "parts", PG=pg_url, TONGQU_HOME=str(tmp_path / "one")).code == 0
        shared = changed("one")  # agreed anew, in the logs that its copy has: whoever comes too late leaves them
        assert not set(shared) & set(old)
        passed(database, shared, lambda: changed("one"))
        settled = changed("copy")
        assert (len(settled), set(shared) < set(settled)) == (4, True)
        for home in ("one", "copy"):
            assert changed(home) == settled
            assert "is lost" not in caplog.text
        database.execute(f"SELECT pg_drop_replication_slot(slot_name) FROM ({SLOTS}) AS kept")


PRICED = """
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
        lookup: {in: prices, on: {item: code}, fields: {price: price}, missing: quarantine, wait: 5m}
    sinks: {table: {connection: lake, dataset: priced}}
"""
PRICE = ("run", "priced", "--until-caught-up", "--json")


def test_what_is_looked_up_is_followed_apart_by_projects_and_by_a_copied_home(pg_url: str, tmp_path: Path) -> None:
    projects = [tmp_path / "a", tmp_path / "b"]
    for folder in projects:
        folder.mkdir()
        (folder / "tongqu.yaml").write_text(PRICED.replace("URL", pg_url), encoding="utf-8")
    sides = f"SELECT slot_name FROM ({SLOTS}) AS kept WHERE starts_with(slot_name, 'tongqu_side_')"
    with psycopg.connect(pg_url, autocommit=True) as erp:
        erp.execute("CREATE TABLE prices (code text PRIMARY KEY, price int)")
        erp.execute("CREATE TABLE sales (id int PRIMARY KEY, item text)")
        erp.execute("INSERT INTO prices VALUES ('p', 0)")

        def sold(folder: Path, home: str, *points: str) -> list[str]:
            """The slots after a sale at a new price, which is found by this home, killed at these points before."""
            erp.execute("UPDATE prices SET price = price + 1")
            erp.execute("INSERT INTO sales SELECT count(*), 'p' FROM sales")
            for point in points:
                tongqu(folder, *PRICE, TONGQU_HOME=str(tmp_path / home), TONGQU_CRASH_AT=point)
            done = inside(folder, *PRICE, TONGQU_HOME=str(tmp_path / home))
            assert done.code == 0, (done.err, done.out)
            [newest] = erp.execute("SELECT max(id), max(id) + 1 FROM sales").fetchall()
            assert query(folder / "lake.db", "SELECT id, price FROM priced ORDER BY id DESC LIMIT 1") == [newest]
            return [name for (name,) in erp.execute(sides)]

        a, b = projects
        assert len(sold(a, "one")) == 1
        two = sold(b, "other")
        assert len(two) == 2
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
        passed(erp, two, lambda: [sold(a, "one"), sold(b, "other")])
        three = sold(a, "copy", "before_state", "after_state")
        assert (len(three), set(two) < set(three)) == (3, True)
        for folder, home in ((a, "one"), (b, "other"), (a, "copy")):
            assert sold(folder, home) == three
        erp.execute(f"SELECT pg_drop_replication_slot(slot_name) FROM ({SLOTS}) AS kept")
