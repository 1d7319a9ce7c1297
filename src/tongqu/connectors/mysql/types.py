"""MySQL's types in Arrow and back, and the names PostgreSQL's COPY would give them.

TIME is read as a time of day: values outside 00:00 to 24:00 (MySQL allows 838 hours, also negative) are bad rows.
DATETIME is naive; TIMESTAMP is an instant in UTC. BIT(1) is a boolean, wider bits an unsigned number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta

_INTS = {"tinyint": 8, "smallint": 16, "mediumint": 32, "int": 32, "integer": 32, "bigint": 64}
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_SPATIAL = frozenset({"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
                      "geometrycollection", "geomcollection"})  # fmt: skip
"""Read and written as the server keeps them: 4 bytes of the reference system, then well-known binary."""
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}) | _SPATIAL
_LOGICAL = {"enum": "enum", "set": "text", "uuid": "uuid", "inet4": "text", "inet6": "text", "json": "json"}
INTEGERS = frozenset(_INTS)
_KEY_CHARS = 190


@dataclass(frozen=True)
class Native:
    """A column type as the server prints it: `decimal(10,2) unsigned` → name, arguments, unsigned."""

    name: str
    arguments: tuple[int, ...] = ()
    unsigned: bool = False

    @classmethod
    def parse(cls, text: str) -> Native:
        """From a COLUMN_TYPE or our own DDL, character set and collation included."""
        found = re.match(r"\s*([a-z0-9_]+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?(.*)", text.lower(), re.DOTALL)
        if found is None:
            return cls(text.lower())
        name = {"integer": "int", "dec": "decimal", "numeric": "decimal", "real": "double"}.get(found[1], found[1])
        return cls(name, tuple(int(n) for n in found.groups()[1:3] if n is not None), "unsigned" in found[4])

    @property
    def digits(self) -> int:
        """Digits of a second's fraction."""
        return self.arguments[0] if self.arguments and self.name in ("time", "datetime", "timestamp") else 0


def is_text(native: Native) -> bool:
    """Whether values have a character set."""
    return native.name in _TEXTS or native.name in ("enum", "set")


def is_bytes(native: Native) -> bool:
    """Whether values are plain bytes."""
    return native.name in _BYTES


def arrow_type(native: Native, *, json: bool = False) -> tuple[pa.DataType, str | None] | None:
    """Arrow's type and the logical type, or None for types that cannot be read (vectors)."""
    name = native.name
    logical = "json" if json else _LOGICAL.get(name)
    if name in _INTS:
        bits = _INTS[name]
        return getattr(pa, f"{'u' if native.unsigned else ''}int{bits}")(), None
    if name == "year":
        return pa.int16(), None
    if name == "decimal":
        precision, scale = (*native.arguments, 0, 0)[:2] if native.arguments else (10, 0)
        return (pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)), None
    if name in _TEXTS or name in _LOGICAL:
        return pa.string(), logical
    if name in _BYTES:
        return pa.binary(), None
    if name == "bit":
        return (pa.uint64() if (native.arguments or (1,))[0] > 1 else pa.bool_()), None
    simple: dict[str, pa.DataType] = {
        "float": pa.float32(),
        "double": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "datetime": pa.timestamp("us"),
        "timestamp": pa.timestamp("us", "UTC"),
    }
    return (simple[name], None) if name in simple else None


def field_of(name: str, native: str) -> pa.Field[Any]:
    """A column of this type as it is read; types that cannot be read have no values (`null`)."""
    kind = arrow_type(Native.parse(native), json=native.lower() == "json") or (pa.null(), None)
    metadata = {str(Meta.NATIVE): f"mysql:{native}"} | ({str(Meta.LOGICAL): kind[1]} if kind[1] else {})
    return pa.field(name, kind[0], metadata=metadata)


def same_type(one: str, other: str) -> bool:
    """Whether two types hold the same values: display widths, character sets and collations do not count."""
    first, second = Native.parse(one), Native.parse(other)
    if first.name in INTEGERS and first != second:
        wide = (first.arguments == (1,)) != (second.arguments == (1,)) and first.name == "tinyint"
        return (first.name, first.unsigned) == (second.name, second.unsigned) and not wide
    return first == second


