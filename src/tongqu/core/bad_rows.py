"""Many bad rows as columns of text: one of them becomes a record of its own only when somebody looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from tongqu.core.data import BadRow

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("step", "code", "field", "value", "original", "message", "state", "shape")
"""The columns of a block, text each: the fields of BadRow."""
ENCODED = ("step", "code", "field", "state", "shape")
"""Those that are dictionary-encoded, since few values repeat in them."""
_AT_ONCE = 1024


class BadRows(Sequence[BadRow]):
    """Bad rows in the order in which they were found, some as blocks of columns, some as single records."""

    __hash__ = None  # type: ignore[assignment]  # it can grow

    def __init__(self, rows: Iterable[BadRow] = ()):
        self._parts: list[pa.Table | list[BadRow]] = []
        self.extend(rows)

    @classmethod
    def block(cls, columns: pa.Table) -> BadRows:
        """The rows of one table with the columns of COLUMNS."""
        made = cls()
        if columns.num_rows:
            made._parts.append(columns)
        return made

    def append(self, row: BadRow) -> None:
        """Add a row."""
        self.extend((row,))

    def extend(self, rows: Iterable[BadRow]) -> None:
        """Add rows; blocks stay blocks, and are shared."""
        for part in rows._parts if isinstance(rows, BadRows) else [list(rows)]:
            if not isinstance(part, list):
                self._parts.append(part)
            elif self._parts and isinstance(self._parts[-1], list):
                self._parts[-1].extend(part)
            elif part:
                self._parts.append([*part])

    def take(self) -> BadRows:
        """All rows; this one is empty afterwards."""
        taken = BadRows()
        taken._parts, self._parts = self._parts, []
        return taken

    def shaped(self, shape: str) -> BadRows:
        """The same rows, of this shape where they have none yet. Blocks have theirs."""
        from dataclasses import replace

        made = BadRows()
        for part in self._parts:
            if isinstance(part, list):
                made._parts.append([row if row.shape else replace(row, shape=shape) for row in part])
            else:
                made._parts.append(part)
        return made

    @property
    def refused(self) -> int:
        """How many of the rows were taken out; the others were repaired."""
        return sum(_refused(part) for part in self._parts)

    def blocks(self, rows: int) -> Iterator[pa.Table]:
        """All rows as tables with the columns of COLUMNS, of so many rows at most, those of ENCODED
        dictionary-encoded and in one chunk each."""
        for part in self._parts:
            for start in range(0, len(part), rows):
                some = part[start : start + rows] if isinstance(part, list) else part.slice(start, rows)
                yield _columns(some) if isinstance(some, list) else some

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[BadRow]:
        for part in self._parts:
            if isinstance(part, list):
                yield from part
                continue
            for start in range(0, part.num_rows, _AT_ONCE):
                texts = [part.column(name).slice(start, _AT_ONCE).to_pylist() for name in COLUMNS]
                for cells in zip(*texts, strict=True):
                    yield BadRow(*cells)

    @overload
    def __getitem__(self, index: SupportsIndex) -> BadRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BadRow]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> BadRow | Sequence[BadRow]:
        if isinstance(index, slice):
            return list(self)[index]
        place = range(len(self))[index]
        for part in self._parts:
            if place < len(part):
                return part[place] if isinstance(part, list) else next(iter(BadRows.block(part.slice(place, 1))))
            place -= len(part)
        raise IndexError(index)

    def __add__(self, other: Iterable[BadRow]) -> BadRows:
        made = BadRows(self)
        made.extend(other)
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"BadRows({list(self)!r})"


def count_refused(rows: Sequence[BadRow]) -> int:
    """How many of the rows were taken out; the others were repaired."""
    return rows.refused if isinstance(rows, BadRows) else sum(row.refused for row in rows)


def _refused(part: pa.Table | list[BadRow]) -> int:
    if isinstance(part, list):
        return sum(row.refused for row in part)
    import pyarrow.compute

    kernels: Any = pyarrow.compute  # the stubs know too little of the kernels
    counted = kernels.value_counts(part.column("state"))
    return sum(one["counts"] for one in counted.to_pylist() if one["values"] != "repaired")


def _columns(rows: Sequence[BadRow]) -> pa.Table:
    import pyarrow as pa

    arrays = [pa.array([getattr(row, name) for row in rows], pa.string()) for name in COLUMNS]
    encoded = [
        array.dictionary_encode() if name in ENCODED else array for name, array in zip(COLUMNS, arrays, strict=True)
    ]
    return pa.Table.from_arrays(encoded, names=list(COLUMNS))
