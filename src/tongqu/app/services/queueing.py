"""What people do with jobs and schedules: look, put in, pause, go on, cancel, fill in, trigger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.app.services.backfilling import Stretch, checked
from tongqu.app.services.backfilling import shown as cut
from tongqu.app.services.scheduling import agreed, shown, upcoming
from tongqu.app.services.tasks import Task, Tasks
from tongqu.app.services.timing import local_zone
from tongqu.core.errors import NotFoundError, UnknownNameError
from tongqu.store.jobs.job import Job
from tongqu.store.jobs.jobs import Jobs
from tongqu.store.jobs.ticks import Ticks

if TYPE_CHECKING:
    from tongqu.app.wire import Wire


@dataclass(frozen=True)
class Queueing:
    """Jobs and schedules of a project. Every method gives the document that is printed."""

    wire: Wire

    def jobs(self, state: str = "", limit: int = 50) -> dict[str, Any]:
        """The newest jobs first; `state` may be `open`."""
        with self._opened() as (jobs, tasks):
            return {"jobs": [told(job) for job in jobs.newest(tasks.place, state=state, limit=limit)]}

    def show(self, id: str) -> dict[str, Any]:
        """One job, by its id or that of its run, or the beginning of one; raises NotFoundError."""
        with self._opened() as (jobs, tasks):
            return told(_found(jobs, tasks, id), whole=True)

    def queue(self, names: Sequence[str], **options: bool) -> dict[str, Any]:
        """Put pipelines into the queue; one that waits already is not put in again."""
        more = {name: value for name, value in options.items() if value}
        with self._opened() as (jobs, tasks):
            for name in names:
                self.wire.project.pipeline(name)
            works = [tasks.task(name).work(self._id, **more) for name in names]
            return {"jobs": [told(job) for job in jobs.put(works)]}

    def ask(self, id: str, wish: str) -> dict[str, Any]:
        """Pause, resume or cancel a job."""
        with self._opened() as (jobs, tasks):
            return told(jobs.ask(_found(jobs, tasks, id).id, wish))

    def of_run(self, run: str) -> str:
        """The id of the open job of a run; empty where there is none. Looking makes nothing."""
        if not self.wire.has_jobs():
            return ""
        with self._opened() as (jobs, tasks):
            found = jobs.of(run, tasks.place)
            return found.id if found and found.open else ""

    def backfill(self, name: str, stretch: Stretch) -> dict[str, Any]:
        """A job for each window; the live cursor stays where it is. Raises ConfigError."""
        windows = checked(self.wire.project, name, stretch)
        with self._opened() as (jobs, tasks):
            task = tasks.task(name)
            works = [task.work(self._id, window=list(window)) for window in windows]
            return {"windows": cut(windows), "jobs": [told(job) for job in jobs.put(works)]}

    def schedules(self, count: int = 1) -> dict[str, Any]:
        """Every schedule: what starts it, when next, when last, and whether it is paused."""
        with self._opened() as (jobs, tasks):
            known = {tick.name: tick for tick in Ticks(jobs, tasks.place).all()}
            found = upcoming(tasks, local_zone(), jobs.clock(), count)
            found += [{"name": task.name, "starts": "always", "next": []} for task in tasks.scheduled()
                      if task.schedule is None]  # fmt: skip
            return {
                "schedules": [
                    {
                        **one,
                        "paused": one["name"] in known and known[one["name"]].paused,
                        "last": shown(known[one["name"]].last) if one["name"] in known else None,
                    }
                    for one in found
                ]
            }

    def pause(self, name: str, *, paused: bool) -> dict[str, Any]:
        """Stop a schedule, or let it go on with its next moment from now; a stream that never ends is ended or begun.

        Raises UnknownNameError.
        """
        with self._opened() as (jobs, tasks):
            task = _scheduled(tasks, name)
            timing = agreed(jobs, tasks, local_zone()).get(name)
            due = timing.after(jobs.clock()) if timing else None
            if task.schedule and task.schedule.on_file:
                due = jobs.clock()
            Ticks(jobs, tasks.place).pause(name, paused=paused, due=due)
            if task.kept and task.schedule is None:
                for job in jobs.newest(tasks.place, state="open", subject=task.subject):
                    if paused and job.kept and job.kind == task.kind:
                        jobs.ask(job.id, "cancel")
                if not paused:
                    jobs.put([task.work(self._id)])
        return {"name": name, "paused": paused}

    def trigger(self, name: str) -> dict[str, Any]:
        """Run something now, beside its schedule; raises UnknownNameError."""
        with self._opened() as (jobs, tasks):
            return {"jobs": [told(job) for job in jobs.put([tasks.task(name).work(self._id)])]}

    def event(self, name: str) -> dict[str, Any]:
        """Tell of an event: everything that waits for it begins. Raises UnknownNameError where nothing does."""
        with self._opened() as (jobs, tasks):
            waiting = [task for task in tasks.scheduled() if task.schedule and task.schedule.on_event == name]
            if not waiting:
                raise UnknownNameError(f"nothing waits for the event {name!r}", path=name, params={"name": name})
            paused = {tick.name for tick in Ticks(jobs, tasks.place).all() if tick.paused}
            works = [task.work(self._id) for task in waiting if task.name not in paused]
            return {"event": name, "jobs": [told(job) for job in jobs.put(works)]}

    @contextmanager
    def _opened(self) -> Iterator[tuple[Jobs, Tasks]]:
        tasks = Tasks.of(self.wire.project, self.wire.env)
        jobs = self.wire.jobs()
        try:
            yield jobs, tasks
        finally:
            jobs.close()

    def _id(self) -> str:
        return self.wire.surroundings.new_id()


def told(job: Job, *, whole: bool = False) -> dict[str, Any]:
    """A job as documents show it."""
    found = {
        "job": job.id,
        "kind": job.kind,
        "name": job.subject,
        "state": job.state,
        "run": job.run,
        "priority": job.priority,
        "attempts": job.attempts,
        "schedule": job.schedule,
        "created": shown(job.created),
        "due": shown(job.due),
        "began": shown(job.began),
        "finished": shown(job.finished),
        "holder": job.holder,
        "window": list(job.spec.get("window", ())),
        "problems": job.outcome.get("problems", []),
    }
    return {**found, "outcome": dict(job.outcome), "connections": list(job.connections)} if whole else found


def _found(jobs: Jobs, tasks: Tasks, id: str) -> Job:
    found = jobs.of(id, tasks.place)
    if found is None:
        raise NotFoundError(f"there is no job {id!r}", path=id, hint="tongqu runs jobs", params={"run": id})
    return found


def _scheduled(tasks: Tasks, name: str) -> Task:
    found = {task.name: task for task in tasks.scheduled()}
    if name not in found:
        raise UnknownNameError(
            f"there is no schedule {name!r}", path=name, hint=f"valid: {', '.join(sorted(found))}",
            params={"name": name},
        )  # fmt: skip
    return found[name]
