"""Decodes blocks of PostgreSQL's logical replication messages into batches of changes, column by column.

Source of the format: PostgreSQL docs 55.5 (streaming replication) and 55.9 (logical replication message formats),
protocol version 1. A message costs Python nothing here: tags, lengths and positions are read by numpy out of the
joined block; Python runs once per block, table and column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.postgres.log.shape import TEXT, Changes, Ints, Shape, Spans
from tongqu.core.data import Batch, Position

_HEAD = 25
"""Bytes of an XLogData message before what the plugin wrote."""
_EPOCH = 946_684_800_000_000
"""2000-01-01 in µs since 1970: the epoch of the server's times."""
_PAD = bytes(16)


def _among(letters: bytes) -> Any:
    """A table to look a byte up in: whether it is one of these letters."""
    table = np.zeros(256, dtype=bool)
    table[list(letters)] = True
    return table


_SPLITS, _ROWS, _OLD = _among(b"TR"), _among(b"IUD"), _among(b"KO")


@dataclass(frozen=True)
class Relation:
    """A table as a Relation message has it: columns are (name, type oid, type modifier)."""

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[tuple[str, int, int], ...]


Resolve = Callable[[Relation], "tuple[Shape | None, bool]"]
"""What a table is to us (None: nothing), and whether its columns are others than they were."""


@dataclass
class Block:
    """Joined messages with unaligned big-endian views over them."""

    data: bytes
    offsets: Ints
    u8: Any = field(init=False)
    u32: Any = field(init=False)
    u64: Any = field(init=False)
    buffer: pa.Buffer = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.data)
        self.u8 = np.frombuffer(self.data, dtype=np.uint8)
        self.u32 = np.ndarray((size - 3,), dtype=">u4", buffer=self.data, strides=(1,))
        self.u64 = np.ndarray((size - 7,), dtype=">i8", buffer=self.data, strides=(1,))
        self.buffer = pa.py_buffer(self.data)

    @classmethod
    def of(cls, messages: Sequence[Any]) -> Block:
        """The block of these messages."""
        sizes = np.fromiter(map(len, messages), dtype=np.int64, count=len(messages))
        return cls(b"".join([*messages, _PAD]), np.cumsum(sizes) - sizes)


