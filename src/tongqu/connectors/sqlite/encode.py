"""Arrow columns as the values SQLite stores, exactly or not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.sqlite.types import EXACT_DIGITS, INSTANT, LOCAL, TIME, affinity, kind_of
from tongqu.core.errors import CastError, SchemaError
from tongqu.kit.sql.plain_types import plain

Array: TypeAlias = "pa.Array[Any]"
_NUMERIC_LOOK = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_SMALL_INTEGER = r"^-?(0|[1-9][0-9]{0,14})$"
_FIRST_DAY, _LAST_DAY = -719162, 2932896  # 0001-01-01 and 9999-12-31 in days since 1970
_DAY_US = 86_400_000_000


def encode(column: pa.ChunkedArray[Any], declared: str, name: str) -> list[Any]:
    """Values to bind for a column declared so. Raises CastError if one cannot be kept exactly, SchemaError if no
    value of this type can."""
    array = plain(column, name)
    kind = kind_of(declared)
    if kind is not None and kind.type != array.type:
        array = fit(array, kind.type, name)
    return _stored(array, declared, kind.logical if kind else None, name)


def fit(array: Array, wanted: pa.DataType, name: str) -> Array:
    """The column in an existing target's type; every value must survive the way there and back."""
    given = array.type
    if pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted):
        raise _unfit(name, given, wanted)
    try:
        if pa.types.is_time(wanted) and pa.types.is_string(given):
            texts: Any = array
            days: Any = pc.binary_join_element_wise("1970-01-01", texts, " ")
            times: Array = days.cast(LOCAL).cast(TIME)
            return times
        there: Array = array.cast(wanted)
        if not pa.types.is_string(given) and not there.cast(given).equals(array):
            raise CastError(f"{name}: a value does not fit the target's type {wanted} exactly", field=name)
    except pa.ArrowInvalid as error:
        raise CastError(f"{name}: a value does not fit the target's type {wanted}: {error}", field=name) from None
    except pa.ArrowNotImplementedError:
        raise _unfit(name, given, wanted) from None
    return there


def _unfit(name: str, given: pa.DataType, wanted: pa.DataType) -> SchemaError:
    return SchemaError(
        f"column {name!r} arrives as {given} and the target's column is {wanted}",
        field=name,
        hint="convert it in a step (cast:), or change the target's column",
    )


def _stored(array: Array, declared: str, logical: str | None, name: str) -> list[Any]:
    t, type_ = pa.types, array.type
    if t.is_boolean(type_):
        array = array.cast(pa.int8())
    elif t.is_uint64(type_):
        array = array.cast(pa.string()) if affinity(declared) == "TEXT" else _signed(array, name)
    elif t.is_floating(type_):
        if pc.any(pc.is_nan(array)).as_py():
            raise CastError(f"{name}: SQLite has no NaN (it would become NULL)", field=name)
        array = array.cast(pa.float64())
    elif t.is_decimal(type_):
        return _decimals(array, declared, name)
    elif t.is_temporal(type_):
        array = _dated(array, name).cast(pa.string())
    elif t.is_string(type_) and affinity(declared) not in ("TEXT", "BLOB"):
        _keeps_text(array, logical, name)
    return array.to_pylist()


def _signed(array: Array, name: str) -> Array:
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        raise CastError(f"{name}: a number is beyond SQLite's 64 signed bits", field=name) from None


def _decimals(array: Array, declared: str, name: str) -> list[Any]:
    if affinity(declared) == "TEXT":
        texts: list[Any] = array.cast(pa.string()).to_pylist()
        return [format(Decimal(text), "f") if text is not None and "E" in text else text for text in texts]
    numbers: Any = array.cast(pa.string()).cast(pa.float64())  # Arrow's own cast multiplies by 0.01 and is off by a bit
    if array.type.precision > EXACT_DIGITS and not numbers.cast(pa.string()).cast(array.type).equals(array):
        raise CastError(
            f"{name}: a number has more than {EXACT_DIGITS} digits, which {declared} would round in SQLite",
            hint="declare the column DECIMAL_TEXT(p,s)",
            field=name,
        )
    found: list[Any] = numbers.to_pylist()
    return found


def _dated(array: Array, name: str) -> Array:
    type_ = array.type
    if type_ == TIME:
        return array
    units = array.cast(pa.int32()).cast(pa.int64()) if type_ == pa.date32() else array.cast(pa.int64())
    factor = 1 if type_ == pa.date32() else _DAY_US
    bounds: dict[str, Any] = pc.min_max(units).as_py()  # type: ignore[assignment]  # the stubs say list
    low, high = _FIRST_DAY * factor, (_LAST_DAY + 1) * factor
    if bounds["min"] is not None and (bounds["min"] < low or bounds["max"] >= high):
        raise CastError(f"{name}: a date is outside the years 1 to 9999 of ISO text", field=name)
    return array if type_ in (pa.date32(), LOCAL, INSTANT) else array.cast(INSTANT)


def _keeps_text(array: Array, logical: str | None, name: str) -> None:
    """A column of numeric affinity turns text that looks like a number into a number: refuse what would change."""
    looks: Any = pc.match_substring_regex(array, _NUMERIC_LOOK)
    if logical == "decimal":
        only: Any = pc.replace_substring_regex(array, "[^0-9]", "")
        digits: Any = pc.utf8_length(only)
        looks = pc.greater(digits, pa.scalar(EXACT_DIGITS, pa.int32()))
    if logical == "json":
        looks = pc.and_(looks, pc.invert(pc.match_substring_regex(array, _SMALL_INTEGER)))
    if pc.any(looks).as_py():
        raise CastError(
            f"{name}: SQLite would turn a text that looks like a number into a number",
            hint="declare the column TEXT",
            field=name,
        )