def wire_type(native: Native, *, json: bool = False) -> str:
    """The PostgreSQL type whose COPY text the source writes for a column."""
    name = native.name
    if name in _INTS:
        wide = {8: "smallint", 16: "integer", 32: "bigint", 64: "numeric(20,0)"}
        narrow = {8: "smallint", 16: "smallint", 32: "integer", 64: "bigint"}
        return (wide if native.unsigned else narrow)[_INTS[name]]
    if name == "decimal":
        precision, scale = (*native.arguments, 0)[:2] if native.arguments else (10, 0)
        return f"numeric({precision},{scale})"
    if name == "bit":
        return "boolean" if (native.arguments or (1,))[0] == 1 else "numeric(20,0)"
    plain = {
        "year": "smallint",
        "float": "real",
        "double": "double precision",
        "date": "date",
        "time": "time without time zone",
        "datetime": "timestamp without time zone",
        "timestamp": "timestamp with time zone",
        "uuid": "uuid",
    }
    if is_bytes(native):
        return "bytea"
    return "json" if json or name == "json" else plain.get(name, "text")


def arrow_wire_type(kind: pa.DataType) -> str:
    """The PostgreSQL type for the text of a pushed-down expression that yields `kind`."""
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return f"timestamp {'with' if kind.tz else 'without'} time zone"
    plain = {
        "bool": "boolean",
        "int8": "smallint",
        "uint8": "smallint",
        "int16": "smallint",
        "uint16": "integer",
        "int32": "integer",
        "uint32": "bigint",
        "int64": "bigint",
        "uint64": "numeric(20,0)",
        "float": "real",
        "double": "double precision",
        "date32[day]": "date",
        "time64[us]": "time without time zone",
        "binary": "bytea",
    }
    return plain.get(str(kind), "text")


def column_type(field: pa.Field[Any], *, key: bool, exact: str) -> str:
    """The DDL type for an arriving field. `exact` is the collation for keys: distinct keys must stay distinct.

    Instants become DATETIME(6) in UTC, because TIMESTAMP ends in 2038; a MySQL source's own types are kept.
    """
    meta = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    system, _, native = meta.get(Meta.NATIVE, "").partition(":")
    if system == "mysql" and native and not (key and not indexable(native)):
        return native
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    found = _number(kind) or _moment(kind)
    if found is not None:
        return found
    if is_binary(kind):
        return f"varbinary({_KEY_CHARS * 4})" if key else "longblob"
    return _text(kind, meta, native, f" CHARACTER SET utf8mb4 COLLATE {exact}" if key else "", key=key)


def _text(kind: pa.DataType, meta: Mapping[str, str], native: str, collate: str, *, key: bool) -> str:
    logical = meta.get(Meta.LOGICAL)
    if logical == "uuid":
        return "char(36) CHARACTER SET ascii" + (" COLLATE ascii_bin" if key else "")
    if logical == "decimal" and not key:
        return "decimal(65,30)"
    if pa.types.is_nested(kind) or (logical == "json" and not key):
        return "json"
    bounded = re.match(r"(?:character varying|varchar|n?varchar2?|character|bpchar)\((\d+)\)", native)
    if bounded and 0 < int(bounded[1]) <= _KEY_CHARS:
        return f"varchar({bounded[1]}){collate}"
    return f"varchar({_KEY_CHARS}){collate}" if key else "longtext"


def _number(kind: pa.DataType) -> str | None:
    names = {"int8": "tinyint", "int16": "smallint", "int32": "int", "int64": "bigint"}
    text = str(kind)
    if pa.types.is_boolean(kind):
        return "tinyint(1)"
    if text.removeprefix("u") in names:
        return names[text.removeprefix("u")] + (" unsigned" if text.startswith("u") else "")
    if pa.types.is_floating(kind):
        return "double" if text == "double" else "float"
    if pa.types.is_decimal(kind):
        scale = max(kind.scale, 0)
        precision = max(kind.precision - min(kind.scale, 0), scale, 1)
        return f"decimal({precision},{scale})" if precision <= 65 and scale <= 30 else "longtext"
    return "bigint" if pa.types.is_duration(kind) else None


def _moment(kind: pa.DataType) -> str | None:
    digits = {"s": "", "ms": "(3)"}.get(getattr(kind, "unit", ""), "(6)")
    if pa.types.is_timestamp(kind):
        return f"datetime{digits}"
    if pa.types.is_time(kind):
        return f"time{digits}"
    return "date" if pa.types.is_date(kind) else None


def is_binary(kind: pa.DataType) -> bool:
    """Whether Arrow values of this type are plain bytes, in any of the layouts."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def indexable(text: str) -> bool:
    """Whether a whole column of this type can be in an index."""
    name = Native.parse(text).name
    return not (name == "json" or name in _SPATIAL or name.endswith(("text", "blob")))
