"""What is done to a queue inside one transaction: blocks are appended, set aside, published, readers noted."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.core.errors import InvalidPlanError, NotFoundError, SchemaError
from tongqu.kit.queue.tables import Kind
from tongqu.kit.sqlite import SqliteDb

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 65_536
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class Topic:
    """A topic as it stands: `last` is the position of its last record, up to `trimmed` its records are gone."""

    id: int
    name: str
    key: tuple[str, ...]
    changes: bool
    shape: int
    last: int
    trimmed: int


@dataclass(frozen=True)
class Block:
    """Rows as they are kept: an Arrow record batch message without its schema."""

    body: bytes
    rows: int
    checksum: int


def blocks(rows: pa.Table | pa.RecordBatch) -> Iterator[Block]:
    """Rows cut into blocks of bounded size; dictionaries are written out as values."""
    import pyarrow as pa

    table = plain(pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows)
    many = max(1, min(BLOCK_ROWS, BLOCK_BYTES * table.num_rows // max(1, table.nbytes)))
    for begin in range(0, table.num_rows, many):
        (batch,) = table.slice(begin, many).combine_chunks().to_batches()
        body = batch.serialize().to_pybytes()
        yield Block(body, batch.num_rows, zlib.crc32(body))


def plain(table: pa.Table) -> pa.Table:
    """The rows without dictionary columns, which a block alone could not tell the values of."""
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(number).cast(field.type.value_type)
            table = table.set_column(number, field.with_type(field.type.value_type), column)
    return table


@dataclass(frozen=True)
class _Entry:
    """What is entered into the log; `kept` are schema, checksum, bytes and block."""

    kind: Kind
    count: int
    ends: bool
    kept: tuple[int, int, int, int]


class Held(SqliteDb):
    """The queue's connection inside a transaction that somebody else ends."""

    def begin(self) -> None:
        """The transaction is open."""

    def commit(self) -> None:
        """It is committed with those of others."""

    def rollback(self) -> None:
        """It is undone by who opened it."""


