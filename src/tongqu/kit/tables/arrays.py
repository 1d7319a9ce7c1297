"""Columns as the literals of arrays, for systems that take a column of values in one parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.kit.tables.values import LOCAL, decimals

_ROWS, _BYTES = 4096, 4 << 20


def slices(arrays: Sequence[pa.Array[Any]]) -> Iterator[Sequence[pa.Array[Any]]]:
    """The rows of columns in parts that one statement takes well: at most 4,096 rows, and about 4 MB of them."""
    rows = len(arrays[0])
    size = max(1, sum(array.nbytes for array in arrays))
    step = max(1, min(_ROWS, _BYTES * rows // size))
    for start in range(0, rows, step):
        yield [array.slice(start, step) for array in arrays]


def literal(array: pa.Array[Any]) -> str:
    """A column as PostgreSQL's text form of an array of texts; bytes are in hexadecimal digits, moments in UTC."""
    texts: Any = _texts(array)
    if pa.types.is_string(array.type):
        texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        texts = pc.binary_join_element_wise('"', texts, '"', "")
    whole = pc.fill_null(texts, "NULL")
    joined: Any = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(whole)], pa.int32()), whole), ",")
    return "{" + str(joined[0].as_py()) + "}"


def element(name: str, hole: str, kind: pa.DataType) -> str:
    """The expression of one value: `hole` is what would be said for a parameter (`CAST(? AS int8)`), `name` the column
    of texts that takes its place."""
    if pa.types.is_binary(kind):
        return hole.replace("?", f"decode({name}, 'hex')")
    if hole != "?":
        return hole.replace("?", name)
    if pa.types.is_boolean(kind):
        return f"CAST({name} AS boolean)"
    return f"CAST({name} AS bigint)" if pa.types.is_integer(kind) else name


def _texts(array: pa.Array[Any]) -> pa.Array[Any]:
    t, kind = pa.types, array.type
    if t.is_binary(kind):
        return pa.array([None if one is None else one.hex() for one in array.to_pylist()], pa.string())
    if t.is_decimal(kind):
        return pa.array(decimals(array), pa.string())
    if t.is_timestamp(kind) and kind.tz:
        array = array.cast(LOCAL)
    done: pa.Array[Any] = array if t.is_string(kind) else array.cast(pa.string())
    return done
