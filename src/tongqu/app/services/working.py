"""Hands that do jobs: takes them, runs each in a process of its own, renews their leases, and ends them."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.attempts import Attempt, passing
from tongqu.app.services.crowding import LOOK, Crowding
from tongqu.app.services.scheduling import Scheduler
from tongqu.app.services.tasks import Tasks
from tongqu.core.errors import ConnectError, TongquError
from tongqu.kit.trouble import why
from tongqu.store.jobs.job import Ended, Hands, Job
from tongqu.store.jobs.jobs import Jobs

LONGEST_SLEEP = 60.0
"""Clocks may be set while it sleeps: so often it looks at them."""
LONGEST_WAIT = 300.0
"""Between attempts at something that fails again and again."""
SETTLED = 600.0
"""A stream that ran so long without a failure counts as well."""
KEPT = 64
"""Streams without an end that one process holds at most."""
_PURGE_SECONDS = 3600.0

logger = logging.getLogger("tongqu.working")
Tell = Callable[[str, Mapping[str, Any]], None]
"""Is told `begun`, `ended` and `lost` with the job, `blind` (the store cannot be reached) and `unusable` (the newer
configuration is wrong) with the problem, `sighted` (it can be reached again)."""


@dataclass
class Configured:
    """The configuration that is run: `stamp` changes whenever it does, `load` gives it."""

    stamp: Callable[[], Hashable]
    load: Callable[[], Project]
    folder: Path
    env: str
    files: bool


@dataclass
class Working:
    """One process's hands. `run` blocks until `leave` is called, and then until everything it held has ended."""

    jobs: Jobs
    scheduler: Scheduler
    configured: Configured
    concurrency: int = 2
    until_idle: bool = False
    tell: Tell = lambda word, told: None
    host: str = field(default_factory=socket.gethostname)
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
    chance: Callable[[], float] = lambda: 0.5
    leaving: Event = field(default_factory=Event)
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _lost: list[Attempt] = field(default_factory=list)
    """Attempts at jobs that were lost and taken again before their processes had ended."""
    _read: dict[str, dict[str, int]] = field(default_factory=dict)
    """The rows that each job without an end had committed when its last attempt was judged."""
    _stamp: Hashable = None
    _renewed: float = 0.0
    _purged: float = 0.0
    _blind: int = 0
    _looked: float | None = None

    def __post_init__(self) -> None:
        self._bell = self.jobs.database.bell()
        self._crowding = Crowding(self.jobs, self.scheduler.new_id)
        self._crowded = False
        self.scheduler.nudge = self._bell.nudge

    def leave(self) -> None:
        """Stop in order: take nothing more, let what runs commit and end. From any thread or signal handler."""
        self.leaving.set()
        self._bell.nudge()

    def look(self) -> None:
        """Look at the configuration and the clock now. From any thread."""
        self._bell.nudge()

    def run(self) -> None:
        """Work until `leave`, or with `until_idle` until nothing is left to do. All that was held goes back into the
        queue, or is over."""
        try:
            while True:
                try:
                    wait = self._step()
                    self._sees()
                except ConnectError as error:
                    wait = self._cannot_see(error)
                except (
                    OSError,
                    MemoryError,
                    sqlite3.Error,
                ) as error:  # no more files or memory now
                    path = str(getattr(error, "filename", None) or "")
                    wait = self._cannot_see(ConnectError(f"jobs cannot be looked after: {why(error)}", path=path))
                if wait is None:
                    return
                self._bell.wait(wait)
        finally:
            for attempt in self._all:
                attempt.close()
            self.scheduler.close()
            self._bell.close()

    def _step(self) -> float | None:
        """Everything that is to be done now; the seconds until there is something again, None at the end."""
        self._reap()
        self._renew()
        if self.leaving.is_set():
            for attempt in self._attempts.values():
                attempt.stop("leave")
            if not self._all:
                return None
            return self._until_next(stopping=True)
        self._adopt()
        self.scheduler.step()
        self._crowd()
        self._take()
        self._purge()
        idle = self.until_idle and not self._all and self.scheduler.tasks is not None
        if idle and self.jobs.idle(self.scheduler.tasks.place if self.scheduler.tasks else ""):
            return None
        return self._until_next()

    def _adopt(self) -> None:
        """Follow the configuration; a new one that is wrong is not taken, the old one goes on."""
        stamp = self.configured.stamp()
        if stamp == self._stamp:
            return
        try:
            self.scheduler.adopt(Tasks.of(self.configured.load(), self.configured.env))
        except ConnectError:
            raise
        except TongquError as error:
            self.tell("unusable", {"problem": error.problem()})
        self._stamp = stamp

    def _crowd(self) -> None:
        """Let streams of messages have as many members as what waits demands."""
        behind = {id: attempt.behind for id, attempt in self._attempts.items() if attempt.behind is not None}
        held = {id: attempt.job for id, attempt in self._attempts.items()}
        tasks = self.scheduler.tasks
        self._crowded = tasks is not None and self._crowding.step(tasks, behind, held)

    def _take(self) -> None:
        tasks = self.scheduler.tasks
        if tasks is None:
            return
        kept = sum(attempt.job.kept for attempt in self._attempts.values())
        free = max(self.concurrency - (len(self._all) - kept), 0)
        running = tasks.project.running
        hands = Hands(
            self.holder, self.host, free, KEPT - kept if self.concurrency else 0, tasks.place,
            running.lease_seconds, running.owner or "",
        )  # fmt: skip
        self._looked = self.jobs.clock()
        for job in self.jobs.take(hands, tasks.limits):
            setting = {
                "folder": str(self.configured.folder), "env": self.configured.env, "files": self.configured.files,
            }  # fmt: skip
            before = self._attempts.pop(job.id, None)
            if before is not None:
                before.stop("lost")
                self._lost.append(before)
            self._attempts[job.id] = Attempt(job, setting, self._bell.nudge)
            self.tell("begun", {"job": job.id, "subject": job.subject, "attempt": job.attempts})

    def _renew(self) -> None:
        """Renew leases in time, hear wishes, and stop what is no longer ours."""
        every = self._lease / 3
        if not self._attempts:
            return
        for attempt in self._attempts.values():
            if attempt.run and attempt.run != attempt.job.run:
                attempt.job = replace(attempt.job, run=attempt.run)
                self.jobs.name_run(attempt.job.id, attempt.job.epoch, attempt.run)
        wishes = self.jobs.renew({id: one.job.epoch for id, one in self._attempts.items()}, self._lease)
        self._renewed = time.monotonic() + every
        for id, attempt in self._attempts.items():
            if id not in wishes:
                attempt.stop("lost")
            elif wishes[id]:
                attempt.stop(wishes[id])

    def _reap(self) -> None:
        """End the jobs whose processes have ended."""
        for attempt in [one for one in self._lost if one.over.is_set()]:
            self.tell("lost", {"job": attempt.job.id, "subject": attempt.job.subject, "state": "queued"})
            attempt.close()
            self._lost.remove(attempt)
        for id, attempt in [*self._attempts.items()]:
            if not attempt.over.is_set():
                continue
            if attempt.run:
                self.jobs.name_run(id, attempt.job.epoch, attempt.run)
            ended = self.judged(attempt)
            ours = attempt.why != "lost" and self.jobs.end(id, attempt.job.epoch, ended)
            self.tell("ended" if ours else "lost", {"job": id, "subject": attempt.job.subject, "state": ended.state})
            attempt.close()
            del self._attempts[id]

    def judged(self, attempt: Attempt) -> Ended:
        """What becomes of a job whose attempt has ended."""
        job, told, why = attempt.job, attempt.document, attempt.why
        if attempt.code in (0, 3) and told.get("status") != "stopped" and not job.kept:
            follow = [] if job.spec.get("window") else self.scheduler.followers(_name(job))
            return Ended("done", told, follow=follow)
        if why in ("pause", "cancel"):
            return Ended("paused" if why == "pause" else "cancelled", told)
        if why in ("leave", "restart", "lost"):
            return Ended("queued", told, failures=job.failures)
        if why == "timeout":
            took = f"it took longer than {job.timeout:g} s"
            problem = {"path": job.subject, "code": "run.timed_out", "message": took,
                       "hint": "the next attempt goes on where it stopped"}  # fmt: skip
            told = {**told, "status": "failed", "problems": [problem]}
        well = job.kept and (self._moved(attempt) or time.monotonic() - attempt.began >= SETTLED)
        failures = 0 if well else job.failures
        again = why == "timeout" or passing(told, attempt.code, kept=job.kept) or (job.kept and attempt.code == 0)
        if again and (job.kept or failures < job.retries):
            wait = min(2.0**failures, LONGEST_WAIT) * (0.5 + self.chance())
            return Ended("queued", told, self.jobs.clock() + wait, failures + 1)
        self._read.pop(job.id, None)
        return Ended("failed", told, failures=failures + 1)

    def _moved(self, attempt: Attempt) -> bool:
        """Whether rows were committed since the attempt before was judged: what kills it again and again, if anything
        does, is not always the same."""
        known = self._read.setdefault(attempt.job.id, {})
        further = any(rows > known.get(part, rows) for part, rows in attempt.read.items())
        known.update(attempt.read)
        return attempt.moved or further

    @property
    def _all(self) -> list[Attempt]:
        return [*self._attempts.values(), *self._lost]

    def _until_next(self, *, stopping: bool = False) -> float:
        waits = [LONGEST_SLEEP]
        pressed = [attempt.press() for attempt in self._all]
        waits += [left for left in pressed if left is not None]
        if self._attempts:
            waits.append(self._renewed - time.monotonic())
        if self._crowded:
            waits.append(LOOK)
        if not stopping and self.scheduler.tasks is not None:
            due = self.scheduler.next()
            if due is not None:
                waits.append(due - self.jobs.clock())
            left = self.jobs.wait_for(self.scheduler.tasks.place, self.holder, self._looked)
            if left is not None:
                waits.append(left)
        return max(min(waits), 0.0)

    def _purge(self) -> None:
        if time.monotonic() < self._purged:
            return
        self._purged = time.monotonic() + _PURGE_SECONDS
        tasks = self.scheduler.tasks
        self.jobs.purge(tasks.project.running.keep_days if tasks else 180)

    @property
    def _lease(self) -> float:
        return self.scheduler.tasks.project.running.lease_seconds if self.scheduler.tasks else 15.0

    def _sees(self) -> None:
        if self._blind:
            self.tell("sighted", {"attempts": self._blind})
        self._blind = 0

    def _cannot_see(self, error: ConnectError) -> float | None:
        """The store cannot be reached: what runs goes on, fenced by its sinks; it is asked again later."""
        if not self._blind:
            self.tell("blind", {"problem": error.problem()})
        self._blind += 1
        if self.leaving.is_set():
            for attempt in self._all:
                attempt.stop("leave")
                attempt.press()
            if all(attempt.over.is_set() for attempt in self._all):
                return None
        return min(2.0 ** min(self._blind, 16) / 4, 10.0) * (0.5 + self.chance() / 2)


def _name(job: Job) -> str:
    return job.subject if job.kind == "run" else ""
