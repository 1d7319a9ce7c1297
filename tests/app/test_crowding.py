"""A stream of messages has one process more while too many messages wait, and one fewer when few do: 1, 3, 1."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tongqu.app.project.load import load
from tongqu.app.services import crowding
from tongqu.app.services.crowding import Crowding, member
from tongqu.app.services.tasks import Tasks
from tongqu.store.home import Home
from tongqu.store.jobs.job import Hands, Job
from tongqu.store.jobs.jobs import Jobs

PROJECT = """
project: plant
connections:
  line: {{type: kafka, url: "kafka://127.0.0.1:1/"}}
  lake: {{type: postgres, url: "postgresql://127.0.0.1:1/x"}}
pipelines:
  events: {{source: {{connection: line, dataset: events, mode: stream}}, sink: {{connection: lake}}}}
  rows: {{source: {{connection: lake, dataset: t}}, sink: {{connection: lake, dataset: u}}}}
run: {{{workers}}}
"""
THREE = "workers: {min: 1, max: 3, backlog: 1000}"


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(crowding, "LOOK", 0.0)
    monkeypatch.setattr(crowding, "_DECIDE", 0.0)
    made = Jobs.open(Home(tmp_path / "home"))
    yield made
    made.close()


class Plant:
    """Hands that hold every member there is, and the messages that wait for each."""

    def __init__(self, folder: Path, jobs: Jobs, workers: str = THREE):
        (folder / "tongqu.yaml").write_text(PROJECT.format(workers=workers), encoding="utf-8")
        self.tasks = Tasks.of(load(folder), "")
        self.jobs = jobs
        ids = (f"job-{number}" for number in count())
        self.crowding = Crowding(jobs, lambda: next(ids))
        jobs.put([self.tasks.named["events"].work(lambda: "job-first")])

    def look(self, waiting: int, times: int = 1) -> list[int]:
        """The numbers of the members, after so many looks at which so many messages wait for each."""
        for _ in range(times):
            self.jobs.take(Hands("h", "here", 2, 64, self.tasks.place, 15.0, "here"), self.tasks.limits)
            running = self.members()
            for job in running:
                if job.wish:
                    running.remove(job)
            held = {job.id: job for job in running}
            self.crowding.step(self.tasks, dict.fromkeys(held, waiting), held)
        return sorted(member(job) for job in self.members() if not job.wish)

    def members(self) -> list[Job]:
        return self.jobs.newest(self.tasks.place, state="open", subject="events")


def test_members_come_while_much_waits_and_go_when_little_does(tmp_path: Path, jobs: Jobs) -> None:
    plant = Plant(tmp_path, jobs)
    assert plant.look(10) == [1]
    assert plant.look(5_000) == [1, 2]
    assert plant.look(5_000) == [1, 2, 3]
    assert plant.look(5_000, times=3) == [1, 2, 3]
    assert plant.look(400, times=10) == [1, 2, 3]
    assert plant.look(0, times=4) == [1, 2]
    assert plant.look(0, times=20) == [1]


def test_without_the_setting_a_stream_has_one(tmp_path: Path, jobs: Jobs) -> None:
    plant = Plant(tmp_path, jobs, "")
    assert plant.look(1_000_000, times=3) == [1]


def test_what_was_paused_stays_alone(tmp_path: Path, jobs: Jobs) -> None:
    plant = Plant(tmp_path, jobs)
    jobs.ask("job-first", "pause")
    assert plant.look(5_000, times=3) == [1]
