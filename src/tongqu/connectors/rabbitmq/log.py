"""Follows queues: stream queues by our own offsets, others by acknowledging what is durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.queue import Queue, offset_of
from tongqu.connectors.rabbitmq.reading import ends, lost
from tongqu.connectors.rabbitmq.settings import RabbitmqSettings
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError, NotFoundError
from tongqu.core.log import Finding, Follow, Lag
from tongqu.kit.messages.giving import GivingLog
from tongqu.kit.messages.logs import batches, beginning, heartbeat, only_changes

_IDLE, _POLL = 1.0, 0.1


@dataclass
class Reading:
    """One queue while it is read: what came, and how far its messages are given on and acknowledged."""

    queue: Queue
    channel: Any = None
    came: list[Any] = field(default_factory=list)
    at: int = 0
    """Streams: the next offset. Others: how many messages were given on since this log was opened."""
    tags: deque[tuple[int, int, bool]] = field(default_factory=deque)
    """Others: count and delivery tag of messages that are not acknowledged, and whether they are rejected."""


class RabbitmqLog(GivingLog):
    """The messages of some queues. A position is, by dataset, the next offset of a stream queue (`{at: 5}`), or of
    another how many messages this reader was given, and which reader it was (`{of: "f3…", at: 5}`): the server itself
    keeps what is not acknowledged and gives it again after a crash."""

    def __init__(self, settings: RabbitmqSettings, name: str, queues: Sequence[Queue]):
        super().__init__()
        self._settings = settings
        self._queues = {queue.dataset: queue for queue in queues}
        self.changes = only_changes(name, "queue", queues)
        self._taken: dict[str, int] = {queue.dataset: 0 for queue in queues if not queue.streams}
        self._link: Link | None = None
        self._readings: dict[str, Reading] = {}

    def begin(self) -> Position:
        """See Log.begin: where stream queues begin or, with `start: latest`, end; changes are always read from the
        beginning. Other queues begin with what they have."""
        found: dict[str, Any] = {}
        for dataset, queue in self._queues.items():
            if queue.streams:
                latest = self._settings.start == "latest" and not self.changes
                found[dataset] = {"at": ends(self._settings, queue.name)[latest]}
            else:
                found[dataset] = {"of": self._session, "at": 0}
        return {"queues": found}

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside queues of changes."""
        return beginning([*self._queues.values()])

    def head(self) -> Position:
        """See Log.head. Of a queue that is no stream: what was given on, and as many messages as are ready."""
        found: dict[str, Any] = {}
        for dataset, queue in self._queues.items():
            if queue.streams:
                found[dataset] = {"at": ends(self._settings, queue.name)[1]}
            else:
                found[dataset] = {"of": self._session, "at": self._taken[dataset] + self._ready(queue)}
        return {"queues": found}

    def _ready(self, queue: Queue) -> int:
        link = Link(self._settings)
        try:
            ready = link.exists(queue.name)
        finally:
            link.close()
        if ready is None:
            raise NotFoundError(f"there is no queue {queue.name!r}", path=queue.dataset, hint="check queue and prefix")
        return ready

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached. A queue that was found dry is at its end, whoever took the messages."""
        ours = position.get("queues") or {}
        for dataset, wanted in (until.get("queues") or {}).items():
            held = ours.get(dataset) or {}
            same = held.get("of") == wanted.get("of")
            if not (same and (held.get("at", 0) >= wanted["at"] or held.get("dry"))) and wanted["at"] > 0:
                return False
        return True

    # ---- reading

    def _enter(self) -> None:
        self._link = Link(self._settings)

    def _follow(self, follow: Follow) -> Iterator[Batch]:
        readings = self._readings = {
            dataset: self._found(queue, follow.after) for dataset, queue in self._queues.items()
        }
        said, dry = monotonic(), False
        while not follow.stop.is_set():
            position = self._position(readings, dry=dry)
            if follow.until is not None and self.reached(position, follow.until):
                yield heartbeat(next(iter(self._queues.values())).described(), position)
                return
            self._take(readings, follow.batch_rows)
            if any(one.came for one in readings.values()):
                dry = False
                yield from self._batches(readings)
                said = monotonic()
            elif monotonic() - said > _IDLE:
                said = monotonic()
                dry = follow.until is not None and not any(
                    self._ready(one.queue) for one in readings.values() if not one.queue.streams
                )
                yield heartbeat(next(iter(self._queues.values())).described(), self._position(readings, dry=dry))

    def _found(self, queue: Queue, after: Position) -> Reading:
        """Begin to consume at our place; raises LostPositionError for one that a stream does not have any more."""
        link = self._link
        assert link is not None  # noqa: S101  # `read` has opened it
        made = Reading(queue)
        if not queue.streams:
            made.at = self._taken[queue.dataset]
            made.channel = link.consume(queue.name, self._settings.prefetch, made.came.append)
            return made
        given = (after.get("queues") or {}).get(queue.dataset)
        made.at = int(given["at"]) if given is not None else ends(self._settings, queue.name)[0]
        if made.at > 0:
            start, end = ends(self._settings, queue.name)
            if not start <= made.at <= end:
                raise lost(queue.name, made.at, start if start > made.at else None, link.where)
        made.channel = link.consume(queue.name, self._settings.prefetch, made.came.append, made.at)
        return made

    def _take(self, readings: Mapping[str, Reading], most: int) -> None:
        """What has come: waits for one message, and takes the others that are there."""
        with self._lock:
            link = self._link
            if link is None:
                raise ConnectError("the log was closed", path=self._settings.display())
            self._settle()
            came = link.drain(_POLL)
            while came and sum(len(one.came) for one in readings.values()) < most:
                came = link.drain(0)

    def _batches(self, readings: Mapping[str, Reading]) -> Iterator[Batch]:
        decoded = []
        for dataset, reading in readings.items():
            messages, reading.came[:] = list(reading.came), []
            if not messages:
                continue
            if reading.queue.streams:
                messages = self._fresh(reading, messages)
                if messages:
                    decoded.append((dataset, reading.queue.rows(messages)))
                continue
            rows = reading.queue.rows(messages)
            decoded.append((dataset, rows))
            rejects = reading.queue.settings.bad == "dead_letter"
            bad = {one.delivery_tag for one in reading.queue.unread(rows, messages)} if rejects else set()
            for message in messages:
                reading.at += 1
                reading.tags.append((reading.at, message.delivery_tag, message.delivery_tag in bad))
            self._taken[dataset] = reading.at
        yield from batches(decoded, self._position(readings))

    def _fresh(self, reading: Reading, messages: Sequence[Any]) -> list[Any]:
        """The messages of a stream behind our place: it gives whole chunks. They are acknowledged at once, which only
        says that more may come."""
        with self._lock, self._open().told():
            reading.channel.basic_ack(messages[-1].delivery_tag, multiple=True)
        fresh = [message for message in messages if offset_of(message) >= reading.at]
        if fresh:
            if offset_of(fresh[0]) > reading.at:
                raise lost(reading.queue.name, reading.at, offset_of(fresh[0]), self._settings.display())
            reading.at = offset_of(fresh[-1]) + 1
        return fresh

    def _position(self, readings: Mapping[str, Reading], *, dry: bool = False) -> Position:
        found: dict[str, Any] = {}
        for dataset, one in sorted(readings.items()):
            found[dataset] = {"at": one.at} if one.queue.streams else {"of": self._session, "at": one.at}
            if dry and not one.queue.streams:
                found[dataset]["dry"] = True
        return {"queues": found}

    # ---- acknowledging

    def _settle(self) -> None:
        told = self._durable.get("queues") or {}
        if self._link is None:
            return
        for dataset, reading in self._readings.items():
            held = told.get(dataset) or {}
            if held.get("of") != self._session:
                continue
            last = 0
            with self._link.told():
                while reading.tags and reading.tags[0][0] <= held["at"]:
                    _, tag, rejected = reading.tags.popleft()
                    if not rejected:
                        last = tag
                        continue
                    if last:
                        reading.channel.basic_ack(last, multiple=True)
                        last = 0
                    reading.channel.basic_reject(tag, requeue=False)
                if last:
                    reading.channel.basic_ack(last, multiple=True)

    def _open(self) -> Link:
        if self._link is None:
            raise ConnectError("the log was closed", path=self._settings.display())
        return self._link

    def _leave(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._readings = {}

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: messages that are ready, and of streams those behind the position."""
        ours, behind = position.get("queues") or {}, 0
        for dataset, queue in self._queues.items():
            if queue.streams:
                start, end = ends(self._settings, queue.name)
                behind += max(end - max(int((ours.get(dataset) or {}).get("at", start)), start), 0)
            else:
                behind += self._ready(queue)
        return Lag(rows=behind)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        found = []
        for queue in self._queues.values():
            if queue.streams:
                found.append(Finding("queue", "ok", f"{queue.name}: a stream, read by offset"))
                continue
            unique = queue.described().key
            how = f"redelivered messages are told by {', '.join(unique)}" if unique else "at least once"
            fix = "" if unique else "metadata: [_message_id] and write: upsert, where writers set a message id"
            state = "ok" if unique else "warning"
            found.append(Finding("queue", state, f"{queue.name}: {queue.settings.kind}, {how}", fix))  # type: ignore[arg-type]  # one of the two words
        return found
