"""One thread that commits what many appenders want in one transaction, so that they wait for the disk together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tongqu.core.errors import RunError, TongquError
from tongqu.kit.faults import crash_point
from tongqu.kit.queue.turn import BLOCK_ROWS, Held, Turn
from tongqu.kit.sqlite import SqliteDb

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Work = Callable[[Turn], Any]
Outcome = tuple[Any, BaseException | None]

MOST_AT_ONCE = 2_000
MOST_BYTES = 64 << 20
"""What may wait to be committed; who has more waits until there is room."""


@dataclass(frozen=True)
class Append:
    """Rows for a topic: what comes for one topic at the same time becomes one block."""

    topic: str
    rows: pa.RecordBatch
    at: float | None = None

    def __call__(self, turn: Turn) -> int:
        """Append the rows by themselves."""
        return turn.append(self.topic, self.rows, at=self.at)

    def joins(self, other: Work, rows: int) -> bool:
        """Whether another append can go into one block with this one, which has `rows` already."""
        return (
            isinstance(other, Append)
            and other.topic == self.topic
            and self.at is None
            and other.at is None
            and rows + other.rows.num_rows <= BLOCK_ROWS
            and other.rows.schema.equals(self.rows.schema, check_metadata=True)
        )


class Committer:
    """Takes work in order; each piece is done whole or not at all, whatever becomes of the others of its group."""

    def __init__(self, db: SqliteDb, held: Held, moved: Callable[[], None]):
        self._db = db
        self._turn_db = held
        self._moved = moved
        self._waiting: deque[tuple[Work, int, Future[Any]]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tongqu-queue", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Turn], T], weight: int = 0) -> Future[T]:
        """Have this done; the future is done when it is on disk. `weight` is about how many bytes it writes."""
        future: Future[T] = Future()
        with self._changed:
            while self._bytes and self._bytes + weight > MOST_BYTES and not self._closed:
                self._changed.wait()
            if self._closed:
                raise RunError("the queue is closed")
            self._waiting.append((work, weight, future))
            self._bytes += weight
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                group = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            wanted = [one for one in group if one[2].set_running_or_notify_cancel()]
            outcomes = self._committed([work for work, _, _ in wanted])
            with self._changed:
                self._bytes -= sum(weight for _, weight, _ in group)
                self._changed.notify_all()
            self._moved()
            for (_, _, future), (value, error) in zip(wanted, outcomes, strict=True):
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(value)

    def _committed(self, group: list[Work]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            self._db.begin()
            for some in _joined(group):
                outcomes += self._together(some)
            crash_point("before_append")
            self._db.commit()
            crash_point("after_append")
        except Exception as error:  # noqa: BLE001  # whatever it is: the group's futures carry it to who waits
            self._db.rollback()
            return [(None, error)] * len(group)
        return outcomes

    def _together(self, some: Sequence[Work]) -> list[Outcome]:
        """Do appends to one topic as one; each by itself where that fails."""
        if len(some) > 1:
            appends = [work for work in some if isinstance(work, Append)]
            last, error = self._one(Append(appends[0].topic, _one_batch([one.rows for one in appends])))
            if error is None:
                ends = last - sum(one.rows.num_rows for one in appends)
                return [(ends := ends + one.rows.num_rows, None) for one in appends]
        return [self._one(work) for work in some]

    def _one(self, work: Work) -> Outcome:
        self._turn_db.savepoint("one")
        try:
            value = work(Turn(self._turn_db))
        except Exception as error:
            if not self._db.connection.in_transaction:  # SQLite undid all of it: the disk is full
                raise
            self._turn_db.rollback_to("one")
            self._turn_db.release("one")
            if isinstance(error, TongquError) and error.code == "connector.write":
                raise
            return None, error
        self._turn_db.release("one")
        return value, None


def _one_batch(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _joined(group: Sequence[Work]) -> Iterator[list[Work]]:
    """The work in order, appends that can go into one block together."""
    some: list[Work] = []
    rows = 0
    for work in group:
        first = some[0] if some else None
        if isinstance(first, Append) and isinstance(work, Append) and first.joins(work, rows):
            some.append(work)
            rows += work.rows.num_rows
            continue
        if some:
            yield some
        some, rows = [work], work.rows.num_rows if isinstance(work, Append) else 0
    if some:
        yield some
