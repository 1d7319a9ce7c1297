"""The gates of two-way syncs reach people by themselves: in the server's log, the audit trail, metrics and /manage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.project.load import load
from tongqu.app.services.gatekeeping import AGAIN_SECONDS, Gates
from tongqu.store.audit.reading import Wanted, newest
from tongqu.store.audit.trail import Trail
from tongqu.store.feed import Feed
from tongqu.store.home import Home
from tongqu.store.twoway import Book
from tongqu.testing.command_line import inside, make
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {a: {type: sqlite, path: a.db}, b: {type: sqlite, path: b.db}}
sync:
  lots:
    between: [{connection: a, dataset: lots}, {connection: b, dataset: lots}]
    gates: {clean_days: 2, differences: 0}
"""
DAY = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two systems that hold the same record."""
    for name in "ab":
        make(tmp_path / f"{name}.db", "lots", "id INTEGER PRIMARY KEY, weight INTEGER", [(1, 7)])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def opened(folder: Path) -> Iterator[tuple[Home, Trail, Feed]]:
    """The home's audit trail and feed."""
    home = Home(folder / "home")
    home.ensure()
    with closing(Trail.open(home)) as trail, closing(Feed.open(home)) as feed:
        yield home, trail, feed


def test_each_move_and_each_gate_that_is_due_is_told_once(folder: Path, opened: tuple[Home, Trail, Feed]) -> None:
    home, trail, feed = opened
    project, now = load(folder), 1e9
    told: list[tuple[Any, ...]] = []

    def turn() -> list[tuple[Any, ...]]:
        Gates(home, lambda: project, trail, feed, "me", lambda: now).turn()  # a process of its own each time
        found: list[tuple[Any, ...]] = [
            (one["what"], one["stage"], one["why"]) for one in newest(trail.place, Wanted(kind="gate"), 20)
        ][::-1]
        fresh, told[:] = found[len(told) :], found
        return fresh

    with closing(Book.open(home, lambda: now)) as book:
        book.stage("lots", "shadow")
        book.note("lots", "shadow", (1, 0, 0, 1.0))
        assert turn() == []  # not due
        now += 2 * DAY
        assert turn() == [("ready", "shadow", "")]
        assert turn() == []
        book.note("lots", "shadow", (1, 3, 0, 1.0))
        assert turn() == [("blocked", "shadow", "differences 3 (asked: 0), clean_days 0 (asked: 2)")]
        book.note("lots", "shadow", (1, 0, 0, 1.0))
        assert turn() == []
        now += AGAIN_SECONDS
        assert turn() == [("blocked", "shadow", "clean_days 0.042 (asked: 2)")]
        book.move("lots", "shadow", "one_way", "all conditions hold", "wang")
        book.move("lots", "one_way", "shadow", "differences 9 (asked: 0)", "gate")
        assert turn() == [
            ("opened", "one_way", "all conditions hold"), ("shut", "shadow", "differences 9 (asked: 0)"),
        ]  # fmt: skip
        assert turn() == []
    gates = Gates(home, lambda: project, trail, feed, "me", lambda: now)
    gates.turn()
    assert gates.numbers["lots"] == {
        "tongqu_twoway_stage": 0, "tongqu_twoway_gate_ready": 0, "tongqu_twoway_gate_blocked": 0,
        "tongqu_twoway_gates_shut": 1, "tongqu_twoway_waiting": 0,
    }  # fmt: skip
    other = Gates(home, lambda: project, trail, feed, "other", lambda: now)
    other.turn()
    assert other.numbers == {}  # one process of a home does it


def test_a_gate_that_shuts_while_it_is_served_is_seen_everywhere(folder: Path) -> None:
    (folder / "tongqu.yaml").write_text(PROJECT.replace("clean_days: 2, ", ""), encoding="utf-8")
    assert inside(folder, "twoway", "run", "lots", "--json").document["stage"] == "shadow"
    assert "may be opened" in inside(folder, "twoway", "list").out
    assert inside(folder, "twoway", "advance", "lots", "--json").document["stage"] == "one_way"
    with Gateway(folder) as gateway:
        seen = b'tongqu_twoway_stage{sync="lots"} 1'
        gateway.until(lambda one: seen in one.body, "/metrics", seconds=60.0)
        own = json.loads((gateway.home / "serve.json").read_text())
        shown = gateway.ask("/manage/twoway/lots", headers=[("tongqu-owner", own["token"])]).json
        assert (shown["stage"], shown["gate_state"], shown["due"] is None) == ("one_way", "early", False)
        _disagree(folder)
        assert inside(folder, "twoway", "run", "lots", "--json").document["shut"]["to"] == "shadow"
        gateway.until(lambda one: b'tongqu_twoway_gates_shut{sync="lots"} 1' in one.body, "/metrics", seconds=60.0)
        gateway.until(lambda _: "the gate of lots was shut: from one_way to shadow" in gateway.errors, seconds=60.0)
        assert gateway.stop() == 0
    audit = inside(folder, "audit", "show", "--kind", "gate", "--json").document["records"]
    assert {("opened", "one_way"), ("shut", "shadow")} <= {(one["what"], one["stage"]) for one in audit}


def _disagree(folder: Path) -> None:
    """The side that does not decide has changed its record."""
    import sqlite3

    with closing(sqlite3.connect(folder / "b.db")) as database, database:
        database.execute("UPDATE lots SET weight = 8")
