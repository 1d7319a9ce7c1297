"""Which type conversions can never fail or change a value."""

from __future__ import annotations

import re
from typing import Any

from tongqu.core.arrow import pa
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


_FAMILIES = ("integer", "decimal", "float", "text", "binary")
_FLOAT_BITS = {"halffloat": 11, "float": 24, "double": 53}
_LENGTH = re.compile(r"(?:character varying|varchar|character|char|bpchar|nvarchar|nchar)\s*\(\s*(\d+)\s*\)")
_BYTES = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215}


def room(field: pa.Field[Any]) -> int | None:
    """The most characters that the system which `tongqu.native` names lets into a text column, or None.

    DuckDB and SQLite ignore lengths. MySQL counts the bytes of its TEXT types: four a character here.
    """
    system, _, native = metadata(field).get(Meta.NATIVE, "").partition(":")
    if system in ("sqlite", "duckdb", ""):
        return None
    native = native.lower()
    if system == "mysql" and (word := native.split(" ")[0]) in _BYTES:
        return _BYTES[word] // 4
    found = _LENGTH.match(native)
    return int(found[1]) if found else 1 if native in ("character", "char") else None


def holds(target: pa.Field[Any], arriving: pa.Field[Any]) -> bool:
    """Whether a column takes every value of an arriving field without changing it; lengths of texts count."""
    if always_fits(arriving, target):
        limit, most = room(target), room(arriving)
        if limit is None or not pa.types.is_string(target.type):
            return True
        if not pa.types.is_string(arriving.type):
            return limit >= 40  # the longest text form of a number, date or bool
        return most is not None and most <= limit
    digits, bits = integer_digits(arriving.type), _FLOAT_BITS.get(str(target.type), 0)
    if digits is not None and bits:
        return bool(arriving.type.bit_width - pa.types.is_signed_integer(arriving.type) < bits)
    return str(target.type) in _FLOAT_BITS and 0 < _FLOAT_BITS.get(str(arriving.type), 0) <= bits


def family(kind: pa.DataType) -> str:
    """The family of types in which a column can be widened without surprising who reads it; empty if it has none."""
    t = pa.types
    tests: tuple[Any, ...] = (t.is_integer, t.is_decimal, t.is_floating, t.is_string, t.is_binary)
    return next((name for name, test in zip(_FAMILIES, tests, strict=True) if test(kind)), "")


def widened(target: pa.Field[Any], arriving: pa.Field[Any]) -> pa.Field[Any] | None:
    """The field of the same family that holds every value of both, or None if there is none.

    Integers, decimals of any size and integers beside decimals, floats, texts of any length, integers that a float
    holds exactly. A number never becomes a text, a date never an instant: whoever reads the column would break.
    """
    if metadata(target).get(Meta.LOGICAL) != metadata(arriving).get(Meta.LOGICAL):
        return None
    families = {family(target.type), family(arriving.type)}
    floating = families == {"integer", "float"} and family(arriving.type) == "float"
    numbers = floating or families <= {"integer", "decimal"}
    if "" in families or not (len(families) == 1 or numbers):
        return None
    if holds(arriving, target):
        return arriving.with_nullable(True)
    found = _common(target.type, arriving.type)
    return None if found is None else pa.field(arriving.name, found, metadata=_without_native(arriving))


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    first, second = decimal_digits(one), decimal_digits(other)
    if first is None or second is None:
        return None
    if pa.types.is_integer(one) and pa.types.is_integer(other) and "uint64" not in (str(one), str(other)):
        return pa.int64()
    whole, scale = max(first[0], second[0]), max(first[1], second[1])
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None


def _without_native(field: pa.Field[Any]) -> dict[Any, Any] | None:
    return {key: value for key, value in (field.metadata or {}).items() if key != Meta.NATIVE.value.encode()} or None
