"""One field for the values of several: the narrowest type that holds all of them, and what they mean together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.core.errors import InvalidPlanError
from tongqu.meaning.fields import metadata
from tongqu.meaning.widening import always_fits, decimal_digits

CLASSES = ("public", "internal", "personal", "sensitive", "secret")
"""Classes of fields, the least strict first."""

_WHOLE: tuple[pa.DataType, ...] = (
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
)  # fmt: skip
_NAMES = {
    "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "uint8": "UTINYINT",
    "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT", "double": "DOUBLE", "string": "VARCHAR",
}  # fmt: skip
_EXACT_DOUBLE = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float")


def joint(name: str, fields: Sequence[pa.Field[Any]]) -> pa.Field[Any]:
    """A nullable field that holds every value of all fields exactly. Numbers are widened (integers, decimals, small
    integers and floats to double); anything else must be of one type already.

    Title, owner and native type stay where all agree; the class is the strictest. Raises InvalidPlanError for kinds
    that do not go together, and for units that differ.
    """
    kind = fields[0].type if len({field.type for field in fields}) == 1 else _wider(fields)
    logical = {metadata(field).get(Meta.LOGICAL) for field in fields}
    if kind is None or len(logical) > 1:
        shown = ", ".join(_shown(field) for field in fields)
        raise InvalidPlanError(
            f"{name!r} would hold values of different kinds: {shown}", hint="cast them to one type before"
        )
    units = {metadata(field).get(Meta.UNIT) for field in fields}
    if len(units) > 1:
        shown = ", ".join(sorted(str(unit or "no unit") for unit in units))
        raise InvalidPlanError(f"{name!r} would hold values in different units: {shown}", hint="convert them before")
    first = metadata(fields[0])
    kept = {key: value for key, value in first.items() if all(metadata(f).get(key) == value for f in fields)}
    if kind != fields[0].type or any(field.type != kind for field in fields):
        kept.pop(Meta.NATIVE, None)
    kept.pop(Meta.CLASS, None)
    if found := strictest(fields):
        kept[Meta.CLASS] = found
    return pa.field(name, kind, metadata=dict(kept) or None)


def strictest(fields: Sequence[pa.Field[Any]]) -> str | None:
    """The strictest class of the fields, or None if none has one."""
    found = [metadata(field)[Meta.CLASS] for field in fields if Meta.CLASS in metadata(field)]
    return max(found, key=lambda c: CLASSES.index(c) if c in CLASSES else len(CLASSES), default=None)


def comparable(kind: pa.DataType) -> str:
    """What values of the type can be compared with: types with the same word are compared by value."""
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_floating(kind):
        return "float"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return "text"
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "timestamp"
    return str(kind)


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of a type that `joint` widens to."""
    if isinstance(kind, pa.Decimal128Type):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return _NAMES[str(kind)]


def _wider(fields: Sequence[pa.Field[Any]]) -> pa.DataType | None:
    kinds = [field.type for field in fields]
    if all(comparable(kind) == "text" for kind in kinds):
        return pa.string()
    if all(comparable(kind) == "number" for kind in kinds):
        return _number(fields)
    if all(str(kind) in (*_EXACT_DOUBLE, "double") for kind in kinds):
        return pa.float64()
    return None


def _number(fields: Sequence[pa.Field[Any]]) -> pa.DataType | None:
    plain = [pa.field("v", field.type) for field in fields]
    for kind in _WHOLE:
        if all(always_fits(field, pa.field("v", kind)) for field in plain):
            return kind
    digits = [decimal_digits(field.type) for field in fields]
    if any(found is None for found in digits):
        return None
    whole, scale = (max(found[side] for found in digits if found) for side in (0, 1))
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None


def _shown(field: pa.Field[Any]) -> str:
    logical = metadata(field).get(Meta.LOGICAL)
    return f"{field.type} ({logical})" if logical else str(field.type)
