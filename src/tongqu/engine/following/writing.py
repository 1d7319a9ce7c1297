"""Writes what a log's reader hands over, in chunks of whole transactions: small while it keeps up, large if not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tongqu.core.data import Batch, Position
from tongqu.core.errors import SchemaError, TongquError
from tongqu.engine.following.job import isolated
from tongqu.engine.following.queue import Queue
from tongqu.engine.following.stream import DURABLE_SECONDS, LAZY_SECONDS, Followed
from tongqu.kit.faults import crash_point

CHUNK_SECONDS = 0.05
"""A chunk that was begun so long ago is committed as soon as a transaction ends, unless there is a backlog."""
_BACKLOG = 5_000
_IDLE = 0.25
_SESSIONS = 16


class Writing:
    """Some streams of one log, written by one thread. `run` returns when the log has ended, and raises what went wrong;
    after that nothing is open that is not durable. What only one stream meets is told to `fail`, which raises it if no
    other is left; that stream takes part no more."""

    def __init__(
        self, streams: Sequence[Followed], reached: Callable[[Position, Position], bool], chunk_rows: int,
        fail: Callable[[Followed, TongquError], None],
    ):  # fmt: skip
        self.queue = Queue()
        self.streams = streams
        self._fail = fail
        self._reached = reached
        self._chunk_rows = chunk_rows
        self._cut: Position | None = None
        self._rows = 0
        self._since = 0.0
        self._open: dict[int, Followed] = {}
        self._inside: set[int] = set()
        """Streams with rows behind the last cut, of a transaction whose end has not come."""

    def run(self, *, keep: bool) -> None:
        """Write until the log ends. `keep`: several sessions may hold connections at the same time."""
        self._keep = keep
        while True:
            item = self.queue.take(_IDLE)
            if item is None:
                if self.queue.closed:
                    return
                self._lazily()
                continue
            if item.kind == "end":
                for followed in self.streams:  # of a transaction whose end did not come
                    followed.drop()
                self._lazily(0.0)
                self._firmly(0.0)
                return
            if item.batch is not None and item.followed is not None:
                self._take(item.followed, item.batch)
            elif item.error is not None and item.followed is not None:
                self._lost(item.followed, item.error)
            elif item.position is not None:
                self._cut = item.position
                for followed in self._left:  # what it has from before the log was opened
                    if id(followed) in self._inside and self._has(followed, item.position):
                        followed.overtake()
                self._inside.clear()
                self._consider()

    @property
    def _left(self) -> list[Followed]:
        return [one for one in self.streams if one.failed is None]

    def _has(self, followed: Followed, cut: Position) -> bool:
        return followed.ahead is not None and self._reached(followed.ahead, cut)

    def _take(self, followed: Followed, batch: Batch) -> None:
        crash_point("after_read")
        if followed.failed is None:
            try:
                self._taken(followed, batch)
            except TongquError as error:
                self._met(followed, error)

    def _lost(self, followed: Followed, error: TongquError) -> None:
        """The log has no more of a stream: what came of it in whole transactions is committed, the loss behind it."""
        if followed.failed is not None:
            return
        try:
            if self._cut is not None and id(followed) not in self._inside:
                self._committed(followed, self._cut, position=True, firm=False)
            error = followed.lose(error)
        except TongquError as met:
            error = met
        self._met(followed, error)

    def _met(self, followed: Followed, error: TongquError) -> None:
        if not isolated(error):
            raise error
        self._open.pop(id(followed), None)
        self._fail(followed, error)

    def _taken(self, followed: Followed, batch: Batch) -> None:
        if batch.kind == "schema":
            self._altered(followed, batch)
        elif batch.kind == "truncate":
            followed.pieces.barrier()
            self._rows += 1
            self._inside.add(id(followed))
        elif batch.rows.num_rows or batch.bad or batch.counts is not None:
            if not self._rows:
                self._since = time.monotonic()
            followed.take(batch)
            self._rows += batch.rows.num_rows
            self._inside.add(id(followed))

    def _altered(self, followed: Followed, batch: Batch) -> None:
        """Rows of the old schema are written before the new one holds: in the middle of a transaction they come again
        after a crash, which only a target that is written by key does not notice."""
        if batch.rows.schema.equals(followed.schema, check_metadata=True):
            return
        if self._cut is not None and id(followed) not in self._inside:  # what waits are whole transactions
            self._committed(followed, self._cut, position=True, firm=False)
        if followed.pieces and not (followed.write.key and followed.write.mode.value == "upsert"):
            raise SchemaError(
                f"{followed.stream.source_dataset.name!r} was altered inside a transaction that had changed its rows",
                path=followed.stream.name,
                hint="begin anew with the new schema: run the same command with --restart",
            )
        self._committed(followed, followed.position, position=False, firm=False)
        followed.altered(batch.rows.schema)

    def _consider(self) -> None:
        """A transaction has ended: commit now, or with the next one if that has come already."""
        waited = self._rows and time.monotonic() - self._since > CHUNK_SECONDS and self.queue.rows < _BACKLOG
        if self._rows >= self._chunk_rows or waited or not self.queue.cuts:
            self._flush()

    def _flush(self) -> None:
        cut = self._cut
        if cut is None:
            return
        for followed in self._left:
            if followed.waiting:
                self._commit(followed, cut)
        self._rows = 0
        self._lazily()

    def _firmly(self, seconds: float = DURABLE_SECONDS) -> None:
        """Let what was committed be durable where nothing comes after it; finds too whether it was lost."""
        now = time.monotonic()
        for followed in self._left:
            due = followed.durable != followed.position and now - followed.durable_at >= seconds
            if due and not followed.waiting:
                self._commit(followed, followed.position, firm=True)

    def _commit(self, followed: Followed, cut: Position, *, position: bool = True, firm: bool = False) -> None:
        try:
            self._committed(followed, cut, position=position, firm=firm)
        except TongquError as error:
            self._met(followed, error)

    def _committed(self, followed: Followed, cut: Position, *, position: bool, firm: bool) -> None:
        overtaken = position and not firm and self._has(followed, cut)
        if not overtaken and position and not firm:
            followed.ahead = None
        followed.commit(cut, overtaken=overtaken, position=position, firm=firm)
        if not self._keep:
            followed.rest()
            return
        self._open.pop(id(followed), None)
        self._open[id(followed)] = followed
        while len(self._open) > _SESSIONS:
            self._open.pop(next(iter(self._open))).rest()

    def _lazily(self, seconds: float = LAZY_SECONDS) -> None:
        """Move streams along that had no rows."""
        self._firmly()
        cut = self._cut
        if cut is None:
            return
        now = time.monotonic()
        for followed in self._left:
            behind = not followed.waiting and now - followed.moved_at >= seconds and followed.position != cut
            if behind and not self._reached(followed.position, cut):
                self._commit(followed, cut)
