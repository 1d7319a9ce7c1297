"""Makes rows of change events: their documents are decoded in columns, wherever in the server's answer they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import walking
from tongqu.connectors.mongodb.collection import ID, Collection
from tongqu.connectors.mongodb.decode import column, value_of
from tongqu.connectors.mongodb.log.feed import Place, text_of
from tongqu.connectors.mongodb.walking import Buffer, Ints, Marks, Values
from tongqu.core.data import BadRow, Batch, Dataset
from tongqu.core.kernels import pc
from tongqu.core.log import AT, OP

_FIELDS = (
    "_id", "operationType", "clusterTime", "wallTime", "fullDocument", "ns", "to", "documentKey",
    "fullDocumentBeforeChange",
)  # fmt: skip
_OPS = ("insert", "update", "replace", "delete")
_LETTERS: Any = pa.array(["c", "u", "d"])
Lookup = Callable[[str, list[Any]], bytes]
"""The documents of a collection with these `_id` as they are now, one behind the other."""


class Events:
    """Some events in their order."""

    def __init__(self, raw: Sequence[bytes]):
        self.raw = raw
        self.buffer = Buffer(b"".join(raw))
        self.starts = walking.documents(self.buffer)
        self.fields = walking.walk(self.buffer, self.starts, list(_FIELDS))
        space, to = (walking.walk(self.buffer, self._inner(field), ["db", "coll"]) for field in ("ns", "to"))
        self._kinds, self._names = self._texts(self.fields["operationType"]), self._texts(space["coll"])
        self._targets = self._texts(to["coll"])
        self.times = self.buffer.at("<u8")[self.fields["clusterTime"].places]

    def last_whole(self) -> int:
        """How many come before those of the last transaction: the events of one have the same time."""
        same = np.flatnonzero(self.times != self.times[-1])
        return int(same[-1]) + 1 if len(same) else 0

    def place(self, row: int, at: Place) -> Place:
        """The place behind an event of the stream that is at a place."""
        whole, start = int(self.times[row]), int(self.fields["_id"].places[row])
        token = self.buffer.cut(start, start + int.from_bytes(self.buffer.cut(start, start + 4), "little"))
        return replace(at, time=(whole >> 32, whole & 0xFFFFFFFF), token=text_of(token))

    def endings(self) -> list[tuple[int, str, set[str]]]:
        """The events that are no changes of documents, what they are, and of which collections; none: of all."""
        known = np.asarray(pc.is_in(self._kinds, value_set=pa.array(_OPS)))
        found = []
        for row in np.flatnonzero(~known).tolist():
            names = {name for name in (self._names[row].as_py(), self._targets[row].as_py()) if name}
            found.append((row, f"{self._kinds[row].as_py()} of {self._names[row].as_py() or 'the database'}", names))
        return found

    def of(self, collection: str, rows: tuple[int, int]) -> Ints:
        """The changes of one collection among the events from one number up to another."""
        first, until = rows
        found: Ints = np.flatnonzero(np.asarray(pc.equal(self._names, collection).fill_null(False))[first:until])
        return found + first

    def are(self, kind: str, rows: Ints) -> Marks:
        """Which of these are of a kind."""
        marks: Marks = np.asarray(pc.equal(self._kinds, kind).fill_null(False))[rows]
        return marks

    def documents(self, field: str, rows: Ints) -> Ints:
        """Where the documents in a field of these events begin; negative where there is none."""
        return self._inner(field)[rows]

    def moments(self, rows: Ints) -> Any:
        """When they were committed: to the millisecond, or before MongoDB 6.0 to the second."""
        wall = self.fields["wallTime"]
        here = wall.types[rows] == walking.DATE
        exact = self.buffer.at("<i8")[np.where(here, wall.places[rows], 0)] * 1_000
        rough = (self.times[rows] >> np.uint64(32)).astype(np.int64) * 1_000_000
        return pa.array(np.where(here, exact, rough), pa.timestamp("us", "UTC"))

    def _inner(self, field: str) -> Ints:
        values = self.fields[field]
        return np.where(values.types == walking.DOCUMENT, values.places, -1)

    def _texts(self, values: Values) -> Any:
        return column(self.buffer, pa.field("text", pa.string()), values, None)[0]


@dataclass(frozen=True)
class Followed:
    """A dataset whose changes are wanted."""

    dataset: Dataset
    collection: Collection

    def schema(self) -> pa.Schema:
        """The columns of its changes."""
        return pa.schema([*self.dataset.schema, pa.field(OP, pa.string()), pa.field(AT, pa.timestamp("us", "UTC"))])

    def batch(self, events: Events, among: tuple[int, int], lookup: Lookup) -> Batch | None:
        """Its rows among the events from one number up to another; None if there are none. An update whose document is
        not sent is looked up: it shows what is there now, and nothing if that was deleted since, as a later event says.
        """
        rows = events.of(self.collection.source, among)
        if not len(rows):
            return None
        gone = events.are("delete", rows)
        parts, bad = self._written(events, rows[~gone], lookup)
        more, worse = self._deleted(events, rows[gone])
        made = self._ordered(events, [*parts, *more])
        return Batch(self.dataset.name, made, None, bad=(*bad, *worse)) if made.num_rows or bad or worse else None

    def _written(self, events: Events, rows: Ints, lookup: Lookup) -> tuple[list[_Part], Sequence[BadRow]]:
        buffer, starts = events.buffer, events.documents("fullDocument", rows)
        absent = np.flatnonzero(starts < 0)
        if len(absent):
            buffer, found = self._now(events, rows[absent], lookup)
            starts = starts.copy()
            starts[absent] = found
        here = starts >= 0
        return self._decoded(buffer, starts[here], rows[here], strict=True)

    def _now(self, events: Events, rows: Ints, lookup: Lookup) -> tuple[Buffer, Ints]:
        """The buffer with the present documents of these events behind the others, and where each begins."""
        buffer, size = events.buffer, events.buffer.size
        ids = walking.walk(buffer, events.documents("documentKey", rows), [ID])[ID]
        keys = _bytes(buffer, ids)
        asked = {key: row for row, key in enumerate(keys)}
        values = [value_of(buffer, int(ids.types[row]), int(ids.places[row])) for row in asked.values()]
        whole = Buffer(buffer.data[:size] + lookup(self.collection.source, values))
        starts = walking.documents(whole)
        starts = starts[starts >= size]
        found = dict(zip(_bytes(whole, walking.walk(whole, starts, [ID])[ID]), starts.tolist(), strict=True))
        return whole, np.array([found.get(key, -1) for key in keys], np.int64)

    def _deleted(self, events: Events, rows: Ints) -> tuple[list[_Part], Sequence[BadRow]]:
        """Deletes: the whole row where the server kept it and it fits, else the key, which is in `_id`."""
        before = events.documents("fullDocumentBeforeChange", rows)
        kept = before >= 0
        parts, _ = self._decoded(events.buffer, before[kept], rows[kept], strict=False)
        told = np.concatenate([part.rows for part in parts]) if parts else np.zeros(0, np.int64)
        left = rows[~np.isin(rows, told)]
        if not len(left):
            return parts, ()
        found = self.collection.keys(events.buffer, events.documents("documentKey", left))
        columns = [
            found.columns[field.name] if field.name in found.columns else pa.nulls(len(left), field.type)
            for field in self.dataset.schema
        ]
        made = pa.RecordBatch.from_arrays(columns, schema=self.dataset.schema)
        if found.good is not None:
            made, left = made.filter(pa.array(found.good)), left[found.good]
        return [*parts, _Part(left, made)], found.bad

    def _decoded(
        self, buffer: Buffer, starts: Ints, rows: Ints, *, strict: bool
    ) -> tuple[list[_Part], Sequence[BadRow]]:
        if not len(rows):
            return [], ()
        names = self.dataset.schema.names
        found = self.collection.at(buffer, starts, names, strict=strict)
        left = rows if found.good is None else rows[found.good]
        return [_Part(left, found.batch(names, self.dataset.schema))], found.bad

    def _ordered(self, events: Events, parts: Sequence[_Part]) -> pa.RecordBatch:
        """The parts as one batch in the order of the events, with what happened and when."""
        schema = self.schema()
        if not sum(len(part.rows) for part in parts):
            return pa.RecordBatch.from_pylist([], schema=schema)
        rows = np.concatenate([part.rows for part in parts])
        order = np.argsort(rows)
        places: Any = pa.array(order)
        (own,) = pa.Table.from_batches([part.batch for part in parts]).take(places).combine_chunks().to_batches()
        rows = rows[order]
        codes = np.where(events.are("delete", rows), 2, np.where(events.are("insert", rows), 0, 1))
        ops = _LETTERS.take(pa.array(codes))
        return pa.RecordBatch.from_arrays([*own.columns, ops, events.moments(rows)], schema=schema)


@dataclass(frozen=True)
class _Part:
    rows: Ints
    """Of the events, by number."""
    batch: pa.RecordBatch


def _bytes(buffer: Buffer, values: Values) -> list[tuple[int, bytes]]:
    """Values by which they are found again: type and bytes."""
    ends = values.places + walking.sizes(buffer, values.types, values.places)
    pieces = zip(values.types.tolist(), values.places.tolist(), ends.tolist(), strict=True)
    return [(kind, buffer.cut(start, end)) for kind, start, end in pieces]
