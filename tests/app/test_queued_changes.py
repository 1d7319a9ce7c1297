"""Changes that wait behind a refused one of their key go in again in their order, also while the stream runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from tests.app.test_quarantine import run as command

from tongqu.core.dirty import Dirty
from tongqu.core.events import Committed
from tongqu.core.events import Event as Happened
from tongqu.engine.report import Report
from tongqu.testing.command_line import make, query
from tongqu.testing.following import around, follow, opened, wanted
from tongqu.testing.log_file import LogFile

DEADLINE = 90.0
ASKED = wanted(tables=["orders"])


class Queued:
    """A log of `orders` that is followed into a table which refuses the value `bad`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = LogFile(folder / "source.db")
        self.log.create("orders", "id INTEGER PRIMARY KEY, v TEXT, big TEXT")
        self.log.write(*(("c", "orders", {"id": id, "v": "first", "big": "big"}) for id in (1, 2)))
        make(folder / "target.db", "orders", "id INTEGER PRIMARY KEY, v TEXT CHECK (v <> 'bad'), big TEXT", [])
        self.url = f"sqlite:{folder}/target.db"
        self.follow()

    def update(self, id: int, v: str, lacks: Sequence[str] = ()) -> None:
        row = {"id": id, "v": v, "big": None if lacks else "big"}
        self.log.write(("u", "orders", row, list(lacks)) if lacks else ("u", "orders", row))

    def follow(self) -> Report:
        report = follow(self.log.path, self.url, ASKED)
        for one in report.to_json()["streams"]:
            out = one["written"] + one["filtered"] + one["deduplicated"] + one["quarantined"]
            assert one["read"] + one["generated"] == out, one
        return report

    def quarantine(self, *arguments: str) -> dict[str, Any]:
        done = command(self.folder, "quarantine", *arguments[:1], self.url, *arguments[1:])
        assert done.code in (0, 3), done.err
        return dict(done.document)

    def replay(self, *arguments: str) -> dict[str, int]:
        told = self.quarantine("replay", *arguments)
        return {name: told[name] for name in ("replayed", "written", "still_bad", "waiting")}

    def kept(self) -> list[tuple[str, str, str]]:
        """What is in quarantine, in the order in which it came."""
        with closing(opened(self.url)) as sink:
            found = sink.dirty(Dirty(arrival=True))
        return [(json.loads(str(row["original"]))["v"], str(row["code"]), str(row["state"])) for row in found]

    def there(self) -> list[tuple[Any, ...]]:
        return query(self.folder / "target.db", "SELECT id, v, big FROM orders ORDER BY id")


@pytest.fixture
def queued(tmp_path: Path) -> Queued:
    """Three changes of one key are in quarantine: the first was refused, the others wait behind it."""
    made = Queued(tmp_path)
    for v, lacks in (("bad", ()), ("second", ("big",)), ("third", ())):
        made.update(1, v, lacks)
        made.follow()
    assert made.kept() == [
        ("bad", "target.refused", "new"), ("second", "change.waiting", "new"), ("third", "change.waiting", "new"),
    ]  # fmt: skip
    return made


def test_what_waits_goes_in_behind_what_was_mended(queued: Queued) -> None:
    assert queued.quarantine("fix", "--code", "target.refused", "--rule", "set v=good")["fixed"] == 1
    assert queued.replay() == {"replayed": 3, "written": 3, "still_bad": 0, "waiting": 0}
    assert queued.there() == [(1, "third", "big"), (2, "first", "big")]
    assert {state for _, _, state in queued.kept()} == {"replayed"}
    queued.update(1, "fourth")
    queued.follow()
    assert queued.there()[0] == (1, "fourth", "big")


def test_nothing_overtakes_what_is_not_mended(queued: Queued) -> None:
    assert queued.replay("--state", "new") == {"replayed": 0, "written": 0, "still_bad": 1, "waiting": 2}
    assert queued.replay("--code", "change.waiting", "--state", "new") == {
        "replayed": 0, "written": 0, "still_bad": 0, "waiting": 2,
    }  # fmt: skip
    assert queued.there()[0] == (1, "first", "big")
    assert [state for _, _, state in queued.kept()] == ["still_bad", "new", "new"]


def test_one_in_the_middle_that_is_refused_again_holds_back_those_behind_it(queued: Queued) -> None:
    queued.quarantine("fix", "--code", "target.refused", "--rule", "set v=good")
    queued.update(1, "bad")
    queued.update(1, "last")
    for _ in range(2):
        queued.follow()
    assert [v for v, _, _ in queued.kept()][:3] == ["bad", "second", "third"]
    last = len(queued.kept()) - 3  # the two came in one chunk, where only the last counts, or one by one
    told = queued.replay()
    assert (told["replayed"], told["still_bad"], told["waiting"]) == ((4, 0, 0) if last == 1 else (3, 1, 1))
    assert queued.there()[0][1] == ("last" if last == 1 else "third")


