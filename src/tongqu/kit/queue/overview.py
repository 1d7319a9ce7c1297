"""What a queue holds and who reads it, as plain values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from tongqu.kit.queue.reading import topics
from tongqu.kit.queue.turn import Topic
from tongqu.kit.sqlite import SqliteDb


@runtime_checkable
class Looked(Protocol):
    """A source over a queue in another system, for who looks after it."""

    def overview(self) -> list[dict[str, Any]]:
        """As the function of this name; numbers that the system does not tell are None."""
        ...

    def trim(self, name: str, to: int) -> int:
        """Drop the records of a topic before one; how many."""
        ...

    def forget(self, reader: str) -> int:
        """Forget how far a reader is; in how many topics it was known."""
        ...


def overview(db: SqliteDb) -> list[dict[str, Any]]:
    """Of each topic `name`, `kind` (changes or messages), `first` and `last` record that is kept, `records`, `bytes`,
    `oldest` (seconds of the epoch; None if it is empty) and `readers`."""
    return [_topic(db, topic) for topic in topics(db)]


def _topic(db: SqliteDb, topic: Topic) -> dict[str, Any]:
    records, size, first, oldest = db.rows(
        "SELECT coalesce(sum(last - first + 1), 0), coalesce(sum(bytes), 0), min(first), min(at) FROM entry "
        "WHERE topic = ?", (topic.id,),
    )[0]  # fmt: skip
    readers = db.rows("SELECT name, after, at FROM reader WHERE topic = ? ORDER BY name", (topic.id,))
    return {
        "name": topic.name,
        "kind": "changes" if topic.changes else "messages",
        "key": list(topic.key),
        "first": first,
        "last": topic.last,
        "records": int(records),
        "bytes": int(size),
        "oldest": oldest,
        "readers": [_reader(db, topic, reader) for reader in readers],
    }


def _reader(db: SqliteDb, topic: Topic, reader: Sequence[Any]) -> dict[str, Any]:
    """Where a reader stands, and how many records, bytes and seconds it is behind."""
    name, after, at = reader
    rows, size, oldest = db.rows(
        "SELECT coalesce(sum(last - max(first - 1, ?)), 0), coalesce(sum(bytes), 0), min(at) FROM entry "
        "WHERE topic = ? AND last > ?", (after, topic.id, after),
    )[0]  # fmt: skip
    seconds = 0.0 if oldest is None else max(0.0, time.time() - oldest)
    return {
        "name": name, "after": after, "seen_at": at, "behind_records": int(rows),
        "behind_bytes": int(size), "behind_seconds": round(seconds, 3),
    }  # fmt: skip
