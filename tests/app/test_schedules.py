"""Schedules fire each moment once, on the right days, whatever clocks do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event
from time import monotonic
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from tongqu.app.project.calendars import calendar, working_day
from tongqu.app.project.load import load
from tongqu.app.project.places import ProblemsError
from tongqu.app.project.schedules import CalendarEntry, OnFile, ScheduleEntry
from tongqu.app.services import hands
from tongqu.app.services.scheduling import Scheduler, upcoming
from tongqu.app.services.tasks import Tasks
from tongqu.app.services.timing import Timing
from tongqu.app.services.working import Configured, Working
from tongqu.core.errors import ReadError
from tongqu.store.home import Home
from tongqu.store.jobs.job import Ended, Hands, Job, Limits
from tongqu.store.jobs.jobs import Jobs
from tongqu.testing.clock import FakeClock
from tongqu.testing.command_line import inside, make

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 2, 0, 0, 30, tzinfo=UTC)
PROJECT = """
project: plant
connections: {a: {type: sqlite, path: a.db}, drop: {type: file, path: drop/*.csv}}
pipelines:
  p:
    source: {connection: a, dataset: t}
    sink: {connection: a, dataset: u}
"""


def moments(text: str, zone: ZoneInfo, begin: str, count: int, **more: str) -> list[str]:
    """The next moments of a cron expression after a local time."""
    timing = Timing.of(ScheduleEntry(cron=text, **more), {}, Path(), zone.key, UTC)  # type: ignore[arg-type]  # texts
    at: float | None = datetime.fromisoformat(begin).replace(tzinfo=zone).timestamp()
    found = []
    for _ in range(count):
        assert at is not None
        at = timing.after(at)
        assert at is not None
        found.append(datetime.fromtimestamp(at, zone).isoformat(sep=" ", timespec="minutes"))
    return found


def test_what_falls_into_the_hour_that_is_left_out_comes_right_after_it_and_once() -> None:
    found = moments("30 2 * * *", BERLIN, "2026-03-28", 3)
    assert found == ["2026-03-28 02:30+01:00", "2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"]


def test_a_fixed_time_comes_once_in_the_hour_that_comes_twice_and_an_interval_goes_on() -> None:
    found = moments("30 2 * * *", BERLIN, "2026-10-24 12:00", 2)
    assert found == ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"]
    found = moments("*/30 * * * *", BERLIN, "2026-10-25 01:45", 4)
    assert [one[11:] for one in found] == ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"]


def test_working_days_of_china_with_those_worked_in_exchange() -> None:
    found = moments("0 8 * * *", SHANGHAI, "2026-09-30", 6, calendar="workdays")
    assert [one[:10] for one in found] == [
        "2026-09-30", "2026-10-08", "2026-10-09", "2026-10-10", "2026-10-12", "2026-10-13",
    ]  # fmt: skip
    assert working_day(date(2026, 10, 10))  # a Saturday
    assert not working_day(date(2044, 1, 2))  # a Saturday of a year that nobody has arranged yet


def test_calendars_of_the_project_and_their_files(tmp_path: Path) -> None:
    (tmp_path / "plant.txt").write_text("# the plant\n2026-12-24 off\n2026-12-26 work  # a Saturday\n")
    entries = {
        "plant": CalendarEntry(file="plant.txt", holidays=[date(2026, 12, 28)]),
        "china": CalendarEntry(based_on="workdays", workdays=[date(2026, 10, 1)]),
        "weekend": CalendarEntry(weekdays=("sat", "sun")),
    }
    plant, china, weekend = (calendar(name, entries, tmp_path) for name in entries)
    days = [date(2026, 12, day) for day in (23, 24, 25, 26, 27, 28, 29)]
    assert [plant(day) for day in days] == [True, False, True, True, False, False, True]
    assert [china(date(2026, 10, day)) for day in (1, 2, 10)] == [True, False, True]
    assert [weekend(day) for day in days[2:5]] == [False, True, True]


def test_an_interval_counts_from_the_same_moments_everywhere() -> None:
    timing = Timing.of(ScheduleEntry(every="6h", calendar="workdays"), {}, Path(), "Asia/Shanghai", UTC)
    friday = datetime(2026, 3, 6, 19, tzinfo=SHANGHAI).timestamp()
    after = timing.after(friday)
    assert after is not None
    assert datetime.fromtimestamp(after, SHANGHAI) == datetime(2026, 3, 6, 20, tzinfo=SHANGHAI)
    after = timing.after(after)
    assert after is not None
    assert datetime.fromtimestamp(after, SHANGHAI) == datetime(2026, 3, 9, 2, tzinfo=SHANGHAI)  # Monday


@pytest.mark.parametrize(
    "told", [{"cron": "* * * * * *"}, {"cron": "0 * * * *", "calendar": "workdays"}, {"every": "1s"}]
)
def test_moments_of_ten_years_are_looked_through_at_once(told: dict[str, str]) -> None:
    looked: list[float] = []

    class Counted(Timing):
        def after(self, moment: float) -> float | None:
            looked.append(moment)
            return super().after(moment)

    timing = Counted.of(ScheduleEntry(**told), {}, Path(), "Asia/Shanghai", UTC)  # type: ignore[arg-type]  # texts
    first = timing.after(datetime(2016, 1, 4, 9, tzinfo=SHANGHAI).timestamp())
    assert first is not None
    now = datetime(2026, 3, 6, 20, 0, 5, tzinfo=SHANGHAI).timestamp()
    [last] = timing.between(first, now, 1)
    assert last == datetime(2026, 3, 6, 20, 0, 0 if "calendar" in told else 5, tzinfo=SHANGHAI).timestamp()
    found = timing.between(first, now, 60)
    assert (len(found), found[-1], found) == (60, last, sorted(set(found)))
    assert [timing.after(one) for one in found[:-1]] == found[1:]
    assert timing.between(last, now, 60) == [last]
    assert len(looked) < 3000


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("'61 * * * *'", "bad minute"),
        ("'* * *'", "5 fields"),
        ("{every: soon}", "30s, 5m, 2h"),
        ("{cron: '0 0 * * *', every: 1h}", "exactly one of"),
        ("{cron: '0 0 * * *', timezone: Mars/Base}", "no time zone"),
        ("{cron: '0 0 * * *', calendar: works}", "no calendar 'works'"),
        ("{after: q}", "no pipeline 'q'"),
        ("{after: p}", "after itself"),
        ("{on_file: {connection: a}}", "holds no files"),
        ("{on_file: {connection: dorp}}", "no connection 'dorp'"),
        ("{cron: '0 0 * * *', catch_up: maybe}", "catch_up"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told_with_its_place(tmp_path: Path, schedule: str, said: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(f"{PROJECT}    schedule: {schedule}\n")
    with pytest.raises(ProblemsError) as caught:
        load(tmp_path)
    [problem] = caught.value.problems
    assert said in problem.message + str(problem.hint)
    assert problem.path.startswith("tongqu.yaml:8:pipelines.p.schedule")


def test_pipelines_that_would_begin_each_other_for_ever_are_refused(tmp_path: Path) -> None:
    ends = "source: {connection: a, dataset: t}, sink: {connection: a, dataset: u}"
    more = f"  q: {{{ends}, schedule: {{after: r}}}}\n  r: {{{ends}, schedule: {{after: [p, s]}}}}\n  s: {{{ends}}}\n"
    (tmp_path / "tongqu.yaml").write_text(f"{PROJECT}    schedule: {{after: q}}\n{more}", encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(tmp_path)
    assert [problem.message for problem in caught.value.problems] == [
        "'p' would run after itself for ever: p → q → r → p",
        "'q' would run after itself for ever: q → r → p → q",
        "'r' would run after itself for ever: r → p → q → r",
    ]


class House:
    """A project with schedulers on one store, and a clock that a test sets."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder = folder
        self.clock = FakeClock(START)
        self.files = ""
        self._stack = stack
        self.jobs = self.open()

    def open(self) -> Jobs:
        jobs = Jobs.open(Home(self.folder / "home"), clock=self.now)
        self._stack.callback(jobs.close)
        return jobs

    def now(self) -> float:
        return self.clock.at.timestamp()

    def scheduler(self, schedule: str, more: str = "") -> Scheduler:
        (self.folder / "tongqu.yaml").write_text(f"{PROJECT}    schedule: {schedule}\n{more}", encoding="utf-8")
        made = Scheduler(self.open(), self.clock.new_id, UTC, lambda: 0.5, lambda told: self.files)
        made.adopt(Tasks.of(load(self.folder), ""))
        self._stack.callback(made.close)
        return made

    def working(self) -> Working:
        """Hands that were told to leave."""
        configured = Configured(lambda: 0, lambda: load(self.folder), self.folder, "", files=True)
        made = Working(self.jobs, self.scheduler("{every: 1h}"), configured)
        made.leave()
        return made

    def ticks(self) -> list[str]:
        """The moments for which there is a job."""
        jobs = reversed(self.jobs.newest("plant/", limit=1000))
        return [datetime.fromtimestamp(job.tick, UTC).strftime("%d %H:%M") for job in jobs]

    def finish(self) -> list[str]:
        """Take everything and end it well; the names."""
        taken = self.jobs.take(Hands("h", "here", 100, place="plant/"), Limits())
        for job in taken:
            self.jobs.end(job.id, job.epoch, Ended("done"))
        return [job.subject for job in taken]

    def pass_minutes(self, *schedulers: Scheduler, minutes: int) -> None:
        for _ in range(minutes):
            self.clock.advance(60)
            for one in schedulers:
                one.step()
            self.finish()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, stack)


def test_two_schedulers_make_each_tick_once(house: House) -> None:
    schedule = "'*/2 * * * *'"
    house.pass_minutes(house.scheduler(schedule), house.scheduler(schedule), minutes=7)
    assert house.ticks() == ["02 00:02", "02 00:04", "02 00:06"]


@pytest.mark.parametrize(
    ("catch_up", "missed"),
    [("none", []), ("one", ["02 03:00"]), ("all", ["02 01:00", "02 02:00", "02 03:00"])],
)
def test_what_was_missed_is_made_good_as_the_schedule_says(house: House, catch_up: str, missed: list[str]) -> None:
    scheduler = house.scheduler(f"{{cron: '0 * * * *', catch_up: {catch_up}}}")
    house.clock.advance(3 * 3600 + 600)
    scheduler.step()
    scheduler.step()
    assert house.ticks() == missed
    house.pass_minutes(scheduler, minutes=60)
    assert house.ticks() == [*missed, "02 04:00"]


@pytest.mark.parametrize("hours", [1, 24])
def test_a_clock_that_is_set_makes_no_tick_twice(house: House, hours: int) -> None:
    scheduler = house.scheduler("'0 * * * *'")
    house.pass_minutes(scheduler, minutes=60)
    house.clock.advance(-3600 * hours)
    house.pass_minutes(scheduler, minutes=60 * hours)
    assert house.ticks() == ["02 01:00"]
    house.pass_minutes(scheduler, minutes=60)
    house.clock.advance(3600 * hours)
    house.pass_minutes(scheduler, minutes=1)
    found = house.ticks()
    assert len(found) == len(set(found)) == 3


@pytest.mark.parametrize("schedule", ["'0 * * * *'", "{cron: '0 * * * *', catch_up: none}", "{every: 1h}"])
def test_a_clock_that_was_years_ahead_and_is_put_right_silences_nothing(house: House, schedule: str) -> None:
    scheduler = house.scheduler(schedule)
    house.clock.advance(10 * 365 * 86_400 + 1800)
    scheduler.step()
    [*_] = house.jobs.take(Hands("h", "here", 100, place="plant/"), Limits())
    for job in house.jobs.newest("plant/"):  # its attempt fails, and waits by the wrong clock
        house.jobs.end(job.id, job.epoch, Ended("queued", due=house.now() + 10, failures=1))
    before = len(house.jobs.newest("plant/"))
    house.clock.advance(-10 * 365 * 86_400)
    scheduler.step()
    assert len(house.finish()) == before
    house.pass_minutes(scheduler, minutes=180)
    assert (house.ticks()[:3], len(house.ticks())) == (["02 01:00", "02 02:00", "02 03:00"], before + 3)


def test_ticks_while_a_run_waits_are_one_run(house: House) -> None:
    scheduler = house.scheduler("'* * * * *'")
    for _ in range(3):
        house.clock.advance(60)
        scheduler.step()
    assert house.ticks() == ["02 00:01"]
    assert house.finish() == ["p"]


def test_a_paused_schedule_is_silent_and_goes_on_from_then(house: House) -> None:
    scheduler = house.scheduler("'0 * * * *'")
    scheduler.ticks.pause("p", paused=True)
    house.pass_minutes(scheduler, minutes=90)
    assert (house.ticks(), scheduler.next()) == ([], None)
    scheduler.ticks.pause("p", paused=False, due=START.timestamp() + 7200)
    house.pass_minutes(scheduler, minutes=60)
    assert house.ticks() == ["02 02:00"]


def test_jitter_moves_the_run_and_not_the_tick(house: House) -> None:
    scheduler = house.scheduler("{cron: '0 * * * *', jitter: 2m, priority: 7, retries: 1, timeout: 1h}")
    house.clock.advance(3600)
    scheduler.step()
    [job] = house.jobs.newest("plant/")
    assert job.due - house.clock.at.timestamp() == pytest.approx(60)
    assert (job.priority, job.retries, job.timeout) == (7, 1, 3600)
    assert house.ticks() == ["02 01:00"]


OTHER = "  q: {source: {connection: a, dataset: u}, sink: {connection: a, dataset: w}, schedule: {after: p}}\n"


def test_a_pipeline_begins_after_another(house: House) -> None:
    scheduler = house.scheduler("{every: 1h}", OTHER)
    assert [work.subject for work in scheduler.followers("p")] == ["q"]
    assert scheduler.followers("q") == []
    scheduler.ticks.pause("q", paused=True)
    assert scheduler.followers("p") == []


def test_a_file_begins_a_run_when_it_is_whole_and_once(house: House) -> None:
    scheduler = house.scheduler("{on_file: {connection: drop, pattern: '*', every: 10s}}")
    looked = Event()
    scheduler.nudge = looked.set

    def look() -> int:
        house.clock.advance(10)
        looked.clear()
        scheduler.step()
        assert looked.wait(30)
        scheduler.step()
        return len(house.finish())

    assert look() == 0
    house.files = "orders.csv 10"
    assert look() == 0
    house.files = "orders.csv 20"  # it still grows
    assert look() == 0
    assert [look(), look()] == [1, 0]
    house.files = ""
    assert [look(), look()] == [0, 0]
    house.files = "orders.csv 30"
    assert [look(), look(), look()] == [0, 1, 0]

    def broken(told: OnFile) -> str:
        raise ReadError("the server is away")

    scheduler.look = broken
    assert look() == 0


def test_a_stream_without_an_end_is_kept_and_begun_anew_when_it_changed(house: House) -> None:
    scheduler = house.scheduler("{every: 1h}")
    assert scheduler.tasks is not None
    tasks = scheduler.tasks
    stream = replace(tasks.named["p"], kept=True, schedule=None)
    for _ in range(2):
        scheduler.adopt(replace(tasks, named={"p": stream}))
    [job] = house.jobs.newest("plant/")
    assert (job.kept, job.state) == (True, "queued")
    [taken] = house.jobs.take(Hands("h", "here", 0, 1, "plant/"), Limits())
    scheduler.adopt(replace(tasks, named={"p": replace(stream, digest="other")}))
    assert house.jobs.renew({taken.id: taken.epoch}, 15) == {taken.id: "restart"}
    house.jobs.end(taken.id, taken.epoch, Ended("queued"))
    assert house.jobs.get(taken.id).spec["digest"] == "other"
    scheduler.adopt(replace(tasks, named={}))
    assert house.jobs.get(taken.id).state == "cancelled"


def test_a_stream_is_found_among_ever_so_many_jobs(house: House) -> None:
    scheduler = house.scheduler("{every: 1h}")
    assert scheduler.tasks is not None
    tasks = scheduler.tasks
    scheduler.adopt(replace(tasks, named={"p": replace(tasks.named["p"], kept=True, schedule=None)}))
    [kept] = house.jobs.newest("plant/")
    house.clock.advance(1)
    house.jobs.put([replace(tasks.named["p"].work(house.clock.new_id), dedup="") for _ in range(1001)])
    scheduler.adopt(replace(tasks, named={}))
    assert house.jobs.get(kept.id).state == "cancelled"


def test_a_two_way_sync_without_an_end_goes_on_when_its_scheduler_begins_again(house: House) -> None:
    sync = "sync:\n  s: {between: [{connection: a, dataset: t}, {connection: a, dataset: u, name: u}], mode: cdc}\n"
    house.scheduler("{every: 1h}", sync)
    [taken] = house.jobs.take(Hands("h", "here", 0, 1, "plant/"), Limits())
    assert (taken.kind, taken.subject, taken.kept) == ("twoway", "s", True)
    house.scheduler("{every: 1h}", sync)
    assert house.jobs.renew({taken.id: taken.epoch}, 15) == {taken.id: ""}


def test_what_becomes_of_an_attempt(house: House) -> None:
    working = house.working()

    def ends(code: int, why: str = "", *, kept: bool = False, failures: int = 0, problem: str = "") -> str:
        job = Job("1", "run", "p", kept=kept, failures=failures, retries=2)
        problems = [{"code": problem}] if problem else []
        told = SimpleNamespace(
            job=job, code=code, why=why, began=monotonic(), document={"problems": problems}, moved=False, read={}
        )
        return working.judged(told).state  # type: ignore[arg-type]  # what it looks at

    assert [ends(0), ends(3)] == ["done", "done"]
    assert ends(1, problem="connector.connect") == "queued"
    assert ends(1, problem="connector.connect", failures=2) == "failed"
    assert ends(1, problem="connector.connect", failures=99, kept=True) == "queued"
    assert ends(-9) == "queued"  # it was killed
    assert ends(1, problem="connector.lost_position", kept=True) == "failed"
    assert ends(2, problem="config.invalid_plan") == "failed"
    assert [ends(1, why) for why in ("pause", "cancel", "leave", "restart")] == [
        "paused", "cancelled", "queued", "queued",
    ]  # fmt: skip
    assert ends(0, "pause") == "done"  # it had come to its end
    assert ends(1, "timeout") == "queued"
    assert ends(0, kept=True) == "queued"  # a stream does not end by itself
    working.run()


def test_a_stream_that_is_killed_often_is_begun_again_soon_if_it_has_committed(house: House) -> None:
    working = house.working()

    def waits(failures: int, read: int, *, moved: bool = False) -> float:
        told = SimpleNamespace(
            job=Job("1", "run", "p", kept=True, failures=failures, retries=2), code=-9, why="", began=monotonic(),
            document={"problems": []}, moved=moved, read={"p/log": read},
        )  # fmt: skip
        return working.judged(told).due - house.jobs.clock()  # type: ignore[arg-type]  # what it looks at

    assert waits(7, 100) == 128  # nobody knows yet whether it has come further
    assert waits(8, 100) == 256
    assert waits(9, 150) == 1  # it has, since the attempt before
    assert waits(9, 150, moved=True) == 1
    assert waits(9, 150) == 300
    working.run()


class Held:
    """An attempt whose process ends when the test says so."""

    def __init__(self, job: Job, setting: object, heard: object):
        self.job, self.why, self.run, self.behind, self.code = job, "", "", None, 0
        self.began, self.document, self.over, self.closed = monotonic(), {"status": "stopped"}, Event(), False
        self.moved, self.read = False, dict[str, int]()

    def stop(self, why: str) -> None:
        self.why = self.why or why

    def press(self) -> float | None:
        return None

    def close(self) -> None:
        self.closed = True


def test_a_lost_job_that_is_taken_again_leaves_no_attempt_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Held] = []

    def attempt(job: Job, setting: object, heard: object) -> Held:
        made.append(Held(job, setting, heard))
        return made[-1]

    monkeypatch.setattr("tongqu.app.services.working.Attempt", attempt)
    working = house.working()
    working.leaving.clear()
    assert working.scheduler.tasks is not None
    [job] = house.jobs.put([working.scheduler.tasks.named["p"].work(house.clock.new_id)])
    working._step()
    assert house.jobs.end(job.id, house.jobs.get(job.id).epoch, Ended("queued"))  # as one does who took it over
    working._step()
    first, second = made
    assert (first.why, first.closed, second.why) == ("lost", False, "")
    first.over.set()
    working._step()
    assert (first.closed, second.closed, house.jobs.get(job.id).state) == (True, False, "running")
    second.over.set()
    working.leave()
    working.run()
    assert second.closed


def test_without_room_for_one_more_process_a_job_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Held] = []

    def attempt(job: Job, setting: object, heard: object) -> Held:
        made.append(Held(job, setting, heard))
        if len(made) == 1:
            raise OSError(24, "Too many open files")
        made[-1].over.set()
        working.leave()
        return made[-1]

    monkeypatch.setattr("tongqu.app.services.working.Attempt", attempt)
    moment = [50.0]
    monkeypatch.setattr(house.jobs.database, "moment", lambda: moment[0])
    told: list[str] = []
    working = house.working()

    def tell(word: str, about: object) -> None:
        told.append(word)
        moment[0] += 20  # leases pass

    working.tell = tell
    working.leaving.clear()
    assert working.scheduler.tasks is not None
    [job] = house.jobs.put([working.scheduler.tasks.named["p"].work(house.clock.new_id)])
    working.run()
    assert ("blind" in told, len(made), house.jobs.get(job.id).attempts) == (True, 2, 2)


def test_hands_that_end_by_an_error_end_the_process_with_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Event()
    monkeypatch.setattr(hands, "stop_all", stopped.set)
    working = house.working()
    monkeypatch.setattr(working, "run", lambda: int("no number"))
    with pytest.raises(ValueError, match="no number"), hands.beside(working):
        assert stopped.wait(30)


def test_a_tick_of_what_has_no_schedule_any_more_is_not_waited_for(house: House) -> None:
    scheduler = house.scheduler("'* * * * *'")
    assert scheduler.tasks is not None
    assert scheduler.next() is not None
    named = scheduler.tasks.named
    scheduler.tasks = replace(scheduler.tasks, named={name: replace(one, schedule=None) for name, one in named.items()})
    house.clock.advance(120)
    scheduler.step()
    assert scheduler.next() is None


def test_the_next_moments_are_told_in_the_zone_of_the_schedule(house: House) -> None:
    scheduler = house.scheduler("'0 8 * * *'", "run: {timezone: Asia/Shanghai}\n")
    assert scheduler.tasks is not None
    [told] = upcoming(scheduler.tasks, UTC, START.timestamp(), 2)
    assert told == {
        "name": "p", "starts": "0 8 * * *", "next": ["2026-03-03T08:00:00+08:00", "2026-03-04T08:00:00+08:00"],
    }  # fmt: skip


def test_schedules_on_the_command_line(tmp_path: Path) -> None:
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY", [(1,)])
    (tmp_path / "tongqu.yaml").write_text(f"{PROJECT}    schedule: {{on_event: shift_end}}\n{OTHER}")
    listed = inside(tmp_path, "schedule", "list", "--json").document["schedules"]
    assert [(one["name"], one["starts"], one["paused"]) for one in listed] == [
        ("p", "on_event shift_end", False),
        ("q", "after p", False),
    ]
    assert inside(tmp_path, "schedule", "trigger", "q", "--json").document["jobs"][0]["state"] == "queued"
    told = inside(tmp_path, "schedule", "event", "shift_end", "--json").document
    assert [job["name"] for job in told["jobs"]] == ["p"]
    assert inside(tmp_path, "schedule", "event", "shift_begin").code == 2
    assert inside(tmp_path, "schedule", "pause", "nothing").code == 2
    jobs = inside(tmp_path, "runs", "jobs", "--state", "open", "--json").document["jobs"]
    assert {job["name"] for job in jobs} == {"p", "q"}
    cancelled = inside(tmp_path, "runs", "cancel", jobs[0]["job"], "--json").document
    assert cancelled["state"] == "cancelled"
    assert "p" in inside(tmp_path, "schedule", "next", "q").out
