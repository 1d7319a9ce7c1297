"""Rows that pass between Java and Python value by value, where Java has no compiler to make `Columns` with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.jdbc.columns import BYTES, DOUBLE, LONG, TEXT, TRUTH
from tongqu.kit.tables.values import binds

_TYPES = {LONG: pa.int64(), DOUBLE: pa.float64(), TRUTH: pa.bool_(), BYTES: pa.binary(), TEXT: pa.string()}


def taken(found: Any, how: Sequence[int], most: int) -> Iterator[list[pa.Array[Any]]]:
    """As `columns.taken`."""
    while True:
        columns: list[list[Any]] = [[] for _ in how]
        rows = 0
        while rows < most and found.next():
            rows += 1
            for at, kind in enumerate(how):
                columns[at].append(_value(found, at + 1, kind))
        if not rows:
            return
        yield [pa.array(values, _TYPES[kind]) for values, kind in zip(columns, how, strict=True)]


def _value(found: Any, at: int, kind: int) -> Any:
    if kind == TRUTH:
        value: Any = bool(found.getBoolean(at))
    elif kind == LONG:
        value = int(found.getLong(at))
    elif kind == DOUBLE:
        value = float(found.getDouble(at))
    elif kind == BYTES:
        read = found.getBytes(at)
        return None if read is None else bytes(read)
    else:
        text = found.getString(at)
        return None if text is None else str(text)
    return None if found.wasNull() else value


def send(statement: Any, arrays: Sequence[pa.Array[Any]]) -> None:
    """As `columns.send`."""
    for row in zip(*(binds(array) for array in arrays), strict=True):
        bind(statement, row)
        statement.addBatch()
    statement.executeBatch()


def bind(statement: Any, values: Sequence[Any]) -> None:
    """Give a java.sql.PreparedStatement its values."""
    for at, value in enumerate(values, 1):
        if value is None:
            statement.setNull(at, 0)
        elif isinstance(value, bool):
            statement.setBoolean(at, value)
        elif isinstance(value, int):
            statement.setLong(at, value)
        elif isinstance(value, float):
            statement.setDouble(at, value)
        elif isinstance(value, bytes):
            statement.setBytes(at, value)
        else:
            statement.setString(at, value)
