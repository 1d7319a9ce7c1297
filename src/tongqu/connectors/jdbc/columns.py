"""Rows that pass between Java and Python as whole columns, by one small class whose source stands in `java/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.jdbc.machine import java
from tongqu.kit.tables.values import LOCAL, decimals

LONG, DOUBLE, TRUTH, BYTES, TEXT = range(5)
_TYPES = {**dict.fromkeys((-6, 5, 4, -5), LONG), **dict.fromkeys((6, 7, 8), DOUBLE),
          **dict.fromkeys((16, -7), TRUTH), **dict.fromkeys((-2, -3, -4, 2004), BYTES)}  # fmt: skip
"""By java.sql.Types: TINYINT to BIGINT, FLOAT to DOUBLE, BOOLEAN and BIT, BINARY to BLOB; all else is text."""
_SIZE = 16 << 20


def kinds(about: Any) -> list[int]:
    """How the columns of a result are taken, by its java.sql.ResultSetMetaData."""
    return [_TYPES.get(int(about.getColumnType(at)), TEXT) for at in range(1, int(about.getColumnCount()) + 1)]


def taken(made: Any, found: Any, how: Sequence[int], most: int) -> Iterator[list[pa.Array[Any]]]:
    """The rows of a java.sql.ResultSet as columns: int64, double, bool, binary or string, at most so many at once.
    `made` is the Java class."""
    jpype = java()
    held = made(jpype.JArray(jpype.JInt)(list(how)), most)
    while rows := int(held.read(found, most, _SIZE)):
        yield [_array(held, at, kind, rows) for at, kind in enumerate(how)]


def _array(held: Any, at: int, kind: int, rows: int) -> pa.Array[Any]:
    valid = _bits(held.valid(at))
    if kind in (BYTES, TEXT):
        parts: list[pa.Buffer | None] = [valid, _buffer(held.ends(at)), _buffer(held.bytes(at))]
        made: pa.Array[Any] = pa.Array.from_buffers(pa.string() if kind == TEXT else pa.binary(), rows, parts)
        return made
    values = held.values(at)
    data = _bits(values) if kind == TRUTH else _buffer(values)
    types = {LONG: pa.int64(), DOUBLE: pa.float64(), TRUTH: pa.bool_()}
    done: pa.Array[Any] = pa.Array.from_buffers(types[kind], rows, [valid, data])
    return done


def _buffer(array: Any) -> pa.Buffer:
    return pa.py_buffer(memoryview(array).tobytes())


def _bits(flags: Any) -> pa.Buffer:
    """Bytes 0 and 1 as a bitmap."""
    bytes_: Any = pa.Array.from_buffers(pa.int8(), len(flags), [None, _buffer(flags)])
    bits: pa.Buffer = bytes_.cast(pa.bool_()).buffers()[1]
    return bits


def send(made: Any, statement: Any, arrays: Sequence[pa.Array[Any]]) -> None:
    """Run a java.sql.PreparedStatement once for each row of these columns, as one batch. `made` is the Java
    class."""
    jpype = java()
    bound = [_bound(array) for array in arrays]
    how, rows = [kind for kind, _ in bound], len(arrays[0])
    columns, ends, valid = [], [], []
    for kind, array in bound:
        there = array.is_valid().cast(pa.int8())
        valid.append(_java(jpype.JByte, there))
        columns.append(_java_values(kind, array))
        ends.append(_java(jpype.JInt, _offsets(array)) if kind in (BYTES, TEXT) else None)
    ints, bytes_ = jpype.JArray(jpype.JInt), jpype.JArray(jpype.JByte)
    made.send(
        statement, rows, ints(how), jpype.JArray(jpype.JObject)(columns), jpype.JArray(ints)(ends),
        jpype.JArray(bytes_)(valid),
    )  # fmt: skip


def _bound(array: pa.Array[Any]) -> tuple[int, Any]:
    """A column as it is bound; see `values.binds`."""
    t, kind = pa.types, array.type
    if t.is_boolean(kind):
        return TRUTH, array.cast(pa.int8())
    if t.is_integer(kind) and not t.is_uint64(kind):
        return LONG, array.cast(pa.int64())
    if t.is_floating(kind):
        return DOUBLE, array.cast(pa.float64())
    if t.is_binary(kind):
        return BYTES, array
    if t.is_decimal(kind):
        return TEXT, pa.array(decimals(array), pa.string())
    if t.is_timestamp(kind) and kind.tz:
        array = array.cast(LOCAL)
    return TEXT, array.cast(pa.string())


def _offsets(array: Any) -> pa.Array[Any]:
    """Where each value begins in the bytes of `_java_values`."""
    whole = pa.concat_arrays([array.slice(0, 0), array])  # without what a slice leaves out
    held = pa.Array.from_buffers(pa.int32(), len(whole) + 1, [None, whole.buffers()[1]])
    return held.slice(0, len(whole) + 1)


def _java_values(kind: int, array: Any) -> Any:
    jpype = java()
    if kind in (BYTES, TEXT):
        whole = pa.concat_arrays([array.slice(0, 0), array])
        data = whole.buffers()[2]
        return jpype.JArray(jpype.JByte)(b"" if data is None else data.to_pybytes())
    types = {LONG: jpype.JLong, DOUBLE: jpype.JDouble, TRUTH: jpype.JByte}
    return _java(types[kind], array.fill_null(0))


def _java(kind: Any, array: Any) -> Any:
    return java().JArray(kind)(array.to_numpy(zero_copy_only=False))
