"""The requests whose answers stand ready, by their very bytes, and the few things that are looked at before each."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tongqu.gateway.exchange import Held, Proof, Reply, Request
from tongqu.gateway.ids import Ids
from tongqu.gateway.ready.template import template
from tongqu.gateway.stages import Call, Head, Readmitting, Repeating, Standing, Told

if TYPE_CHECKING:
    from tongqu.gateway.publication import Api, Publication
    from tongqu.gateway.site import Site, Stages

MOST = 4096
"""So many answers stand ready at most; those that were put there first go."""
MOST_BYTES = 64 << 20
"""So many bytes they have at most, requests and answers together."""
_OVERHEAD = 4096
_ASKED = (b"GET /api/", b"HEAD /api/")
_PARENT = re.compile(rb"\r\ntraceparent: 00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?=\r\n)")
_USUAL = frozenset(("age", "client", "subjects"))
"""What may be noted of a call that is nothing but repeated."""


class Rights(Protocol):
    """Tells whether anybody's rights changed."""

    def revision(self) -> int:
        """Another number after any change, at most a second later."""
        ...

    def seconds(self) -> float:
        """The time that credentials are judged by, since 1970."""
        ...


class Trace(NamedTuple):
    """The trace that a request says to belong to, and whether it is recorded; in hex."""

    id: str
    flag: str


@dataclass(slots=True)
class Answer:
    """An answer that stands ready, and what it depends on. `calls` were answered in this turn of the loop."""

    parts: tuple[bytes, ...]
    proof: Proof | None
    held: Held
    standing: Standing
    told: Told
    size: int
    calls: list[Call] = field(default_factory=list)


