"""The watch that writes the audit trail of calls, without a caller ever waiting for the disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tongqu.core.errors import TongquError
from tongqu.gateway.audit.records import Form, Refusals, Repeated, Seen, instant_of, recorded
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.refused import at_the_door
from tongqu.gateway.stages import Admission, Call, Pass, Readmitting, Sharing, Standing, Ticket, Told
from tongqu.store.audit.chain import Chain
from tongqu.store.audit.trail import Trail
from tongqu.store.audit.usage import Usage, Use, Used

COMMIT_SECONDS = 0.1
"""How often what was seen is committed; with the time of the disk it stays within 0.2 s."""
_QUIET = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi", "/console")
_BATCH = 5000


@dataclass(frozen=True)
class Pace:
    """How often things are done, in seconds, and how much may wait."""

    commit: float = COMMIT_SECONDS
    anchor: float = 60.0
    usage: float = 5.0
    purge: float = 3600.0
    waiting: int = 100_000


@dataclass
class Counts:
    """What the watch did since it began."""

    records: int = 0
    refused: int = 0
    lost: int = 0
    failures: int = 0
    waiting: int = 0


@dataclass
class _Due:
    anchor: float
    usage: float
    purge: float
    second: float = 0.0
    uses: dict[Use, Used] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)


class AuditWatch:
    """Writes accepted calls one by one and refused ones as counts into a chain of this process.

    `saw` puts a tuple into a queue; a thread of the watch's own commits it. What has been seen but not committed is
    kept while the disk fails, up to `pace.waiting` calls; `ready` is then false, and calls should be refused (see
    `WhileAudited`). Calls that were lost nevertheless are counted in a record of their own.
    """

    def __init__(
        self,
        trail: Trail,
        name: str,
        usage: Usage | None = None,
        *,
        wall: Callable[[], float] = time.time,
        tick: Callable[[], float] = time.monotonic,
        pace: Pace = Pace(),
        warn: Callable[[str], None] = lambda text: None,
    ):
        self.counts = Counts()
        self.each_second: Callable[[], None] = lambda: None
        """What the watch's thread also does about each second."""
        self._trail = trail
        self._chain: Chain = trail.begin(name)
        self._usage = usage
        self._wall = wall
        self._tick = tick
        self._pace = pace
        self._warn = warn
        self._queue: deque[Seen | Repeated] = deque()
        self._put = self._taken = 0  # of calls that are like one before, beyond the first of each entry of the queue
        self._refusals = Refusals()
        self._told_lost = 0
        self._failing = ""
        self._closed = False
        now = tick()
        self._due = _Due(now + pace.anchor, now + pace.usage, now + pace.purge)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin committing in a thread."""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """See stages.Watch."""
        if request.path.startswith(_QUIET):
            return
        if self._waiting >= self._pace.waiting:
            self.counts.lost += 1
            return
        self._queue.append(self._seen(request, reply, seconds))

    def repeated(self, request: Request, reply: Reply) -> Told:
        """See stages.Repeating."""
        if request.path.startswith(_QUIET):
            return lambda calls: None
        form = Form(self._seen(request, reply, 0.0))

        def told(calls: Sequence[Call]) -> None:
            if self._waiting + len(calls) > self._pace.waiting:
                self.counts.lost += len(calls)
                return
            self._put += len(calls) - 1
            self._queue.append(Repeated(self._wall(), form, calls))

        return told

    def _seen(self, request: Request, reply: Reply, seconds: float) -> Seen:
        notes, actor, more = request.notes, request.actor, request.notes.more
        return Seen(
            self._wall(), seconds, reply.status, request.method, request.path, actor.id, actor.subject, actor.purpose,
            request.address, request.id, request.trace, notes.api, notes.version, notes.action, notes.rows, notes.bytes,
            notes.fields, notes.masks, notes.policy, notes.cache, notes.reason, request.publication.version,
            more.get("subjects", ()), more.get("rule", ""),
        )  # fmt: skip

    @property
    def ready(self) -> bool:
        """Whether what is accepted now will be written down."""
        return not self._failing and self._waiting < self._pace.waiting * 9 // 10

    @property
    def _waiting(self) -> int:
        """Calls that were seen and are no records yet."""
        return len(self._queue) + self._put - self._taken

    @property
    def failing(self) -> str:
        """Why nothing can be written at the moment; empty if it can."""
        return self._failing

    def commit(self) -> None:
        """Commit what was seen, and do what is due; called by the thread. Never raises TongquError."""
        with self._lock:
            while True:
                more = self._take()
                if not self._write() or not more:
                    break
            self._do_due()
            self.counts.waiting = self._waiting

    def close(self) -> None:
        """Commit everything and close the chain; may be called twice. Raises AuditError if that fails."""
        self._stop.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        with self._lock:
            if self._closed:
                return
            self._closed = True
            while self._take(all=True):
                self._write()
            written = self._write()
            self._add_usage()
            if written:
                self._trail.end(self._chain)
            self._chain.close()

    def _run(self) -> None:
        while not self._stop.wait(self._pace.commit):
            self.commit()

    def _take(self, *, all: bool = False) -> bool:
        """Make records of what waits; whether there is more. While records cannot be written no more are made."""
        bodies = self._due.bodies
        if not self._failing or all:
            for _ in range(min(_BATCH, len(self._queue))):
                seen = self._queue.popleft()
                if isinstance(seen, Repeated):
                    self._taken += len(seen.calls) - 1
                    bodies += seen.form.records(seen.at, seen.calls)
                    self._count_use(seen.form.seen, seen.at, len(seen.calls))
                elif at_the_door(seen.reason, seen.api):
                    self._refusals.count(seen)
                    self.counts.refused += 1
                else:
                    bodies.append(recorded(seen))
                    self._count_use(seen, seen.at, 1)
            bodies += self._refusals.over(self._wall() - 1 if not all else float("inf"))
            if self.counts.lost > self._told_lost:
                bodies.append(self._trail.body("lost", count=self.counts.lost - self._told_lost))
                self._told_lost = self.counts.lost
        return bool(self._queue)

    def _write(self) -> bool:
        bodies = self._due.bodies
        if not bodies:
            return True
        try:
            self._chain.append(instant_of(self._wall())[:10], bodies)
        except TongquError as error:
            self.counts.failures += 1
            if not self._failing:
                self._warn(error.message)
            self._failing = error.message
            return False
        self.counts.records += len(bodies)
        self._due.bodies = []
        self._failing = ""
        return True

    def _count_use(self, seen: Seen, at: float, calls: int) -> None:
        if self._usage is None or not seen.api or seen.status >= 400:
            return
        last = instant_of(at)
        uses = self._due.uses
        for name in ("", *seen.fields):
            key = (seen.api, seen.version, seen.who, name)
            before = uses.get(key)
            uses[key] = Used(last, before.count + calls if before else calls)

    def _do_due(self) -> None:
        now, due = self._tick(), self._due
        if now >= due.second:
            due.second = now + 1.0
            self.each_second()
        if now >= due.usage:
            due.usage = now + self._pace.usage
            self._add_usage()
        if now >= due.anchor and not self._failing:
            due.anchor = now + self._pace.anchor
            self._guarded(lambda: self._trail.anchor(self._chain))
        if now >= due.purge:
            due.purge = now + self._pace.purge
            self._guarded(self._trail.purge)

    def _add_usage(self) -> None:
        if self._usage is None or not self._due.uses:
            return
        import sqlite3

        try:
            self._usage.add(self._due.uses)
        except sqlite3.Error as error:
            self._warn(str(error))
            return
        self._due.uses = {}

    def _guarded(self, do: Callable[[], object]) -> None:
        try:
            do()
        except (TongquError, OSError) as error:
            self.counts.failures += 1
            self._warn(str(error))


class WhileAudited:
    """Admits calls only while they can be written down: fail closed."""

    def __init__(self, admission: Admission, watches: Sequence[AuditWatch]):
        self._admission = admission
        self._watches = watches

    async def admit(self, request: Request, api: Api | None) -> Ticket:
        """As the admission behind it; raises Problem `overloaded` while the audit trail cannot be written."""
        if not self.ready:
            raise Problem("overloaded", headers=[("retry-after", "5")])
        return await self._admission.admit(request, api)

    @property
    def ready(self) -> bool:
        """See stages.Readmitting."""
        return all(watch.ready for watch in self._watches)

    def standing(self, request: Request, api: Api) -> Standing | None:
        """See stages.Readmitting."""
        return self._admission.standing(request, api) if isinstance(self._admission, Readmitting) else None

    async def share(
        self, request: Request, api: Api, texts: Sequence[tuple[str, str]], cost: int = 1, first: bool = True
    ) -> Ticket:
        """See stages.Sharing; whoever got this far was found to be written down."""
        if isinstance(self._admission, Sharing):
            return await self._admission.share(request, api, texts, cost, first)
        return Pass()
