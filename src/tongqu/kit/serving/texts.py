"""Arrow columns as texts: the JSON token and the plain text of every value, made by Arrow's kernels.

The forms are those of `core.server.Page`: decimals and integers exact, shortest floats, ISO 8601, `\\x` for binary.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.data import Meta

_ESCAPED = r'["\\\x00-\x1f]'
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UNFINITE = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def logical(field: pa.Field[Any]) -> str:
    """What the texts of a column stand for, `tongqu.logical`; empty for texts themselves."""
    return (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"").decode()


def column(data: pa.ChunkedArray[Any] | pa.Array[Any]) -> pa.Array[Any]:
    """One array of plain type: chunks joined, dictionaries, extensions and large or view strings resolved."""
    array: Any = data.combine_chunks() if isinstance(data, pa.ChunkedArray) else data
    t = pa.types
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if t.is_dictionary(array.type):
        array = array.dictionary_decode()
    if t.is_large_string(array.type) or t.is_string_view(array.type):
        array = array.cast(pa.string())
    elif t.is_large_binary(array.type) or t.is_binary_view(array.type) or t.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    plain: pa.Array[Any] = array
    return plain


def plain_texts(array: pa.Array[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    """Each value as text without quotes, null as null; nested ones as JSON."""
    t, kind = pa.types, array.type
    if t.is_string(kind):
        return array
    if t.is_null(kind):
        return array.cast(pa.string())
    if t.is_boolean(kind) or t.is_integer(kind):
        return array.cast(pa.string())
    if t.is_decimal(kind):
        return _decimals(array)
    if t.is_floating(kind):
        return _floats(array)
    if t.is_date(kind):
        return array.cast(pa.date32()).cast(pa.string())
    if t.is_timestamp(kind) or t.is_time(kind):
        return _moments(array)
    made = (None if value is None else _nested_text(value) for value in values(array, field))
    return pa.array(list(made), pa.string())


def json_tokens(array: pa.Array[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    """Each value as a JSON token, null as null."""
    t, kind = pa.types, array.type
    plain_array = plain_texts(array, field)
    texts: Any = plain_array
    if t.is_integer(kind) or t.is_decimal(kind) or t.is_boolean(kind) or t.is_null(kind) or t.is_nested(kind):
        return plain_array
    if t.is_floating(kind):
        words: Any = pc.is_in(texts, value_set=pa.array(["NaN", "Infinity", "-Infinity"]))
        return _joined(texts, words) if pc.any(words).as_py() else texts
    meaning = logical(field) if t.is_string(kind) else ""
    if meaning in ("json", "decimal"):
        check = json_text if meaning == "json" else number_text
        return pa.array([None if text is None else check(text) for text in texts.to_pylist()], pa.string())
    if (t.is_string(kind) or t.is_binary(kind)) and pc.any(pc.match_substring_regex(texts, _ESCAPED)).as_py():
        quoted = [None if text is None else orjson.dumps(text).decode() for text in texts.to_pylist()]
        return pa.array(quoted, pa.string())
    return _joined(texts)


def _joined(texts: Any, only: Any = None) -> pa.Array[Any]:
    quoted: Any = pc.binary_join_element_wise('"', texts, '"', "")
    found: pa.Array[Any] = quoted if only is None else pc.if_else(only, quoted, texts)
    return found


def number_text(text: str) -> str:
    """The token of a number that travels as text; what is no JSON number (`NaN`, `+1`, `.5`) as a quoted text."""
    return text if _NUMBER.fullmatch(text) else orjson.dumps(text).decode()


def json_text(text: str) -> str:
    """The token of a JSON document that travels as text; what is none becomes a JSON text, so that no stored text can
    break out of the answer."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.dumps(text).decode()
    return text


def values(array: pa.Array[Any], field: pa.Field[Any]) -> list[Any]:
    """Each value as a plain JSON value: decimals as `Decimal`, so that no digit is lost."""
    t, kind = pa.types, array.type
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_decimal(kind) or t.is_null(kind):
        return array.to_pylist()
    if t.is_floating(kind):
        return [plain(value) for value in _widened(array).to_pylist()]
    if t.is_string(kind):
        texts = array.to_pylist()
        meaning = logical(field)
        if meaning == "json":
            return [None if text is None else parsed(text) for text in texts]
        if meaning == "decimal":
            return [Decimal(text) if text is not None and _NUMBER.fullmatch(text) else text for text in texts]
        return texts
    if t.is_binary(kind):
        return [None if value is None else f"\\x{value.hex()}" for value in array.to_pylist()]
    if t.is_temporal(kind) and not t.is_duration(kind) and not t.is_interval(kind):
        return plain_texts(array, field).to_pylist()
    return [plain(value) for value in _listed(array)]


