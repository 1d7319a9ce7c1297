"""How many processes share a stream of messages: one more while too many wait, one fewer when few do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from tongqu.app.services.tasks import Task, Tasks
from tongqu.store.jobs.budgets import Budgets
from tongqu.store.jobs.job import Job, Work
from tongqu.store.jobs.jobs import Jobs

LOOK = 1.0
"""Seconds between two looks."""
_DECIDE = 3.0
"""Of all processes, one decides in so many seconds."""
_CALM = 4
"""So many decisions in a row must find that few wait before a process ends."""
_FEW = 10


@dataclass
class Crowding:
    """The members of a project's streams. `behind` are the messages that wait for each job that this process holds."""

    jobs: Jobs
    new_id: Callable[[], str]
    _looked: float = field(default=0.0)

    def step(self, tasks: Tasks, behind: Mapping[str, int], held: Mapping[str, Job]) -> bool:
        """Tell of our members, and decide where it is our turn; whether there is anything to look at."""
        streams = [task for task in tasks.named.values() if shared(task, tasks)]
        if not streams or monotonic() - self._looked < LOOK:
            return bool(streams)
        self._looked = monotonic()
        budgets = Budgets(self.jobs.database, tasks.place)
        for id, waiting in behind.items():
            if id in held and held[id].kept:
                budgets.beat(_place(held[id].subject), id, waiting)
        for task in streams:
            if budgets.turn(_place(task.name), _DECIDE):
                self._decide(task, tasks, budgets)
        return True

    def _decide(self, task: Task, tasks: Tasks, budgets: Budgets) -> None:
        told = tasks.project.running.workers
        least, most, backlog = (told.min, told.max, told.backlog) if told else (1, 1, 0)
        there = {member(job): job for job in self.jobs.kept(tasks.place, task.subject)
                 if job.kind == task.kind and not job.wish and job.state != "paused"}  # fmt: skip
        if 1 not in there:  # paused: nobody else goes on with it
            for job in there.values():
                self.jobs.ask(job.id, "cancel")
            return
        state = budgets.state(_place(task.name))
        count, settled = len(there), state.holders >= len(there)
        calm = state.beats + 1 if state.passing * _FEW < backlog and settled else 0
        if count < least or (state.passing > backlog and count < most and settled):
            number = next(n for n in range(2, most + 2) if n not in there)
            self.jobs.put([_work(task, number, self.new_id)])
        elif count > most or (calm >= _CALM and count > least):
            gone = there[max(there)]
            self.jobs.ask(gone.id, "cancel")
            budgets.leave(_place(task.name), gone.id)
            calm = 0
        budgets.judge(_place(task.name), replace(state, beats=calm))


def shared(task: Task, tasks: Tasks) -> bool:
    """Whether several processes may follow what a task follows."""
    entry = tasks.project.pipelines.get(task.subject) if task.kind == "run" else None
    if entry is None or not task.kept or task.pinned or tasks.project.running.workers is None:
        return False
    return all(source.mode == "stream" for source in entry.all_sources.values())


def member(job: Job) -> int:
    """Which of the members of its stream a job is, from 1."""
    return int(job.spec.get("member", 1))


def _work(task: Task, number: int, new_id: Callable[[], str]) -> Work:
    made = task.work(new_id)
    return replace(
        made,
        writer=f"{made.writer}#{number}",
        dedup=f"{made.dedup}#{number}",
        spec={**made.spec, "member": number},
    )


def _place(name: str) -> str:
    return f"stream {name}"
