"""Follows queues whose messages are handed out once, by acknowledging what is durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError
from tongqu.core.log import Finding, Follow, Lag
from tongqu.kit.handed.line import Connect, Letter, Line
from tongqu.kit.handed.settings import HandedSettings
from tongqu.kit.handed.table import Queue
from tongqu.kit.messages.giving import GivingLog
from tongqu.kit.messages.logs import batches, beginning, heartbeat, only_changes

_IDLE, _POLL = 1.0, 0.1


@dataclass
class Reading:
    """One queue while it is read: what came, and what was given on and is not acknowledged."""

    queue: Queue
    at: int
    """How many messages were given on since the log was opened."""
    came: list[Letter] = field(default_factory=list)
    unsettled: deque[tuple[int, Any, bool]] = field(default_factory=deque)
    """Their count, what they are acknowledged by, and whether they are taken."""


class HandedLog(GivingLog):
    """The messages of some queues. A position is, by dataset, how many messages this reader was given, and which reader
    it was (`{queues: {orders: {of: "f3…", at: 5}}}`): the broker itself keeps what is not acknowledged and hands it out
    again after a crash. A queue that has been silent for a while has the mark `dry`; that is where its end is."""

    def __init__(self, settings: HandedSettings, connect: Connect, name: str, queues: Sequence[Queue]):
        super().__init__()
        self._settings, self._connect = settings, connect
        self._queues = {queue.dataset: queue for queue in queues}
        self.changes = only_changes(name, "queue", queues)
        self._given = dict.fromkeys(self._queues, 0)
        self._line: Line | None = None
        self._readings: dict[str, Reading] = {}

    def begin(self) -> Position:
        """See Log.begin: queues begin with what they have."""
        return self._position(dict.fromkeys(self._queues, 0))

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside queues of changes."""
        return beginning([*self._queues.values()])

    def head(self) -> Position:
        """See Log.head: nobody tells how many messages there are, so the end is where a queue is silent."""
        return self._position(self._given, dry=True)

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached. Whatever this reader was given came later than what an earlier one was."""
        ours = position.get("queues") or {}
        return all(self._behind(ours.get(name) or {}, wanted) for name, wanted in (until.get("queues") or {}).items())

    def _behind(self, ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        if wanted.get("dry"):
            return bool(ours.get("dry"))
        if ours.get("of") == wanted["of"]:
            return bool(ours["at"] >= wanted["at"])
        return wanted["at"] == 0 or ours.get("of") == self._session

    def _position(self, at: dict[str, int], *, dry: bool = False) -> Position:
        mark = {"dry": True} if dry else {}
        return {"queues": {name: {"of": self._session, "at": at[name], **mark} for name in sorted(at)}}

    # ---- reading

    def _enter(self) -> None:
        self._line = line = self._connect()
        self._readings = {name: Reading(queue, self._given[name]) for name, queue in self._queues.items()}
        for name, queue in self._queues.items():
            line.consume(name, queue.settings.queue, self._settings.prefetch)
        line.flush()

    def _follow(self, follow: Follow) -> Iterator[Batch]:
        first = next(iter(self._queues.values())).described()
        said = heard = monotonic()
        while not follow.stop.is_set():
            self._take(follow.batch_rows)
            now = monotonic()
            if any(one.came for one in self._readings.values()):
                yield from self._batches()
                said = heard = monotonic()
                continue
            if self._full():
                heard = now  # nothing can come before something is acknowledged
            dry = now - heard > self._settings.quiet_seconds
            if now - said > _IDLE or (dry and follow.until is not None):
                said = now
                position = self._position(self._given, dry=dry)
                yield heartbeat(first, position)
                if follow.until is not None and self.reached(position, follow.until):
                    return

    def _full(self) -> bool:
        return any(len(one.unsettled) >= self._settings.prefetch for one in self._readings.values())

    def _take(self, most: int) -> None:
        """What has come: waits for one message, and takes the others that are there."""
        with self._lock:
            line = self._line
            if line is None:
                raise ConnectError("the log was closed", path=self._settings.display())
            self._settle()
            came, count = line.next(_POLL), 0
            while came is not None:
                self._readings[came[0]].came.append(came[1])
                count += 1
                came = line.next(0) if count < most else None

    def _batches(self) -> Iterator[Batch]:
        decoded = []
        for name, reading in self._readings.items():
            letters, reading.came = reading.came, []
            if not letters:
                continue
            rows = reading.queue.rows(letters)
            refused = reading.queue.refused(rows, letters)
            decoded.append((name, rows))
            with self._lock:
                for number, letter in enumerate(letters):
                    reading.at += 1
                    reading.unsettled.append((reading.at, letter.tag, number not in refused))
            self._given[name] = reading.at
        yield from batches(decoded, self._position(self._given))

    # ---- acknowledging

    def _settle(self) -> None:
        if self._line is None:
            return
        told = self._durable.get("queues") or {}
        for name, reading in self._readings.items():
            durable = told.get(name) or {}
            if durable.get("of") == self._session:
                while reading.unsettled and reading.unsettled[0][0] <= durable["at"]:
                    _, tag, taken = reading.unsettled.popleft()
                    self._line.settle(tag, taken)
        self._line.flush()

    def _leave(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None
        self._readings = {}

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: the protocol does not tell."""
        del position
        return Lag()

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        found = []
        for queue in self._queues.values():
            unique, where = queue.described().key, queue.settings.queue
            if unique:
                how = f"redelivered messages are told by {', '.join(unique)}"
                found.append(Finding("queue", "ok", f"{where}: {how}"))
            else:
                fix = "metadata: [_message_id] and write: upsert, where writers set a message id"
                found.append(Finding("queue", "warning", f"{where}: at least once", fix))
        return found
