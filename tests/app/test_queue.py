"""`tongqu queue`: what a queue holds, who is how far behind, reading again and dropping the old."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tongqu.testing.command_line import inside

PROJECT = """
project: plant
connections:
  changes: {type: queue, path: changes.queue}
  lake: {type: sqlite, path: lake.db}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    with sqlite3.connect(tmp_path / "erp.db") as db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, v TEXT)")
        db.executemany("INSERT INTO orders VALUES (?, ?)", [(n, f"v{n}") for n in range(5)])
    db.close()
    done = inside(tmp_path, "sync", f"sqlite:{tmp_path}/erp.db", "changes", "--write", "append", "--json")
    assert done.code == 0, done
    return tmp_path


def follow(folder: Path) -> int:
    done = inside(folder, "sync", "changes", "lake", "--mode", "stream", "--write", "upsert", "--until-caught-up",
                  "--json")  # fmt: skip
    assert done.code == 0, done
    return int(done.document["streams"][0]["read"])


def test_topics_and_how_far_readers_are(folder: Path) -> None:
    assert follow(folder) == 5
    (queue,) = inside(folder, "queue", "list", "--json").document["queues"]
    (topic,) = queue["topics"]
    assert (topic["name"], topic["kind"], topic["records"], topic["last"]) == ("orders", "messages", 5, 5)
    shown = inside(folder, "queue", "show", "changes", "orders", "--json").document
    (reader,) = shown["topics"][0]["readers"]
    assert (reader["after"], reader["behind_records"]) == (5, 0)
    assert reader["name"] in inside(folder, "queue", "show", "changes").out


def test_a_pipeline_reads_again(folder: Path) -> None:
    follow(folder)
    shown = inside(folder, "queue", "show", "changes", "--json").document
    reader = shown["topics"][0]["readers"][0]["name"]
    done = inside(folder, "queue", "replay", "changes", "orders", reader, "--after", "3", "--json")
    assert done.document["after"] == 3
    assert follow(folder) == 2
    assert follow(folder) == 0


def test_old_records_are_dropped_when_nobody_needs_them(folder: Path) -> None:
    trim = ("queue", "trim", "changes", "orders", "--to", "5", "--json")
    follow(folder)
    shown = inside(folder, "queue", "show", "changes", "--json").document
    reader = shown["topics"][0]["readers"][0]["name"]
    assert inside(folder, *trim).document["dropped"] == 5
    assert inside(folder, "queue", "forget", "changes", reader, "--json").document["topics"] == 1


def test_what_is_refused(folder: Path) -> None:
    assert inside(folder, "queue", "trim", "changes", "orders", "--json").code == 2
    assert inside(folder, "queue", "show", "lake", "--json").code == 2
    assert inside(folder, "queue", "show", "changes", "nothing", "--json").code == 1
    assert inside(folder, "queue", "replay", "changes", "orders", "nobody", "--json").code == 1
    assert inside(folder, "queue", "replay", "changes", "orders", "nobody", "--after", "9", "--json").code == 2
