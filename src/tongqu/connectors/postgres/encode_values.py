"""The bytes PostgreSQL's `*_recv` functions expect for numbers, text, times, UUIDs and JSON, column by column.

Each function takes an Arrow array of one type and returns its `Cells`; none touches a value in Python. Formats are
those of the server's sources (`int8recv`, `textrecv`, `timestamptz_recv`, `uuid_recv`, `jsonb_recv` and so on).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.postgres.encode_rows import (
    MAX_STREAM,
    AnyArray,
    BadValueError,
    Cells,
    Ints,
    StreamTooLongError,
    binary_array,
    binary_buffers,
    numpy_view,
    refuse_where,
    validity,
)

_EPOCH_DAYS = 10_957  # 2000-01-01, PostgreSQL's day 0, in days since 1970-01-01
_EPOCH_SECONDS = _EPOCH_DAYS * 86_400
_FIRST_DAY = -2_451_545 + _EPOCH_DAYS  # 4714-11-24 BC
_LAST_DAY = 2_145_031_948 + _EPOCH_DAYS  # 5874897-12-31
_FIRST_SECOND = _FIRST_DAY * 86_400
_END_SECOND = 9_223_371_331_200 + _EPOCH_SECONDS  # 294277-01-01, exclusive
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_JSONB_VERSION = b"\x01"
_NAME_BYTES = 63
_UUID_TEXT = 36
_UUID_PATTERN = "^(?:[0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}$"
_HYPHENS = np.array([8, 13, 18, 23])
_HEX_IN_UUID = np.delete(np.arange(_UUID_TEXT), _HYPHENS)
_NOT_HEX = 0xFF
_NIBBLES = np.full(256, _NOT_HEX, dtype=np.uint8)
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _NIBBLES[np.frombuffer(_digits, dtype=np.uint8)] = np.arange(16, dtype=np.uint8)


def fixed_values(array: pa.Array[Any], dtype: npt.DTypeLike) -> AnyArray:
    """The values of a primitive array as numpy, without copying; what stands at nulls is undefined."""
    return numpy_view(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def integer_cells(array: pa.Array[Any], target: npt.DTypeLike, pg_name: str) -> Cells:
    """Integers for `smallint`, `integer`, `bigint`, `oid`; refuses values outside the target's range."""
    values = fixed_values(array, array.type.to_pandas_dtype())
    valid = validity(array)
    info, wanted = np.iinfo(values.dtype), np.iinfo(target)
    if info.min < wanted.min or info.max > wanted.max:
        bad = np.zeros(len(values), dtype=np.bool_)
        if info.min < wanted.min:
            bad |= values < wanted.min
        if info.max > wanted.max:
            bad |= values > wanted.max
        refuse_where(bad, valid, f"value is outside {pg_name} ({wanted.min} to {wanted.max})")
    return Cells((values.astype(target),), np.dtype(target).itemsize, valid)


def float_cells(array: pa.Array[Any], target: npt.DTypeLike) -> Cells:
    """Floats, and integers every one of which the float type holds, for `real` and `double precision`."""
    values = fixed_values(array, array.type.to_pandas_dtype())
    with np.errstate(invalid="ignore"):  # widening a signalling NaN is no event here
        return Cells((values.astype(target),), np.dtype(target).itemsize, validity(array))


def boolean_cells(array: pa.Array[Any]) -> Cells:
    """One byte, 1 or 0."""
    return Cells((fixed_values(pc.cast(array, pa.uint8()), np.uint8),), 1, validity(array))


def bytes_cells(array: pa.Array[Any]) -> Cells:
    """Binary of any Arrow layout for `bytea`."""
    plain = _plain_binary(array)
    offsets, _ = binary_buffers(plain)
    return Cells((plain,), np.diff(offsets).astype(np.int64), validity(array))


