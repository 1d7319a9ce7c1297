"""Arrow columns as the values a driver binds, and what a driver gives as Arrow columns: exactly or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import CastError, SchemaError
from tongqu.kit.sql.plain_types import plain

LOCAL, INSTANT, TIME = pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.time64("us")
_TRUE = ("1", "t", "T", "true", "True", "TRUE", "Y", "y")
_FALSE = ("0", "f", "F", "false", "False", "FALSE", "N", "n")
_NAMED = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


def fit(column: pa.ChunkedArray[Any], wanted: pa.DataType, name: str, *, zoneless: bool = False) -> pa.Array[Any]:
    """An arriving column in a target's type; every value must survive the way there and back. A system without zones
    (`zoneless`) keeps instants as moments in UTC.

    Raises CastError if one does not, SchemaError if none of this type can.
    """
    array = plain(column, name)
    given = array.type
    if given == wanted or pa.types.is_null(wanted):
        return array
    try:
        if pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted) and bool(given.tz) != bool(wanted.tz):
            if zoneless and given.tz:
                return array.cast(wanted)
            raise _unfit(name, given, wanted)
        if pa.types.is_string(given) and not pa.types.is_string(wanted):
            return _read(array, wanted)
        there: pa.Array[Any] = _texts(array) if pa.types.is_string(wanted) else _cast(array, wanted)
        if not pa.types.is_string(wanted) and not _cast(there, given).equals(array):
            raise CastError(f"{name}: a value does not fit the target's type {wanted} exactly", field=name)
    except pa.ArrowInvalid as error:
        raise CastError(f"{name}: a value does not fit the target's type {wanted}: {error}", field=name) from None
    except pa.ArrowNotImplementedError:
        raise _unfit(name, given, wanted) from None
    return there


def _cast(array: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    if pa.types.is_boolean(array.type) and pa.types.is_decimal(wanted):
        array = array.cast(pa.int8())
    if pa.types.is_decimal(array.type) and pa.types.is_boolean(wanted):
        array = array.cast(pa.int64())
    done: pa.Array[Any] = array.cast(wanted)
    return done


def _unfit(name: str, given: pa.DataType, wanted: pa.DataType) -> SchemaError:
    return SchemaError(
        f"column {name!r} arrives as {given} and the target's column is {wanted}",
        field=name,
        hint="convert it in a step (cast:), or change the target's column",
    )


def _texts(array: pa.Array[Any]) -> pa.Array[Any]:
    """The text of each value; binary has none."""
    if pa.types.is_binary(array.type):
        raise pa.ArrowNotImplementedError("binary is no text")
    return pa.array(decimals(array), pa.string()) if pa.types.is_decimal(array.type) else array.cast(pa.string())


def _read(array: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    """Texts as values of another type."""
    if pa.types.is_time(wanted):
        return clock(array)
    if pa.types.is_binary(wanted):
        raise pa.ArrowNotImplementedError("text is no binary")
    done: pa.Array[Any] = array.cast(wanted)
    return done


def clock(array: pa.Array[Any]) -> pa.Array[Any]:
    """Texts `12:34:56.789` as times of day; Arrow reads them only behind a date."""
    texts: Any = array
    days: Any = pc.binary_join_element_wise("1970-01-01", texts, " ")
    times: pa.Array[Any] = days.cast(LOCAL).cast(TIME)
    return times


def without_nul(arrays: Sequence[pa.Array[Any]], names: Sequence[str]) -> None:
    """Raise CastError for a text with NUL in it, where a driver would silently end the text there."""
    for array, name in zip(arrays, names, strict=True):
        if pa.types.is_string(array.type):
            _refuse(pc.match_substring(array, "\0"), name, "a text has a NUL character, which this driver cuts it at")


def only_finite(arrays: Sequence[pa.Array[Any]], names: Sequence[str]) -> None:
    """Raise CastError for NaN and infinite floats, where the system has none."""
    for array, name in zip(arrays, names, strict=True):
        if pa.types.is_floating(array.type):
            _refuse(pc.invert(pc.is_finite(array)), name, "a number is NaN or infinite, which this system has not")


def encodable(array: pa.Array[Any], name: str, codec: str) -> None:
    """Raise CastError for a text that a column's character set does not have; a server would write `?` in its place."""
    odd: Any = array.filter(pc.match_substring_regex(array, r"[^\x00-\x7F]"))
    for text in odd.to_pylist():
        try:
            text.encode(codec)
        except UnicodeEncodeError as error:
            sign = text[error.start]
            raise CastError(f"{name}: the column's character set ({codec}) has no {sign!r}", field=name) from None


