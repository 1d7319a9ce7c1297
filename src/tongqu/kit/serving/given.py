"""The rows of a change as columns of their fields' types, exact or refused by the name of the field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from tongqu.core.errors import CastError
from tongqu.kit.serving.texts import column, dumps, logical

_MOMENTS = (str, date, time, type(None))


def given(rows: Sequence[Sequence[Any]], fields: Sequence[pa.Field[Any]]) -> pa.Table:
    """The rows with columns named `_tongqu_0`, `_tongqu_1` and so on. Values are Python's own or the plain JSON values
    that a page would show. Raises CastError."""
    cells = list(zip(*rows, strict=True)) if rows else [() for _ in fields]
    arrays = [_array(list(one), field) for one, field in zip(cells, fields, strict=True)]
    return pa.Table.from_arrays(arrays, names=[name(number) for number in range(len(fields))])


def name(number: int) -> str:
    """The name of a given column: no table has it."""
    return f"_tongqu_{number}"


def _array(cells: list[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    kind = column(pa.array([], field.type)).type
    convert = _converter(kind, logical(field))
    try:
        if pa.types.is_temporal(kind):
            return _moments(cells, kind)
        values = cells if convert is None else [None if cell is None else convert(cell) for cell in cells]
        made: pa.Array[Any] = pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, InvalidOperation, ValueError, TypeError):
        raise CastError(f"a value does not fit the field {field.name!r} ({kind})", field=field.name) from None
    return made


def _moments(cells: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """Dates and times of which some are texts. Numbers are none, nor is a time of day that would be lost."""
    for cell in cells:
        if not isinstance(cell, _MOMENTS) or (pa.types.is_date(kind) and isinstance(cell, datetime)):
            raise TypeError
    texts: Any = pa.array([cell if isinstance(cell, str) else None for cell in cells], pa.string())
    if pa.types.is_time(kind):
        days = pa.array([None if one is None else f"1970-01-01 {one}" for one in texts.to_pylist()], pa.string())
        read: Any = days.cast(pa.timestamp("us")).cast(kind)
    else:
        read = texts.cast(kind)
    others: Any = pa.array([None if isinstance(cell, str) else cell for cell in cells], kind)
    return pa.array(
        [a if a is not None else b for a, b in zip(read.to_pylist(), others.to_pylist(), strict=True)], kind
    )


def _converter(kind: pa.DataType, meaning: str) -> Callable[[Any], Any] | None:
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_binary(kind):
        return _bytes
    if pa.types.is_integer(kind):
        return _integer
    if pa.types.is_floating(kind):
        return _float
    if pa.types.is_string(kind):
        if meaning == "json":
            return lambda value: value if isinstance(value, str) else dumps(value).decode()
        return lambda value: value if isinstance(value, str) else _number(value)
    return None


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _integer(value: Any) -> int:
    whole = int(value)
    if isinstance(value, str) or whole != value:
        raise ValueError
    return whole


def _float(value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity")):
        raise TypeError
    return float(value)


def _number(value: Any) -> str:
    """A number for a field of unbounded digits; anything else is no text."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        return bytes(value)
    if not value.startswith("\\x"):
        raise ValueError
    return bytes.fromhex(value[2:])
