"""Decimal128 of IEEE 754-2008 in its binary integer form, as MongoDB keeps it, to and from text and Arrow decimals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb.walking import Buffer, Ints

_BIAS = 6_176
_HIGH = np.uint64((1 << 49) - 1)
_MOST_SCALE = 34
DIGITS = 34
"""How many digits a Decimal128 holds."""


def texts(buffer: Buffer, places: Ints) -> Any:
    """The decimals at these places as texts, a column for each exponent; odd ones (infinite, of great exponent) each by
    itself."""
    words = buffer.at("<u8")
    low, high = words[places], words[places + 8]
    exponents = ((high >> np.uint64(49)) & np.uint64(0x3FFF)).astype(np.int64) - _BIAS
    plain = ((high >> np.uint64(61)) & np.uint64(3) != 3) & (exponents <= 0) & (exponents >= -_MOST_SCALE)
    negative = high >> np.uint64(63) == 1
    plain &= ~(negative & (low == 0) & (high & _HIGH == 0))
    made: Any = pa.nulls(len(places), pa.string())
    for exponent in np.unique(exponents[plain]).tolist():
        here = plain & (exponents == exponent)
        part = _numbers(low[here], high[here] & _HIGH, negative[here], -exponent).cast(pa.string())
        where = np.cumsum(here) - 1
        spread = part.take(pa.array(where.astype(np.int32), mask=~here))
        made = spread if here.all() else _either(here, spread, made)
    odd = np.flatnonzero(~plain)
    if len(odd):
        from bson.decimal128 import Decimal128

        listed = made.to_pylist()
        for row in odd.tolist():
            start = int(places[row])
            listed[row] = str(Decimal128.from_bid(buffer.cut(start, start + 16)))
        made = pa.array(listed, pa.string())
    return made


def _either(here: Any, left: Any, right: Any) -> Any:
    import pyarrow.compute as pc

    return pc.if_else(pa.array(here), left, right)


def _numbers(low: Any, high: Any, negative: Any, scale: int) -> Any:
    """Arrow decimals of coefficients given in two words."""
    low, high = low.astype(np.uint64), high.astype(np.uint64)
    flipped = ~low + np.uint64(1)
    carry = (flipped == 0).astype(np.uint64)
    pairs = np.empty((len(low), 2), np.uint64)
    pairs[:, 0] = np.where(negative, flipped, low)
    pairs[:, 1] = np.where(negative, ~high + carry, high)
    kind = pa.decimal128(38, scale)
    return pa.Array.from_buffers(kind, len(low), [None, pa.py_buffer(pairs.tobytes())])


def written(column: Any) -> Any:
    """An Arrow decimal128 column of at most 34 digits as the 16 bytes of each value; null stays null."""
    kind = column.type
    count = len(column)
    pairs = np.frombuffer(column.buffers()[1], np.uint64, 2 * count, column.offset * 16).reshape(count, 2)
    low, high = pairs[:, 0], pairs[:, 1]
    negative = high >> np.uint64(63) == 1
    flipped = ~low + np.uint64(1)
    carry = (flipped == 0).astype(np.uint64)
    made = np.empty((count, 2), np.uint64)
    made[:, 0] = np.where(negative, flipped, low)
    coefficient = np.where(negative, ~high + carry, high) & _HIGH
    sign = negative.astype(np.uint64) << np.uint64(63)
    made[:, 1] = coefficient | np.uint64((_BIAS - kind.scale) << 49) | sign
    found: Any = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(made.tobytes())])
    if column.null_count:
        import pyarrow.compute as pc

        return pc.if_else(column.is_valid(), found.cast(pa.binary()), pa.scalar(None, pa.binary()))
    return found.cast(pa.binary())