def _listed(array: Any) -> list[Any]:
    """Nested values; lists of floats of 32 bits keep the digits they have."""
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        inner = column(array.flatten())
        flat = values(inner, array.type.value_field)
        lengths: Any = pc.list_value_length(array)
        found: list[Any] = []
        start = 0
        for length in lengths.to_pylist():
            found.append(None if length is None else flat[start : start + length])
            start += length or 0
        return found
    if pa.types.is_struct(array.type):
        names = [array.type.field(number).name for number in range(array.type.num_fields)]
        parts = [values(column(part), array.type.field(number)) for number, part in enumerate(array.flatten())]
        rows = zip(array.is_valid().to_pylist(), *parts, strict=True)
        return [dict(zip(names, row[1:], strict=True)) if row[0] else None for row in rows]
    listed: list[Any] = array.to_pylist()
    if pa.types.is_map(array.type):
        return [None if pairs is None else {str(k): v for k, v in pairs} for pairs in listed]
    return listed


def parsed(text: str) -> Any:
    """A JSON text as values, its fractions as `Decimal`; a text that is no JSON as itself."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=str)
    except ValueError:
        return text


def plain(value: Any) -> Any:
    """A Python value of any driver as a plain JSON value (decimals stay `Decimal`)."""
    if isinstance(value, float):
        return _UNFINITE.get(str(value), value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"\\x{bytes(value).hex()}"
    if isinstance(value, datetime | time):
        return _iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if value is None or isinstance(value, str | int | Decimal):
        return value
    return str(value)


def _iso(value: datetime | time) -> str:
    whole, dot, rest = value.isoformat().partition(".")
    digits, zone = (rest[:6], rest[6:]) if dot else ("", "")
    digits = digits.rstrip("0")
    return f"{whole}.{digits}{zone}" if digits else f"{whole}{zone}"


def dumps(value: Any) -> bytes:
    """Plain JSON values as bytes; a `Decimal` and an integer of any size keep all their digits."""
    try:
        return orjson.dumps(value, default=_digits)
    except TypeError:  # an integer beyond 64 bits somewhere inside
        return orjson.dumps(_fragments(value), default=_digits)


def _digits(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f")) if value.is_finite() else str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _fragments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fragments(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_fragments(part) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value))
    return value


def _nested_text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def _decimals(array: pa.Array[Any]) -> pa.Array[Any]:
    """Plain digits: Arrow writes small numbers as `1E-8`."""
    texts: Any = array.cast(pa.string())
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        found: pa.Array[Any] = texts
        return found
    return pa.array([None if value is None else format(value, "f") for value in array.to_pylist()], pa.string())


def _floats(array: pa.Array[Any]) -> pa.Array[Any]:
    texts: Any = (array.cast(pa.float32()) if pa.types.is_float16(array.type) else array).cast(pa.string())
    for arrow, ours in _UNFINITE.items():
        texts = pc.if_else(pc.equal(texts, pa.scalar(arrow)), ours, texts)
    found: pa.Array[Any] = texts
    return found


def _widened(array: pa.Array[Any]) -> pa.Array[Any]:
    """Doubles whose shortest text is that of the narrower floats."""
    if pa.types.is_float64(array.type):
        return array
    return array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())


def _moments(array: pa.Array[Any]) -> pa.Array[Any]:
    """Times and timestamps: `2026-01-02T03:04:05.1+00:00`, fractions without the zeros at their end."""
    kind: Any = array.type
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    plain_array: Any = array.view(pa.timestamp(kind.unit)) if zoned else array
    texts: Any = plain_array.cast(pa.string())
    if kind.unit != "s":
        texts = pc.replace_substring_regex(texts, r"\.?0*$", "")
    if pa.types.is_timestamp(kind):
        texts = pc.replace_substring(texts, " ", "T")
    found: pa.Array[Any] = pc.binary_join_element_wise(texts, "+00:00", "") if zoned else texts
    return found