class Decoder:
    """Keeps what goes from block to block: the open transaction, the tables, the last position.

    `lsn` is the end of the last whole transaction or of the log that was seen without one being open; `asked` tells
    that the server wants an answer.
    """

    def __init__(self, resolve: Resolve, position: Callable[[int], Position], lsn: int):
        self._resolve = resolve
        self._position = position
        self._shapes: dict[int, Shape | None] = {}
        self._open: tuple[int, str | None] | None = None
        self.lsn = lsn
        self.asked = False
        self.committed_at = 0
        self.xids: list[Ints] = []

    def leave(self, oid: int) -> None:
        """A table is nothing to us any more."""
        self._shapes[oid] = None

    def place(self) -> Position:
        """The position of `lsn`."""
        return self._position(self.lsn)

    @property
    def between(self) -> bool:
        """Whether no transaction is open, so that the log may be cut here."""
        return self._open is None

    def batches(self, messages: Sequence[Any]) -> Iterator[Batch]:
        """The changes in these messages. The last batch of a block's whole transactions has the position after them;
        rows of the transaction that is still open follow without one."""
        block = Block.of(messages)
        kinds = block.u8[block.offsets]
        alive = kinds == ord("k")
        wal_end = 0
        if alive.any():
            places = block.offsets[alive]
            wal_end = int(block.u64[places[-1] + 1])
            self.asked = self.asked or bool(block.u8[places + 17].any())
            block.offsets = block.offsets[~alive]
        at = block.offsets + _HEAD
        tags = block.u8[at]
        commits = np.flatnonzero(tags == ord("C"))
        cut = int(commits[-1]) + 1 if len(commits) else 0
        if cut:
            self._remember(block, at[:cut], tags[:cut])
            held: Batch | None = None
            for batch in self._part(block, at[:cut], tags[:cut]):
                if held is not None:
                    yield held
                held = batch
            self.lsn = int(block.u64[at[cut - 1] + 10])
            if held is not None:
                yield Batch(held.dataset, held.rows, self.place(), held.schema_version, held.kind, bad=held.bad)
        yield from self._part(block, at[cut:], tags[cut:])
        if wal_end > self.lsn and self.between and (not len(at) or kinds[-1] == ord("k")):
            self.lsn = wal_end

    def _remember(self, block: Block, at: Ints, tags: Any) -> None:
        """Transactions of the block, for who must know whether a snapshot saw them."""
        begins = at[tags == ord("B")]
        self.xids.append(block.u32[begins + 17].astype(np.int64))
        if len(self.xids) > 1024:
            del self.xids[:512]
        self.committed_at = int(block.u64[at[-1] + 18]) + _EPOCH

    def _part(self, block: Block, at: Ints, tags: Any) -> Iterator[Batch]:
        """Batches of messages that lie in a row, without position; barriers (tables emptied or changed) in their
        place."""
        start = 0
        for stop in np.flatnonzero(_SPLITS[tags]):
            what = at[stop]
            if tags[stop] == ord("R"):
                relation = _relation(block, int(what))
                shape, other = self._resolve(relation)
                if not other and self._shapes.get(relation.oid) is shape:
                    continue
                yield from self._rows(block, at[start:stop], tags[start:stop])
                self._shapes[relation.oid] = shape
                if other and shape is not None:
                    empty = shape.dataset.schema.empty_table().to_batches() or [_no_rows(shape)]
                    yield Batch(shape.dataset.name, empty[0], None, kind="schema", ends_transaction=False)
            else:
                yield from self._rows(block, at[start:stop], tags[start:stop])
                yield from self._emptied(block, int(what))
            start = int(stop) + 1
        yield from self._rows(block, at[start:], tags[start:])

    def _emptied(self, block: Block, what: int) -> Iterator[Batch]:
        count = int(block.u32[what + 1])
        for number in range(count):
            shape = self._shapes.get(int(block.u32[what + 6 + 4 * number]))
            if shape is not None:
                yield Batch(shape.dataset.name, _no_rows(shape), None, kind="truncate", ends_transaction=False)

    def _rows(self, block: Block, at: Ints, tags: Any) -> Iterator[Batch]:
        """One batch for each table that has changes in these messages."""
        if not len(at):
            return
        times, origins = self._transactions(block, at, tags)
        chosen = _ROWS[tags]
        at, tags, times = at[chosen], tags[chosen], times[chosen]
        if origins is not None:
            origins = origins[chosen]
        if not len(at):
            return
        tables = block.u32[at + 1]
        for oid in dict.fromkeys(np.unique(tables).tolist()) if (tables != tables[0]).any() else [int(tables[0])]:
            shape = self._shapes.get(oid)
            if shape is None:
                continue
            mine = np.flatnonzero(tables == oid)
            made = _changes(block, shape, at[mine], tags[mine])
            of = mine[made.rows]
            who = None if origins is None else origins[of].tolist()
            changes = Changes(made.ops, times[of], made.spans, who if who and any(who) else None)
            rows, bad = shape.batch(changes, block.buffer)
            yield Batch(shape.dataset.name, rows, None, ends_transaction=False, bad=bad)

    def _transactions(self, block: Block, at: Ints, tags: Any) -> tuple[Ints, Any]:
        """The commit time and the origin (None: no row has one) of each message's transaction; the open one moves
        on."""
        begins = np.flatnonzero(tags == ord("B"))
        before = self._open or (0, None)
        starts = np.concatenate([[before[0]], block.u64[at[begins] + 9].astype(np.int64) + _EPOCH])
        which = np.searchsorted(begins, np.arange(len(at)), side="right")
        marks = np.flatnonzero(tags == ord("O"))
        origins: list[str | None] = [before[1]] + [None] * len(begins)
        for mark in marks:
            origins[int(which[mark])] = _text(block.data, int(at[mark]) + 9)[0]
        commits = np.flatnonzero(tags == ord("C"))
        if len(begins) and (not len(commits) or commits[-1] < begins[-1]):
            self._open = (int(starts[-1]), origins[-1])
        elif len(commits):
            self._open = None
        elif self._open is not None:
            self._open = (self._open[0], origins[0])
        return starts[which], np.array(origins, dtype=object)[which] if any(origins) else None


