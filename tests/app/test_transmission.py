"""A pipeline that follows a log into several sinks: captured once into a queue, each sink at its own pace."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from tongqu.testing.command_line import Done, inside, query, start, tongqu

PROJECT = """\
project: plant
connections:
  mes: {type: queue, path: mes.queue}
  bus: {type: queue, path: bus.queue}
  a: {type: sqlite, path: a.db}
  b: {type: sqlite, path: b.db}
pipelines:
  orders:
    source: {connection: mes, dataset: orders, mode: MODE}
    steps: [{filter: "qty > 0"}]
    sinks:
      near: {connection: a}
      far: {connection: b, dataset: all_orders}
"""
CATCH_UP = ("run", "orders", "--until-caught-up", "--json")
DEADLINE = 50.0
BUS = "engine: {queue: {connection: bus}}\n"


class Plant:
    """Changes of orders, or messages, as another queue gives them."""

    def __init__(self, folder: Path, mode: str = "cdc", more: str = ""):
        self.folder, self.mode = folder, mode
        (folder / "tongqu.yaml").write_text(PROJECT.replace("MODE", mode) + more, encoding="utf-8")
        with closing(sqlite3.connect(folder / "erp.db")) as db:
            db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, qty INTEGER)")

    def order(self, **rows: int) -> None:
        with closing(sqlite3.connect(self.folder / "erp.db")) as db, db:
            db.execute("DELETE FROM orders")
            db.executemany("INSERT INTO orders VALUES (?, ?)", [(int(id[1:]), qty) for id, qty in rows.items()])
        write = "upsert" if self.mode == "cdc" else "append"
        done = inside(self.folder, "sync", f"sqlite:{self.folder}/erp.db", "mes", "--write", write, "--json")
        assert done.code == 0, done

    def run(self) -> Done:
        return inside(self.folder, *CATCH_UP)

    def near(self) -> list[tuple[object, ...]]:
        return self._rows("a.db", "orders")

    def far(self) -> list[tuple[object, ...]]:
        return self._rows("b.db", "all_orders")

    def _rows(self, file: str, table: str) -> list[tuple[object, ...]]:
        there = query(self.folder / file, f"SELECT 1 FROM sqlite_master WHERE name = '{table}'")
        return query(self.folder / file, f"SELECT id, qty FROM {table} ORDER BY id") if there else []


@pytest.mark.parametrize("more", ["", BUS], ids=["own", "bus"])
@pytest.mark.parametrize("mode", ["cdc", "stream"])
def test_each_sink_gets_what_was_captured_once(tmp_path: Path, mode: str, more: str) -> None:
    plant = Plant(tmp_path, mode, more)
    plant.order(o1=5, o2=0)
    done = plant.run()
    assert done.code == 0, done
    assert plant.near() == plant.far() == [(1, 5)]
    plant.order(o3=7)
    done = plant.run()
    assert done.code == 0, done
    assert plant.near() == plant.far() == [(1, 5), (3, 7)]
    assert [stream["read"] for stream in done.document["streams"]] == [1, 1, 1]
    assert [stream["name"] for stream in done.document["streams"]] == ["orders", "orders.near", "orders.far"]
    assert (tmp_path / "bus.queue").exists() == bool(more) != (tmp_path / "orders.queue").exists()


def test_a_sink_that_is_away_does_not_keep_the_other_from_its_rows(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.order(o1=5)
    assert plant.run().code == 0
    (tmp_path / "a.db").rename(tmp_path / "away.db")
    (tmp_path / "a.db").mkdir()
    plant.order(o2=6)
    assert plant.run().code == 1
    done = inside(tmp_path, "run", "orders.far", "--until-caught-up", "--json")
    assert done.code == 0 and plant.far() == [(1, 5), (2, 6)], done
    (tmp_path / "a.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "a.db")
    assert plant.run().code == 0
    assert plant.near() == plant.far() == [(1, 5), (2, 6)]


@pytest.mark.parametrize("point", ["in_commit:1", "in_commit:2", "after_commit:2", "after_commit:3"])
def test_a_crash_anywhere_neither_loses_nor_doubles(tmp_path: Path, point: str) -> None:
    plant = Plant(tmp_path, "stream")
    plant.order(o1=5)
    assert plant.run().code == 0
    plant.order(o2=6, o3=7)
    assert tongqu(tmp_path, *CATCH_UP, TONGQU_CRASH_AT=point).code == -9
    assert plant.run().code == 0
    assert plant.near() == plant.far() == [(1, 5), (2, 6), (3, 7)]


def test_serve_keeps_all_of_it_running(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.order(o1=5)
    with start(tmp_path, "serve", "--files", "--port", "0") as serving:
        try:
            until(lambda: plant.near() == plant.far() == [(1, 5)])
            plant.order(o2=6)
            until(lambda: plant.near() == plant.far() == [(1, 5), (2, 6)])
        finally:
            serving.terminate()
            serving.communicate(timeout=DEADLINE)


def until(reached: Callable[[], bool]) -> None:
    end, pause = monotonic() + DEADLINE, Event()
    while not reached():
        assert monotonic() < end
        pause.wait(0.05)


def test_what_is_refused(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.order(o1=5)
    done = inside(tmp_path, "run", "orders", "--json")
    assert done.code == 2 and "each at its own pace" in done.out
    with (tmp_path / "tongqu.yaml").open("a") as file:
        file.write("  orders.far: {source: {connection: mes}, sink: {connection: b}}\n")
    done = inside(tmp_path, "run", "orders", "--json")
    assert done.code == 2 and "'orders.far' stands for a part of 'orders'" in done.out, done


def test_a_plan_shows_what_is_captured_and_each_sink_by_its_name(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.order(o1=5)
    for _ in range(2):  # before the queue is there, and after
        done = inside(tmp_path, "plan", "--json")
        assert done.code == 0, done
        assert [(one["pipeline"], one["connection"], one["dataset"]) for one in done.document["targets"]] == [
            ("orders", "orders.queue", "orders"), ("orders.near", "a", "orders"), ("orders.far", "b", "all_orders"),
        ], done  # fmt: skip
        assert plant.run().code == 0
    assert "orders.far" in inside(tmp_path, "plan", "--lang", "zh").out
