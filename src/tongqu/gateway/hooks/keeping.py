"""Keeps events in a topic: what comes together waits for the disk together, and what came before is not kept again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from tongqu.gateway.problems import Problem
from tongqu.kit.queue.queue import Queue
from tongqu.kit.queue.turn import Turn

_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("received_at", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("event", pa.string()),
    pa.field("headers", pa.string()),
    pa.field("body", pa.string(), nullable=False),
]
SCHEMA = pa.schema(_FIELDS)
"""An event as a row: `id` is what it is known again by, `headers` a JSON object, `body` its text."""
KEY = ("id",)
_MOST_BYTES = 32 << 20
_MOST_AT_ONCE = 5_000
_FORGET_SECONDS = 60.0
_SEEN = (
    "CREATE TABLE IF NOT EXISTS hook_seen (topic TEXT NOT NULL, hook TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT "
    "NULL, PRIMARY KEY (topic, hook, id)) WITHOUT ROWID"
)
_SEEN_AT = "CREATE INDEX IF NOT EXISTS hook_seen_at ON hook_seen (at)"


@dataclass(frozen=True)
class Kept:
    """An event on its way to disk. `known_by` is empty where it is never known again."""

    id: str
    known_by: str
    at: float
    kind: str
    headers: Mapping[str, str]
    body: str

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.body) + 512

    def row(self) -> dict[str, Any]:
        """The row of the topic."""
        return {"id": self.id, "received_at": int(self.at * 1_000_000), "event": self.kind or None,
                "headers": orjson.dumps(dict(self.headers)).decode(), "body": self.body}  # fmt: skip


class Keeper:
    """The way of one hook into its topic, for one event loop. What is known again is told apart in the transaction
    that appends, so nothing is kept twice and nothing is known that was not kept, whatever happens to the process."""

    def __init__(
        self, queue: Queue, topic: str, hook: str, hours: float, monotonic: Callable[[], float] = time.monotonic
    ):
        self._queue, self._topic, self._hook, self._hours = queue, topic, hook, hours
        self._monotonic = monotonic
        self._waiting: list[tuple[Kept, asyncio.Future[bool]]] = []
        self._bytes = 0
        self._flushing: asyncio.Task[None] | None = None
        self._forgot: float | None = None

    def declare(self) -> None:
        """Make the topic, if it is not there. Blocks; raises what the queue does."""

        def work(turn: Turn) -> None:
            turn.declare(self._topic, SCHEMA, key=KEY)
            turn.db.run(_SEEN)
            turn.db.run(_SEEN_AT)

        self._queue.do(work).result()

    async def keep(self, event: Kept) -> bool:
        """Whether it is new; when this returns it is on disk. Raises Problem `overloaded` while too much waits, and
        what the queue raises."""
        if self._bytes + event.size > _MOST_BYTES:
            raise Problem("overloaded", "too many events wait for the disk", headers=[("retry-after", "2")])
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        self._bytes += event.size
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        return await done

    async def finish(self) -> None:
        """Wait until everything that came is on disk or refused."""
        while (task := self._flushing) is not None:
            await asyncio.wait([task])

    async def _flush(self) -> None:
        """Take all that waits, one transaction after the other; what comes meanwhile goes into the next."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                events = [event for event, _ in group]
                try:
                    fresh = await asyncio.wrap_future(self._queue.do(self._work(events), sum(e.size for e in events)))
                except Exception as error:  # noqa: BLE001  # whatever it is: who waits for it hears of it
                    for _, done in group:
                        if not done.done():
                            done.set_exception(error)
                else:
                    for (_, done), new in zip(group, fresh, strict=True):
                        if not done.done():
                            done.set_result(new)
                finally:
                    self._bytes -= sum(event.size for event in events)
        finally:
            self._flushing = None

    def _work(self, events: list[Kept]) -> Callable[[Turn], list[bool]]:
        forget = self._forgot is None or self._monotonic() - self._forgot > _FORGET_SECONDS
        if forget:
            self._forgot = self._monotonic()

        def work(turn: Turn) -> list[bool]:
            if forget:
                before = max(event.at for event in events) - self._hours * 3600
                turn.db.run("DELETE FROM hook_seen WHERE topic = ? AND hook = ? AND at < ?",
                            (self._topic, self._hook, before))  # fmt: skip
            fresh = [not event.known_by or self._note(turn, event) for event in events]
            rows = [event.row() for event, new in zip(events, fresh, strict=True) if new]
            if rows:
                turn.append(self._topic, pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            return fresh

        return work

    def _note(self, turn: Turn, event: Kept) -> bool:
        """Whether it is new; from now on it is known. One that is older than we need to know it counts as new."""
        return turn.db.run(
            "INSERT INTO hook_seen (topic, hook, id, at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET at = excluded.at WHERE excluded.at - hook_seen.at > ?",
            (self._topic, self._hook, event.known_by, event.at, self._hours * 3600),
        ) > 0  # fmt: skip
