"""Workers that are killed, put to sleep or told to stop: each job is done once, and goes on where it stood."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from tongqu.store.home import Home
from tongqu.store.jobs.job import Job
from tongqu.store.jobs.jobs import Jobs
from tongqu.testing.command_line import Done, inside, make, query, start
from tongqu.testing.services.gateway import Gateway

SECONDS = 90.0
ROWS = 500
HOLD = """
import time
from pathlib import Path

HERE = Path(__file__).parent

def hold(table):
    if table["id"][0].as_py() > 200:
        (HERE / "held").touch()
        while not (HERE / "go").exists():
            time.sleep(0.02)
    return table
"""
PROJECT = """
project: plant
connections: {a: {type: sqlite, path: a.db}, b: {type: sqlite, path: b.db}}
pipelines:
  quick: {source: {connection: a, dataset: t}, sink: {connection: b, dataset: quick}}
  slow:
    source: {connection: a, dataset: t}
    steps: [{python: {file: hold.py, function: hold}}]
    sink: {connection: b, dataset: slow, write: append}
    limit: {chunk_rows: 100, splits: 1}
  wrong: {source: {connection: a, dataset: nothing}, sink: {connection: b}}
  since:
    source: {connection: a, dataset: t, mode: incremental, cursor: at}
    sink: {connection: b, dataset: since, key: [id]}