def without_empty(arrays: Sequence[pa.Array[Any]], names: Sequence[str]) -> None:
    """Raise CastError for an empty text, where the system takes it for null."""
    for array, name in zip(arrays, names, strict=True):
        if pa.types.is_string(array.type):
            _refuse(pc.equal(array, pa.scalar("")), name, "a text is empty, which this system takes for null")


def _refuse(found: Any, name: str, why: str) -> None:
    if pc.any(found).as_py():
        raise CastError(f"{name}: {why}", field=name)


def decimals(array: pa.Array[Any]) -> list[str | None]:
    """Decimals as plain digits without exponent."""
    texts: list[Any] = array.cast(pa.string()).to_pylist()
    return [format(Decimal(text), "f") if text is not None and "E" in text else text for text in texts]


def binds(array: pa.Array[Any]) -> list[Any]:
    """The values to bind: bool, int, float, bytes and str as they are; decimals and moments as text, which says them
    exactly and which every system reads by a cast."""
    t, kind = pa.types, array.type
    if t.is_decimal(kind):
        return decimals(array)
    if t.is_uint64(kind):
        return array.cast(pa.string()).to_pylist()
    if t.is_timestamp(kind) and kind.tz:
        texts: list[Any] = array.cast(LOCAL).cast(pa.string()).to_pylist()
        return texts
    if t.is_temporal(kind):
        return array.cast(pa.string()).to_pylist()
    return array.to_pylist()


def arrived(values: Sequence[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    """The values of one column as a driver gave them, in the field's type. Raises CastError naming the column."""
    wanted = field.type
    if pa.types.is_binary(wanted):
        return pa.array([None if v is None else bytes(v) for v in values], wanted)
    try:
        if pa.types.is_string(wanted):
            return pa.array([v if v is None or isinstance(v, str) else str(v) for v in values], wanted)
        if pa.types.is_floating(wanted):
            return pa.array([None if v is None else float(_NAMED.get(v, v)) for v in values], wanted)
        if pa.types.is_decimal(wanted):
            return pa.array([None if v is None else str(v) for v in values], pa.string()).cast(wanted)
        if pa.types.is_integer(wanted) and all(v is None or type(v) is int for v in values):
            whole: pa.Array[Any] = pa.array(values, wanted)
            return whole
        return carried(pa.array(values), field)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError) as error:
        raise CastError(
            f"{field.name}: the system gave a value that is no {wanted}: {error}", field=field.name
        ) from None


def as_asked(columns: Sequence[pa.Array[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Columns that a driver gave as Arrow, in the types of a schema. Raises CastError naming the column."""
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        try:
            arrays.append(carried(column, field))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            text = f"{field.name}: the system gave a value that is no {field.type}: {error}"
            raise CastError(text, field=field.name) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def carried(array: pa.Array[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    """A column that a driver gave as Arrow, in the field's type; a moment without zone is UTC where the field has one.

    Raises pyarrow's errors where a value does not fit.
    """
    t, given, wanted = pa.types, array.type, field.type
    if given == wanted:
        return array
    if t.is_null(given):
        nothing: pa.Array[Any] = pa.nulls(len(array), wanted)
        return nothing
    if t.is_boolean(wanted):
        return _truth(array)
    if t.is_time(wanted) and t.is_string(given):
        return clock(array)
    if t.is_timestamp(wanted) and wanted.tz and t.is_timestamp(given) and not given.tz:
        return array.cast(pa.timestamp(wanted.unit)).cast(pa.int64()).cast(wanted)
    if t.is_timestamp(wanted) and wanted.tz and t.is_string(given):
        return array.cast(pa.timestamp(wanted.unit)).cast(pa.int64()).cast(wanted)
    if t.is_decimal(wanted) and t.is_floating(given):
        return array.cast(pa.string()).cast(wanted)
    done: pa.Array[Any] = array.cast(wanted)
    return done


def _truth(array: pa.Array[Any]) -> pa.Array[Any]:
    """Booleans from 0 and 1 or the words drivers have for them; raises ArrowInvalid for anything else."""
    texts: Any = array if pa.types.is_string(array.type) else array.cast(pa.int8()).cast(pa.string())
    said: Any = pc.is_in(texts, value_set=pa.array(_TRUE))
    odd: Any = pc.and_(pc.is_valid(texts), pc.invert(pc.or_(said, pc.is_in(texts, value_set=pa.array(_FALSE)))))
    if pc.any(odd).as_py():
        raise pa.ArrowInvalid(f"{texts.filter(odd)[0].as_py()!r} is neither true nor false")
    return pc.if_else(pc.is_valid(texts), said, pa.scalar(None, pa.bool_()))  # type: ignore[no-any-return]  # the stubs know no mask
