"""DuckDB's types as Arrow types, and the other way round."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.connectors.duckdb.db import quoted
from tongqu.core.data import Meta


@dataclass(frozen=True)
class Kind:
    """How a column is read: its Arrow type, what strings stand for, and the cast that makes DuckDB give that type."""

    type: pa.DataType
    logical: str | None = None
    cast: str | None = None


_PLAIN: dict[str, Kind] = {
    "BOOLEAN": Kind(pa.bool_()),
    "TINYINT": Kind(pa.int8()),
    "SMALLINT": Kind(pa.int16()),
    "INTEGER": Kind(pa.int32()),
    "BIGINT": Kind(pa.int64()),
    "UTINYINT": Kind(pa.uint8()),
    "USMALLINT": Kind(pa.uint16()),
    "UINTEGER": Kind(pa.uint32()),
    "UBIGINT": Kind(pa.uint64()),
    "FLOAT": Kind(pa.float32()),
    "DOUBLE": Kind(pa.float64()),
    "VARCHAR": Kind(pa.string()),
    "BLOB": Kind(pa.binary()),
    "DATE": Kind(pa.date32()),
    "TIME": Kind(pa.time64("us")),
    "TIMESTAMP": Kind(pa.timestamp("us")),
    "TIMESTAMP_S": Kind(pa.timestamp("us"), None, "TIMESTAMP"),
    "TIMESTAMP_MS": Kind(pa.timestamp("us"), None, "TIMESTAMP"),
    "TIMESTAMP_NS": Kind(pa.timestamp("ns")),
    "TIMESTAMP WITH TIME ZONE": Kind(pa.timestamp("us", "UTC")),
    "UUID": Kind(pa.string(), "uuid", "VARCHAR"),
    "JSON": Kind(pa.string(), "json", "VARCHAR"),
    "HUGEINT": Kind(pa.string(), "decimal", "VARCHAR"),
    "UHUGEINT": Kind(pa.string(), "decimal", "VARCHAR"),
    "BIGNUM": Kind(pa.string(), "decimal", "VARCHAR"),
    "INTERVAL": Kind(pa.string(), "interval", "VARCHAR"),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def kind_of(native: str) -> Kind:
    """How a column of DuckDB's type is read; what Arrow lacks comes as text, nested oddities as JSON."""
    if native in _PLAIN:
        return _PLAIN[native]
    found = _DECIMAL.fullmatch(native)
    if found:
        return Kind(pa.decimal128(int(found[1]), int(found[2])))
    if native.endswith("[]"):
        inner = kind_of(native[:-2])
        if inner.logical != "json" or inner.cast is None:
            return Kind(pa.list_(inner.type), None, f"{inner.cast}[]" if inner.cast else None)
    if native.startswith("ENUM("):
        return Kind(pa.string(), "enum", "VARCHAR")
    if native.endswith("]") or native.startswith(("STRUCT(", "MAP(")):
        return Kind(pa.string(), "json", "JSON")
    return Kind(pa.string(), "text", "VARCHAR")


def field_of(name: str, native: str) -> pa.Field[Any]:
    """A column of this type as it is read."""
    kind = kind_of(native)
    metadata = {str(Meta.NATIVE): f"duckdb:{native}"} | ({str(Meta.LOGICAL): kind.logical} if kind.logical else {})
    return pa.field(name, kind.type, metadata=metadata)


def same_type(one: str, other: str) -> bool:
    """Whether two spellings are one type."""
    spelt = [
        re.sub(r",\s+", ",", text.upper()).replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for text in (one, other)
    ]
    return spelt[0] == spelt[1]


def selected(name: str, kind: Kind) -> str:
    """The expression that reads a column in its kind."""
    column = quoted(name)
    if kind.cast == "JSON":
        return f"CAST(to_json({column}) AS VARCHAR) AS {column}"
    return column if kind.cast is None else f"CAST({column} AS {kind.cast}) AS {column}"


_NATIVE = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int8, "TINYINT"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INTEGER"),
    (pa.types.is_int64, "BIGINT"),
    (pa.types.is_uint8, "UTINYINT"),
    (pa.types.is_uint16, "USMALLINT"),
    (pa.types.is_uint32, "UINTEGER"),
    (pa.types.is_uint64, "UBIGINT"),
    (lambda type_: pa.types.is_float16(type_) or pa.types.is_float32(type_), "FLOAT"),
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
_LOGICAL = {"uuid": "UUID", "json": "JSON"}


def declaration(field: pa.Field[Any]) -> str:
    """The type of a new column: the source's own if it is DuckDB's, else one that loses nothing."""
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    system, _, native = metadata.get(Meta.NATIVE, "").partition(":")
    return native if system == "duckdb" and native else native_type(field.type, metadata.get(Meta.LOGICAL))


def native_type(type_: pa.DataType, logical: str | None = None) -> str:
    """DuckDB's type for an Arrow type."""
    t = pa.types
    if t.is_dictionary(type_):
        return native_type(type_.value_type, logical)
    if t.is_decimal(type_):
        fits = type_.precision <= 38 and 0 <= type_.scale <= type_.precision
        return f"DECIMAL({type_.precision},{type_.scale})" if fits else "VARCHAR"
    if t.is_timestamp(type_):
        return "TIMESTAMPTZ" if type_.tz else "TIMESTAMP_NS" if type_.unit == "ns" else "TIMESTAMP"
    if t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_):
        return f"{native_type(type_.value_type)}[]"
    if t.is_struct(type_):
        parts = (type_.field(number) for number in range(type_.num_fields))
        return f"STRUCT({', '.join(f'{quoted(part.name)} {native_type(part.type)}' for part in parts)})"
    if t.is_map(type_):
        return f"MAP({native_type(type_.key_type)}, {native_type(type_.item_type)})"
    for test, name in _NATIVE:
        if test(type_):
            return name
    return _LOGICAL.get(logical or "", "VARCHAR")
