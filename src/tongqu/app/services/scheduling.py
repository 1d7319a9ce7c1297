"""Makes jobs of schedules: by the clock, after other jobs, when files come, on events. Of several schedulers each tick
is made by one."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from tongqu.app.project.schedules import OnFile, seconds
from tongqu.app.services.tasks import Task, Tasks
from tongqu.app.services.timing import Timing
from tongqu.core.errors import TongquError
from tongqu.store.jobs.job import Work
from tongqu.store.jobs.jobs import Jobs
from tongqu.store.jobs.ticks import Tick, Ticks

logger = logging.getLogger("tongqu.scheduling")
GRACE = 90.0
"""With `catch_up: none` a moment counts as missed after so many seconds."""
AHEAD = 2 * 86_400.0
"""A schedule whose next moment is so many seconds behind the one that is due by now was moved on by a wrong clock."""
_LOOK = 60.0
MOST = 1000
"""With `catch_up: all` so many of the moments that were missed are made good, the newest ones."""
Look = Callable[[OnFile], str]
"""A text that changes whenever the files do; empty where there are none. May take its time."""


@dataclass
class Scheduler:
    """The schedules of one project. `chance` gives numbers from 0 to 1 for jitter; `nudge` wakes the one who calls
    `step` when a look at files is over. Not for several threads, except `followers`."""

    jobs: Jobs
    new_id: Callable[[], str]
    here: tzinfo
    chance: Callable[[], float]
    look: Look
    nudge: Callable[[], None] = lambda: None
    tasks: Tasks | None = None
    _timings: dict[str, Timing] = field(default_factory=dict)
    _right: float = 0.0
    _looking: dict[str, Future[str]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None

    @property
    def ticks(self) -> Ticks:
        """The schedules as the store knows them."""
        return Ticks(self.jobs, self.tasks.place if self.tasks else "")

    def adopt(self, tasks: Tasks) -> None:
        """Go by these tasks from now on. Streams that never end are begun, ended where they are no longer wanted, and
        begun anew where they changed."""
        self.tasks = tasks
        self._timings = agreed(self.jobs, tasks, self.here)
        self._keep(tasks)

    def step(self) -> None:
        """Make the jobs of all moments that have come."""
        now = self.jobs.clock()
        if abs(now - self._right) >= _LOOK:
            self._right = now
            self._put_right(now)
        for tick in self.ticks.due(now):
            task = self.tasks.named.get(tick.name) if self.tasks else None
            if task is None or task.schedule is None:
                continue
            if task.schedule.on_file:
                self._watch(tick, task, task.schedule.on_file, now)
            else:
                self._fire(tick, tick.due or now, task, task.schedule.catch_up)

    def next(self) -> float | None:
        """When `step` has something to do again, as far as is known."""
        known = self.tasks.named if self.tasks else {}
        waiting = [
            tick.due
            for tick in (self.ticks.all() if known else ())
            if not tick.paused and tick.name not in self._looking
            if tick.name in known and known[tick.name].schedule is not None  # `step` passes over others
        ]
        return min((at for at in waiting if at is not None), default=None)

    def followers(self, name: str) -> list[Work]:
        """The jobs that begin because a job of the pipeline has ended well."""
        tasks = self.tasks
        found = [task for task in tasks.scheduled() if task.schedule and name in task.schedule.after] if tasks else []
        paused = {tick.name for tick in self.ticks.all() if tick.paused} if found else set()
        return [self._made(task, self.jobs.clock()) for task in found if task.name not in paused]

    def close(self) -> None:
        """Let looks that are under way end."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _put_right(self, now: float) -> None:
        """Let schedules go on that a clock, days ahead and right again, has left with moments that are far away."""
        for tick in self.ticks.all():
            task = self.tasks.named.get(tick.name) if self.tasks else None
            if task is None or task.schedule is None or tick.due is None or tick.paused:
                continue
            watched = task.schedule.on_file
            due = now + seconds(watched.every) if watched else self._timings[task.name].after(now)
            if due is not None and tick.due - due > AHEAD and self.jobs.database.agrees(now):
                self.ticks.fire(tick, due, [], tick.seen)
                logger.warning("%s: the clock had been ahead by days; goes on at %s", tick.name, shown(due))

    def _fire(self, tick: Tick, due: float, task: Task, catch_up: str) -> None:
        """Make the jobs of the moments up to now; the next is later than all of them, however the clock was set."""
        timing, now = self._timings[task.name], self.jobs.clock()
        missed = timing.between(due, now, MOST if catch_up == "all" else 1)
        if catch_up == "none":
            missed = [at for at in missed if now - at <= GRACE]
        works = [self._made(task, at) for at in missed]
        self.ticks.fire(tick, timing.after(now), works)

    def _made(self, task: Task, at: float, **more: Any) -> Work:
        told = task.schedule
        later = seconds(told.jitter) * self.chance() if told and told.jitter else 0.0
        return task.work(self.new_id, due=self.jobs.clock() + later if later else 0.0, tick=at, **more)

    def _watch(self, tick: Tick, task: Task, told: OnFile, now: float) -> None:
        """Look at files beside everything else; what was the same at two looks and is new makes a job."""
        future = self._looking.get(tick.name)
        if future is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(2, thread_name_prefix="tongqu-look")
            future = self._looking[tick.name] = self._pool.submit(self.look, told)
            future.add_done_callback(lambda done: self.nudge())
        if not future.done():
            return
        del self._looking[tick.name]
        next_look = now + seconds(told.every)
        try:
            there = hashlib.sha256(found.encode()).hexdigest()[:32] if (found := future.result()) else ""
        except TongquError:
            self.ticks.fire(tick, next_look, [], tick.seen)  # it is looked again; the run itself would tell
            return
        known = json.loads(tick.seen or "{}")
        ready = bool(there) and there == known.get("there") and there != known.get("taken")
        seen = {"there": there, "taken": there if ready else known.get("taken", "")}
        works = [self._made(task, now)] if ready else []
        self.ticks.fire(tick, next_look, works, json.dumps(seen))

    def _keep(self, tasks: Tasks) -> None:
        """Have a job for every stream that never ends, and for no other."""
        paused = {tick.name for tick in self.ticks.all() if tick.paused}
        wanted = {(t.kind, t.subject): t for t in tasks.named.values() if t.kept and t.name not in paused}
        for job in self.jobs.kept(tasks.place):
            task = wanted.get((job.kind, job.subject))
            if task is None:
                self.jobs.ask(job.id, "cancel")
            elif job.state == "running" and job.spec.get("digest") != task.digest:
                self.jobs.tell(job.id, {**job.spec, "digest": task.digest})
                self.jobs.ask(job.id, "restart")
        self.jobs.put([task.work(self.new_id) for task in wanted.values() if task.schedule is None])


