"""Makes Arrow columns of the values that a walk over BSON documents has found, by numpy and Arrow's kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import decimals
from tongqu.connectors.mongodb import walking as bson
from tongqu.connectors.mongodb.kinds import NAMES, logical_of, native_of
from tongqu.connectors.mongodb.walking import Buffer, Ints, Marks, Values
from tongqu.core.data import Meta
from tongqu.core.kernels import pc

FRACTION = "__frac"
"""End of the name of the field that holds what a moment has below the millisecond, which BSON's dates have not."""
_EXACT = 2**53
_PER_MS = {"us": 1_000, "ns": 1_000_000}
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_JSON_TYPES = (bson.DOCUMENT, bson.ARRAY)


def column(
    buffer: Buffer, field: pa.Field[Any], values: Values, fraction: Values | None
) -> tuple[pa.Array[Any], Marks]:
    """The column of a field and the documents whose value does not fit it (null in the column)."""
    empty = _among(values, (0, bson.UNDEFINED, bson.NULL))
    made, bad = _decoder(field)(buffer, field, values, empty, fraction)
    return made, bad


Decoder = Callable[[Buffer, "pa.Field[Any]", Values, Marks, "Values | None"], "tuple[pa.Array[Any], Marks]"]


def _decoder(field: pa.Field[Any]) -> Decoder:  # a table of types
    kind, logical = field.type, logical_of(field)
    if pa.types.is_nested(kind):
        return _nested
    if logical == "json":
        return _json
    if native_of(field) == "objectId":
        return _object_id
    if logical == "uuid":
        return _uuid
    if logical == "decimal":
        return _decimal_text
    if pa.types.is_boolean(kind):
        return _bool
    if pa.types.is_integer(kind):
        return _int
    if pa.types.is_floating(kind):
        return _double
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _date
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _binary
    return _text


def _among(values: Values, types: Iterable[int]) -> Marks:
    lowest, highest = (int(values.types.min()), int(values.types.max())) if len(values.types) else (0, 0)
    if lowest == highest:
        return np.full(len(values.types), lowest in types, np.bool_)
    table = np.zeros(256, np.bool_)
    table[list(types)] = True
    return table[values.types]


def _fixed(buffer: Buffer, values: Values, kind: str, where: Marks) -> Any:
    """The numbers at the places that are meant, zero elsewhere."""
    numbers = buffer.at(kind)
    if where.all():
        return numbers[values.places]
    found = np.zeros(len(where), kind)
    found[where] = numbers[values.places[where]]
    return found


