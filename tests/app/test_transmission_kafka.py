"""Kafka in place of the embedded queue by one setting: changes and messages, exactly once into each sink."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

import pytest

from tongqu.testing.command_line import Done, inside, query, start, tongqu
from tongqu.testing.services import Kafka

PROJECT = """\
project: plant
engine: {{queue: {{connection: bus}}}}
connections:
  mes: {{type: queue, path: mes.queue}}
  bus: {{type: kafka, url: "{url}"}}
  a: {{type: sqlite, path: a.db}}
  b: {{type: sqlite, path: b.db}}
pipelines:
  orders:
    source: {{connection: mes, dataset: orders, mode: {mode}}}
    steps: [{{filter: "qty > 0"}}]
    sinks:
      near: {{connection: a}}
      far: {{connection: b, dataset: all_orders}}
"""
CATCH_UP = ("run", "orders", "--until-caught-up", "--json")
DEADLINE = 120.0


class Plant:
    """Changes of orders, or messages, as another queue gives them; between them and the sinks there is Kafka."""

    def __init__(self, folder: Path, url: str, mode: str = "cdc"):
        self.folder, self.mode = folder, mode
        (folder / "tongqu.yaml").write_text(PROJECT.format(url=url, mode=mode), encoding="utf-8")
        self.columns: dict[str, str] = {"id": "INTEGER PRIMARY KEY", "qty": "INTEGER"}

    def order(self, *rows: tuple[object, ...], more: Sequence[str] = ()) -> None:
        """All rows that there are from now on, or some more messages."""
        with closing(sqlite3.connect(self.folder / "erp.db")) as db, db:
            db.execute("DROP TABLE IF EXISTS orders")
            db.execute(f"CREATE TABLE orders ({', '.join(f'{n} {kind}' for n, kind in self.columns.items())})")
            db.executemany(f"INSERT INTO orders VALUES ({', '.join('?' * len(self.columns))})", rows)
        write = "upsert" if self.mode == "cdc" else "append"
        done = inside(self.folder, "sync", f"sqlite:{self.folder}/erp.db", "mes", "--write", write, *more, "--json")
        assert done.code == 0, done

    def run(self, *more: str) -> Done:
        return inside(self.folder, *CATCH_UP, *more)

    def ran(self, *more: str) -> list[int]:
        """How many rows each part has read."""
        done = self.run(*more)
        assert done.code == 0, done
        return [stream["read"] for stream in done.document["streams"]]

    def there(self) -> list[tuple[object, ...]]:
        """What both sinks have; nothing while one has no table, or less than the other."""
        made = [query(self.folder / file, "SELECT name FROM sqlite_master WHERE name IN ('orders', 'all_orders')")
                for file in ("a.db", "b.db") if (self.folder / file).exists()]  # fmt: skip
        if len(made) < 2 or not all(made):
            return []
        near = query(self.folder / "a.db", "SELECT * FROM orders ORDER BY id")
        return near if near == query(self.folder / "b.db", "SELECT * FROM all_orders ORDER BY id") else []

    def rows(self) -> list[tuple[object, ...]]:
        """What both sinks have, in the order in which it came."""
        found = query(self.folder / "a.db", "SELECT * FROM orders ORDER BY id, rowid")
        assert query(self.folder / "b.db", "SELECT * FROM all_orders ORDER BY id, rowid") == found
        return found


@pytest.mark.parametrize("mode", ["cdc", "stream"])
def test_each_sink_gets_what_was_captured_once(tmp_path: Path, kafka_url: str, mode: str) -> None:
    plant = Plant(tmp_path, kafka_url, mode)
    plant.order((1, 5), (2, 0))
    plant.ran()
    assert plant.rows() == [(1, 5)]
    plant.order((3, 7))
    assert plant.ran() == [1, 1, 1]
    assert plant.rows() == [(1, 5), (3, 7)]


def test_rows_that_go_an_emptied_table_and_a_new_column_get_there(tmp_path: Path, kafka_url: str) -> None:
    plant = Plant(tmp_path, kafka_url)
    plant.order((1, 5), (2, 6))
    plant.ran()
    plant.order((2, 0), (3, 7))  # a filter takes rows away that were there
    plant.ran()
    assert plant.rows() == [(1, 5), (3, 7)]
    plant.columns["note"] = "TEXT"
    plant.order((4, 8, "new"), more=("--deletes", "hard"))  # the table is emptied first
    plant.ran()
    assert plant.rows() == [(4, 8, "new")]


@pytest.mark.parametrize("point", ["in_commit:7", "in_finish:1"])
def test_a_first_capture_that_is_killed_goes_on(tmp_path: Path, kafka_url: str, point: str) -> None:
    plant = Plant(tmp_path, kafka_url)
    plant.order((1, 5), (2, 6))
    assert tongqu(tmp_path, *CATCH_UP, TONGQU_CRASH_AT=point).code == -9
    plant.ran()
    assert plant.rows() == [(1, 5), (2, 6)]


@pytest.mark.parametrize("point", ["in_commit:3", "after_commit:1", "after_commit:3"])
def test_a_crash_anywhere_neither_loses_nor_doubles(tmp_path: Path, kafka_url: str, point: str) -> None:
    plant = Plant(tmp_path, kafka_url, "stream")
    plant.order((1, 5))
    plant.ran()
    plant.order((2, 6), (3, 7))
    assert tongqu(tmp_path, *CATCH_UP, TONGQU_CRASH_AT=point).code == -9
    plant.ran()
    assert plant.rows() == [(1, 5), (2, 6), (3, 7)]


def test_what_retention_took_is_told_with_its_repair(tmp_path: Path, kafka_server: Kafka, kafka_url: str) -> None:
    plant = Plant(tmp_path, kafka_url)
    plant.order((1, 5))
    plant.ran()
    plant.order((2, 6))
    assert inside(tmp_path, "run", "orders.near", "--until-caught-up", "--json").code == 0
    topic = urlsplit(kafka_url).path[1:] + "orders.orders"
    done = inside(tmp_path, "run", "orders", "--until-caught-up", "--json")
    assert done.code == 0, done
    plant.order((3, 7))
    (tmp_path / "b.db").rename(tmp_path / "away.db")
    (tmp_path / "b.db").mkdir()
    assert plant.run().code == 1  # `far` does not get the third row
    (tmp_path / "b.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "b.db")
    kafka_server.delete_before(topic)
    done = plant.run()
    assert done.code == 1 and "does not have" in done.out + done.err, done
    assert "write all rows again" in done.out + done.err
    plant.ran("--restart")
    assert plant.rows() == [(1, 5), (2, 6), (3, 7)]


def test_commands_show_the_queue_and_its_readers(tmp_path: Path, kafka_url: str) -> None:
    plant = Plant(tmp_path, kafka_url)
    plant.order((1, 5), (2, 6))
    plant.ran()
    plant.order((3, 7))
    assert inside(tmp_path, "run", "orders.near", "--until-caught-up", "--json").code == 0
    done = inside(tmp_path, "queue", "list", "--json")
    assert done.code == 0, done
    (found,) = [one for one in done.document["queues"] if one["queue"] == "orders.queue"]
    (topic,) = found["topics"]
    assert (topic["name"], topic["kind"], topic["key"]) == ("orders", "changes", ["id"])
    assert topic["records"] == topic["last"] > 0 and len(topic["readers"]) == 2
    assert all(one["behind_records"] == 0 for one in topic["readers"])
    assert "orders" in inside(tmp_path, "queue", "show", "orders.queue").out
    assert inside(tmp_path, "queue", "replay", "orders.queue", "orders", "nobody").code == 2
    reader = topic["readers"][0]["name"]
    forgotten = inside(tmp_path, "queue", "forget", "orders.queue", reader, "--json")
    assert forgotten.document["topics"] == 1, forgotten
    trimmed = inside(tmp_path, "queue", "trim", "orders.queue", "orders", "--to", "1", "--json")
    assert trimmed.document["dropped"] == 1, trimmed
    planned = inside(tmp_path, "plan", "--json")
    assert [(one["pipeline"], one["connection"]) for one in planned.document["targets"]] == [
        ("orders", "orders.queue"), ("orders.near", "a"), ("orders.far", "b"),
    ], planned  # fmt: skip


def test_a_broker_that_was_away_is_read_and_written_on(tmp_path: Path, kafka_server: Kafka, kafka_url: str) -> None:
    plant = Plant(tmp_path, kafka_url)
    plant.order((1, 5))
    with start(tmp_path, "serve", "--files", "--port", "0") as serving:
        try:
            until(lambda: plant.there() == [(1, 5)])
            kafka_server.kill9()
            plant.order((2, 6))
            kafka_server.mend()
            until(lambda: plant.there() == [(1, 5), (2, 6)])
        finally:
            kafka_server.mend()
            serving.terminate()
            serving.communicate(timeout=DEADLINE)


def until(reached: Callable[[], bool]) -> None:
    end, pause = monotonic() + DEADLINE, Event()
    while not reached():
        assert monotonic() < end
        pause.wait(0.1)