def text_cells(array: pa.Array[Any], pg_name: str) -> Cells:
    """UTF-8 text; refuses NUL characters everywhere, and what `name` and `"char"` would cut off."""
    cells = bytes_cells(array)
    plain = cells.parts[0]
    assert isinstance(plain, pa.BinaryArray)  # noqa: S101 (bytes_cells returns nothing else)
    offsets, data = binary_buffers(plain)
    used = data[offsets[0] : offsets[-1]]
    if used.size and not used.min():
        at = int(np.flatnonzero(used == 0)[0]) + int(offsets[0])
        row = int(np.searchsorted(offsets, at, side="right")) - 1
        hint = "remove it in a derive step: PostgreSQL cannot store it in text"
        raise BadValueError(row, "text contains the NUL character (U+0000)", hint)
    if pg_name == "name":
        refuse_where(np.greater(cells.lengths, _NAME_BYTES), cells.valid, "text is longer than name's 63 bytes")
    if pg_name == '"char"':
        refuse_where(np.greater(cells.lengths, 1), cells.valid, 'text is longer than the one byte of "char"')
        byte = np.zeros(len(array), dtype=np.uint8)
        byte[np.equal(cells.lengths, 1)] = used
        return Cells((byte,), 1, cells.valid)
    return cells


def jsonb_cells(array: pa.Array[Any]) -> Cells:
    """JSON text for `jsonb`: a version byte before it; the server parses and validates."""
    parts, lengths, valid = text_cells(array, "jsonb")
    return Cells((_JSONB_VERSION, *parts), lengths + 1, valid)