class Ready:
    """Answers of a site that stand ready: a request that is byte for byte like one before it (but for `traceparent`),
    from the same address, is answered with the same bytes, as long as nothing changed that the answer depends on.

    Looked at for each: that the cache holds the answer and may give it, that the credentials are good, all limits and
    how many requests run. Looked at once in a turn of the event loop, before the first: publication and settings, what
    changed in the tables and in anybody's rights, whether calls can be written down. All requests of a turn were on
    their way by then, so none is answered with what was known to be old before it was asked. Whatever is not as it was
    goes the ordinary way, which counts and refuses; nothing is counted twice. For one event loop.
    """

    def __init__(
        self,
        site: Site,
        rights: Rights,
        *,
        clock: Callable[[], float] = time.perf_counter,
        ids: Ids | None = None,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
    ):
        self._site = site
        self._rights = rights
        self._clock = clock
        self._ids = ids or Ids()
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._answers: dict[tuple[str, bytes], Answer] = {}
        self._publication: Publication | None = None
        self._stages: Stages | None = None
        self._admission: Readmitting | None = None
        self._open = False
        self._sound = False
        self._revision = -1
        self._seconds = 0.0
        self._last = 0.0
        self._touched: list[Answer] = []
        self.given = 0
        """Calls that were answered so."""

    def __len__(self) -> int:
        return len(self._answers)

    def answer(self, raw: bytes, source: str, date: bytes) -> bytes | None:
        """The whole answer to a request from there, None where it goes the ordinary way. `date` is the header's line.
        Called by a connection as its bytes arrive, never from a task."""
        if not self._answers or not raw.startswith(_ASKED):
            return None
        found, trace = self._answers.get((source, raw)), None
        if found is None:
            raw, trace = plain(raw)
            if trace is None or (found := self._answers.get((source, raw))) is None:
                return None
        if not self._open:
            self._begin(found)
        if not self._sound:
            return None
        proof = found.proof
        age = found.held.age()
        if age is None or (proof is not None and (proof.revision != self._revision or proof.until <= self._seconds)):
            self._drop((source, raw))
            return None
        limits = found.standing.again()
        if limits is None:
            return None
        digits = self._ids(24)  # the id of the request, and a trace
        id, of = digits[:16], digits[16:] if trace is None else trace.id
        if not found.calls:
            self._touched.append(found)
        now = self._clock()
        found.calls.append((now - self._last, id, of))
        self._last = now
        first, second, third, fourth, fifth, sixth, body = found.parts
        parent = f"00-{of}-{id}-{'01' if trace is None else trace.flag}"
        return b"".join((first, date, second, b"%d" % age, third, limits.encode(), fourth, id.encode(), fifth,
                         parent.encode(), sixth, body))  # fmt: skip

    def keep(self, head: Head, request: Request, reply: Reply, api: Api | None) -> None:
        """Let the answer to this request stand ready, if nothing about it is out of the ordinary."""
        notes, held = request.notes, request.notes.held
        stages = self._site.stages
        plainly = notes.cache == "hit" and not notes.reason and _USUAL.issuperset(notes.more)
        if not plainly or held is None or api is None or request.certificate is not None:
            return
        if request.actor.known is not (request.proof is not None) or held.timed:
            return
        raw, trace = plain(head.raw)
        if trace is None and "traceparent" in request.headers:
            return
        standing = stages.admission.standing(request, api) if isinstance(stages.admission, Readmitting) else None
        told = self._told(request, reply)
        parts = template(reply, head=request.method == "HEAD")
        if parts is None or standing is None or told is None or not raw.startswith(_ASKED):
            return
        if self._publication is not self._site.publication or self._stages is not stages:
            self.clear()
            self._publication, self._stages = self._site.publication, stages
            self._admission = stages.admission if isinstance(stages.admission, Readmitting) else None
        if request.publication is not self._publication:
            return
        size = len(raw) + sum(map(len, parts)) + _OVERHEAD
        self._drop((head.source, raw))
        self._answers[head.source, raw] = Answer(parts, request.proof, held, standing, told, size)
        self._bytes += size
        while len(self._answers) > self._most or self._bytes > self._most_bytes:
            self._drop(next(iter(self._answers)))

    def clear(self) -> None:
        """Let nothing stand ready."""
        self._answers.clear()
        self._bytes = 0

    def _begin(self, found: Answer) -> None:
        """The first of a turn: look at what all depend on."""
        self._open = True
        asyncio.get_running_loop().call_soon(self._end)
        site = self._site
        self._last = self._clock()
        if self._publication is not site.publication or self._stages is not site.stages:
            self.clear()
            self._sound = False
            return
        self._revision, self._seconds = self._rights.revision(), self._rights.seconds()
        self._sound = self._admission is not None and self._admission.ready and found.held.look()

    def _end(self) -> None:
        """The turn is over: tell those who count calls of all that were answered in it."""
        self._open = False
        touched, self._touched = self._touched, []
        for answer in touched:
            calls, answer.calls = answer.calls, []
            self.given += len(calls)
            answer.standing.over(len(calls))
            if answer.proof is not None:
                answer.proof.used()
            answer.told(calls)

    def _told(self, request: Request, reply: Reply) -> Told | None:
        watch, pretending = self._site.stages.watch, self._site.pretending
        told = watch.repeated(request, reply) if isinstance(watch, Repeating) else None
        if told is None or pretending is None:
            return told

        def all(calls: Sequence[Call]) -> None:
            told(calls)
            pretending.saw(request, reply, calls[-1][0])

        return all

    def _drop(self, place: tuple[str, bytes]) -> None:
        found = self._answers.pop(place, None)
        if found is not None:
            self._bytes -= found.size


def plain(raw: bytes) -> tuple[bytes, Trace | None]:
    """A request without its `traceparent`, and what stood there; as it is where it has none, or more than one."""
    found = _PARENT.search(raw)
    if found is None or raw.lower().count(b"\r\ntraceparent") != 1:
        return raw, None
    recorded = int(found[2], 16) & 1
    return raw[: found.start()] + raw[found.end() :], Trace(found[1].decode(), "01" if recorded else "00")
