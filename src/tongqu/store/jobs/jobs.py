"""The queue of jobs: put in, taken with a lease, ended; and taken over from processes that died."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.store.home import Home
from tongqu.store.jobs.database import Database, PostgresJobs, SqliteJobs
from tongqu.store.jobs.job import OPEN, Ended, Hands, Job, Limits, Work

KEEP_DAYS = 180.0
_FIELDS = tuple(one.name for one in fields(Job))
_COLUMNS = ", ".join(_FIELDS)
_FLAGS = frozenset(("pinned", "kept"))
_JSON = frozenset(("connections", "spec", "outcome"))
_STOPPED = {"pause": "paused", "cancel": "cancelled"}
_AGAIN = 5.0
_AHEAD = 2 * 86_400.0
_LOOK = 500
"""Waiting jobs that are looked at when one is taken."""


class Jobs:
    """Jobs of one store. Every change is one transaction, alone among all processes; safe for several threads.

    `clock` tells the time of day for what is due. Raises ConnectError where the store cannot be reached.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time):
        self.database = database
        self.clock = clock

    @classmethod
    def open(cls, home: Home, url: str = "", clock: Callable[[], float] = time.time) -> Jobs:
        """The jobs of a home, in its own file or in the PostgreSQL of the URL."""
        home.ensure()
        return cls(PostgresJobs(url) if url else SqliteJobs(home.jobs, home.bells), clock)

    def close(self) -> None:
        """Let go of the store."""
        self.database.close()

    def put(self, works: Sequence[Work]) -> list[Job]:
        """Put jobs in, all or none. Where a waiting job has the same `dedup`, that one is given instead; one that is
        being cancelled goes on."""
        with self.database.turn():
            found = [self.insert(work) for work in works]
        if found:
            self.database.ring()
        return found

    def insert(self, work: Work) -> Job:
        """`put` of one, inside a turn that somebody else began; nobody is woken."""
        if work.dedup:
            twin = self._where("place = ? AND dedup = ?", (work.place, work.dedup))
            if twin and twin[0].state == "running" and twin[0].wish == "cancel":  # it is wanted after all
                self.tell(twin[0].id, work.spec)
                self.database.run("UPDATE tongqu_jobs SET wish = 'restart' WHERE id = ?", (twin[0].id,))
                return self.get(twin[0].id)
            if twin:
                return twin[0]
        job = Job(**{one.name: getattr(work, one.name) for one in fields(Work)}, created=self.clock())
        marks = ", ".join("?" * len(_FIELDS))
        self.database.run(f"INSERT INTO tongqu_jobs ({_COLUMNS}) VALUES ({marks})", _stored(job))
        return job

    def take(self, hands: Hands, limits: Limits) -> list[Job]:
        """Take as much work as there are hands for: jobs whose holder's lease is over first, then what is due, the
        highest priority first. Each comes with a new epoch and a lease."""
        with self.database.turn():
            moment = self.database.moment()
            running = self._where("state = 'running' AND place = ?", (hands.place,))
            over = [job for job in running if not _held(job, moment, hands.lease)]  # ours too: it was never begun
            held = [job for job in running if job not in over]
            now = self.clock()
            waiting = self._where(  # what a clock that was days ahead put off does not wait for that day
                "state = 'queued' AND place = ? AND (due <= ? OR created > ? OR began > ?)"
                f" ORDER BY priority DESC, due, created LIMIT {_LOOK}",
                (hands.place, now, now + _AHEAD, now + _AHEAD),
            )
            room = _Room(hands, limits, held, owner=self._owner(hands))
            taken = [job for job in (*over, *waiting) if room.takes(job)]
            for job in taken:
                self.database.run(
                    "UPDATE tongqu_jobs SET state = 'running', epoch = epoch + 1, holder = ?, lease = ?,"
                    " attempts = attempts + 1, began = ?, dedup = CASE WHEN kept = 1 THEN dedup END WHERE id = ?",
                    (hands.holder, moment + hands.lease, self.clock(), job.id),
                )
            return [self.get(job.id) for job in taken]

    def renew(self, held: Mapping[str, int], lease: float) -> dict[str, str]:
        """Renew the leases of jobs (id → epoch). The wish of each that is still ours; what is missing has been lost."""
        found: dict[str, str] = {}
        with self.database.turn():
            until = self.database.moment() + lease
            for id, epoch in held.items():
                if self.database.run(
                    "UPDATE tongqu_jobs SET lease = ? WHERE id = ? AND epoch = ? AND state = 'running'",
                    (until, id, epoch),
                ):
                    found[id] = str(self.database.rows("SELECT wish FROM tongqu_jobs WHERE id = ?", (id,))[0][0])
        return found

    def name_run(self, id: str, epoch: int, run: str) -> None:
        """Note which run a job is, as soon as that is known."""
        self.database.run("UPDATE tongqu_jobs SET run = ? WHERE id = ? AND epoch = ?", (run, id, epoch))

    def end(self, id: str, epoch: int, ended: Ended) -> bool:
        """End an attempt; false, and nothing is changed, where the lease has gone to somebody else.

        One that was asked to stop becomes what was asked last, which may be to go on.
        """
        with self.database.turn():
            state = ended.state
            if state in _STOPPED.values():
                wish = self.database.rows("SELECT wish FROM tongqu_jobs WHERE id = ?", (id,))
                state = _STOPPED.get(str(wish[0][0]), "queued") if wish else state
            over = state not in OPEN
            done = self.database.run(
                "UPDATE tongqu_jobs SET state = ?, outcome = ?, due = ?, failures = ?, finished = ?, holder = '',"
                " lease = 0, wish = '', epoch = epoch + 1, run = CASE WHEN ? <> '' THEN ? ELSE run END,"
                " dedup = CASE WHEN ? = 1 THEN NULL ELSE dedup END WHERE id = ? AND epoch = ? AND state = 'running'",
                (
                    state, json.dumps(ended.outcome, ensure_ascii=False, default=str), ended.due, ended.failures,
                    self.clock() if over else 0.0, *(str(ended.outcome.get("run", "")),) * 2, int(over), id, epoch,
                ),
            )  # fmt: skip
            for work in ended.follow if done else ():
                self.insert(work)
        if done:
            self.database.ring()
        return bool(done)

    def ask(self, id: str, wish: str) -> Job:
        """`pause`, `resume`, `cancel` or `restart` a job. One that runs is asked to, and its holder is woken.

        Raises NotFoundError, and InvalidPlanError where its state does not allow that.
        """
        with self.database.turn():
            job = self.get(id)
            if job.state == "running" and wish in ("pause", "cancel", "restart"):
                if wish != "restart" or not job.wish:
                    self.database.run("UPDATE tongqu_jobs SET wish = ? WHERE id = ?", (wish, id))
            elif job.open and wish == "cancel":
                self.database.run(
                    "UPDATE tongqu_jobs SET state = 'cancelled', dedup = NULL, finished = ? WHERE id = ?",
                    (self.clock(), id),
                )
            elif job.state == "queued" and wish == "pause":
                self.database.run("UPDATE tongqu_jobs SET state = 'paused' WHERE id = ?", (id,))
            elif job.state == "paused" and wish == "resume":
                self.database.run("UPDATE tongqu_jobs SET state = 'queued', failures = 0, due = 0 WHERE id = ?", (id,))
            elif job.state == "running" and job.wish == "pause" and wish == "resume":
                self.database.run("UPDATE tongqu_jobs SET wish = '' WHERE id = ?", (id,))
            else:
                raise InvalidPlanError(f"the job {id!r} is {job.state}: it cannot {wish}", hint="tongqu runs jobs")
            job = self.get(id)
        self.database.ring()
        return job

    def tell(self, id: str, spec: Mapping[str, Any]) -> None:
        """Change what the one who runs a job must know."""
        text = json.dumps(dict(spec), ensure_ascii=False)
        self.database.run("UPDATE tongqu_jobs SET spec = ? WHERE id = ?", (text, id))

    def get(self, id: str) -> Job:
        """The job of that id; raises NotFoundError."""
        found = self._where("id = ?", (id,))
        if not found:
            raise NotFoundError(f"there is no job {id!r}", path=id, hint="tongqu runs jobs")
        return found[0]

    def of(self, text: str, place: str) -> Job | None:
        """The newest job with that id or run, or the beginning of one; None where there is none."""
        found = self._where(
            "place = ? AND (substr(id, 1, length(?)) = ? OR (run <> '' AND substr(run, 1, length(?)) = ?))"
            " ORDER BY created DESC LIMIT 1",
            (place, text, text, text, text),
        )
        return found[0] if found and text else None

    def newest(self, place: str, *, state: str = "", subject: str = "", limit: int = 50) -> list[Job]:
        """Jobs, the newest first; `state` may be `open`."""
        states = OPEN if state == "open" else (state,) if state else ()
        marks = ", ".join("?" * len(states))
        return self._where(
            f"place = ?{f' AND state IN ({marks})' if states else ''}{' AND subject = ?' if subject else ''}"
            f" ORDER BY created DESC, id DESC LIMIT {int(limit)}",
            (place, *states, *([subject] if subject else [])),
        )

    def kept(self, place: str, subject: str = "") -> list[Job]:
        """All jobs without an end that are not over, the newest first."""
        marks = ", ".join("?" * len(OPEN))
        return self._where(
            f"place = ? AND kept = 1 AND state IN ({marks}){' AND subject = ?' if subject else ''}"
            " ORDER BY created DESC, id DESC",
            (place, *OPEN, *([subject] if subject else [])),
        )

    def idle(self, place: str) -> bool:
        """Whether no job waits or runs."""
        return not self.database.rows(
            "SELECT 1 FROM tongqu_jobs WHERE place = ? AND state IN ('queued', 'running') AND kept = 0 LIMIT 1",
            (place,),
        )

    def wait_for(self, place: str, holder: str, looked: float | None = None) -> float | None:
        """Seconds until a waiting job is due or a lease of somebody else is over; None where there is none. `looked`:
        when jobs were taken last, since what was due then has been looked at; now, if left out."""
        [(due, lease)] = self.database.rows(
            "SELECT min(CASE WHEN state = 'queued' AND due > ? THEN due END),"
            " min(CASE WHEN state = 'running' AND holder <> ? THEN lease END)"
            " FROM tongqu_jobs WHERE place = ? AND state IN ('queued', 'running')",
            (self.clock() if looked is None else looked, holder, place),
        )
        waits = []
        if due is not None:
            waits.append(due - self.clock())
        if lease is not None:
            left = lease - self.database.moment()
            waits.append(left if left > 0 else _AGAIN)  # one that we may not take is not asked for all the time
        return max(min(waits), 0.0) if waits else None

    def purge(self, days: float = KEEP_DAYS) -> int:
        """Forget jobs that were over so long ago; how many."""
        return self.database.run(
            "DELETE FROM tongqu_jobs WHERE finished > 0 AND finished < ?"
            " AND state NOT IN ('queued', 'running', 'paused')",
            (self.clock() - days * 86_400,),
        )

    def _owner(self, hands: Hands) -> str:
        """The host that owns the project's files; the first that asks, unless it was said."""
        sql = "INSERT INTO tongqu_owners VALUES (?, ?) ON CONFLICT (place) DO "
        self.database.run(
            sql + ("UPDATE SET host = excluded.host" if hands.owner else "NOTHING"),
            (hands.place, hands.owner or hands.host),
        )
        return str(self.database.rows("SELECT host FROM tongqu_owners WHERE place = ?", (hands.place,))[0][0])

    def _where(self, condition: str, values: Sequence[Any]) -> list[Job]:
        rows = self.database.rows(f"SELECT {_COLUMNS} FROM tongqu_jobs WHERE {condition}", values)
        return [_job(row) for row in rows]


