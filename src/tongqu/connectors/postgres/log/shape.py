"""A table as PostgreSQL's change log describes it, and how rows of it become batches of its dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.postgres.log.values import Column
from tongqu.core.data import BadRow, Dataset
from tongqu.core.log import AT, OP, ORIGIN, UNCHANGED

Ints = np.ndarray[Any, np.dtype[np.int64]]
NULL, KEPT, TEXT = ord("n"), ord("u"), ord("t")
"""Kinds of a value in a tuple (PostgreSQL docs 55.9, TupleData)."""


@dataclass
class Spans:
    """Where one column's values lie in a block: kind, first byte and length per row."""

    kinds: np.ndarray[Any, np.dtype[np.uint8]]
    starts: Ints
    sizes: Ints

    def rows(self, places: Any) -> Spans:
        """The spans of some rows."""
        return Spans(self.kinds[places], self.starts[places], self.sizes[places])

    def over(self, places: Ints, old: Spans) -> None:
        """Take what the log did not send again in some rows from their old rows, which are given in that order."""
        kept = self.kinds[places] == KEPT
        here = places[kept]
        self.kinds[here], self.starts[here], self.sizes[here] = old.kinds[kept], old.starts[kept], old.sizes[kept]

    def texts(self, data: pa.Buffer) -> Any:
        """The values as strings. The buffer is not copied: an array of every value and every gap between them is laid
        over it, of which the values are taken."""
        count = len(self.starts)
        if count == 0:
            return pa.array([], pa.string())
        offsets = np.empty(2 * count, dtype=np.int32)
        offsets[0::2] = self.starts
        offsets[1::2] = self.starts + self.sizes
        over: Any = pa.Array.from_buffers(pa.string(), 2 * count - 1, [None, pa.py_buffer(offsets.data), data])
        empty = self.kinds != TEXT
        places = np.arange(0, 2 * count, 2, dtype=np.int32)
        chosen: Any = pa.array(places, mask=empty if empty.any() else None)
        return over.take(chosen)


@dataclass
class Changes:
    """Rows of one table between two places of the log, in order."""

    ops: np.ndarray[Any, Any]
    """One byte each: c, u, d."""
    at: Ints
    """Commit times in µs since 1970."""
    spans: Sequence[Spans]
    origins: Sequence[str | None] | None = None


class Shape:
    """One table's columns in the order of the log, and the dataset's in the order of its own."""

    def __init__(self, dataset: Dataset, names: Sequence[str], money_digits: int = 2):
        self.dataset = dataset
        self.names = tuple(names)
        place = {name: number for number, name in enumerate(names)}
        self._columns = [(place[field.name], Column(field, money_digits)) for field in dataset.schema]
        self.key = [(place[name], Column(dataset.schema.field(name))) for name in dataset.key]

    @property
    def width(self) -> int:
        """How many columns each tuple has."""
        return len(self.names)

    def batch(self, changes: Changes, data: pa.Buffer) -> tuple[pa.RecordBatch, list[BadRow]]:
        """The rows with their control columns, and those that have a value that Arrow does not."""
        arrays: list[Any] = []
        bad: dict[int, str] = {}
        for place, column in self._columns:
            made, spoilt = column.values(changes.spans[place].texts(data))
            arrays.append(made)
            for row in np.flatnonzero(spoilt) if spoilt is not None else ():
                bad.setdefault(int(row), column.name)
        fields = [field.with_nullable(True) for field in self.dataset.schema]
        arrays += [_ops(changes.ops), _instants(changes.at)]
        fields += [pa.field(OP, pa.string(), nullable=False), pa.field(AT, pa.timestamp("us", "UTC"))]
        if changes.origins is not None:
            arrays.append(pa.array(changes.origins, pa.string()))
            fields.append(pa.field(ORIGIN, pa.string()))
        kept = self._kept(changes)
        if kept is not None:
            arrays.append(kept)
            fields.append(pa.field(UNCHANGED, kept.type))
        rows = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        if not bad:
            return rows, []
        clean = np.ones(rows.num_rows, dtype=bool)
        clean[list(bad)] = False
        return rows.filter(pa.array(clean)), [self._refused(changes, data, row, name) for row, name in bad.items()]

    def _kept(self, changes: Changes) -> Any:
        """The names of the columns that did not come, per row; None if all came."""
        kept = np.stack([changes.spans[place].kinds == KEPT for place, _ in self._columns], axis=1)
        if not kept.any():
            return None
        offsets = np.zeros(len(kept) + 1, dtype=np.int32)
        np.cumsum(kept.sum(axis=1), out=offsets[1:])
        which: Any = pa.array(np.nonzero(kept)[1])
        names = pa.array(self.dataset.columns, pa.string()).take(which)
        bounds: Any = pa.array(offsets)
        return pa.ListArray.from_arrays(bounds, names)

    def _refused(self, changes: Changes, data: pa.Buffer, row: int, name: str) -> BadRow:
        original = {
            column.name: changes.spans[place].rows([row]).texts(data)[0].as_py() for place, column in self._columns
        }
        value = original[name]
        message = f"{name} holds {value}, for which the target has no value"
        whole = json.dumps(original, ensure_ascii=False)
        return BadRow("source", "read.no_such_value", name, value, whole, message)

    def moved(self, old: Sequence[Spans], new: Sequence[Spans], data: pa.Buffer) -> Any:
        """Which rows have another key than before; `old` and `new` are all columns of the same rows."""
        moved = np.zeros(len(old[0].starts), dtype=bool)
        for place, _ in self.key:
            same = pc.equal(old[place].texts(data), new[place].texts(data)).fill_null(False)
            known = new[place].kinds != KEPT
            moved |= ~same.to_numpy(zero_copy_only=False) & known
        return moved


def _ops(ops: np.ndarray[Any, Any]) -> Any:
    letters = np.ascontiguousarray(ops, dtype=np.uint8)
    offsets = np.arange(len(letters) + 1, dtype=np.int32)
    buffers: Any = [None, pa.py_buffer(offsets.data), pa.py_buffer(letters.data)]
    return pa.Array.from_buffers(pa.string(), len(letters), buffers)


def _instants(micros: Ints) -> Any:
    return pa.array(np.ascontiguousarray(micros, dtype=np.int64)).cast(pa.timestamp("us", "UTC"))
