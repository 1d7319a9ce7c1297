"""Brings Arrow columns to the few types that a system without nested, narrow or nanosecond types needs to know."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from tongqu.core.errors import CastError


def plain(column: pa.ChunkedArray[Any] | pa.Array[Any], name: str) -> pa.Array[Any]:
    """The column as one array of: bool, int64, uint64, float32, float64, decimal128/256, string, binary, date32,
    time64[us], timestamp[us], timestamp[us, UTC]. Nested values become JSON text, durations and intervals text.

    Raises CastError if a value needs finer than microseconds.
    """
    array: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps several chunks above 2 GB
        array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    wanted = _plain(array.type)
    if wanted is None:
        return pa.array([None if v is None else _text(v) for v in array.to_pylist()], pa.string())
    try:
        done: pa.Array[Any] = array if wanted == array.type else array.cast(wanted)
    except pa.ArrowInvalid as error:
        raise CastError(f"{name}: {error}", field=name) from None
    return done


def _plain(type_: pa.DataType) -> pa.DataType | None:
    t = pa.types
    if t.is_null(type_):
        return pa.string()
    if t.is_integer(type_):
        return pa.uint64() if t.is_uint64(type_) else pa.int64()
    if t.is_float16(type_):
        return pa.float32()
    if t.is_decimal(type_):
        return type_ if type_.bit_width >= 128 else pa.decimal128(type_.precision, type_.scale)
    if t.is_timestamp(type_):
        return pa.timestamp("us", "UTC") if type_.tz else pa.timestamp("us")
    if t.is_date(type_):
        return pa.date32()
    if t.is_time(type_):
        return pa.time64("us")
    if t.is_large_string(type_) or t.is_string_view(type_):
        return pa.string()
    if t.is_large_binary(type_) or t.is_binary_view(type_) or t.is_fixed_size_binary(type_):
        return pa.binary()
    known = t.is_boolean(type_) or t.is_floating(type_) or t.is_string(type_) or t.is_binary(type_)
    return type_ if known else None


def _text(value: Any) -> str:
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
