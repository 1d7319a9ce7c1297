"""Follows queues: stream queues by our own offsets, others by acknowledging what is durable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.queue import Queue, offset_of
from tongqu.connectors.rabbitmq.reading import ends, lost
from tongqu.connectors.rabbitmq.settings import RabbitmqSettings
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError, NotFoundError
from tongqu.core.log import Finding, Lag
from tongqu.kit.messages.giving import POLL, GivingLog
from tongqu.kit.messages.logs import batches


@dataclass
class Reading:
    """One queue while it is read: its channel, what came by it, and the next offset of a stream."""

    queue: Queue
    channel: Any = None
    came: list[Any] = field(default_factory=list)
    at: int = 0


class RabbitmqLog(GivingLog[Queue]):
    """The messages of some queues: of stream queues by the next offset (`{at: 5}`); of others the server itself keeps
    what is not acknowledged and gives it again after a crash."""

    def __init__(self, settings: RabbitmqSettings, name: str, queues: Sequence[Queue]):
        super().__init__(name, queues, [queue.dataset for queue in queues if not queue.streams])
        self._settings = settings
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
                found[dataset] = self._mark(0)
        return {"queues": found}

    def head(self) -> Position:
        """See Log.head. Of a queue that is no stream: what was given on, and as many messages as are ready."""
        found: dict[str, Any] = {}
        for dataset, queue in self._queues.items():
            if queue.streams:
                found[dataset] = {"at": ends(self._settings, queue.name)[1]}
            else:
                found[dataset] = self._mark(self._given[dataset].count + self._ready(queue))
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

    def _enter(self, after: Position) -> None:
        self._link = link = Link(self._settings)
        self._readings = {dataset: self._found(link, queue, after) for dataset, queue in self._queues.items()}

    def _found(self, link: Link, queue: Queue, after: Position) -> Reading:
        """Begin to consume at our place; raises LostPositionError for one that a stream does not have any more."""
        made = Reading(queue)
        if not queue.streams:
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

    def _take(self, most: int) -> bool:
        link = self._open()
        came = link.drain(POLL)
        while came and sum(len(one.came) for one in self._readings.values()) < most:
            came = link.drain(0)
        return any(one.came for one in self._readings.values())

    def _batches(self) -> Iterator[Batch]:
        decoded = []
        for dataset, reading in self._readings.items():
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
            with self._lock:
                for message in messages:
                    self._given[dataset].give(message.delivery_tag, taken=message.delivery_tag not in bad)
        yield from batches(decoded, self._place(dry=False))

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

    def _place(self, *, dry: bool) -> Position:
        found: dict[str, Any] = {}
        for dataset, one in sorted(self._readings.items()):
            given = self._given.get(dataset)
            found[dataset] = {"at": one.at} if given is None else self._mark(given.count, dry=dry)
        return {"queues": found}

    def _dry(self, silent: float, *, bounded: bool) -> bool:
        del silent
        return bounded and not any(self._ready(self._queues[dataset]) for dataset in self._given)

    # ---- acknowledging

    def _settle(self, dataset: str, settled: Sequence[tuple[Any, bool]]) -> None:
        if self._link is None:
            return
        channel, last = self._readings[dataset].channel, 0
        with self._link.told():
            for tag, taken in settled:
                if taken:
                    last = tag
                    continue
                if last:
                    channel.basic_ack(last, multiple=True)
                    last = 0
                channel.basic_reject(tag, requeue=False)
            if last:
                channel.basic_ack(last, multiple=True)

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
