"""Which type conversions can never fail or change a value."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.meaning.fields import metadata

_DIGITS = {"int8": 3, "int16": 5, "int32": 10, "int64": 19, "uint8": 3, "uint16": 5, "uint32": 10, "uint64": 20}
_WIDER = {
    "int8": ("int16", "int32", "int64"),
    "int16": ("int32", "int64"),
    "int32": ("int64",),
    "uint8": ("int16", "int32", "int64", "uint16", "uint32", "uint64"),
    "uint16": ("int32", "int64", "uint32", "uint64"),
    "uint32": ("int64", "uint64"),
}
_TEXT_FORM = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "date32[day]")


def integer_digits(kind: pa.DataType) -> int | None:
    """The most decimal digits an integer type has, or None for other types."""
    return _DIGITS.get(str(kind))


def decimal_digits(kind: pa.DataType) -> tuple[int, int] | None:
    """Digits before and after the point of an integer or decimal type, or None for other types."""
    if isinstance(kind, pa.Decimal128Type):
        return kind.precision - kind.scale, kind.scale
    digits = integer_digits(kind)
    return None if digits is None else (digits, 0)


def always_fits(old: pa.Field[Any], new: pa.Field[Any]) -> bool:
    """Whether every value of the old field is exactly a value of the new one."""
    before, after = str(old.type), str(new.type)
    if metadata(new).get(Meta.LOGICAL) != metadata(old).get(Meta.LOGICAL) and Meta.LOGICAL in metadata(new):
        return False
    if before == after or after in _WIDER.get(before, ()):
        return True
    if pa.types.is_string(new.type):
        return before in _TEXT_FORM or pa.types.is_decimal(old.type)
    if pa.types.is_decimal(new.type):
        room = new.type.precision - new.type.scale
        if pa.types.is_decimal(old.type):
            return bool(old.type.scale <= new.type.scale and old.type.precision - old.type.scale <= room)
        digits = integer_digits(old.type)
        return digits is not None and digits <= room
    return False
