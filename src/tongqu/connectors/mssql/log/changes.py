"""Makes batches of changes from what a change table gives: in columns, never row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mssql.log.session import MOMENT
from tongqu.core.errors import ReadError
from tongqu.core.kernels import pc
from tongqu.core.log import AT, OP, UNCHANGED

LSN, SEQ, CODE, COMMITTED, TOUCHED = "__lsn", "__seq", "__code", "__committed", "__touched_"
"""Columns before those of the table: of its changes' order, what they are, when they were committed (in the server's
local time), and for each large column whether the change touched it."""
DELETED, INSERTED, OLD, NEW = 1, 2, 3, 4
"""`__$operation` (cdc.fn_cdc_get_all_changes, Table Returned)."""
_LETTERS: Any = pa.array(["c", "u", "d"])
Places = np.ndarray[Any, np.dtype[np.bytes_]]
"""(start_lsn, seqval) of each row as 20 bytes that compare as the two do."""


def asked(fields: Sequence[pa.Field[Any]], large: Sequence[str]) -> pa.Schema:
    """The columns of a question for changes."""
    own: list[pa.Field[Any]] = [
        pa.field(LSN, pa.binary(10)), pa.field(SEQ, pa.binary(10)), pa.field(CODE, pa.int32()),
        pa.field(COMMITTED, pa.timestamp("us")), *(pa.field(TOUCHED + name, pa.int32()) for name in large),
    ]  # fmt: skip
    return pa.schema([*own, *fields])


def paired(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, cut so that an update's old row and its new one are in one batch."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        whole = batch if held is None else joined([held, batch])
        cut = whole.num_rows - (whole.num_rows > 0 and whole.column(CODE)[-1].as_py() == OLD)
        held = whole.slice(cut) if cut < whole.num_rows else None
        if cut:
            yield whole.slice(0, cut)
    if held is not None:
        raise ReadError("a change table has the old row of an update and not its new one")


def changed(
    raw: pa.RecordBatch, fields: Sequence[pa.Field[Any]], key: Sequence[str], large: Sequence[str], minutes: int
) -> tuple[Places, pa.RecordBatch]:
    """The changes with their control columns, and where each stands. Of an update the old row is kept, as a delete,
    where the key is another one. `minutes` is what the server's clock is ahead of UTC."""
    codes = np.asarray(raw.column(CODE))
    moved = _moved(raw, codes, key)
    kept = (codes != OLD) | moved
    kinds = np.where((codes == DELETED) | (codes == OLD), 2, np.where((codes == INSERTED) | moved, 0, 1))
    rows = raw.filter(pa.array(kept))
    committed: Any = rows.column(COMMITTED).cast(pa.int64())
    at = pc.subtract(committed, pa.scalar(minutes * 60_000_000, pa.int64())).cast(MOMENT)
    letters = _LETTERS.take(pa.array(kinds[kept]))
    arrays = [*(rows.column(one.name) for one in fields), letters, at]
    columns = [*fields, pa.field(OP, pa.string()), pa.field(AT, MOMENT)]
    absent = _absent(rows, large)
    if absent is not None:
        arrays.append(absent)
        columns.append(pa.field(UNCHANGED, absent.type))
    return _places(rows), pa.RecordBatch.from_arrays(arrays, schema=pa.schema(columns))


def _moved(raw: pa.RecordBatch, codes: np.ndarray[Any, Any], key: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Both rows of each update that changes the key."""
    found = np.zeros(len(codes), bool)
    new = np.flatnonzero(codes == NEW)
    if not len(new) or not key:
        return found
    here, there = pa.array(new), pa.array(new - 1)
    for name in key:
        column: Any = raw.column(name)
        differ = pc.not_equal(column.take(here), column.take(there)).fill_null(False)
        found[new] |= np.asarray(differ)
    found[new - 1] = found[new]
    return found


def _absent(rows: pa.RecordBatch, large: Sequence[str]) -> Any:
    """The large columns that an update did not touch and that came as null: nobody says whether they are; None where
    there are none."""
    if not large:
        return None
    updated = np.asarray(rows.column(CODE)) == NEW
    marks = np.stack([updated & _untold(rows, name) for name in large], axis=1)
    if not marks.any():
        return None
    offsets = np.zeros(len(marks) + 1, np.int32)
    np.cumsum(marks.sum(axis=1), out=offsets[1:])
    which: Any = pa.array(np.nonzero(marks)[1])
    names = pa.array(list(large), pa.string()).take(which)
    bounds: Any = pa.array(offsets)
    return pa.ListArray.from_arrays(bounds, names)


def _untold(rows: pa.RecordBatch, name: str) -> Any:
    touched: Any = rows.column(TOUCHED + name).fill_null(0)
    return (np.asarray(touched) == 0) & np.asarray(rows.column(name).is_null())


def _places(rows: pa.RecordBatch) -> Places:
    parts = []
    for name in (LSN, SEQ):
        column: Any = rows.column(name)
        data = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * 10 : (column.offset + len(column)) * 10]
        parts.append(data.reshape(-1, 10))
    return np.ascontiguousarray(np.hstack(parts)).view("S20").reshape(-1)


def merged(parts: Sequence[tuple[int, Places, pa.RecordBatch]], most: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Changes of several tables (each in its order, by number) in the order of all: runs of one table each, of at most
    so many rows."""
    numbers = np.concatenate([np.full(len(places), number) for number, places, _ in parts])
    order = np.argsort(np.concatenate([places for _, places, _ in parts]), kind="stable")
    whole = {number: joined([rows for each, _, rows in parts if each == number]) for number, _, _ in parts}
    done = dict.fromkeys(whole, 0)
    ranked = numbers[order]
    ends = [*(np.flatnonzero(np.diff(ranked)) + 1).tolist(), len(ranked)]
    start = 0
    for end in ends:
        number = int(ranked[start])
        for cut in range(start, end, most):
            size = min(most, end - cut)
            yield number, whole[number].slice(done[number], size)
            done[number] += size
        start = end


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one table as one; `_unchanged` may be missing in some."""
    if len(batches) == 1:
        return batches[0]
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    return whole.to_batches()[0] if whole.num_rows else batches[0]