class _Room:
    """What can still be taken beside what runs."""

    def __init__(self, hands: Hands, limits: Limits, held: Sequence[Job], *, owner: str):
        self._hands, self._limits, self._owner = hands, limits, owner
        self._free, self._kept = hands.free, hands.kept
        self._writers = {job.writer for job in held if job.writer}
        self._runs = sum(not job.kept for job in held)
        self._used = Counter(name for job in held for name in job.connections)

    def takes(self, job: Job) -> bool:
        """Whether there is room for it, which is then taken."""
        if job.pinned and self._owner != self._hands.host:
            return False
        if (self._kept if job.kept else self._free) <= 0 or job.writer in self._writers:
            return False
        if not job.kept and self._limits.runs and self._runs >= self._limits.runs:
            return False
        most = self._limits.connections
        if any(name in most and self._used[name] >= most[name] for name in job.connections):
            return False
        self._kept -= job.kept
        self._free -= not job.kept
        self._runs += not job.kept
        self._writers |= {job.writer} if job.writer else set()
        self._used.update(job.connections)
        return True


def _held(job: Job, moment: float, most: float) -> bool:
    """Whether its lease is good. One that ends later than any could is of a clock that began anew."""
    return moment < job.lease <= moment + max(most, 600.0)


def _stored(job: Job) -> list[Any]:
    values: list[Any] = []
    for name in _FIELDS:
        value = getattr(job, name)
        if name in _JSON:
            value = json.dumps(list(value) if name == "connections" else dict(value), ensure_ascii=False, default=str)
        elif name in _FLAGS:
            value = int(value)
        values.append(value or None if name == "dedup" else value)
    return values


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_FIELDS, row, strict=True))
    for name in _JSON:
        values[name] = json.loads(values[name])
    for name in _FLAGS:
        values[name] = bool(values[name])
    values["connections"] = tuple(values["connections"])
    values["dedup"] = values["dedup"] or ""
    return Job(**values)
