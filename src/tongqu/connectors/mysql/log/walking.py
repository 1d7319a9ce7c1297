"""Finds where rows begin and where their cells are, in the bytes of row events.

Only lengths are looked at: row by row to find the next row, then column by column over all rows at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongqu.connectors.mysql.log.events import Wire
from tongqu.core.errors import ReadError

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_FIXED = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3}
_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_PATTERNS = 4096
PAD = 32
"""Bytes that must follow the last row, so that a cell of a fixed width can be taken even where it is null."""


def decimal_bytes(precision: int, scale: int) -> int:
    """Bytes of a DECIMAL: nine digits in four bytes, what is left over in fewer."""
    whole = precision - scale
    return whole // 9 * 4 + _DIGITS[whole % 9] + scale // 9 * 4 + _DIGITS[scale % 9]


def extent(wire: Wire) -> tuple[int, int]:
    """A cell's bytes, or 0 and the width of the length that stands before them."""
    code, meta = wire.code, wire.meta
    if code in _FIXED:
        return _FIXED[code], 0
    if code == 246:
        return decimal_bytes(meta >> 8, meta & 255), 0
    if code == 16:
        return (meta >> 8) + (1 if meta & 255 else 0), 0
    if code in (17, 18, 19):
        return {17: 4, 18: 5, 19: 3}[code] + (meta + 1) // 2, 0
    if code in (247, 248):
        return meta, 0
    if code in (15, 253, 254):
        return 0, 1 if meta < 256 else 2
    if code in (245, 252, 255):
        return 0, meta
    raise ReadError(f"the log holds a column of a kind that cannot be read ({code})", hint="leave the table out")


@dataclass
class Layout:
    """Which columns an image of a row has, and how to step over one."""

    wires: Sequence[Wire]
    present: tuple[int, ...]
    """Numbers of the table's columns, in order."""
    extents: list[tuple[int, int]] = field(init=False)
    nulls: int = field(init=False)
    """Bytes of the null bits in front of an image."""
    _mask: int = field(init=False)
    _steps: dict[int, tuple[list[tuple[int, int]], int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.extents = [extent(self.wires[column]) for column in self.present]
        self.nulls = (len(self.present) + 7) // 8
        self._mask = (1 << len(self.present)) - 1

    @classmethod
    def of(cls, wires: Sequence[Wire], bits: bytes) -> Layout:
        """The layout that a row event's column bits mean."""
        return cls(wires, tuple(n for n in range(len(wires)) if bits[n // 8] >> n % 8 & 1))

    def step(self, data: bytes, at: int) -> int:
        """Where the image that begins here ends."""
        start, at = at, at + self.nulls
        empty = int.from_bytes(data[start:at], "little") & self._mask
        steps, rest = self._steps.get(empty) or self._learn(empty)
        for skip, width in steps:
            at += skip
            if width == 1:
                at += 1 + data[at]
            else:
                at += width + int.from_bytes(data[at : at + width], "little")
        return at + rest

    def _learn(self, empty: int) -> tuple[list[tuple[int, int]], int]:
        """How to step over images that are null in these columns: bytes to skip, then a length to read, and so on."""
        steps: list[tuple[int, int]] = []
        skip = 0
        for number, (size, width) in enumerate(self.extents):
            if empty >> number & 1:
                continue
            if width:
                steps.append((skip, width))
                skip = 0
            else:
                skip += size
        if len(self._steps) >= _PATTERNS:
            self._steps.clear()
        self._steps[empty] = steps, skip
        return steps, skip

    def cells(self, data: Bytes, starts: Offsets, wanted: set[int]) -> Iterator[tuple[int, Cells]]:
        """The cells of each wanted column (by its number in the table) over all images, in the order of columns."""
        at = starts + self.nulls
        left = len(wanted & set(self.present))
        for number, column in enumerate(self.present):
            if not left:
                return
            size, width = self.extents[number]
            null = (data[starts + number // 8] >> np.uint8(number % 8) & 1).astype(bool)
            lengths: Offsets | None = None
            begin = at
            if width:
                lengths = _little(data, at, width)
                lengths[null] = 0
                begin = at + width
                at = begin + lengths
            else:
                at = at + size
            if null.any():
                at = np.where(null, begin - width, at)
            if column in wanted:
                left -= 1
                yield column, Cells(data, begin, lengths, size, null)


@dataclass(frozen=True)
class Cells:
    """One column over many rows: where each cell begins, its bytes (None: `size` each), and which cells are null."""

    data: Bytes
    at: Offsets
    lengths: Offsets | None
    size: int
    null: Flags

    def take(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """`count` bytes of each cell from its byte `first` on, one row a cell."""
        wide: Any = self.at[:, None] + np.arange(first, first + count)
        found: Bytes = self.data[wide]
        return found

    def little(self) -> npt.NDArray[np.int64]:
        """The cells as unsigned little-endian numbers of up to 7 bytes."""
        return _little(self.data, self.at, self.size)

    def big(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Some bytes of each cell as unsigned big-endian numbers of up to 7 bytes."""
        found = np.zeros(len(self.at), np.int64)
        for number in range(first, first + count):
            found = found << 8 | self.data[self.at + number]
        return found

    def fixed(self, kind: str) -> Any:
        """The cells as a numpy type of their size."""
        return np.ascontiguousarray(self.take(0, self.size)).view(kind).ravel()


def _little(data: Bytes, at: Offsets, width: int) -> npt.NDArray[np.int64]:
    found = data[at].astype(np.int64)
    for number in range(1, width):
        found |= data[at + number].astype(np.int64) << 8 * number
    return found


def buffer(values: Any) -> pa.Buffer:
    """A numpy array's memory for Arrow."""
    memory: Any = np.ascontiguousarray(values)
    return pa.py_buffer(memory)


def validity(null: Flags) -> pa.Buffer | None:
    """Arrow's bits of what is there; None where nothing is null."""
    return buffer(np.packbits(~null, bitorder="little")) if null.any() else None


def made(values: Any, kind: pa.DataType, null: Flags) -> Any:
    """A numpy array as an Arrow array of the same width."""
    return pa.Array.from_buffers(kind, len(null), [validity(null), buffer(values)])