run: {lease_seconds: 4}
"""


@dataclass
class Plant:
    """A project, the workers on it, and where their jobs are kept."""

    folder: Path
    store: str
    stack: ExitStack
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    def tongqu(self, *arguments: str) -> Done:
        return inside(self.folder, *arguments, **self.environ)

    @property
    def environ(self) -> dict[str, str]:
        return {"TONGQU_STORE": self.store} if self.store else {}

    def worker(self, *arguments: str) -> subprocess.Popen[str]:
        """A worker that is ready."""
        process = start(self.folder, "worker", "--files", *arguments, **self.environ)
        self.workers.append(process)
        assert process.stderr is not None
        assert "ready" in process.stderr.readline()
        return process

    def queue(self, *arguments: str) -> str:
        """Put one pipeline into the queue; the job."""
        return str(self.tongqu("run", "--queue", "--json", *arguments).document["jobs"][0]["job"])

    def job(self, id: str) -> Job:
        return self.jobs.get(id)

    def until(self, what: Callable[[], Any]) -> Any:
        """Wait for something to be so; what it gave."""
        end, pause = monotonic() + SECONDS, Event()
        while not (found := what()):
            assert monotonic() < end, [(job.id, job.subject, job.state, job.outcome) for job in self.all()]
            pause.wait(0.02)
        return found

    def all(self) -> list[Job]:
        return self.jobs.newest("plant/")

    def open(self) -> None:
        self.jobs = Jobs.open(Home(self.folder / "home"), self.store)
        self.stack.callback(self.jobs.close)

    def child(self, id: str) -> int:
        """The process of the run of a job, as the ledger of runs knows it."""
        run = self.until(lambda: self.job(id).run)
        return int(self.tongqu("runs", "show", run, "--json").document["pid"])

    def rows(self, table: str) -> list[int]:
        return [row[0] for row in query(self.folder / "b.db", f"SELECT id FROM {table} ORDER BY id")]


@contextmanager
def plant(folder: Path, store: str = "") -> Iterator[Plant]:
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    (folder / "hold.py").write_text(HOLD, encoding="utf-8")
    rows = [(number, f"2026-01-{1 + number % 10:02} 00:00:00") for number in range(1, ROWS + 1)]
    make(folder / "a.db", "t", "id INTEGER PRIMARY KEY, at TIMESTAMP", rows)
    with ExitStack() as stack:
        made = Plant(folder, store, stack)
        made.open()
        try:
            yield made
        finally:
            (folder / "go").touch()
            for process in made.workers:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
                process.communicate(timeout=SECONDS)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plant]:
    store = request.getfixturevalue("pg_url") if request.param == "postgres" else ""
    with plant(tmp_path, store) as made:
        yield made


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=SECONDS)
    return process.returncode


def test_a_worker_does_what_waits_and_ends_when_nothing_is_left(here: Plant) -> None:
    quick, wrong = here.queue("quick"), here.queue("wrong")
    assert ended(here.worker("--until-idle")) == 0
    assert here.rows("quick") == list(range(1, ROWS + 1))
    assert (here.job(quick).state, here.job(wrong).state) == ("done", "failed")
    listed = here.tongqu("runs", "jobs", "--json").document["jobs"]
    assert [(job["name"], job["state"]) for job in listed] == [("wrong", "failed"), ("quick", "done")]
    assert listed[0]["problems"][0]["code"] == "connector.not_found"
    shown = here.tongqu("runs", "show", here.job(quick).run, "--json").document
    assert (shown["status"], shown["command"]) == ("succeeded", "tongqu run quick")


def test_what_a_killed_worker_did_is_taken_over_and_goes_on_as_the_same_run(anywhere: Plant) -> None:
    job = anywhere.queue("slow")
    first = anywhere.worker()
    anywhere.until((anywhere.folder / "held").exists)  # two chunks are committed
    run = anywhere.until(lambda: anywhere.job(job).run)
    first.kill()
    ended(first)
    second = anywhere.worker()
    anywhere.until(lambda: anywhere.job(job).attempts >= 2)
    (anywhere.folder / "go").touch()
    anywhere.until(lambda: not anywhere.job(job).open)
    assert anywhere.job(job).state == "done", anywhere.job(job).outcome
    assert anywhere.job(job).run == run
    assert anywhere.rows("slow") == list(range(1, ROWS + 1))
    [told] = anywhere.tongqu("runs", "show", run, "--json").document["streams"]
    assert (told["read"], told["inserted"]) == (ROWS, ROWS)
    second.terminate()
    assert ended(second) == 0


def test_a_worker_that_slept_past_its_lease_writes_nothing_and_gives_up(here: Plant) -> None:
    job = here.queue("slow")
    first = here.worker()
    here.until((here.folder / "held").exists)
    child = here.child(job)
    for pid in (first.pid, child):
        os.kill(pid, signal.SIGSTOP)
    second = here.worker("--until-idle")
    here.until(lambda: here.job(job).attempts >= 2)
    (here.folder / "go").touch()
    here.until(lambda: here.job(job).state == "done")
    assert ended(second) == 0
    for pid in (first.pid, child):
        os.kill(pid, signal.SIGCONT)
    assert first.stderr is not None
    here.until(lambda: "taken it over" in first.stderr.readline())  # type: ignore[union-attr]  # it is a pipe
    assert here.job(job).state == "done"
    assert here.rows("slow") == list(range(1, ROWS + 1))


def test_a_worker_that_is_told_to_stop_commits_and_puts_its_work_back(here: Plant) -> None:
    job = here.queue("slow")
    first = here.worker()
    here.until((here.folder / "held").exists)
    run = here.until(lambda: here.job(job).run)
    first.terminate()
    (here.folder / "go").touch()
    assert ended(first) == 0
    assert here.job(job).state == "queued"
    assert ended(here.worker("--until-idle")) == 0
    assert (here.job(job).state, here.job(job).run) == ("done", run)
    assert here.rows("slow") == list(range(1, ROWS + 1))


def test_a_run_is_paused_goes_on_and_is_cancelled(here: Plant) -> None:
    job = here.queue("slow")
    here.worker()
    here.until((here.folder / "held").exists)
    run = here.until(lambda: here.job(job).run)
    assert here.tongqu("runs", "pause", run, "--json").document["job"] == job
    (here.folder / "go").touch()
    here.until(lambda: here.job(job).state == "paused")
    assert here.rows("slow") != list(range(1, ROWS + 1))
    here.tongqu("runs", "resume", job)
    here.until(lambda: here.job(job).state == "done")
    assert here.job(job).run == run
    assert here.rows("slow") == list(range(1, ROWS + 1))
    assert here.tongqu("runs", "cancel", job).code == 2  # it is over


def test_backfill_loads_windows_again_and_leaves_the_live_cursor_alone(here: Plant) -> None:
    assert here.tongqu("run", "since").code == 0
    database = sqlite3.connect(here.folder / "b.db")
    with database:
        database.execute("DELETE FROM since WHERE at < '2026-01-06'")
        before = database.execute("SELECT sync, position FROM _tongqu_checkpoint WHERE stream = 'since'").fetchall()
    database.close()
    span = ["--from", "2026-01-01", "--to", "2026-01-04", "--step", "2d"]
    told = here.tongqu("runs", "backfill", "since", *span, "--json").document
    assert told["windows"] == [
        {"from": "2026-01-01 00:00:00", "to": "2026-01-03 00:00:00"},
        {"from": "2026-01-03 00:00:00", "to": "2026-01-04 00:00:00"},
    ]
    assert ended(here.worker("--until-idle", "--concurrency", "2")) == 0
    assert {job.state for job in here.all()} == {"done"}
    days = query(here.folder / "b.db", "SELECT DISTINCT substr(at, 1, 10) FROM since ORDER BY 1")
    assert [day[0][8:] for day in days] == ["01", "02", "03", "06", "07", "08", "09", "10"]
    after = query(here.folder / "b.db", "SELECT sync, position FROM _tongqu_checkpoint WHERE stream = 'since'")
    assert set(before) <= set(after)
    assert here.tongqu("run", "since", "--json").document["streams"][0]["read"] <= ROWS // 10  # only ties
    for wrong in (["slow", *span], ["since", "--from", "2", "--to", "1"], ["since", "--from", "x", "--to", "y"]):
        assert here.tongqu("runs", "backfill", *wrong).code == 2


def test_serve_does_jobs_and_keeps_schedules(here: Plant) -> None:
    text = PROJECT.replace("dataset: quick}}", "dataset: quick}, schedule: {on_event: now}}")
    (here.folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    with Gateway(here.folder) as gateway:
        own = [("tongqu-owner", _token(gateway))]
        assert gateway.ask("/manage/events/now", "POST", {}, own).status == 202
        [job] = here.until(lambda: [one for one in here.all() if one.subject == "quick"])
        here.until(lambda: here.job(job.id).state == "done")
        shown = gateway.ask(f"/manage/jobs/{job.id}", headers=own).json
        assert (shown["state"], shown["outcome"]["status"]) == ("done", "succeeded")
        assert gateway.ask(f"/manage/runs/{shown['run']}/logs?grep=committed&level=info", headers=own).json["lines"]
        assert b"event: end" in gateway.ask(f"/manage/runs/{shown['run']}/events", headers=own).body
        slow = gateway.ask("/manage/jobs", "POST", {"pipelines": ["slow"]}, own).json["jobs"][0]["job"]
        here.until((here.folder / "held").exists)
        (here.folder / "go").touch()
    assert here.job(slow).state in ("queued", "done")
    assert here.rows("quick") == list(range(1, ROWS + 1))


def _token(gateway: Gateway) -> str:
    import json

    return str(json.loads((gateway.home / "serve.json").read_text())["token"])


def test_a_comparison_is_a_job_that_keeps_its_certificate(here: Plant) -> None:
    compared = "reconcile:\n  day_end: {left: {connection: a, dataset: t}, right: {connection: b, dataset: quick}"
    (here.folder / "tongqu.yaml").write_text(f"{PROJECT}{compared}, repair: auto}}\n", encoding="utf-8")
    here.tongqu("run", "quick")
    database = sqlite3.connect(here.folder / "b.db")
    with database:
        database.execute("DELETE FROM quick WHERE id > 490")
    database.close()
    here.tongqu("schedule", "trigger", "reconcile.day_end")
    assert ended(here.worker("--until-idle")) == 0
    [job] = here.all()
    assert (job.kind, job.state) == ("reconcile", "done"), job.outcome
    assert here.rows("quick") == list(range(1, ROWS + 1))
    shown = here.tongqu("reconcile", "show", "day_end", "--json").document
    assert (shown["run"], shown["status"], shown["tables"][0]["repaired"]["inserted"]) == (job.run, "succeeded", 10)
    assert Path(shown["certificate"]).exists()
    [listed] = here.tongqu("reconcile", "list", "--json").document["reconcile"]
    assert (listed["name"], listed["last"]["run"]) == ("day_end", job.run)
    assert here.tongqu("reconcile", "run", "day_end").code == 0
