"""Finds the records that some side may have changed, comparing whole tables as columns and never row by row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.engine.twoway.packing import Shape
from tongqu.engine.twoway.place import Place
from tongqu.store.twoway import Book


class Remembered:
    """The agreed records of a sync as columns: keys and rows. Memory grows with the records, not with the changes."""

    def __init__(self, book: Book, name: str, shape: Shape):
        keys: list[str] = []
        rows: list[str | None] = []
        made: list[str] = []
        for block in book.every(name):
            keys += [key for key, _, _ in block]
            rows += [row for _, row, _ in block]
            made += [told for _, _, told in block]
        self._keys: Any = pa.array(keys, pa.large_string())
        self._rows: Any = pa.array(rows, pa.large_string())
        self._shape = shape
        self._made: dict[str, dict[int, Mapping[str, str | None]]] = {}
        for at in (at for at, told in enumerate(made) if told != "{}"):
            for side, fields in json.loads(made[at]).items():
                self._made.setdefault(side, {})[at] = fields

    def _held(self, side: str) -> Any:
        """The rows as a side holds them."""
        if side not in self._made:
            return self._rows
        rows = self._rows.to_pylist()
        for at, fields in self._made[side].items():
            row = self._shape.row(rows[at])
            rows[at] = None if row is None else self._shape.text({**row, **fields})
        return pa.array(rows, pa.large_string())

    def different(self, place: Place) -> Iterator[list[str]]:
        """Keys of rows of a side that are not as agreed, in pieces; at last those that it does not have."""
        seen, held = [], self._held(place.name)
        for rows in place.rows():
            found: Any = pc.index_in(rows.column("key").cast(pa.large_string()), self._keys)
            at = found.combine_chunks()
            equal: Any = pc.equal(rows.column("row").cast(pa.large_string()), held.take(at))
            keys: list[Any] = rows.column("key").filter(pc.invert(pc.fill_null(equal, False))).to_pylist()
            yield keys
            seen.append(at)
        there: Any = pc.is_valid(self._rows)
        if seen:
            known = pa.chunked_array(seen, pa.int32())
            positions = pa.array(range(len(self._keys)), pa.int32())
            there = pc.and_(there, pc.invert(pc.is_in(positions, known.drop_null())))
        yield self._keys.filter(there).to_pylist()
