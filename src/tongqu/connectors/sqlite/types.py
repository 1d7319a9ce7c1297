"""SQLite's declared types as Arrow types, and the other way round.

SQLite stores any value anywhere; the declaration only gives a column its affinity (https://sqlite.org/datatype3.html
§3.1). We write declarations whose affinity keeps our values exact, and from which this module recovers the Arrow
type: numbers that NUMERIC would round go into `DECIMAL_TEXT(p,s)` and `UNSIGNED64_TEXT`, both of TEXT affinity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from tongqu.core.data import Meta

INSTANT = pa.timestamp("us", "UTC")
LOCAL = pa.timestamp("us")
TIME = pa.time64("us")
EXACT_DIGITS = 15
"""Decimal digits that survive SQLite's REAL."""


@dataclass(frozen=True)
class Kind:
    """What a column holds: an Arrow type, and `tongqu.logical` where strings stand for something else."""

    type: pa.DataType
    logical: str | None = None


_NAMED: dict[str, Kind] = {
    **dict.fromkeys(("BOOLEAN", "BOOL"), Kind(pa.bool_())),
    "DATE": Kind(pa.date32()),
    **dict.fromkeys(("DATETIME", "TIMESTAMP", "TIMESTAMP WITHOUT TIME ZONE"), Kind(LOCAL)),
    **dict.fromkeys(("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "DATETIMEOFFSET"), Kind(INSTANT)),
    **dict.fromkeys(("TIME", "TIME WITHOUT TIME ZONE"), Kind(TIME)),
    **dict.fromkeys(("JSON", "JSONB", "JSON_TEXT"), Kind(pa.string(), "json")),
    **dict.fromkeys(("UUID", "GUID", "UNIQUEIDENTIFIER"), Kind(pa.string(), "uuid")),
    "FLOAT4": Kind(pa.float32()),
    "UNSIGNED64_TEXT": Kind(pa.uint64()),
}
_DECIMALS = {"DECIMAL", "NUMERIC", "DEC", "NUMBER", "DECIMAL_TEXT"}
_DECLARED = re.compile(r"\s*([^()]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*([^()]*)")


def affinity(declared: str) -> str:
    """SQLite's own rule: the first of these that the declaration contains decides."""
    upper = declared.upper()
    if "INT" in upper:
        return "INTEGER"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in upper or not upper.strip():
        return "BLOB"
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def kind_of(declared: str) -> Kind | None:
    """What a declaration promises; None if it promises nothing (no type, or an unknown name of NUMERIC affinity)."""
    found = _DECLARED.fullmatch(declared)
    name, precision, scale, after = found.groups() if found else (declared, None, None, "")
    name = " ".join(f"{name} {after}".upper().split())
    if name in _NAMED:
        return _NAMED[name]
    if name in _DECIMALS:
        return _decimal(precision, scale)
    if not declared.strip():
        return None
    by_affinity = {
        "INTEGER": Kind(pa.int64()),
        "TEXT": Kind(pa.string()),
        "BLOB": Kind(pa.binary()),
        "REAL": Kind(pa.float64()),
    }
    return by_affinity.get(affinity(declared))


def field_of(name: str, native: str) -> pa.Field:  # type: ignore[type-arg]  # Field is generic only in the stubs
    """A column of this declaration as it is read; one that promises nothing is text."""
    kind = kind_of(native) or Kind(pa.string())
    metadata = {str(Meta.NATIVE): f"sqlite:{native}"} | ({str(Meta.LOGICAL): kind.logical} if kind.logical else {})
    return pa.field(name, kind.type, metadata=metadata)


def converted(column: str, old: str, new: str) -> str | None:
    """The expression that brings stored values (the quoted column) to what a wider declaration stores, or None if they
    stay as they are."""
    before, after = affinity(old), affinity(new)
    if before == after or (before, after) == ("INTEGER", "NUMERIC"):
        return None
    kind = kind_of(old)
    if after == "TEXT" and kind is not None and pa.types.is_decimal(kind.type):
        return f"printf('%.{kind.type.scale}f', {column})"
    return f"CAST({column} AS {after})"


def _decimal(precision: str | None, scale: str | None) -> Kind:
    digits, places = int(precision or 0), int(scale or 0)
    if not 0 < digits <= 76 or places > digits:
        return Kind(pa.string(), "decimal")
    return Kind(pa.decimal128(digits, places) if digits <= 38 else pa.decimal256(digits, places))


def declaration(field: pa.Field) -> str:  # type: ignore[type-arg]  # Field is generic only in the stubs
    """The declaration for a new column: the source's own if it is SQLite's and exact, else one that loses nothing."""
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    system, _, native = metadata.get(Meta.NATIVE, "").partition(":")
    exact = not pa.types.is_decimal(field.type) or field.type.precision <= EXACT_DIGITS
    if system == "sqlite" and native and exact:
        return native
    return _declared(field.type, metadata.get(Meta.LOGICAL))


def _declared(type_: pa.DataType, logical: str | None) -> str:
    t = pa.types
    if t.is_dictionary(type_):
        return _declared(type_.value_type, logical)
    if t.is_decimal(type_):
        name = "DECIMAL" if type_.precision <= EXACT_DIGITS else "DECIMAL_TEXT"
        return f"{name}({type_.precision},{type_.scale})" if 0 <= type_.scale <= type_.precision else "DECIMAL_TEXT"
    if t.is_timestamp(type_):
        return "DATETIME" if type_.tz is None else "TIMESTAMPTZ"
    if t.is_nested(type_):
        return "JSON_TEXT"
    for test, name in _SIMPLE:
        if test(type_):
            return name
    return {"uuid": "UUID", "json": "JSON_TEXT", "decimal": "DECIMAL_TEXT"}.get(logical or "", "TEXT")


_SIMPLE = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_uint64, "UNSIGNED64_TEXT"),
    (pa.types.is_int8, "TINYINT"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INT"),
    (pa.types.is_integer, "BIGINT"),
    (lambda type_: pa.types.is_float16(type_) or pa.types.is_float32(type_), "FLOAT4"),
    (pa.types.is_floating, "DOUBLE"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (
        lambda type_: (
            pa.types.is_binary(type_)
            or pa.types.is_large_binary(type_)
            or pa.types.is_fixed_size_binary(type_)
            or pa.types.is_binary_view(type_)
        ),
        "BLOB",
    ),
)