@dataclass
class _Made:
    ops: Any
    rows: Ints
    """Which message each row is of."""
    spans: Sequence[Spans]


def _changes(block: Block, shape: Shape, at: Ints, tags: Any) -> _Made:
    """Rows of one table. A change of the key becomes two: the old one deleted, the new one created."""
    marks = block.u8[at + 5]
    first, end = _walk(block, at + 6, shape.width)
    ops = np.where(tags == ord("I"), ord("c"), np.where(tags == ord("D"), ord("d"), ord("u"))).astype(np.uint8)
    count = len(at)
    both = np.flatnonzero((tags == ord("U")) & _OLD[marks])
    if not len(both):
        return _Made(ops, np.arange(count), first)
    old = [spans.rows(both) for spans in first]
    new, _ = _walk(block, end[both] + 1, shape.width)
    everything = np.arange(len(both))
    whole = marks[both] == ord("O")
    for spans, was in zip(new, old, strict=True):
        if whole.any():
            spans.over(everything[whole], was.rows(whole))
    moved = shape.moved(old, new, block.buffer)
    for spans, is_now in zip(first, new, strict=True):
        spans.kinds[both], spans.starts[both], spans.sizes[both] = is_now.kinds, is_now.starts, is_now.sizes
    if not moved.any():
        return _Made(ops, np.arange(count), first)
    ops[both[moved]] = ord("c")
    order = np.argsort(np.concatenate([np.arange(count) * 2 + 1, both[moved] * 2]), kind="stable")
    spans_all = [
        Spans(
            np.concatenate([spans.kinds, was.kinds[moved]])[order],
            np.concatenate([spans.starts, was.starts[moved]])[order],
            np.concatenate([spans.sizes, was.sizes[moved]])[order],
        )
        for spans, was in zip(first, old, strict=True)
    ]
    ops = np.concatenate([ops, np.full(int(moved.sum()), ord("d"), dtype=np.uint8)])[order]
    return _Made(ops, np.concatenate([np.arange(count), both[moved]])[order], spans_all)


def _walk(block: Block, at: Ints, width: int) -> tuple[list[Spans], Ints]:
    """The spans of the tuples that begin at these places, column by column, and where the tuples end."""
    u8, u32 = block.u8, block.u32
    at = at + 2
    columns = []
    for _ in range(width):
        kinds = u8[at]
        there = kinds == TEXT
        if there.all():
            sizes = u32[at + 1].astype(np.int64)
            columns.append(Spans(kinds, at + 5, sizes))
            at = at + 5 + sizes
        else:
            sizes = np.where(there, u32[at + 1], 0).astype(np.int64)
            columns.append(Spans(kinds, np.where(there, at + 5, at), sizes))
            at = at + 1 + np.where(there, sizes + 4, 0)
    return columns, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _relation(block: Block, at: int) -> Relation:
    data = block.data
    oid = int(block.u32[at + 1])
    schema, at = _text(data, at + 5)
    name, at = _text(data, at)
    identity = chr(data[at])
    count = int.from_bytes(data[at + 1 : at + 3])
    at += 3
    columns = []
    for _ in range(count):
        column, end = _text(data, at + 1)
        modifier = int.from_bytes(data[end + 4 : end + 8], signed=True)
        columns.append((column, int.from_bytes(data[end : end + 4]), modifier))
        at = end + 8
    return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns))


def _no_rows(shape: Shape) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=shape.dataset.schema)