def test_a_delete_settles_what_waits_before_it(queued: Queued) -> None:
    queued.quarantine("fix", "--code", "target.refused", "--rule", "set v=good")
    queued.log.write(("d", "orders", {"id": 1}))
    queued.follow()
    assert queued.there() == [(2, "first", "big")]
    assert {state for _, _, state in queued.kept()} == {"superseded"}
    assert queued.replay() == {"replayed": 0, "written": 0, "still_bad": 0, "waiting": 0}
    assert queued.there() == [(2, "first", "big")]


def test_what_waits_behind_a_change_that_was_given_up_goes_in(queued: Queued) -> None:
    queued.quarantine("fix", "--code", "target.refused", "--rule", "discard")
    assert queued.replay()["replayed"] == 2
    assert queued.there()[0] == (1, "third", "big")


class Running:
    """The stream of a `Queued` in a thread of its own."""

    def __init__(self, queued: Queued):
        self.stop, self.read, self._news = Event(), 0, Event()
        self.found: list[Report] = []
        self._thread = Thread(target=self._run, args=(queued,))
        self._thread.start()

    def _run(self, queued: Queued) -> None:
        report = follow(
            queued.log.path, queued.url, ASKED, until_caught_up=False, surroundings=around(self.stop), emit=self._hear
        )
        self.found.append(report)

    def _hear(self, event: Happened) -> None:
        if isinstance(event, Committed):
            self.read = event.counts.read
            self._news.set()

    def until(self, read: int) -> None:
        """Wait until so many changes were committed and told."""
        while self.read < read:
            assert self._news.wait(DEADLINE), self.read
            self._news.clear()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(DEADLINE)


def test_rows_go_in_again_while_the_stream_runs(queued: Queued) -> None:
    queued.quarantine("fix", "--code", "target.refused", "--rule", "set v=good")
    with Running(queued) as running:
        queued.update(2, "live")
        running.until(1)
        assert queued.replay()["replayed"] == 3
        queued.log.write(("d", "orders", {"id": 1}))  # the stream may not know yet that nothing waits any more
        queued.log.write(("c", "orders", {"id": 1, "v": "anew", "big": ""}))
        running.until(3)
    assert running.found[0].status == "stopped", running.found[0].problems
    assert queued.there() == [(1, "anew", ""), (2, "live", "big")]
    assert {state for _, _, state in queued.kept()} == {"replayed"}


def test_a_delete_settles_what_was_refused_since_the_stream_began(queued: Queued) -> None:
    queued.quarantine("fix", "--code", "target.refused", "--rule", "discard")
    queued.replay()
    with Running(queued) as running:
        queued.update(2, "bad")
        running.until(1)
        queued.update(2, "behind")
        running.until(2)
        queued.log.write(("d", "orders", {"id": 2}))
        queued.log.write(("c", "orders", {"id": 2, "v": "anew", "big": ""}))
        running.until(4)
    assert [state for _, _, state in queued.kept()[3:]] == ["superseded", "superseded"]
    assert queued.there()[1] == (2, "anew", "")


def test_what_a_history_sets_aside_and_deletes_in_one_chunk_is_settled(tmp_path: Path) -> None:
    asked = wanted(write="history", tables=["orders"])
    log, url = LogFile(tmp_path / "source.db"), f"sqlite:{tmp_path}/target.db"
    log.create("orders", "id INTEGER PRIMARY KEY, v TEXT")
    log.write(("c", "orders", {"id": 1, "v": "first"}))
    steps = [{"check": {"v": {"enum": ["first", "last"]}}}]
    follow(log.path, url, asked, steps=steps)
    log.write(
        ("u", "orders", {"id": 1, "v": "bad"}), ("d", "orders", {"id": 1}), ("c", "orders", {"id": 1, "v": "last"})
    )
    follow(log.path, url, asked, steps=steps)
    with closing(opened(url)) as sink:
        assert [row["state"] for row in sink.dirty(Dirty())] == ["superseded"]
    assert query(tmp_path / "target.db", "SELECT v, _current FROM orders ORDER BY _valid_from") == [
        ("first", 0), ("last", 1),
    ]  # fmt: skip


def test_postgres_takes_what_waited(queued: Queued, pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as session:
        session.execute("CREATE TABLE orders (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'), big text NOT NULL)")
    queued.url = pg_url
    queued.log.write(("u", "orders", {"id": 1, "v": "first", "big": "big"}))
    queued.follow()
    with Running(queued) as running:
        for number, (v, lacks) in enumerate((("bad", ()), ("second", ("big",)), ("third", ("big",)))):
            queued.update(1, v, lacks)
            running.until(number + 1)
        queued.quarantine("fix", "--code", "target.refused", "--rule", "set v=good")
        assert queued.replay() == {"replayed": 3, "written": 3, "still_bad": 0, "waiting": 0}
        assert _shown(pg_url) == [(1, "third", "big"), (2, "first", "big")]
    queued.update(1, "fourth")
    queued.follow()
    assert _shown(pg_url)[0][1] == "fourth"


def _shown(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as session:
        return session.execute("SELECT id, v, big FROM orders ORDER BY id").fetchall()