def _bool(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    del field
    good = _among(values, (bson.BOOLEAN,))
    return pa.array(_fixed(buffer, values, "u1", good) != 0, mask=~good), ~good & ~empty


def _int(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    short, long = _among(values, (bson.INT32,)), _among(values, (bson.INT64,))
    stamp = _among(values, (bson.TIMESTAMP,)) if native_of(field) == "timestamp" else np.zeros_like(short)
    if stamp.any():
        return pa.array(_fixed(buffer, values, "<u8", stamp), pa.uint64(), mask=~stamp), ~stamp & ~empty
    numbers = _fixed(buffer, values, "<i4", short).astype(np.int64) if short.any() else np.zeros(len(empty), np.int64)
    if long.any():
        numbers = np.where(long, _fixed(buffer, values, "<i8", long), numbers)
    good = short | long
    double = _among(values, (bson.DOUBLE,))
    if double.any():
        floats = _fixed(buffer, values, "<f8", double)
        whole = double & (np.abs(floats) <= _EXACT) & (floats == np.floor(floats))
        numbers = (
            np.where(whole, floats, numbers).astype(np.int64) if not long.any() else _mixed(numbers, floats, whole)
        )
        good |= whole
    if field.type != pa.int64():
        low, high = _limits(field.type)
        good &= (numbers >= low) & (numbers <= high)
        numbers = np.where(good, numbers, 0)
    return pa.array(numbers, mask=~good).cast(field.type), ~good & ~empty


def _mixed(numbers: Ints, floats: Any, whole: Marks) -> Ints:
    made = numbers.copy()
    made[whole] = floats[whole].astype(np.int64)
    return made


def _limits(kind: pa.DataType) -> tuple[int, int]:
    width, signed = kind.bit_width, pa.types.is_signed_integer(kind)
    return (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, min(2**width, 2**63) - 1)


def _double(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    good = _among(values, (bson.DOUBLE,))
    numbers = _fixed(buffer, values, "<f8", good)
    short, long = _among(values, (bson.INT32,)), _among(values, (bson.INT64,))
    if short.any():
        numbers = np.where(short, _fixed(buffer, values, "<i4", short).astype(np.float64), numbers)
        good |= short
    if long.any():
        wide = _fixed(buffer, values, "<i8", long)
        small = np.where((wide > -(2**62)) & (wide < 2**62), wide, 0)
        exact = long & (small == wide) & (small.astype(np.float64).astype(np.int64) == small)
        numbers = np.where(exact, wide.astype(np.float64), numbers)
        good |= exact
    return pa.array(numbers, pa.float64(), mask=~good).cast(field.type, safe=False), ~good & ~empty


def _date(buffer: Buffer, field: Any, values: Values, empty: Marks, fraction: Values | None) -> tuple[Any, Marks]:
    good = _among(values, (bson.DATE,))
    moments = _fixed(buffer, values, "<i8", good)
    kind = field.type
    if pa.types.is_date(kind):
        good &= moments % 86_400_000 == 0
        days = pa.array((moments // 86_400_000).astype(np.int32), pa.int32(), mask=~good)
        return days.cast(pa.date32()).cast(kind), ~good & ~empty
    if kind.unit == "s":
        good &= moments % 1_000 == 0
        moments = moments // 1_000
    if kind.unit in _PER_MS:
        per = _PER_MS[kind.unit]
        good &= np.abs(moments) < (2**63 - 1) // per - 1
        moments = np.where(good, moments, 0) * per
        if fraction is not None:
            moments = moments + _fixed(buffer, fraction, "<i4", _among(fraction, (bson.INT32,)))
    return pa.array(moments, pa.int64(), mask=~good).cast(pa.timestamp(kind.unit)).cast(kind), ~good & ~empty


def _slices(buffer: Buffer, places: Ints, lengths: Ints) -> Any:
    """The bytes at these places, which must grow, as a binary array; copied once, by Arrow."""
    bounds = np.empty(2 * len(places) + 1, np.int32)
    bounds[0::2][:-1], bounds[1::2] = places, places + lengths
    bounds[-1] = bounds[-2] if len(bounds) > 1 else 0
    whole: Any = pa.Array.from_buffers(
        pa.binary(), 2 * len(places), [None, pa.py_buffer(bounds.tobytes()), pa.py_buffer(buffer.data)]
    )
    return whole.take(pa.array(np.arange(0, 2 * len(places), 2, dtype=np.int32)))


def _spread(found: Any, where: Marks) -> Any:
    """Values put where the marks are, null elsewhere."""
    if where.all():
        return found
    places = np.cumsum(where) - 1
    return found.take(pa.array(places.astype(np.int32), mask=~where))


def _bytes(buffer: Buffer, values: Values, where: Marks, skip: int, beside: int) -> Any:
    """Length-prefixed values: the bytes from `skip` on, `beside` more than the length says (negative: fewer)."""
    places = values.places[where]
    lengths = buffer.at("<i4")[places].astype(np.int64) + beside
    if len(places) and int(np.diff(places).min(initial=1)) < 0:
        order = np.argsort(places)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        found = _slices(buffer, places[order] + skip, lengths[order]).take(pa.array(back))
    else:
        found = _slices(buffer, places + skip, lengths)
    return _spread(found, where)


def _text(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    good = _among(values, (bson.STRING,))
    made, bad = _valid(_bytes(buffer, values, good, 4, -1))
    others = ~good & ~empty
    if pa.types.is_string(field.type) and others.any():
        made = _texts_of_others(buffer, made, values, others)
        others &= ~_among(values, _SPOKEN)
    if pa.types.is_time(field.type):
        made, wrong = _times(made)
        bad |= wrong
    return made.cast(field.type), others | bad


def _times(texts: Any) -> tuple[Any, Marks]:
    """Times of day, of texts; and those that are none."""
    plain = pc.match_substring_regex(texts, r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?$").fill_null(True)
    kept = pc.if_else(plain, texts, pa.scalar(None, pa.string()))
    moments = pc.binary_join_element_wise(pa.scalar("1970-01-01T"), kept, "").cast(pa.timestamp("ns"))
    return moments.cast(pa.time64("ns")), ~np.asarray(plain)


def _valid(found: Any) -> tuple[Any, Marks]:
    """Texts, and those that are not UTF-8."""
    try:
        return found.cast(pa.string()), np.zeros(len(found), np.bool_)
    except pa.ArrowInvalid:
        texts, bad = [], np.zeros(len(found), np.bool_)
        for row, value in enumerate(found.to_pylist()):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError:
                texts.append(None)
                bad[row] = True
        return pa.array(texts, pa.string()), bad


_SPOKEN = (bson.INT32, bson.INT64, bson.DOUBLE, bson.DECIMAL, bson.BOOLEAN, bson.OBJECT_ID, bson.DATE)


def _texts_of_others(buffer: Buffer, made: Any, values: Values, others: Marks) -> Any:
    """Texts of values that are none, where a field has both; each type in its own way, by column."""
    parts: list[tuple[int, Decoder, pa.DataType]] = [
        (bson.INT32, _int, pa.int64()), (bson.INT64, _int, pa.int64()), (bson.DOUBLE, _double, pa.float64()),
        (bson.DECIMAL, _decimal_text, pa.string()), (bson.BOOLEAN, _bool, pa.bool_()),
        (bson.OBJECT_ID, _object_id, pa.string()), (bson.DATE, _date, pa.timestamp("ms")),
    ]  # fmt: skip
    for type_, decoder, kind in parts:
        here = others & _among(values, (type_,))
        if here.any():
            texts = decoder(buffer, pa.field("v", kind), values, ~here, None)[0].cast(pa.string())
            texts = pc.binary_join_element_wise(texts, "Z", "") if type_ == bson.DATE else texts
            made = pc.if_else(pa.array(here), texts, made)
    return made


def _binary(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    good = _among(values, (bson.BINARY,))
    subtypes = np.where(good, buffer.octets[np.minimum(values.places + 4, buffer.size)], 0)
    good &= subtypes == 0
    made = _bytes(buffer, values, good, 5, 0)
    if pa.types.is_fixed_size_binary(field.type):
        good &= np.asarray(pc.equal(pc.binary_length(made), field.type.byte_width).fill_null(False))
        made = pc.if_else(pa.array(good), made, pa.scalar(None, pa.binary()))
    return made.cast(field.type), ~good & ~empty


def _uuid(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    """Also texts that are said to be UUIDs."""
    good = _among(values, (bson.BINARY,))
    at = np.minimum(values.places, buffer.size)
    good &= (buffer.octets[at + 4] == 4) & (buffer.at("<i4")[at] == 16)
    made = _hex(buffer, values.places[good] + 5, 16, (4, 6, 8, 10))
    made = _spread(made, good)
    texts = _among(values, (bson.STRING,))
    if texts.any():
        made = pc.if_else(pa.array(texts), _valid(_bytes(buffer, values, texts, 4, -1))[0], made)
    return made.cast(field.type), ~good & ~empty & ~texts


def _object_id(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    good = _among(values, (bson.OBJECT_ID,))
    return _spread(_hex(buffer, values.places[good], 12, ()), good).cast(field.type), ~good & ~empty


def _hex(buffer: Buffer, places: Ints, width: int, dashes: Iterable[int]) -> Any:
    """The bytes at these places as hexadecimal digits, with dashes before some of them."""
    octets = buffer.octets[places[:, None] + np.arange(width)]
    digits = np.stack([_HEX[octets >> 4], _HEX[octets & 15]], axis=2).reshape(len(places), 2 * width)
    for dash in sorted(dashes, reverse=True):
        digits = np.insert(digits, 2 * dash, ord("-"), axis=1)
    offsets = np.arange(0, (len(places) + 1) * digits.shape[1], digits.shape[1], dtype=np.int32)
    data = np.ascontiguousarray(digits).tobytes()
    return pa.Array.from_buffers(pa.string(), len(places), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)])


def _decimal_text(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    good = _among(values, (bson.DECIMAL,))
    made = _spread(decimals.texts(buffer, values.places[good]), good)
    more = _among(values, (bson.INT32, bson.INT64, bson.DOUBLE, bson.STRING))
    if more.any():
        text = field.with_metadata({Meta.NATIVE.value: "mongodb:string"})
        others = Values(np.where(more, values.types, 0).astype(np.uint8), values.places)
        made = pc.if_else(pa.array(more), _text(buffer, text, others, ~more, None)[0], made)
    return made.cast(field.type), ~good & ~empty & ~more


def _decimal(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    """Decimals of known scale: written as Decimal128, or as text where they have more than 34 digits."""
    texts, bad = _decimal_text(buffer, pa.field("v", pa.string()), values, empty, None)
    try:
        return texts.cast(field.type), bad
    except pa.ArrowInvalid:
        made = []
        for row, text in enumerate(texts.to_pylist()):
            try:
                made.append(pa.scalar(text).cast(field.type).as_py() if text is not None else None)
            except pa.ArrowInvalid:
                made.append(None)
                bad[row] = True
        return pa.array(made, field.type), bad


def _json(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    """MongoDB's own JSON (Extended JSON, relaxed). A text in a field that was written as JSON text is that JSON."""
    from bson import json_util

    as_text = native_of(field) == ""
    texts: list[str | None] = [None] * len(empty)
    for row in np.flatnonzero(~empty).tolist():
        value = value_of(buffer, int(values.types[row]), int(values.places[row]))
        plain = as_text and isinstance(value, str)
        texts[row] = value if plain else json_util.dumps(
            value, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False
        )  # fmt: skip
    return pa.array(texts, field.type), np.zeros(len(empty), np.bool_)


def _nested(buffer: Buffer, field: Any, values: Values, empty: Marks, _: Values | None) -> tuple[Any, Marks]:
    """Lists and structs that were written by Tongqu, whose schema is known."""
    made: list[Any] = []
    bad = np.zeros(len(empty), np.bool_)
    good = _among(values, _JSON_TYPES)
    for row in range(len(empty)):
        if not good[row]:
            made.append(None)
            continue
        try:
            value = value_of(buffer, int(values.types[row]), int(values.places[row]))
            made.append(pa.scalar(value, field.type).as_py())
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            made.append(None)
            bad[row] = True
    return pa.array(made, field.type), (~good & ~empty) | bad


def value_of(buffer: Buffer, type_: int, place: int) -> Any:
    """One value as an object of the driver's."""
    import bson as driver
    from bson.codec_options import CodecOptions, DatetimeConversion

    size = int(bson.sizes(buffer, np.array([type_], np.uint8), np.array([place], np.int64))[0])
    whole = bytes([type_]) + b"v\0" + buffer.cut(place, place + size) + b"\0"
    options: Any = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=True)
    return driver.decode((len(whole) + 4).to_bytes(4, "little") + whole, options)["v"]


def type_name(type_: int) -> str:
    """MongoDB's word for a type, for messages."""
    return NAMES.get(type_, str(type_))
