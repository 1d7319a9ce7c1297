"""The queue itself: opened by any number of processes, appended by threads that wait for the disk together."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from tongqu.core.data import Position
from tongqu.kit.local_path import absolute
from tongqu.kit.queue import positions
from tongqu.kit.queue.committer import Append, Committer
from tongqu.kit.queue.reading import Cursor, Records, schema, topics
from tongqu.kit.queue.tables import QueueFile, lock_file, reading, writing
from tongqu.kit.queue.tail import torn
from tongqu.kit.queue.turn import Held, Topic, Turn
from tongqu.kit.sqlite import SqliteDb

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_SHORTEST_LOOK = 0.005
_LONGEST_LOOK = 0.05
_TRIM_BYTES = 16 << 20
_TRIM_SECONDS = 10.0
_PAGES_AT_ONCE = 1_000


@dataclass(frozen=True)
class Keep:
    """How much of each topic is kept: at most `bytes`, none older than `seconds` (None: no limit); and what registered
    readers have not read, unless `unread` lets that go too. `file_bytes` is the most that the file may grow to: beyond
    it appends fail as on a full disk."""

    bytes: int | None = None
    seconds: float | None = None
    unread: bool = False
    file_bytes: int | None = None


class Queue:
    """One queue in one file, whose positions grow by one per record over all topics.

    Appends are durable when their future is done (one `fsync` for all that came meanwhile) and visible to all processes
    then. Many processes may have it open; they append one after the other. What a crash tore is cut when the next
    process opens it for writing, and noted (`cuts`); a damaged block raises ReadError, and is never passed over.
    Memory is bounded: 64 MB wait to be committed at most, a reader holds 16 MB and one block.

    Raises WriteError if the disk is full: what was asked for then is not in the log, and may be asked for again.
    """

    def __init__(self, path: str, keep: Keep | None = None, *, busy_seconds: float = 30.0):
        self.file = QueueFile(path, busy_seconds)
        self._keep = keep or Keep()
        self._lock: int | None = None
        self._committer: Committer | None = None
        self._db: SqliteDb | None = None
        self._opening = threading.RLock()
        self._moved = threading.Condition()
        self._grown = 0
        self._trimmed_at = time.monotonic()

    @property
    def exists(self) -> bool:
        """Whether there is a file; looking creates nothing."""
        return Path(absolute(self.file.path)).exists()

    # ---- appending

    def do(self, work: Callable[[Turn], T], weight: int = 0) -> Future[T]:
        """Have something done in the next transaction; the future is done when it is on disk. What it raises undoes
        this work only. `weight` is about how many bytes it writes. Makes the queue if it is not there."""
        self._grown += weight
        future = self._open().submit(work, weight)
        self._trim_in_time()
        return future

    def append(self, topic: str, rows: pa.RecordBatch, *, at: float | None = None) -> Future[int]:
        """Append rows to a declared topic; gives the position number of the last record. See `Turn.append`. Appends
        that come while the disk is busy go into one block."""
        return self.do(Append(topic, rows, at), rows.nbytes)

    def declare(self, topic: str, schema: pa.Schema, *, key: Sequence[str] = (), changes: bool = False) -> Topic:
        """Make a topic or give it a new schema. See `Turn.declare`."""
        return self.do(lambda turn: turn.declare(topic, schema, key=key, changes=changes)).result()

    def trim(self, topic: str, keep: Keep, *, to: int | None = None) -> int:
        """Drop what the limits do not keep, and give the room back to the disk; how many records were dropped."""
        before = None if keep.seconds is None else time.time() - keep.seconds

        def work(turn: Turn) -> int:
            dropped = turn.trim(topic, before=before, most_bytes=keep.bytes, unread=keep.unread, to=to)
            if dropped:
                turn.db.rows(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            return dropped

        return self._open().submit(work).result()

    def _trim_in_time(self) -> None:
        """Keep to the limits, after some megabytes or seconds of appends."""
        keep = self._keep
        if keep.bytes is None and keep.seconds is None:
            return
        now = time.monotonic()
        if self._grown < _TRIM_BYTES and now - self._trimmed_at < _TRIM_SECONDS:
            return
        self._grown, self._trimmed_at = 0, now
        before = None if keep.seconds is None else time.time() - keep.seconds

        def work(turn: Turn) -> None:
            for topic in topics(turn.db):
                turn.trim(topic.name, before=before, most_bytes=keep.bytes, unread=keep.unread)
            turn.db.rows(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")

        self._open().submit(work)

    # ---- reading

    def read(
        self,
        names: Sequence[str],
        after: Position,
        *,
        until: Position | None = None,
        stop: Event | None = None,
        beat: float = 0.5,
        waits: bool = True,
    ) -> Iterator[Records | None]:
        """Records of these topics behind a position, in order, as they come; None at least every `beat` seconds while
        none come. Ends at `until`, soon after `stop`, or with `waits` false where there is nothing more.

        Raises LostPositionError for what is gone, ReadError for what is damaged.
        """
        stopped = stop or Event()
        db = reading(self.file)
        try:
            start = positions.place(db, after)
            end = None if until is None else positions.place(db, until)
            cursor = Cursor(db, names, start, end)
            look, quiet = _SHORTEST_LOOK, time.monotonic()
            while not stopped.is_set():
                found = False
                for records in cursor.next():
                    found = True
                    yield records
                    if stopped.is_set():
                        return
                if found:
                    look, quiet = _SHORTEST_LOOK, time.monotonic()
                    continue
                if not waits or end is not None:
                    return
                if time.monotonic() - quiet >= beat:
                    quiet = time.monotonic()
                    yield None
                self._wait(look)
                look = min(_LONGEST_LOOK, look * 1.2)
        finally:
            db.close()

    def _wait(self, seconds: float) -> None:
        """Until something was appended by this process, or it is time to look for what others did."""
        with self._moved:
            self._moved.wait(seconds)

    def _tell(self) -> None:
        with self._moved:
            self._moved.notify_all()

    # ---- looking

    def look(self, question: Callable[[SqliteDb], T]) -> T:
        """Ask something of the file as it is now; creates nothing. NotFoundError if there is none."""
        db = reading(self.file)
        try:
            return question(db)
        finally:
            db.close()

    def topics(self) -> list[Topic]:
        """All topics."""
        return self.look(topics)

    def schema(self, topic: Topic) -> pa.Schema:
        """The schema of a topic's next records, without the control columns of changes."""
        return self.look(lambda db: schema(db, topic.shape))

    def position(self, after: int) -> Position:
        """The position after a record."""
        return self.look(lambda db: positions.position(db, after))

    def place(self, position: Position) -> int:
        """The record that a position is after. See `positions.place`."""
        return self.look(lambda db: positions.place(db, position))

    def head(self) -> int:
        """The last record of all."""
        return self.look(lambda db: int(db.rows("SELECT last FROM queue")[0][0]))

    def cuts(self) -> list[dict[str, Any]]:
        """The tails that were cut: after which record, when, how many bytes."""
        found = self.look(lambda db: db.rows("SELECT generation, after, at, bytes FROM cut ORDER BY generation"))
        return [dict(zip(("generation", "after", "at", "bytes"), one, strict=True)) for one in found]

    # ---- opening and closing

    def _open(self) -> Committer:
        with self._opening:
            if self._committer is None:
                self._lock = lock_file(self.file, create=True)
                assert self._lock is not None  # noqa: S101  # it was created
                lost = torn(Path(f"{absolute(self.file.path)}-wal")) if _alone(self._lock) else 0
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                try:
                    db = self._db = writing(self.file, uuid.uuid4().hex)
                    if lost:
                        _note_cut(db, lost)
                    if self._keep.file_bytes is not None:
                        (size,) = db.rows("PRAGMA page_size")[0]
                        db.rows(f"PRAGMA max_page_count = {max(1, self._keep.file_bytes // int(size))}")
                except BaseException:
                    self._release()
                    raise
                held = Held(db.connection, self.file, writes=True)
                self._committer = Committer(db, held, self._tell)
            return self._committer

    def _release(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Commit what waits, and close; may be called twice."""
        with self._opening:
            if self._committer is not None:
                self._committer.close()
                self._committer = None
            self._release()


def _alone(lock: int) -> bool:
    """Whether no other process has the queue open for writing."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note_cut(db: SqliteDb, lost: int) -> None:
    db.begin()
    (generation, last) = db.rows("SELECT generation, last FROM queue")[0]
    db.run("INSERT INTO cut VALUES (?, ?, ?, ?)", (int(generation) + 1, int(last), time.time(), lost))
    db.run("UPDATE queue SET generation = generation + 1")
    db.commit()
