"""The feed of changes: order, leases, what is pruned, and what a process that died leaves behind."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from tongqu.store import feed as module
from tongqu.store.feed import TOUCHED, Changed, Feed, touched
from tongqu.store.home import Home


def row(number: int) -> Changed:
    return Changed("insert", {"id": str(number)})


def test_events_are_read_in_order_and_by_table(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed.db", clock=lambda: 7.0)
    feed.append("db/a", [row(1), row(2)], "call")
    last = feed.append("db/b", [TOUCHED], "run")
    assert [(one.position, one.place, one.op, dict(one.key)) for one in feed.after(0)] == [
        (1, "db/a", "insert", {"id": "1"}), (2, "db/a", "insert", {"id": "2"}), (3, "db/b", "touched", {})
    ]  # fmt: skip
    assert [one.position for one in feed.after(1, place="db/a")] == [2]
    assert (last, feed.last()) == (3, 3)
    feed.close()


def test_cursor_and_events_are_kept_together(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed.db")
    assert feed.cursor("db/a") is None
    feed.append("db/a", [row(1)], "cursor", cursor='["9"]')
    feed.close()
    again = Feed(tmp_path / "feed.db")
    assert (again.cursor("db/a"), again.last()) == ('["9"]', 1)
    again.close()


def _begin_and_die(path: Path) -> None:
    feed = Feed(path)
    done, lost = feed.begin("db/a"), feed.begin("db/b")
    feed.append("db/a", [row(1)], "call", begun=done)
    assert lost
    os._exit(9)


def test_a_write_of_a_process_that_died_counts_as_touched(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_begin_and_die, args=(tmp_path / "feed.db",))
    process.start()
    process.join()
    feed = Feed(tmp_path / "feed.db")
    assert feed.settle() == 1
    assert [(one.place, one.op) for one in feed.after(0)] == [("db/a", "insert"), ("db/b", "touched")]
    assert feed.settle() == 0
    feed.close()


def test_old_events_go_and_who_needs_them_is_told(tmp_path: Path) -> None:
    time = [0.0]
    feed = Feed(tmp_path / "feed.db", clock=lambda: time[0])
    feed.append("db/a", [row(1)], "call")
    time[0] = module.KEEP_SECONDS + 1
    feed.append("db/a", [row(number) for number in range(2, 1200)], "call")
    assert not feed.reaches(0)
    assert feed.reaches(1)
    assert feed.reaches(feed.last())
    assert not feed.reaches(feed.last() + 1)  # a position of another life of the file
    feed.close()


def test_one_holder_has_a_lease_until_it_ends_or_leaves(tmp_path: Path) -> None:
    time = [0.0]
    feed = Feed(tmp_path / "feed.db", clock=lambda: time[0])
    assert feed.lease("work", "one", 5)
    assert not feed.lease("work", "two", 5)
    time[0] = 4.0
    assert feed.lease("work", "one", 5)
    time[0] = 8.0
    assert not feed.lease("work", "two", 5)
    time[0] = 9.5
    assert feed.lease("work", "two", 5)
    feed.leave("two")
    assert feed.lease("work", "one", 5)
    feed.close()


def test_a_home_in_which_nothing_was_served_has_no_feed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    touched(home, ["db/a"], "run")
    assert not home.feed.exists()
