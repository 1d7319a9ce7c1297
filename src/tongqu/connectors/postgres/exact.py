"""Finds doubles that are decimals in truth, so that they reach a numeric column without a detour over text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_DIGITS = 15
"""Two decimals of so many digits are never the same double (C11 §5.2.4.2.2, DBL_DIG), so the shortest text of a double
that is the nearest one to such a decimal is that decimal."""
_POWERS = 22
"""Up to here powers of ten are doubles without error."""


def as_decimals(rows: pa.Table, types: Sequence[str]) -> pa.Table:
    """The rows with decimals in place of doubles for columns of type `numeric(p,s)`, where every value has, written as
    short as it reads back, at most `s` places and room in `p` digits and 15. All other columns stay as they are."""
    for place, (field, type_) in enumerate(zip(rows.schema, types, strict=True)):
        found = _NUMERIC.fullmatch(type_) if pa.types.is_float64(field.type) else None
        if found is None or int(found[2]) > min(_POWERS, int(found[1])):
            continue
        precision, scale = int(found[1]), int(found[2])
        chunks = [_decimals(chunk, precision, scale) for chunk in rows.column(place).chunks]
        if all(chunk is not None for chunk in chunks):
            kind = pa.decimal128(_DIGITS + _POWERS, scale)
            column: pa.ChunkedArray[Any] = pa.chunked_array(cast("Any", chunks), cast("Any", kind))
            rows = rows.set_column(place, field.with_type(kind), column)
    return rows


def _decimals(values: pa.Array[Any], precision: int, scale: int) -> pa.Array[Any] | None:
    """None where one of them is not exactly a decimal of that scale, or has more digits."""
    found = values.to_numpy(zero_copy_only=False)  # nulls are not a number
    valid = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else np.True_
    factor = 10.0**scale
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.where(valid, np.rint(found * factor), 0.0)
        fits = (scaled / factor == found) & (np.abs(scaled) < 10.0 ** min(precision, _DIGITS))
    if not bool((fits | ~valid).all()):
        return None
    words = np.empty((len(scaled), 2), dtype=np.int64)  # 128 bits in two's complement, the lower half first
    words[:, 0] = scaled
    words[:, 1] = words[:, 0] >> 63
    bits = None if values.null_count == 0 else pa.array(cast("Any", valid)).buffers()[1]
    buffers = [bits, pa.py_buffer(cast("memoryview", words))]
    return pa.Array.from_buffers(pa.decimal128(_DIGITS + _POWERS, scale), len(values), buffers)
