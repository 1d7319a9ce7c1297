"""Follows queues whose messages are handed out once, by acknowledging what is durable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectError
from tongqu.core.log import Finding, Lag
from tongqu.kit.handed.line import Connect, Letter, Line
from tongqu.kit.handed.settings import HandedSettings
from tongqu.kit.handed.table import Queue
from tongqu.kit.messages.giving import POLL, GivingLog
from tongqu.kit.messages.logs import batches


class HandedLog(GivingLog[Queue]):
    """The messages of some queues (`{queues: {orders: {of: "f3…", at: 5}}}`): the broker itself keeps what is not
    acknowledged and hands it out again after a crash. A queue's end is where it has been silent for a while."""

    def __init__(self, settings: HandedSettings, connect: Connect, name: str, queues: Sequence[Queue]):
        super().__init__(name, queues, [queue.dataset for queue in queues], settings.quiet_seconds)
        self._settings, self._connect = settings, connect
        self._line: Line | None = None
        self._came: dict[str, list[Letter]] = {}

    def begin(self) -> Position:
        """See Log.begin: queues begin with what they have."""
        return {"queues": {name: self._mark(0) for name in sorted(self._queues)}}

    def head(self) -> Position:
        """See Log.head: nobody tells how many messages there are, so the end is where a queue is silent."""
        return self._place(dry=True)

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

    def _place(self, *, dry: bool) -> Position:
        return {"queues": {name: self._mark(one.count, dry=dry) for name, one in sorted(self._given.items())}}

    # ---- reading

    def _enter(self, after: Position) -> None:
        del after
        self._line = line = self._connect()
        self._came = {name: [] for name in self._queues}
        for name, queue in self._queues.items():
            line.consume(name, queue.settings.queue, self._settings.prefetch)
        line.flush()

    def _take(self, most: int) -> bool:
        line = self._line
        if line is None:
            raise ConnectError("the log was closed", path=self._settings.display())
        line.flush()
        came, count = line.next(POLL), 0
        while came is not None:
            self._came[came[0]].append(came[1])
            count += 1
            came = line.next(0) if count < most else None
        return count > 0

    def _batches(self) -> Iterator[Batch]:
        decoded = []
        for name, letters in self._came.items():
            if not letters:
                continue
            queue, given = self._queues[name], self._given[name]
            rows = queue.rows(letters)
            refused = queue.refused(rows, letters)
            decoded.append((name, rows))
            with self._lock:
                for number, letter in enumerate(letters):
                    given.give(letter.tag, taken=number not in refused)
            letters.clear()
        yield from batches(decoded, self._place(dry=False))

    def _full(self) -> bool:
        return any(len(one.open) >= self._settings.prefetch for one in self._given.values())

    def _dry(self, silent: float, *, bounded: bool) -> bool:
        del bounded
        return silent > self._settings.quiet_seconds

    def _settle(self, dataset: str, settled: Sequence[tuple[Any, bool]]) -> None:
        del dataset
        if self._line is None:
            return
        for tag, taken in settled:
            self._line.settle(tag, taken)
        self._line.flush()

    def _leave(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

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