def agreed(jobs: Jobs, tasks: Tasks, here: tzinfo) -> dict[str, Timing]:
    """Make the store hold the schedules of these tasks; gives when each fires."""
    found, now = timings(tasks, here), jobs.clock()
    wanted = {}
    for task in tasks.scheduled():
        told = task.schedule
        due = now if told and told.on_file else found[task.name].after(now) if told and told.timed else None
        wanted[task.name] = Tick(task.name, _digest(task, tasks), due)
    Ticks(jobs, tasks.place).agree(wanted)
    return found


def timings(tasks: Tasks, here: tzinfo) -> dict[str, Timing]:
    """When each scheduled task fires; raises InvalidSettingsError or OSError for calendar files that cannot be read."""
    project = tasks.project
    return {
        task.name: Timing.of(task.schedule, project.calendars, project.folder, project.running.timezone, here)
        for task in tasks.scheduled()
        if task.schedule is not None
    }


def upcoming(tasks: Tasks, here: tzinfo, now: float, count: int = 3) -> list[dict[str, Any]]:
    """Every schedule with what starts it and its next moments, in its own time zone."""
    found = []
    for name, timing in sorted(timings(tasks, here).items()):
        moments: list[str] = []
        at = timing.after(now)
        while at is not None and len(moments) < count:
            moments.append(datetime.fromtimestamp(at, timing.zone).isoformat())
            at = timing.after(at)
        found.append({"name": name, "starts": timing.entry.told, "next": moments})
    return found


def shown(moment: float) -> str | None:
    """A moment as documents show it; None for none."""
    if not moment:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _digest(task: Task, tasks: Tasks) -> str:
    """Changes whenever the moments of the schedule may be others."""
    told = task.schedule
    named = tasks.project.calendars.get(told.calendar or "") if told else None
    parts = [
        told.model_dump(mode="json") if told else None,
        named.model_dump(mode="json") if named else None,
        tasks.project.running.timezone,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