def _plain_binary(array: pa.Array[Any]) -> pa.BinaryArray:
    """The same bytes as 32-bit binary, nulls replaced by empty values; zero copy in the usual cases."""
    kind = array.type
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        ends = numpy_view(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        if ends[-1] - ends[0] > MAX_STREAM:
            raise StreamTooLongError
        array = array.cast(pa.string() if pa.types.is_large_string(kind) else pa.binary())
    elif pa.types.is_string_view(kind):
        array = array.cast(pa.string())
    elif pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        array = array.cast(pa.binary())
    plain = array if pa.types.is_binary(array.type) else array.view(pa.binary())
    assert isinstance(plain, pa.BinaryArray)  # noqa: S101 (tells the type checker what the branches above fix)
    if plain.null_count == 0:
        return plain
    offsets, data = binary_buffers(plain)
    if np.diff(offsets)[~plain.is_valid().to_numpy(zero_copy_only=False)].any():
        return cast("pa.BinaryArray", pc.call_function("coalesce", [plain, pa.scalar(b"", pa.binary())]))
    return binary_array(offsets.astype(np.int64), data)


def date_cells(array: pa.Array[Any]) -> Cells:
    """date32 and date64 as days since 2000-01-01."""
    valid = validity(array)
    if pa.types.is_date64(array.type):
        millis = fixed_values(array, np.int64)
        days = millis // 86_400_000
        refuse_where(days * 86_400_000 != millis, valid, "date64 value is not a whole day")
    else:
        days = fixed_values(array, np.int32).astype(np.int64)
    outside = (days < _FIRST_DAY) | (days > _LAST_DAY)
    refuse_where(outside, valid, "date is outside PostgreSQL's range (4714-11-24 BC to 5874897-12-31)")
    return Cells(((days - _EPOCH_DAYS).astype(np.int32),), 4, valid)


def time_cells(array: pa.Array[Any], modifiers: tuple[int, ...]) -> Cells:
    """time32 and time64 as microseconds since midnight."""
    unit = array.type.unit
    values = fixed_values(array, np.int32 if unit in {"s", "ms"} else np.int64).astype(np.int64)
    outside = (values < 0) | (values > 86_400 * _PER_SECOND[unit])
    refuse_where(outside, validity(array), "time is outside the day (00:00:00 to 24:00:00)")
    return _micros_cells(array, values, 0, modifiers)


def timestamp_cells(array: pa.Array[Any], modifiers: tuple[int, ...]) -> Cells:
    """Timestamps of any unit as microseconds since 2000-01-01 (of UTC, where the type has a zone)."""
    per_second = _PER_SECOND[array.type.unit]
    values = fixed_values(array, np.int64)
    outside = (values < _FIRST_SECOND * per_second) | (values >= _END_SECOND * per_second)
    message = "timestamp is outside PostgreSQL's range (4714-11-24 BC to 294276-12-31)"
    refuse_where(outside, validity(array), message)
    return _micros_cells(array, values, _EPOCH_SECONDS, modifiers)


def _micros_cells(array: pa.Array[Any], values: Ints, origin: int, modifiers: tuple[int, ...]) -> Cells:
    """Microseconds since `origin` (in seconds); refuses what these, or the column's own precision, would round."""
    per_second, valid = _PER_SECOND[array.type.unit], validity(array)
    if per_second > 1_000_000:
        micros = values // 1_000
        hint = "truncate it in a cast step"
        refuse_where(micros * 1_000 != values, valid, "value has nanoseconds; PostgreSQL keeps microseconds", hint)
        micros -= origin * 1_000_000
    else:
        micros = (values - origin * per_second) * (1_000_000 // per_second)
    if modifiers and modifiers[0] < 6:
        hint = "truncate it in a cast step, or widen the target column"
        message = f"value has more than the {modifiers[0]} digits of a second the column keeps"
        refuse_where(micros % 10 ** (6 - modifiers[0]) != 0, valid, message, hint)
    return Cells((micros,), 8, valid)


def uuid_cells(array: pa.Array[Any]) -> Cells:
    """UUIDs from 16 bytes or from text in the forms PostgreSQL reads (hyphens optional, braces allowed)."""
    valid = validity(array)
    if pa.types.is_fixed_size_binary(array.type):
        return Cells((fixed_values(array, "V16"),), 16, valid)
    present = array if valid is None else array.drop_null()
    plain = _plain_binary(present)
    offsets, data = binary_buffers(plain)
    parsed = None
    if (np.diff(offsets) == _UUID_TEXT).all():
        table = data[offsets[0] : offsets[-1]].reshape(-1, _UUID_TEXT)
        if (table[:, _HYPHENS] == ord("-")).all():
            parsed = _from_hex(table[:, _HEX_IN_UUID])
    if parsed is None:
        parsed = _from_any_uuid_text(array, present)
    if valid is None:
        return Cells((parsed,), 16, None)
    values = np.zeros(len(array), dtype="V16")
    values[valid] = parsed
    return Cells((values,), 16, valid)


def _from_any_uuid_text(array: pa.Array[Any], present: pa.Array[Any]) -> AnyArray:
    text = present.cast(pa.string())
    bare = pc.replace_substring_regex(text, r"^\{(.*)\}$", r"\1")
    matches = pc.match_substring_regex(bare, _UUID_PATTERN).to_numpy(zero_copy_only=False)
    if not matches.all():
        row = int(np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))[np.flatnonzero(~matches)[0]])
        raise BadValueError(row, "text is not a UUID", "32 hexadecimal digits are expected, with or without hyphens")
    offsets, data = binary_buffers(_plain_binary(pc.replace_substring(bare, "-", "")))
    parsed = _from_hex(data[offsets[0] : offsets[-1]].reshape(-1, 32))
    assert parsed is not None  # noqa: S101 (the pattern admits hexadecimal digits only)
    return parsed


def _from_hex(characters: AnyArray) -> AnyArray | None:
    """Rows of 32 hexadecimal digits as 16-byte items; None where a character is none."""
    nibbles = _NIBBLES[characters]
    if (nibbles == _NOT_HEX).any():
        return None
    packed = np.ascontiguousarray(nibbles[:, 0::2] << 4 | nibbles[:, 1::2])
    return packed.view("V16").reshape(-1)
