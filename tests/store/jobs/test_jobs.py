"""Jobs are taken once, leases are fenced, and what a dead process held is taken over; on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from tongqu.core.errors import CheckpointError, ConnectError, InvalidPlanError, InvalidSettingsError, NotFoundError
from tongqu.store.home import Home
from tongqu.store.jobs.bell import Fifos
from tongqu.store.jobs.job import Ended, Hands, Limits, Work
from tongqu.store.jobs.jobs import Jobs
from tongqu.store.jobs.ticks import Tick, Ticks

NOBODY = Limits()
Opener = Callable[[], Jobs]


class Time:
    """The time of day, and the clock of leases, as a test wants them."""

    def __init__(self) -> None:
        self.at = 1_000_000.0
        self.moment = 50.0

    def now(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["sqlite", "postgres"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opener]:
    """Opens the same store again and again, as processes do."""
    url = request.getfixturevalue("pg_url") if request.param == "postgres" else ""
    with ExitStack() as stack:

        def opens() -> Jobs:
            jobs = Jobs.open(Home(tmp_path / "home"), url, time.now)
            monkeypatch.setattr(jobs.database, "moment", lambda: time.moment)
            stack.callback(jobs.close)
            return jobs

        yield opens


def work(id: str, **more: object) -> Work:
    return Work(**{"id": id, "kind": "run", "subject": id, "place": "p/", **more})  # type: ignore[arg-type]  # a test's


def hands(name: str = "a", free: int = 9, **more: object) -> Hands:
    return Hands(**{"holder": name, "host": "h", "free": free, "kept": 9, "place": "p/", **more})  # type: ignore[arg-type]  # a test's


def ids(jobs: Jobs, who: Hands, limits: Limits = NOBODY) -> list[str]:
    return [job.id for job in jobs.take(who, limits)]


def test_what_has_priority_goes_first_and_what_is_not_due_waits(opened: Opener, time: Time) -> None:
    jobs = opened()
    jobs.put([work("low"), work("high", priority=5), work("later", due=time.at + 60)])
    assert ids(jobs, hands(free=1)) == ["high"]
    assert ids(jobs, hands()) == ["low"]
    assert jobs.wait_for("p/", "a") == pytest.approx(60)
    time.at += 60
    assert ids(jobs, hands()) == ["later"]


def test_what_waits_is_not_put_in_twice(opened: Opener) -> None:
    jobs = opened()
    [first] = jobs.put([work("1", dedup="d")])
    assert [job.id for job in jobs.put([work("2", dedup="d"), work("3", dedup="d")])] == ["1", "1"]
    assert ids(jobs, hands()) == [first.id]
    assert [job.id for job in jobs.put([work("4", dedup="d")])] == ["4"]  # the one before runs already
    jobs.put([work("5", dedup="k", kept=True)])
    assert "5" in ids(jobs, hands())
    assert [job.id for job in jobs.put([work("6", dedup="k", kept=True)])] == ["5"]


def test_one_writer_and_no_more_than_a_connection_bears(opened: Opener) -> None:
    jobs = opened()
    jobs.put([work("1", writer="w"), work("2", writer="w")])
    jobs.put([work(name, connections=("erp",)) for name in ("3", "4", "5")])
    limits = Limits(connections={"erp": 2})
    assert ids(jobs, hands("a"), limits) == ["1", "3", "4"]
    assert ids(jobs, hands("b"), limits) == []
    jobs.end("3", 1, Ended("done"))
    jobs.end("1", 1, Ended("done"))
    assert ids(jobs, hands("b"), limits) == ["2", "5"]
    jobs.put([work("6")])
    assert ids(jobs, hands("b"), Limits(runs=3)) == []


def test_a_lease_that_is_over_goes_to_somebody_else_and_the_first_one_can_no_longer_end_it(
    opened: Opener, time: Time
) -> None:
    one, other = opened(), opened()
    one.put([work("1", writer="w")])
    [mine] = one.take(hands("a"), NOBODY)
    one.name_run("1", mine.epoch, "run-1")
    time.moment += 10
    assert one.renew({"1": mine.epoch}, 15) == {"1": ""}
    time.moment += 14
    assert ids(other, hands("b")) == []
    assert other.wait_for("p/", "b") == pytest.approx(1)
    time.moment += 2
    [theirs] = other.take(hands("b"), NOBODY)
    assert (theirs.run, theirs.epoch, theirs.attempts) == ("run-1", mine.epoch + 1, 2)
    assert one.renew({"1": mine.epoch}, 15) == {}
    assert one.end("1", mine.epoch, Ended("failed", {"status": "failed"})) is False
    assert other.end("1", theirs.epoch, Ended("done", {"status": "succeeded"})) is True
    assert one.get("1").state == "done"


def test_a_job_that_was_taken_and_never_begun_is_taken_again_by_the_same_hands(opened: Opener, time: Time) -> None:
    jobs = opened()
    jobs.put([work("1")])
    assert (ids(jobs, hands()), ids(jobs, hands())) == (["1"], [])
    time.moment += 16
    assert ids(jobs, hands()) == ["1"]


def test_leases_of_a_machine_that_was_started_anew_are_over(opened: Opener, time: Time) -> None:
    jobs = opened()
    time.moment = 9_000_000.0
    jobs.put([work("1")])
    jobs.take(hands("before"), NOBODY)
    time.moment = 20.0
    assert ids(jobs, hands("after")) == ["1"]


def test_local_files_stay_on_the_host_that_owns_them(opened: Opener) -> None:
    jobs = opened()
    jobs.take(hands(host="first"), NOBODY)
    jobs.put([work("1", pinned=True), work("2")])
    assert ids(jobs, hands(host="second")) == ["2"]
    assert ids(jobs, hands(host="first")) == ["1"]
    jobs.put([work("3", pinned=True)])
    assert ids(jobs, hands(host="second", owner="second")) == ["3"]


def test_pause_resume_and_cancel(opened: Opener) -> None:
    jobs = opened()
    jobs.put([work("1"), work("2"), work("3")])
    assert jobs.ask("2", "pause").state == "paused"
    assert jobs.ask("3", "cancel").state == "cancelled"
    [running] = jobs.take(hands(), NOBODY)
    assert jobs.ask("1", "pause").wish == "pause"
    assert jobs.renew({"1": running.epoch}, 15) == {"1": "pause"}
    assert jobs.end("1", running.epoch, Ended("paused"))
    for id in ("1", "2"):
        assert jobs.ask(id, "resume").state == "queued"
    with pytest.raises(InvalidPlanError, match="it cannot resume"):
        jobs.ask("3", "resume")
    with pytest.raises(NotFoundError):
        jobs.ask("9", "cancel")
    assert sorted(ids(jobs, hands())) == ["1", "2"]


def test_an_attempt_that_was_asked_to_stop_goes_on_where_that_was_asked_last(opened: Opener) -> None:
    jobs = opened()
    jobs.put([work("1"), work("2", dedup="k", kept=True)])
    first, second = jobs.take(hands(), NOBODY)
    jobs.ask("1", "pause")
    jobs.ask("1", "resume")
    assert jobs.end("1", first.epoch, Ended("paused"))  # its holder had heard the first wish only
    jobs.ask("2", "cancel")
    assert [job.id for job in jobs.put([work("3", dedup="k", kept=True, spec={"digest": "new"})])] == ["2"]
    assert jobs.end("2", second.epoch, Ended("cancelled"))
    assert [jobs.get(id).state for id in ("1", "2")] == ["queued", "queued"]
    assert jobs.get("2").spec == {"digest": "new"}
    first, second = jobs.take(hands(), NOBODY)
    for wish in ("pause", "restart"):
        jobs.ask("2", wish)
    assert jobs.renew({"2": second.epoch}, 15) == {"2": "pause"}  # a new version is no reason to go on


def test_what_follows_is_made_with_the_end_of_what_was_before(opened: Opener) -> None:
    jobs = opened()
    jobs.put([work("1")])
    jobs.take(hands(), NOBODY)
    assert not jobs.end("1", 7, Ended("done", follow=[work("2")]))
    assert jobs.end("1", 1, Ended("done", {"run": "r1"}, follow=[work("2")]))
    assert [(job.id, job.state, job.run) for job in jobs.newest("p/")] == [("2", "queued", ""), ("1", "done", "r1")]
    assert jobs.of("r", "p/") is not None
    assert not jobs.idle("p/")


def test_jobs_that_were_over_long_ago_are_forgotten(opened: Opener, time: Time) -> None:
    jobs = opened()
    jobs.put([work("1"), work("2")])
    jobs.take(hands(free=1), NOBODY)
    jobs.end("1", 1, Ended("done"))
    time.at += 181 * 86_400
    assert jobs.purge() == 1
    assert [job.id for job in jobs.newest("p/")] == ["2"]


def test_several_processes_take_each_job_once(opened: Opener) -> None:
    stores = [opened() for _ in range(3)]
    stores[0].put([work(f"{number:02}") for number in range(30)])

    def taken(number: int) -> list[str]:
        found: list[str] = []
        while some := ids(stores[number], hands(str(number), free=1)):
            found += some
        return found

    with ThreadPoolExecutor(3) as pool:
        all_taken = [id for found in pool.map(taken, range(3)) for id in found]
    assert sorted(all_taken) == [f"{number:02}" for number in range(30)]


def test_whoever_waits_is_woken_by_new_work(opened: Opener) -> None:
    one, other = opened(), opened()
    bell = one.database.bell()
    woken, ready = Event(), Event()

    def waits() -> None:
        bell.wait(0)
        ready.set()
        bell.wait(60)
        woken.set()

    thread = Thread(target=waits)
    thread.start()
    assert ready.wait(30)
    other.put([work("1")])
    assert woken.wait(30)
    thread.join()
    bell.close()


def test_of_two_schedulers_one_makes_the_jobs_of_a_tick(opened: Opener) -> None:
    one, other = (Ticks(opened(), "p/") for _ in range(2))
    wanted = {"s": Tick("s", "d", 100.0)}
    for ticks in (one, other):
        ticks.agree(wanted)
    first, second = one.due(100)[0], other.due(100)[0]
    assert one.fire(first, 160.0, [work("1")])
    assert not other.fire(second, 160.0, [work("2")])
    assert [tick.due for tick in other.all()] == [160.0]
    assert other.all()[0].last == 100.0


def test_schedules_keep_their_place_unless_they_change(opened: Opener) -> None:
    jobs = opened()
    ticks = Ticks(jobs, "p/")
    ticks.agree({"s": Tick("s", "d", 100.0), "t": Tick("t", "d", None)})
    ticks.pause("s", paused=True)
    ticks.agree({"s": Tick("s", "d", 500.0)})
    assert [(tick.name, tick.due, tick.paused) for tick in ticks.all()] == [("s", 100.0, True)]
    assert ticks.due(1000) == []
    ticks.agree({"s": Tick("s", "other", 500.0)})
    assert [(tick.due, tick.paused) for tick in ticks.all()] == [(500.0, True)]
    ticks.pause("s", paused=False, due=700.0)
    assert [(tick.due, tick.paused) for tick in ticks.all()] == [(700.0, False)]


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    jobs = Jobs.open(Home(tmp_path / "home"))
    jobs.database.run("PRAGMA user_version = 99")
    jobs.close()
    with pytest.raises(CheckpointError, match="version 99"):
        Jobs.open(Home(tmp_path / "home"))


def test_a_store_that_somebody_holds_is_tried_again_later(tmp_path: Path) -> None:
    jobs = Jobs.open(Home(tmp_path / "home"))
    other = sqlite3.connect(tmp_path / "home" / "jobs.db", isolation_level=None)
    jobs.database.run("PRAGMA busy_timeout = 1")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConnectError, match="locked"):
        jobs.put([work("1")])
    other.execute("ROLLBACK")
    assert [job.id for job in jobs.put([work("1")])] == ["1"]
    other.close()
    jobs.close()


def test_a_store_that_cannot_be_reached_says_so_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="store of jobs") as caught:
        Jobs.open(Home(tmp_path / "home"), "postgresql://u:geheim@127.0.0.1:1/db")
    assert "geheim" not in str(caught.value)


def test_what_was_rung_before_the_first_wait_is_heard(opened: Opener) -> None:
    jobs = opened()
    bell = jobs.database.bell()
    try:
        opened().database.ring()
        begun = monotonic()
        bell.wait(120.0)
        assert monotonic() - begun < 60
    finally:
        bell.close()


def test_a_bell_is_not_taken_for_one_that_nobody_waits_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifos, make = Fifos(tmp_path / "bells"), os.mkfifo

    def rung(path: Path, mode: int) -> None:
        make(path, mode)
        fifos.ring()  # as another process may, before this one has opened it

    monkeypatch.setattr(os, "mkfifo", rung)
    bell = fifos.bell()
    try:
        assert len([*(tmp_path / "bells").glob("*-*")]) == 1
        fifos.ring()
        begun = monotonic()
        bell.wait(120.0)
        assert monotonic() - begun < 60
    finally:
        bell.close()
    assert not [*(tmp_path / "bells").iterdir()]


def test_a_job_that_became_due_since_jobs_were_taken_is_not_slept_over(opened: Opener, time: Time) -> None:
    jobs = opened()
    jobs.put([work("a", due=time.at + 1)])
    looked = time.at
    assert jobs.take(Hands("h", "host", 2, place="p/"), NOBODY) == []
    time.at += 2  # while other work was begun
    assert jobs.wait_for("p/", "h", looked) == 0.0
    assert [job.id for job in jobs.take(Hands("h", "host", 2, place="p/"), NOBODY)] == ["a"]
    assert jobs.wait_for("p/", "h", time.at) is None


@pytest.mark.parametrize("url", ["mysql://u:hunter22pw@h/db", "postgresql://u:hunter22 pw@h/db"])
def test_an_address_that_cannot_be_read_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        Jobs.open(Home(tmp_path / "home"), url)
    assert "hunter22" not in str(caught.value.problem())
