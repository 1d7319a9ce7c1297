"""Brings texts and plain values that callers give to the type of the field they are compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.meaning.fields import metadata

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,60}(\.[0-9]{0,60})?|\.[0-9]{1,60})([eE][+-]?[0-9]{1,3})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TRUTH = {"true": True, "t": True, "1": True, "yes": True, "on": True, "false": False, "f": False, "0": False,
          "no": False, "off": False}  # fmt: skip
_FLOATS = {"nan": math.nan, "infinity": math.inf, "+infinity": math.inf, "-infinity": -math.inf}
_DIGITS = 38
"""Of numbers that every database compares exactly."""


def family(field: pa.Field[Any]) -> str:
    """What kind of value a field holds: `int decimal float text bool date timestamp instant time binary uuid json list`
    or `other`, which can only be given."""
    kind = field.type
    logical = metadata(field).get(Meta.LOGICAL, "")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return {"": "text", "enum": "text", "uuid": "uuid", "json": "json", "decimal": "decimal"}.get(logical, "other")
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "timestamp"
    tests: Mapping[str, Any] = {
        "int": pa.types.is_integer, "decimal": pa.types.is_decimal, "float": pa.types.is_floating,
        "bool": pa.types.is_boolean, "date": pa.types.is_date, "time": pa.types.is_time, "list": pa.types.is_list,
    }  # fmt: skip
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    return next((name for name, holds in tests.items() if holds(kind)), "other")


def fitted(value: Any, field: pa.Field[Any], known: str = "") -> Any:
    """A text, or a JSON value, as a value of the field's type: int, Decimal, float, str, bool, date, datetime (aware
    for instants), time, bytes, or a list of them. None stays None. `known` is the field's family, if it is at hand.
    Raises ValueError, whose text names the type and not the value."""
    if value is None:
        return None
    kind = known or family(field)
    read = _READERS.get(kind)
    if read is None:
        raise ValueError(f"values of {field.type} cannot be compared")
    try:
        made = read(value, field)
    except (ValueError, InvalidOperation, OverflowError, TypeError):
        made = None
    if made is None:
        raise ValueError(f"it must be {_WORDS[kind]}")
    return made


_WORDS = {
    "int": "a whole number in the range of its field", "decimal": "a number", "float": "a number", "text": "text",
    "bool": "true or false", "date": "a date: 2026-01-31", "timestamp": "a time without zone: 2026-01-31T08:00:00",
    "instant": "a time with zone: 2026-01-31T08:00:00+08:00", "time": "a time of day: 08:00:00",
    "binary": r"\x and hex digits", "uuid": "a UUID", "list": "a list of values",
}  # fmt: skip


def _int(value: Any, field: pa.Field[Any]) -> int | None:
    if isinstance(value, Decimal) and value.adjusted() < _DIGITS and value == value.to_integral_value():
        value = int(value)  # 5.0 is a whole number in JSON
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and _WHOLE.fullmatch(value))):
        return None
    made = int(value)
    bits, signed = field.type.bit_width, pa.types.is_signed_integer(field.type)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return made if low <= made <= high else None


def _decimal(value: Any, field: pa.Field[Any]) -> Decimal | None:
    del field
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    text = repr(value) if isinstance(value, float) else str(value)
    if not _NUMBER.fullmatch(text):
        return None
    made = Decimal(text)
    sign, digits, exponent = made.as_tuple()
    del sign
    places = int(exponent)
    return made if max(len(digits), len(digits) + places, -places) <= _DIGITS else None


def _float(value: Any, field: pa.Field[Any]) -> float | None:
    del field
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if value.lower() in _FLOATS:
            return _FLOATS[value.lower()]
        made = float(value) if _NUMBER.fullmatch(value) else None
        return made if made is not None and math.isfinite(made) else None
    return float(value) if isinstance(value, int | float | Decimal) else None


def _text(value: Any, field: pa.Field[Any]) -> str | None:
    del field
    if not isinstance(value, str) or "\0" in value:
        return None
    value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return value


def _bool(value: Any, field: pa.Field[Any]) -> bool | None:
    del field
    return value if isinstance(value, bool) else _TRUTH.get(value.lower()) if isinstance(value, str) else None


def _date(value: Any, field: pa.Field[Any]) -> date | None:
    del field
    if isinstance(value, datetime):
        return None
    if isinstance(value, date):
        return value
    return date.fromisoformat(value) if isinstance(value, str) and _DAY.fullmatch(value) else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  as the field has it
    made = datetime.fromisoformat(value.replace(" ", "+") if " " in value[19:] else value)
    return made if _DAY.match(value) else None


def _timestamp(value: Any, field: pa.Field[Any]) -> datetime | None:
    del field
    made = _moment(value)
    return made if made is None or made.tzinfo is None else None


def _instant(value: Any, field: pa.Field[Any]) -> datetime | None:
    del field
    made = _moment(value)
    if made is None:
        return None
    return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)


def _time(value: Any, field: pa.Field[Any]) -> time | None:
    del field
    made = value if isinstance(value, time) else time.fromisoformat(value)
    return made if made.tzinfo is None else None


def _binary(value: Any, field: pa.Field[Any]) -> bytes | None:
    del field
    if isinstance(value, bytes):
        return value
    return bytes.fromhex(value[2:]) if value.startswith("\\x") and " " not in value else None


def _uuid(value: Any, field: pa.Field[Any]) -> str | None:
    del field
    return str(UUID(str(value)))


def _list(value: Any, field: pa.Field[Any]) -> list[Any] | None:
    inner = field.type.field(0)
    return [fitted(one, inner) for one in value] if isinstance(value, list | tuple) else None


_READERS = {
    "int": _int, "decimal": _decimal, "float": _float, "text": _text, "bool": _bool, "date": _date,
    "timestamp": _timestamp, "instant": _instant, "time": _time, "binary": _binary, "uuid": _uuid, "list": _list,
}  # fmt: skip
