"""Lays encoded columns side by side, so that a whole batch becomes one run of COPY BINARY rows.

A column arrives as `Cells`: the bytes of its values, split into parts. Parts of constant width that stand next to
each other in the row are written into one packed numpy record array; parts of varying width stay Arrow binary
arrays. The resulting pieces are concatenated and gathered in row order by one Arrow `take`, which copies each piece
once. On tables of mixed columns this beat Arrow's element-wise join and a numpy byte scatter (1.6 and 4 times).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]
AnyArray: TypeAlias = npt.NDArray[Any]
Part: TypeAlias = bytes | AnyArray | pa.BinaryArray

MAX_STREAM = 2**31 - 1
"""The most bytes one call of `join_rows` lays out; Arrow's 32-bit offsets end there."""

_KEPT_ROWS = 8192  # row orders up to here (about 64 kB a piece) are kept for the next batch


class StreamTooLongError(OverflowError):
    """The rows need more than `MAX_STREAM` bytes; encode fewer at a time."""


class BadValueError(ValueError):
    """The value at `row` (index in the encoded array) has no exact form in the wanted type."""

    def __init__(self, row: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.row = row
        self.message = message
        self.hint = hint


class Cells(NamedTuple):
    """One encoded column of n rows.

    `parts` stand in wire order and hold the value without its length prefix: `bytes` are the same in every row; a
    numpy array of shape (n,) has one item of fixed width a row, in native byte order; a binary array has n values,
    none of them null, and empty ones where the row is null.
    `lengths` counts the bytes of each value (what null rows have there is ignored). `valid` is None without nulls.
    `Cells((), -1, None)` is a column of nulls.
    """

    parts: tuple[Part, ...]
    lengths: int | Ints
    valid: Bools | None


NULLS = Cells((), -1, None)


def validity(array: pa.Array[Any]) -> Bools | None:
    """Mask of shape (n,), True where a value is present; None when all are."""
    if array.null_count == 0:
        return None
    mask: Bools = array.is_valid().to_numpy(zero_copy_only=False)
    return mask


def refuse_where(bad: Bools, valid: Bools | None, message: str, hint: str = "") -> None:
    """Raise `BadValueError` for the first non-null row marked in `bad`."""
    hits = np.flatnonzero(bad if valid is None else bad & valid)
    if len(hits):
        raise BadValueError(int(hits[0]), message, hint)


def join_rows(rows: int, columns: Sequence[Cells], lead: bytes) -> tuple[AnyArray, Ints]:
    """Lay out `lead` and then, for each column, a 4-byte length (-1 for null) and the value, row after row.

    Returns the stream (uint8) and the offset of every row in it, shape (rows + 1,).
    Raises `StreamTooLongError` when the stream passes `MAX_STREAM` bytes.
    """
    pieces: list[pa.BinaryArray] = []
    block: list[bytes | AnyArray] = [lead] if lead else []

    def close_block(valid: Bools | None) -> None:
        if block:
            pieces.append(_fixed_piece(rows, block, valid))
            block.clear()

    for parts, lengths, valid in columns:
        if valid is not None:
            block.append(np.where(valid, lengths, -1).astype(np.int32))
            close_block(None)
        elif isinstance(lengths, int):
            block.append(lengths.to_bytes(4, "big", signed=True))
        else:
            block.append(lengths.astype(np.int32))
        for part in parts:
            if isinstance(part, pa.BinaryArray):
                close_block(valid)
                pieces.append(part)
            else:
                block.append(part)
        if valid is not None:
            close_block(valid)
    close_block(None)
    return _gather(rows, pieces)


def _fixed_piece(rows: int, parts: Sequence[bytes | AnyArray], valid: Bools | None) -> pa.BinaryArray:
    """Parts of constant width as a binary array; rows that are not valid become empty."""
    formats: list[np.dtype[Any]] = []
    offsets: list[int] = []
    template = bytearray()
    for part in parts:
        if isinstance(part, bytes):
            template += part
        else:
            formats.append(part.dtype.newbyteorder(">"))
            offsets.append(len(template))
            template += bytes(part.dtype.itemsize)
    width = len(template)
    names = [f"f{i}" for i in range(len(formats))]
    record = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": width})
    block = np.frombuffer(template * rows, dtype=record)
    for name, part in zip(names, (part for part in parts if not isinstance(part, bytes)), strict=True):
        block[name] = part
    if valid is None:
        ends = np.arange(0, (rows + 1) * width, width, dtype=np.int64)
    else:
        block = block.view(f"V{width}")[valid]
        ends = _ends(valid * np.int64(width))
    return binary_array(ends, block.view(np.uint8))


def binary_array(offsets: Ints, data: AnyArray) -> pa.BinaryArray:
    """A binary array without nulls over `data` (uint8), value i being `data[offsets[i]:offsets[i + 1]]`."""
    if len(offsets) and offsets[-1] > MAX_STREAM:
        raise StreamTooLongError
    buffers = [None, *(pa.py_buffer(cast("memoryview", part)) for part in (offsets.astype(np.int32), data))]
    array = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
    assert isinstance(array, pa.BinaryArray)  # noqa: S101 (tells the type checker what the type argument fixes)
    return array


def _ends(lengths: Ints) -> Ints:
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def _gather(rows: int, pieces: list[pa.BinaryArray]) -> tuple[AnyArray, Ints]:
    if sum(piece.nbytes for piece in pieces) > MAX_STREAM:
        raise StreamTooLongError
    if len(pieces) == 1:
        stream = pieces[0]
    else:
        order = _kept_order if rows <= _KEPT_ROWS else _row_order
        taken = pc.take(pa.concat_arrays(pieces), order(rows, len(pieces)), boundscheck=False)
        assert isinstance(taken, pa.BinaryArray)  # noqa: S101 (as above)
        stream = taken
    offsets, data = binary_buffers(stream)
    return data[offsets[0] : offsets[-1]], (offsets[:: len(pieces)] - offsets[0]).astype(np.int64)


def _row_order(rows: int, pieces: int) -> pa.Int64Array:
    """Where piece p of row r lies once all pieces are concatenated, in the order of the stream."""
    order = np.arange(rows, dtype=np.int64)[:, None] + np.arange(pieces, dtype=np.int64) * rows
    return pa.array(order.ravel(), type=pa.int64())


_kept_order = lru_cache(maxsize=4)(_row_order)


def binary_buffers(array: pa.BinaryArray) -> tuple[npt.NDArray[np.int32], AnyArray]:
    """Offsets of shape (n + 1,) and the data they point into (uint8), of a possibly sliced array."""
    _, offsets, data = array.buffers()
    if offsets is None:
        return np.zeros(1, dtype=np.int32), np.zeros(0, dtype=np.uint8)
    ends = numpy_view(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return ends, numpy_view(data, np.uint8)


def numpy_view(buffer: pa.Buffer | None, dtype: npt.DTypeLike) -> AnyArray:
    """All whole items of the buffer as numpy, without copying; a missing buffer has none."""
    if buffer is None:
        return np.zeros(0, dtype=dtype)
    items = buffer.size // np.dtype(dtype).itemsize
    return np.frombuffer(cast("memoryview", buffer), dtype=dtype, count=items)
