"""Reads a queue from any position, block by block, and tells what is damaged or gone instead of passing it over."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.core.errors import NotFoundError, ReadError
from tongqu.kit.queue.positions import gone
from tongqu.kit.queue.tables import Kind
from tongqu.kit.queue.turn import Topic
from tongqu.kit.sqlite import SqliteDb

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ENTRIES = 64
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Records:
    """Records of one topic from `first` to `last`; rows are empty where `kind` is not `rows`. `ends`: a transaction of
    the appender ends with them."""

    topic: str
    first: int
    last: int
    at: float
    kind: Kind
    ends: bool
    rows: pa.RecordBatch


@dataclass(frozen=True)
class _Entry:
    last: int
    first: int
    previous: int
    topic: int
    at: float
    kind: Kind
    ends: bool
    shape: int
    checksum: int
    bytes: int
    block: int


def topics(db: SqliteDb) -> list[Topic]:
    """All topics, in the order of their names."""
    found = db.rows("SELECT id, name, key, changes, shape, last, trimmed FROM topic ORDER BY name")
    return [
        Topic(id, name, tuple(json.loads(key)), bool(changes), shape, last, trimmed)
        for id, name, key, changes, shape, last, trimmed in found
    ]


def schema(db: SqliteDb, shape: int) -> pa.Schema:
    """A schema by its number."""
    import pyarrow as pa

    found = db.rows("SELECT arrow FROM shape WHERE id = ?", (shape,))
    return pa.ipc.read_schema(pa.py_buffer(found[0][0])) if found else pa.schema([])


def began(db: SqliteDb, topic: Topic) -> int:
    """The record after which a topic's present generation begins: its last mark that empties, or what was dropped."""
    (mark,) = db.rows("SELECT max(last) FROM entry WHERE topic = ? AND kind = 'truncate'", (topic.id,))[0]
    return max(int(mark or 0), topic.trimmed)


class Cursor:
    """One reader's way through some topics. Not for several threads."""

    def __init__(self, db: SqliteDb, names: Sequence[str], after: int, until: int | None = None):
        self._db = db
        known = {topic.name: topic for topic in topics(db)}
        missing = [name for name in names if name not in known]
        if missing:
            raise NotFoundError(
                f"there is no topic {missing[0]!r} in this queue", hint=f"topics: {', '.join(known) or 'none'}"
            )
        self._names = {known[name].id: name for name in names}
        self._seen: dict[int, int] = dict.fromkeys(self._names, after)
        self._until = until
        self._shapes: dict[int, pa.Schema] = {}
        self.after = after
        """The last record that was read, or passed because it is of another topic."""

    def next(self) -> Iterator[Records]:
        """What there is to read now, up to some megabytes; nothing if the end is reached.

        Raises LostPositionError for records that retention dropped, ReadError for damaged ones.
        """
        entries = self._entries()
        if not entries:
            return
        bodies = self._bodies(entries)
        for entry in entries:
            yield self._records(entry, bodies)

    def _entries(self) -> list[_Entry]:
        marks = ", ".join(str(id) for id in self._names)
        stands = self._db.rows(f"SELECT id, last, trimmed FROM topic WHERE id IN ({marks})")
        for id, _, trimmed in stands:
            if trimmed > self._seen[id]:
                raise gone(self._names[id], self._seen[id], trimmed)
        ends = {id: last for id, last, _ in stands if last > self._seen[id]}
        if not ends or (self._until is not None and self.after >= self._until):
            return []
        where = f"topic = {next(iter(ends))}" if len(ends) == 1 else f"+topic IN ({', '.join(map(str, ends))})"
        limit = "" if self._until is None else f" AND first <= {self._until}"
        found = self._db.rows(
            "SELECT last, first, previous, topic, at, kind, ends, shape, checksum, bytes, block FROM entry "
            f"WHERE {where} AND last > ?{limit} ORDER BY last LIMIT {_MOST_ENTRIES}",
            (self.after,),
        )
        entries = [_Entry(*row) for row in found]
        room = _MOST_BYTES
        taken: list[_Entry] = []
        for entry in entries:
            if taken and entry.bytes > room:
                break
            room -= entry.bytes
            taken.append(entry)
        if not taken:
            self._missing(ends)
        return taken

    def _missing(self, ends: Mapping[int, int]) -> None:
        """Topics say that they go on, and no entry is there: they were dropped just now, or the file is damaged."""
        for id, last in ends.items():
            (trimmed,) = self._db.rows("SELECT trimmed FROM topic WHERE id = ?", (id,))[0]
            if trimmed > self._seen[id]:
                raise gone(self._names[id], self._seen[id], trimmed)
            if last > self.after and (self._until is None or last <= self._until):
                raise _damaged(self._names[id], self._seen[id] + 1, last, "they are missing")

    def _bodies(self, entries: Sequence[_Entry]) -> dict[int, bytes]:
        marks = ", ".join(str(entry.block) for entry in entries if entry.block)
        return dict(self._db.rows(f"SELECT id, body FROM block WHERE id IN ({marks})")) if marks else {}

    def _records(self, entry: _Entry, bodies: Mapping[int, bytes]) -> Records:
        import pyarrow as pa

        name, seen = self._names[entry.topic], self._seen[entry.topic]
        if entry.previous > seen:
            raise _damaged(name, seen + 1, entry.previous, "they are missing")
        shape = self._shape(entry.shape)
        if entry.kind == "truncate":
            batch = pa.RecordBatch.from_pylist([], schema=shape)
        else:
            batch = self._batch(entry, bodies, shape)
        first = max(seen + 1, entry.first)
        last = entry.last if self._until is None else min(entry.last, self._until)
        self._seen[entry.topic] = self.after = last
        rows = batch.slice(first - entry.first, last - first + 1)
        return Records(name, first, last, entry.at, entry.kind, bool(entry.ends) and last == entry.last, rows)

    def _batch(self, entry: _Entry, bodies: Mapping[int, bytes], shape: pa.Schema) -> pa.RecordBatch:
        import pyarrow as pa

        name = self._names[entry.topic]
        body = bodies.get(entry.block)
        if body is None:
            (trimmed,) = self._db.rows("SELECT trimmed FROM topic WHERE id = ?", (entry.topic,))[0]
            if trimmed >= entry.last:
                raise gone(name, self._seen[entry.topic], trimmed)
            raise _damaged(name, entry.first, entry.last, "they are missing")
        if zlib.crc32(body) != entry.checksum:
            raise _damaged(name, entry.first, entry.last, "their checksum is another one")
        try:
            batch = pa.ipc.read_record_batch(pa.py_buffer(body), shape)
        except pa.ArrowInvalid as error:
            raise _damaged(name, entry.first, entry.last, str(error)) from None
        if batch.num_rows != entry.last - entry.first + 1:
            raise _damaged(name, entry.first, entry.last, f"{batch.num_rows} rows are there")
        return batch

    def _shape(self, id: int) -> pa.Schema:
        if id not in self._shapes:
            self._shapes[id] = schema(self._db, id)
        return self._shapes[id]


def _damaged(topic: str, first: int, last: int, how: str) -> ReadError:
    return ReadError(
        f"the records {first} to {last} of {topic!r} in the queue are damaged: {how}",
        hint="put the file back from a backup; or drop them with `tongqu queue trim --to` and load the dataset in full "
        "again (`tongqu sync … --restart`)",
        path=topic,
        params={"topic": topic, "first": first, "last": last},
    )
