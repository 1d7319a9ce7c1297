"""Where pushed messages are kept: a queue of our own, with what to ask the other side for after a pause."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Any

import pyarrow as pa

from tongqu.kit import lasting
from tongqu.kit.queue.queue import Keep, Queue
from tongqu.kit.queue.turn import Turn
from tongqu.kit.sqlite import SqliteDb

_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.string()),
    pa.field("event", pa.string()),
    pa.field("received_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("value", pa.binary(), nullable=False),
]
SCHEMA = pa.schema(_FIELDS)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS push_resume (topic TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS push_once (topic TEXT, number INTEGER, PRIMARY KEY (topic, number)) WITHOUT ROWID",
)
_MOST_BYTES = 8 << 20
_DAY = 86_400.0


@dataclass(frozen=True)
class Message:
    """What came: `id` is what the other side can be asked to go on after, empty if it has none; `at` Unix seconds.
    `once` is the number by which it comes again until the other side hears that it is kept: one message is kept under
    it until it is released. `kept` is called, by any thread, when it is on disk."""

    value: bytes
    at: float
    id: str = ""
    event: str = ""
    once: int | None = None
    kept: Callable[[], None] | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory, however little it says."""
        return len(self.value) + len(self.id) + len(self.event) + 256

    def row(self) -> dict[str, Any]:
        """The row that is kept."""
        return {"id": self.id or None, "event": self.event or None, "received_at": int(self.at * 1_000_000),
                "value": self.value}  # fmt: skip


class Spool:
    """The messages of one connection, by topic. Several processes may read; one at a time receives a topic."""

    def __init__(self, folder: Path, keep_days: float):
        self._folder = folder
        self.queue = Queue(str(folder / "pushed.queue"), Keep(seconds=keep_days * _DAY))

    def declare(self, topic: str) -> None:
        """Make the topic, if it is not there."""
        lasting.make_folder(self._folder)

        def work(turn: Turn) -> None:
            for table in _TABLES:
                turn.db.run(table)
            turn.declare(topic, SCHEMA)

        self.queue.do(work).result()

    def resume(self, topic: str) -> str:
        """What the other side is to go on after; empty if nothing is known."""

        def ask(db: SqliteDb) -> str:
            found = db.rows("SELECT id FROM push_resume WHERE topic = ?", (topic,))
            return str(found[0][0]) if found else ""

        return self.queue.look(ask)

    def keep(self, topic: str, messages: Sequence[Message]) -> Future[None]:
        """Have messages kept together with what to go on after."""
        last = next((one.id for one in reversed(messages) if one.id), "")
        rows = pa.RecordBatch.from_pylist([one.row() for one in messages], schema=SCHEMA)
        numbers = [one.once for one in messages]

        def work(turn: Turn) -> None:
            fresh = rows if not any(numbers) else _new(turn, topic, rows, numbers)
            if fresh.num_rows:
                turn.append(topic, fresh)
            if last:
                turn.db.run("INSERT INTO push_resume VALUES (?, ?) ON CONFLICT DO UPDATE SET id = excluded.id",
                            (topic, last))  # fmt: skip

        return self.queue.do(work, rows.nbytes)

    def release(self, topic: str, number: int | None = None) -> Future[None]:
        """A number (None: all) may be used for another message."""

        def work(turn: Turn) -> None:
            turn.db.run("DELETE FROM push_once WHERE topic = ? AND (? IS NULL OR number = ?)", (topic, number, number))

        return self.queue.do(work)

    def claim(self, topic: str) -> int | None:
        """The right to receive a topic, as a file that is closed to give it back; None while another has it."""
        place = os.open(self._folder / f"{topic.encode().hex()[:120]}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(place)
            return None
        return place

    def close(self) -> None:
        """Keep what waits, and close."""
        self.queue.close()


class Keeping:
    """Messages of one topic on their way to disk: what comes while the disk is busy goes there together. Whoever adds
    waits while 8 MB are on the way."""

    def __init__(self, spool: Spool, topic: str):
        self._spool, self._topic = spool, topic
        self._waiting: list[Message] = []
        self._bytes = 0
        self._under_way = False
        self._failed: BaseException | None = None
        self._changed = Condition()

    def add(self, message: Message) -> None:
        """Have it kept; raises what went wrong with one before it."""
        with self._changed:
            while self._bytes > _MOST_BYTES and self._failed is None:
                self._changed.wait()
            if self._failed is not None:
                raise self._failed
            self._waiting.append(message)
            self._bytes += message.size
            if self._under_way:
                return
            self._under_way = True
        self._send()

    def settle(self) -> None:
        """Wait until all of it is on disk; raises what went wrong."""
        with self._changed:
            while self._under_way:
                self._changed.wait()
            if self._failed is not None:
                raise self._failed

    def _send(self) -> None:
        with self._changed:
            group, self._waiting = self._waiting, []
        size = sum(one.size for one in group)

        def kept(future: Future[None]) -> None:
            with self._changed:
                self._failed = future.exception()
                self._bytes -= size
                self._under_way = again = bool(self._waiting) and self._failed is None
                self._changed.notify_all()
            for one in group if future.exception() is None else ():
                if one.kept is not None:
                    one.kept()
            if again:
                self._send()

        try:
            on_its_way = self._spool.keep(self._topic, group)
        except BaseException as error:
            with self._changed:
                self._failed, self._under_way = error, False
                self._changed.notify_all()
            raise
        on_its_way.add_done_callback(kept)


def _new(turn: Turn, topic: str, rows: pa.RecordBatch, numbers: Sequence[int | None]) -> pa.RecordBatch:
    """The rows whose numbers are not kept yet; notes them."""
    known = {number for (number,) in turn.db.rows("SELECT number FROM push_once WHERE topic = ?", (topic,))}
    fresh: list[int] = []
    for place, number in enumerate(numbers):
        if number not in known:
            fresh.append(place)
        if number is not None and number not in known:
            known.add(number)
            turn.db.run("INSERT INTO push_once VALUES (?, ?)", (topic, number))
    return rows.take(pa.array(fresh, pa.int64()))
