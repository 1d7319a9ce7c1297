"""Finds the records that some side may have changed, comparing whole tables as columns and never row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.engine.twoway.place import Place
from tongqu.store.twoway import Book


class Remembered:
    """The agreed records of a sync as columns: keys and rows. Memory grows with the records, not with the changes."""

    def __init__(self, book: Book, name: str):
        keys: list[str] = []
        rows: list[str | None] = []
        for block in book.every(name):
            keys += [key for key, _, _ in block]
            rows += [row for _, row, _ in block]
        self._keys: Any = pa.array(keys, pa.large_string())
        self._rows: Any = pa.array(rows, pa.large_string())

    def different(self, place: Place) -> Iterator[list[str]]:
        """Keys of rows of a side that are not as agreed, in pieces; at last those that it does not have."""
        seen = []
        for rows in place.rows():
            found: Any = pc.index_in(rows.column("key").cast(pa.large_string()), self._keys)
            at = found.combine_chunks()
            equal: Any = pc.equal(rows.column("row").cast(pa.large_string()), self._rows.take(at))
            keys: list[Any] = rows.column("key").filter(pc.invert(pc.fill_null(equal, False))).to_pylist()
            yield keys
            seen.append(at)
        there: Any = pc.is_valid(self._rows)
        if seen:
            known = pa.chunked_array(seen, pa.int32())
            positions = pa.array(range(len(self._keys)), pa.int32())
            there = pc.and_(there, pc.invert(pc.is_in(positions, known.drop_null())))
        yield self._keys.filter(there).to_pylist()
