"""Writes Arrow columns as BSON documents: every element as bytes by numpy, joined row by row by Arrow's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tongqu.connectors.mongodb import decimals
from tongqu.connectors.mongodb import walking as bson
from tongqu.connectors.mongodb.decode import FRACTION
from tongqu.connectors.mongodb.kinds import logical_of, native_of
from tongqu.core.errors import CastError
from tongqu.core.kernels import pc

_PER_MS = {"us": 1_000, "ns": 1_000_000}
JsonValues = Literal["text", "documents"]
Elements = list[tuple[str, int, Any]]
"""Field, BSON type and the bytes of its values (null: BSON's null); type 0: a pair of the types and the bytes."""


def values(column: pa.ChunkedArray[Any], field: pa.Field[Any], how: JsonValues, *, fraction: bool) -> Elements:
    """A column as BSON: its values, and what its moments have below the millisecond if `fraction`. Raises CastError
    for values that BSON cannot hold."""
    array: Any = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    try:
        return _values(array, field, how, fraction=fraction)
    except (pa.ArrowInvalid, ValueError, OverflowError) as error:
        raise CastError(f"{field.name}: {error}", field=field.name) from None


def _values(array: Any, field: pa.Field[Any], how: JsonValues, *, fraction: bool) -> Elements:
    name, kind, logical, native = field.name, array.type, logical_of(field), native_of(field)
    if pa.types.is_nested(kind) or (logical == "json" and (how == "documents" or native == "json")):
        return [(name, 0, _objects(array, logical))]
    if native == "objectId":
        return [(name, bson.OBJECT_ID, _unhexed(array, 12))]
    if logical == "uuid" and kind != pa.binary(16):
        return [(name, bson.BINARY, _prefixed(_unhexed(pc.replace_substring(array, "-", ""), 16), b"\4"))]
    if logical == "decimal":
        return [(name, 0, _any_decimals(array))]
    if pa.types.is_timestamp(kind):
        return _moments(name, array, fraction=fraction)
    return [(name, *_plain(array, native))]


def _plain(array: Any, native: str) -> tuple[int, Any]:
    kind = array.type
    if pa.types.is_null(kind):
        return bson.NULL, pa.nulls(len(array), pa.binary())
    if pa.types.is_boolean(kind):
        return bson.BOOLEAN, _numbers(array.cast(pa.uint8()), "u1")
    if native == "timestamp":
        return bson.TIMESTAMP, _numbers(array.cast(pa.uint64()), "<u8")
    if pa.types.is_integer(kind):
        small = kind.bit_width < 32 or kind == pa.int32()  # bits
        return (bson.INT32, _numbers(array.cast(pa.int32()), "<i4")) if small else (
            bson.INT64, _numbers(array.cast(pa.int64()), "<i8"))  # fmt: skip
    if pa.types.is_floating(kind):
        return bson.DOUBLE, _numbers(array.cast(pa.float64()), "<f8")
    if pa.types.is_decimal128(kind) and kind.precision <= decimals.DIGITS and kind.scale >= 0:
        return bson.DECIMAL, decimals.written(array)
    if pa.types.is_date(kind):
        days = array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        return bson.DATE, _numbers(pc.multiply(days, pa.scalar(86_400_000, pa.int64())), "<i8")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return bson.BINARY, _prefixed(array.cast(pa.binary()), b"\0")
    texts = array.cast(pa.string()).cast(pa.binary())
    lengths = _numbers(pc.add(pc.binary_length(texts), pa.scalar(1, pa.int32())).cast(pa.int32()), "<i4")
    return bson.STRING, _join(lengths, texts, _constant(b"\0"))


def _moments(name: str, array: Any, *, fraction: bool) -> Elements:
    """Milliseconds, and with `fraction` what is left of them."""
    unit = array.type.unit
    numbers = array.cast(pa.timestamp(unit)).cast(pa.int64())
    if unit == "s":
        return [(name, bson.DATE, _numbers(pc.multiply_checked(numbers, pa.scalar(1000, pa.int64())), "<i8"))]
    if unit == "ms":
        return [(name, bson.DATE, _numbers(numbers, "<i8"))]
    plain = np.asarray(numbers.fill_null(0))
    whole, rest = np.divmod(plain, _PER_MS[unit])
    empty = np.asarray(array.is_null())
    made: Elements = [(name, bson.DATE, _numbers(pa.array(whole, pa.int64(), mask=empty), "<i8"))]
    if fraction:
        below = _numbers(pa.array(rest.astype(np.int32), pa.int32(), mask=empty), "<i4")
        made.append((name + FRACTION, bson.INT32, below))
    return made


def _numbers(array: Any, kind: str) -> Any:
    """The bytes of numbers of one width, null where they are."""
    width = np.dtype(kind).itemsize
    plain = np.ascontiguousarray(np.asarray(array.fill_null(0) if array.null_count else array), kind)
    found: Any = pa.Array.from_buffers(pa.binary(width), len(array), [None, pa.py_buffer(plain.tobytes())])
    found = found.cast(pa.binary())
    return pc.if_else(array.is_valid(), found, pa.scalar(None, pa.binary())) if array.null_count else found


def _prefixed(array: Any, subtype: bytes) -> Any:
    lengths = _numbers(pc.binary_length(array).cast(pa.int32()), "<i4")
    return _join(lengths, _constant(subtype), array)


def _unhexed(array: Any, width: int) -> Any:
    """Texts of hexadecimal digits as bytes; raises ValueError for others."""
    digits: Any = pc.utf8_lower(array.cast(pa.string()))
    if not pc.all(pc.match_substring_regex(digits, f"^[0-9a-f]{{{2 * width}}}$").fill_null(True)).as_py():
        raise ValueError(f"not {2 * width} hexadecimal digits")
    plain = np.frombuffer("".join(digits.fill_null("0" * 2 * width).to_pylist()).encode(), np.uint8)
    nibbles = np.where(plain >= ord("a"), plain - ord("a") + 10, plain - ord("0")).astype(np.uint8)
    octets = (nibbles[0::2] << 4) | nibbles[1::2]
    found: Any = pa.Array.from_buffers(pa.binary(width), len(array), [None, pa.py_buffer(octets.tobytes())])
    found = found.cast(pa.binary())
    return pc.if_else(array.is_valid(), found, pa.scalar(None, pa.binary())) if array.null_count else found


def _objects(array: Any, logical: str) -> tuple[Any, Any]:
    """Nested values and JSON, one by one, each with its type before it."""
    from bson import json_util

    made: list[tuple[bytes, bytes] | None] = []
    for value in array.to_pylist():
        if value is None:
            made.append(None)
            continue
        thing = json_util.loads(value, json_options=json_util.RELAXED_JSON_OPTIONS) if logical == "json" else value
        made.append(_element(thing))
    return _pairs(made)


def _pairs(made: Sequence[tuple[bytes, bytes] | None]) -> tuple[Any, Any]:
    """Types and bytes of values, each as a column."""
    types = pa.array([one and one[0] for one in made], pa.binary())
    return types, pa.array([one and one[1] for one in made], pa.binary())


def _any_decimals(array: Any) -> tuple[Any, Any]:
    """Texts of decimals: Decimal128 where it holds all digits, the text where not."""
    from decimal import Decimal

    from bson.decimal128 import Decimal128

    made: list[tuple[bytes, bytes] | None] = []
    for text in array.cast(pa.string()).to_pylist():
        if text is None:
            made.append(None)
            continue
        try:
            number = Decimal128(text)
            exact = Decimal(text).as_tuple() == number.to_decimal().as_tuple() or not Decimal(text).is_finite()
        except (ValueError, ArithmeticError):
            exact = False
        made.append(_element(number if exact else text))
    return _pairs(made)


def _element(value: Any) -> tuple[bytes, bytes]:
    """The type and the bytes of a value."""
    import bson as driver
    from bson.codec_options import CodecOptions

    options: Any = CodecOptions(uuid_representation=4)
    try:
        whole = driver.encode({"": value}, codec_options=options)
    except (driver.errors.InvalidDocument, OverflowError) as error:
        raise ValueError(str(error)) from None
    return whole[4:5], whole[6:-1]


# ---- documents


def _constant(data: bytes) -> Any:
    return pa.scalar(data, pa.binary())


def _join(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, _constant(b""))


def named(name: str, type_: int, data: Any) -> Any:
    """Values as elements of a name; null is BSON's null. Raises CastError for a name that no field can have."""
    encoded = name.encode()
    if b"\0" in encoded:
        raise CastError(f"the field name {name!r} has a NUL", field=name)
    if type_:
        made = _join(_constant(bytes([type_]) + encoded + b"\0"), data)
    else:
        made = _join(data[0], _constant(encoded + b"\0"), data[1])
    return made.fill_null(_constant(bytes([bson.NULL]) + encoded + b"\0")) if made.null_count else made


def document(elements: Sequence[Any], rows: int) -> Any:
    """Elements of each row as its document."""
    inner = _join(*elements) if elements else pa.array([b""] * rows, pa.binary())
    sizes = pc.add(pc.binary_length(inner), pa.scalar(5, pa.int32())).cast(pa.int32())
    return _join(_numbers(sizes, "<i4"), inner, _constant(b"\0"))


def nested(parts: Elements, rows: int) -> list[Any]:
    """Elements of documents whose fields' names are paths with dots: those of one beginning go into a document."""
    groups: dict[str, Elements] = {}
    for name, type_, data in parts:
        head, dot, rest = name.partition(".")
        plain = not dot or not head or not rest or ".." in name or name.endswith(".")
        groups.setdefault(name if plain else head, []).append((("" if plain else rest), type_, data))
    made = []
    for head, inside in groups.items():
        own = [(type_, data) for rest, type_, data in inside if not rest]
        if own and len(inside) > 1:
            raise CastError(f"{head!r} would be a value and a document at once", field=head)
        if own:
            made.append(named(head, *own[0]))
        else:
            made.append(named(head, bson.DOCUMENT, document(nested(inside, rows), rows)))
    return made


def flat(parts: Elements) -> list[Any]:
    """Elements whose names stay paths, as `$set` takes them."""
    return [named(name, type_, data) for name, type_, data in parts]


def key_of(parts: Elements, key: Sequence[str], rows: int) -> tuple[int, Any]:
    """The key as value of `_id`: the one value, or a document of several."""
    found = {name: (type_, data) for name, type_, data in parts}
    if len(key) == 1:
        return found[key[0]]
    return bson.DOCUMENT, document([named(name.replace(".", "·"), *found[name]) for name in key], rows)


def numbered(token: bytes, first: int, rows: int) -> tuple[int, Any]:
    """ObjectIds made of a token of eight bytes and a number that grows."""
    octets = np.empty((rows, 12), np.uint8)
    octets[:, :8] = np.frombuffer(token[:8], np.uint8)
    numbers = np.arange(first, first + rows, dtype=np.uint64).astype(">u4")
    octets[:, 8:] = numbers.view(np.uint8).reshape(rows, 4)
    found: Any = pa.Array.from_buffers(pa.binary(12), rows, [None, pa.py_buffer(octets.tobytes())])
    return bson.OBJECT_ID, found.cast(pa.binary())
