"""A pipeline with a side output: rows that came too late for their windows go to a sink of their own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tongqu.testing.command_line import inside, query, tongqu

PROJECT = """\
project: plant
connections:
  mes: {type: queue, path: mes.queue}
  a: {type: sqlite, path: a.db}
  b: {type: sqlite, path: b.db}
pipelines:
  heat:
    source: {connection: mes, dataset: events, mode: MODE}
    steps:
      - derive: {ts: "make_timestamp(at * 1000000)"}
      - aggregate: {by: [machine], window: {on: ts, size: 1m, lateness: 10s, keep: 0s}, n: "count(*)"}
      - derive: {twice: "n * 2"}
    sinks:
      windows: {connection: a, dataset: heat}
      late: {connection: b, dataset: too_late, side: late}
"""
CATCH_UP = ("run", "heat", "--until-caught-up", "--json")


def project(folder: Path, text: str = PROJECT, mode: str = "stream") -> None:
    (folder / "tongqu.yaml").write_text(text.replace("MODE", mode), encoding="utf-8")


def happened(folder: Path, *events: tuple[int, int, int]) -> None:
    """More events: id, machine, at."""
    with closing(sqlite3.connect(folder / "erp.db")) as db, db:
        db.execute("DROP TABLE IF EXISTS events")
        db.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, machine INTEGER, at INTEGER)")
        db.executemany("INSERT INTO events VALUES (?, ?, ?)", events)
    done = inside(folder, "sync", f"sqlite:{folder}/erp.db", "mes", "--write", "append", "--json")
    assert done.code == 0, done


def windows(folder: Path) -> list[tuple[object, ...]]:
    return query(folder / "a.db", "SELECT substr(window_start, 12, 8), machine, n, twice FROM heat ORDER BY 1, 2")


def late(folder: Path) -> list[tuple[object, ...]]:
    return query(folder / "b.db", "SELECT id, at, substr(window_start, 12, 8) FROM too_late ORDER BY id")


@pytest.mark.parametrize("point", ["after_state:1", "after_commit:3"])
def test_late_rows_are_there_once_however_often_it_is_killed(tmp_path: Path, point: str) -> None:
    project(tmp_path)
    happened(tmp_path, (1, 1, 10), (2, 1, 75), (3, 1, 50), (4, 1, 10))
    done = inside(tmp_path, *CATCH_UP)
    assert done.code == 0, done
    assert windows(tmp_path) == [("00:00:00", 1, 1, 2), ("00:01:00", 1, 1, 2)]
    assert late(tmp_path) == [(3, 50, "00:00:00"), (4, 10, "00:00:00")]
    happened(tmp_path, (5, 2, 30), (6, 2, 130), (7, 1, 100))
    assert tongqu(tmp_path, *CATCH_UP, TONGQU_CRASH_AT=point).code == -9
    assert inside(tmp_path, *CATCH_UP).code == 0
    assert windows(tmp_path)[2:] == [("00:02:00", 2, 1, 2)]
    assert [id for id, *_ in late(tmp_path)] == [3, 4, 5, 7]


def test_what_cannot_have_a_side_output_is_refused(tmp_path: Path) -> None:
    alone = PROJECT.replace("      windows: {connection: a, dataset: heat}\n", "")
    unclaimed = PROJECT.replace(", side: late", "").replace("lateness: 10s", "late: side")
    cases = {"not be told apart": (PROJECT, "cdc"), "could be beside": (alone, "stream"),
             "no sink is one": (unclaimed, "stream")}  # fmt: skip
    for said, (text, mode) in cases.items():
        project(tmp_path, text, mode)
        done = inside(tmp_path, "run", "heat", "--json")
        assert done.code == 2 and said in done.out, done