class Turn:
    """The right to write, for as long as a transaction lasts."""

    def __init__(self, db: SqliteDb):
        self.db = db
        self._last: int | None = None

    # ---- topics

    def topic(self, name: str) -> Topic | None:
        """A topic by name, or None."""
        found = self.db.rows("SELECT id, name, key, changes, shape, last, trimmed FROM topic WHERE name = ?", (name,))
        if not found:
            return None
        id, name, key, changes, shape, last, trimmed = found[0]
        return Topic(id, name, tuple(json.loads(key)), bool(changes), shape, last, trimmed)

    def need(self, name: str) -> Topic:
        """A topic by name; NotFoundError if it is not there."""
        found = self.topic(name)
        if found is None:
            raise NotFoundError(f"there is no topic {name!r} in this queue", hint="see `tongqu queue list`")
        return found

    def declare(self, name: str, schema: pa.Schema, *, key: Sequence[str] = (), changes: bool = False) -> Topic:
        """Make a topic, or give it the schema that its next records have. `schema` is that of its rows without the
        control columns of changes. Raises InvalidPlanError where it holds changes and is to hold messages, or the
        other way round."""
        import pyarrow as pa

        keys, found = json.dumps(list(key)), self.topic(name)
        if found is None:
            values = (name, keys, int(changes), 0, 0, 0)
            self.db.run(
                "INSERT INTO topic (name, key, changes, shape, last, trimmed) VALUES (?, ?, ?, ?, ?, ?)", values
            )
            found = self.need(name)
        elif found.changes != changes and found.last:
            has, wants = ("changes", "messages") if found.changes else ("messages", "changes")
            raise InvalidPlanError(
                f"the topic {name!r} holds {has}, and {wants} are to be written", hint="write into another topic"
            )
        fields = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema]
        arrow = pa.schema(fields).serialize().to_pybytes()
        known = self.db.rows("SELECT arrow FROM shape WHERE id = ?", (found.shape,))
        shape = found.shape if known and known[0][0] == arrow else self._shape(found.id, arrow)
        self.db.run(
            "UPDATE topic SET key = ?, changes = ?, shape = ? WHERE id = ?", (keys, int(changes), shape, found.id)
        )
        return self.need(name)

    def _shape(self, topic: int, arrow: bytes) -> int:
        known = self.db.rows("SELECT id FROM shape WHERE topic = ? AND arrow = ?", (topic, arrow))
        if known:
            return int(known[0][0])
        self.db.run("INSERT INTO shape (topic, arrow) VALUES (?, ?)", (topic, arrow))
        return int(self.db.rows("SELECT last_insert_rowid()")[0][0])

    def shape(self, topic: Topic, schema: pa.Schema) -> int:
        """The number under which the schema of blocks is kept."""
        return self._shape(topic.id, schema.serialize().to_pybytes())

    # ---- records

    @property
    def last(self) -> int:
        """The position of the queue's last record."""
        if self._last is None:
            self._last = int(self.db.rows("SELECT last FROM queue")[0][0])
        return self._last

    def append(self, name: str, rows: pa.Table | pa.RecordBatch, *, at: float | None = None) -> int:
        """Append rows to a topic, which readers see as one transaction; returns the position of the last record.

        Raises SchemaError unless the columns are those of the topic, followed by control columns where it holds
        changes.
        """
        import pyarrow as pa

        topic = self.need(name)
        table = plain(pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows)
        self._fits(topic, table)
        shape = self.shape(topic, table.schema)
        found = list(blocks(table))
        for number, block in enumerate(found, 1):
            kept = (shape, block.checksum, len(block.body), self._keep(block))
            self._enter(topic, _Entry("rows", block.rows, number == len(found), kept), at)
        return self.last

    def _fits(self, topic: Topic, table: pa.Table) -> None:
        import pyarrow as pa

        from tongqu.core.log import CONTROL

        (arrow,) = self.db.rows("SELECT arrow FROM shape WHERE id = ?", (topic.shape,))[0]
        schema = pa.ipc.read_schema(pa.py_buffer(arrow))
        own = [field for field in table.schema if not (topic.changes and field.name in CONTROL)]
        if [(f.name, f.type) for f in own] != [(f.name, f.type) for f in schema]:
            raise SchemaError(
                f"the columns of the rows are not those of the topic {topic.name!r}",
                hint=f"it has {', '.join(schema.names)}; declare the new schema first",
            )

    def truncate(self, name: str) -> int:
        """Note that everything of the topic before this is gone: readers empty their target here."""
        topic = self.need(name)
        return self._enter(topic, _Entry("truncate", 1, False, (topic.shape, 0, 0, 0)))

    def _keep(self, block: Block) -> int:
        self.db.run("INSERT INTO block (body) VALUES (?)", (block.body,))
        return int(self.db.rows("SELECT last_insert_rowid()")[0][0])

    def _enter(self, topic: Topic, entry: _Entry, at: float | None = None) -> int:
        first, last = self.last + 1, self.last + entry.count
        when = time.time() if at is None else at
        self.db.run(
            "INSERT INTO entry (last, first, previous, topic, at, kind, ends, shape, checksum, bytes, block) "
            "SELECT ?, ?, last, ?, ?, ?, ?, ?, ?, ?, ? FROM topic WHERE id = ?",
            (last, first, topic.id, when, entry.kind, int(entry.ends), *entry.kept, topic.id),
        )
        self.db.run("UPDATE topic SET last = ? WHERE id = ?", (last, topic.id))
        self.db.run("UPDATE queue SET last = ?", (last,))
        self._last = last
        return last

    # ---- records that nobody sees yet

    def put_aside(self, stage: str, topic: str, found: Sequence[Block], schema: pa.Schema) -> None:
        """Keep blocks under a name, for `publish`."""
        shape = self.shape(self.need(topic), schema)
        for block in found:
            values = (self._keep(block), stage, block.rows, shape, block.checksum, len(block.body))
            self.db.run(
                "INSERT INTO loose (block, stage, rows, shape, checksum, bytes) VALUES (?, ?, ?, ?, ?, ?)", values
            )

    def rename(self, stage: str, to: str) -> None:
        """Keep what is under one name under another."""
        self.db.run("UPDATE loose SET stage = ? WHERE stage = ?", (to, stage))

    def publish(self, stage: str, topic: str) -> int:
        """Append what was put aside under a name, as part of a transaction that `end` closes; how many rows."""
        whole = self.need(topic)
        found = self.db.rows(
            "SELECT block, rows, shape, checksum, bytes FROM loose WHERE stage = ? ORDER BY block", (stage,)
        )
        for block, rows, shape, checksum, size in found:
            self._enter(whole, _Entry("rows", rows, False, (shape, checksum, size, block)))
        self.db.run("DELETE FROM loose WHERE stage = ?", (stage,))
        return sum(int(one[1]) for one in found)

    def end(self) -> None:
        """Everything that this turn has entered since the last end is one transaction for readers."""
        self.db.run("UPDATE entry SET ends = 1 WHERE last = ?", (self.last,))

    def discard(self, prefix: str) -> None:
        """Throw away what was put aside under names with this beginning."""
        like = (len(prefix), prefix)
        self.db.run("DELETE FROM block WHERE id IN (SELECT block FROM loose WHERE substr(stage, 1, ?) = ?)", like)
        self.db.run("DELETE FROM loose WHERE substr(stage, 1, ?) = ?", like)

    # ---- readers

    def register(self, topic: str, reader: str, after: int) -> int:
        """Note a reader for whom records are kept; where it stands if it is known already."""
        whole = self.need(topic)
        values = (whole.id, reader, after, time.time())
        self.db.run("INSERT INTO reader (topic, name, after, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
        found = self.db.rows("SELECT after FROM reader WHERE topic = ? AND name = ?", (whole.id, reader))
        return int(found[0][0])

    def confirm(self, reader: str, topics: Sequence[str], after: int, *, round: int = 0) -> None:
        """A reader needs nothing up to this position any more; it never goes back. One that was asked to read again is
        believed only in that round."""
        for name in topics:
            self.db.run(
                "UPDATE reader SET after = max(after, ?), at = ? WHERE name = ? "
                "AND topic = (SELECT id FROM topic WHERE name = ?) AND round = ?",
                (after, time.time(), reader, name, round),
            )

    def replay(self, reader: str, topic: str, after: int) -> bool:
        """Have a reader read again what is behind a position, in a new round, when it begins to read next; whether
        there is such a reader."""
        topic_id, mine = self.need(topic).id, "topic = ? AND name = ?"
        return (
            self.db.run(
                "UPDATE reader SET after = min(after, ?), again = ?, "
                f"round = 1 + (SELECT max(round) FROM reader WHERE name = ?) WHERE {mine}",
                (after, after, reader, topic_id, reader),
            )
            > 0
        )

    def forget(self, reader: str, topics: Sequence[str]) -> int:
        """Keep nothing for this reader any more; in how many topics it was known."""
        gone = 0
        for name in topics:
            whole = self.topic(name)
            if whole is not None:
                gone += self.db.run("DELETE FROM reader WHERE topic = ? AND name = ?", (whole.id, reader))
        return gone

    # ---- retention

    def trim(
        self, name: str, *, before: float | None, most_bytes: int | None, unread: bool, to: int | None = None
    ) -> int:
        """Drop whole blocks of a topic from its beginning: those older than `before` (seconds of the epoch), those that
        are beyond `most_bytes`, those up to the position `to`; none that a registered reader still needs unless
        `unread`. Returns how many records were dropped."""
        topic = self.need(name)
        limit = max(self._older(topic, before), self._beyond(topic, most_bytes), to or 0)
        if not unread:
            (slowest,) = self.db.rows("SELECT min(after) FROM reader WHERE topic = ?", (topic.id,))[0]
            limit = min(limit, limit if slowest is None else int(slowest))
        gone, last = self.db.rows(
            "SELECT coalesce(sum(last - first + 1), 0), max(last) FROM entry WHERE topic = ? AND last <= ?",
            (topic.id, limit),
        )[0]
        if last is None:
            return 0
        which = (topic.id, int(last))
        self.db.run("DELETE FROM block WHERE id IN (SELECT block FROM entry WHERE topic = ? AND last <= ?)", which)
        self.db.run("DELETE FROM entry WHERE topic = ? AND last <= ?", which)
        self.db.run("UPDATE topic SET trimmed = ? WHERE id = ?", (int(last), topic.id))
        return int(gone)

    def _older(self, topic: Topic, before: float | None) -> int:
        if before is None:
            return 0
        (young,) = self.db.rows("SELECT min(last) FROM entry WHERE topic = ? AND at >= ?", (topic.id, before))[0]
        return topic.last if young is None else int(young) - 1

    def _beyond(self, topic: Topic, most_bytes: int | None) -> int:
        if most_bytes is None:
            return 0
        (size,) = self.db.rows("SELECT coalesce(sum(bytes), 0) FROM entry WHERE topic = ?", (topic.id,))[0]
        excess = int(size) - most_bytes
        if excess <= 0:
            return 0
        oldest = "SELECT last, bytes FROM entry WHERE topic = ? ORDER BY last"
        with self.db.translated():
            for last, own in self.db.connection.execute(oldest, (topic.id,)):
                excess -= int(own)
                if excess <= 0:
                    return int(last)
        return topic.last
