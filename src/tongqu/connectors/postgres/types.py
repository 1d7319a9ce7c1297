"""PostgreSQL types as Arrow types and back, and which types share one binary form.

Sources: PostgreSQL docs chapter 8 (data types) and the send/recv functions of each type in the backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.core.data import Meta

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_DECIMAL = 38

_PLAIN = {
    "boolean": "bool",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "oid": "int64",
    "real": "float32",
    "double precision": "float64",
    "text": "string",
    "character varying": "string",
    "character": "string",
    "name": "string",
    "bytea": "binary",
    "date": "date32",
    "time without time zone": "time64[us]",
    "timestamp without time zone": "timestamp[us]",
}
_INSTANT = "timestamp with time zone"

_LOGICAL = {"uuid": "uuid", "json": "json", "jsonb": "json", "interval": "interval", "xml": "xml", "money": "decimal"}

# Types whose binary form is the same in every PostgreSQL 12 to 18 and depends on no object of one database.
_PORTABLE = frozenset(
    (
        *_PLAIN, _INSTANT, *_LOGICAL, "numeric", "time with time zone", "inet", "cidr", "macaddr", "macaddr8", "bit",
        "bit varying", "point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "int4range",
        "int8range", "numrange", "tsrange", "tstzrange", "daterange", "pg_lsn",
    )
) - {"money", "oid"}  # fmt: skip
_TEXTS = frozenset({"text", "character varying", "name"})
_WIDER = {
    "smallint": ("integer", "bigint", "numeric", "real", "double precision"),
    "integer": ("bigint", "numeric", "double precision"),
    "bigint": ("numeric",),
    "real": ("double precision",),
    "date": ("timestamp without time zone",),
    "json": ("text", "jsonb"),
    "jsonb": ("text", "json"),
    "uuid": ("text", "character varying"),
    "inet": ("text",),
    "cidr": ("text", "inet"),
    "macaddr": ("text",),
}

_SHAPE = re.compile(r"^(?P<name>[^(\[]+)(?:\((?P<mods>[\d,\- ]+)\))?(?P<rest>[^\[(]*)(?P<array>(?:\[\])*)$")


class PgType:
    """A type name as format_type() prints it, taken apart: `character varying(32)[]`."""

    def __init__(self, text: str):
        found = _SHAPE.match(text)
        self.text = text
        self.array = bool(found and found["array"])
        self.name = (found["name"].strip() + (found["rest"] or "").rstrip() if found else text).lower()
        self.mods = tuple(int(part) for part in found["mods"].split(",")) if found and found["mods"] else ()

    @property
    def portable(self) -> bool:
        """Whether the binary form means the same in another database."""
        return self.name in _PORTABLE


def arrow_type(native: str, base: str | None = None) -> tuple[pa.DataType, str | None]:
    """The Arrow type and logical name of a PostgreSQL type; `base` is the kind if it is user-defined (`enum`)."""
    import pyarrow as pa

    kind = PgType(native)
    if kind.array:
        element, logical = arrow_type(native.removesuffix("[]"), base)
        return pa.list_(element), logical
    if kind.name == "numeric":
        precision, scale = (*kind.mods, 0)[:2] if kind.mods else (0, 0)
        if 1 <= precision <= _MAX_DECIMAL and 0 <= scale <= precision:
            return pa.decimal128(precision, scale), None
        return pa.string(), "decimal"
    if kind.name == _INSTANT:
        return pa.timestamp("us", "UTC"), None
    if kind.name in _PLAIN:
        alias: Any = pa.type_for_alias
        return alias(_PLAIN[kind.name]), None
    return pa.string(), _LOGICAL.get(kind.name, base or "text")


def field_of(name: str, native: str) -> pa.Field[Any]:
    """A column of this type as it is read; user-defined types count as text."""
    import pyarrow as pa

    kind, logical = arrow_type(native)
    metadata = {str(Meta.NATIVE): f"postgres:{native}"} | ({str(Meta.LOGICAL): logical} if logical else {})
    return pa.field(name, kind, metadata=metadata)


def native_type(field: pa.Field, types: Mapping[str, bool]) -> str:  # type: ignore[type-arg]  # any element type
    """The column type a new table gets for an arriving field.

    A field that comes from PostgreSQL keeps its own type, if it is portable or `types` (user types of the target
    database by name) has it; every other field gets the type that holds all its values.
    """
    meta = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    system, _, native = meta.get(Meta.NATIVE, "").partition(":")
    if system == "postgres" and native and keeps(native, types):
        return native
    return _from_arrow(field.type, meta.get(Meta.LOGICAL))


def keeps(native: str, types: Mapping[str, bool]) -> bool:
    """Whether a new table can have this type of another PostgreSQL database; `types` are its own user types."""
    kind = PgType(native)
    return kind.portable or kind.name in types


def _from_arrow(kind: pa.DataType, logical: str | None) -> str:
    import pyarrow as pa

    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and not pa.types.is_nested(kind.value_type):
        return _from_arrow(kind.value_type, logical) + "[]"  # of lists it could not keep those of different lengths
    if pa.types.is_nested(kind):
        return "jsonb"
    if pa.types.is_dictionary(kind):
        return _from_arrow(kind.value_type, logical)
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{max(kind.scale, 0)})"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp without time zone"
    if pa.types.is_time(kind):
        return "time without time zone"
    if pa.types.is_fixed_size_binary(kind):
        return "bytea"
    if logical is not None and _is_text(kind):
        return {"uuid": "uuid", "json": "jsonb", "decimal": "numeric", "interval": "interval", "xml": "xml"}.get(
            logical, "text"
        )
    return _BY_ARROW.get(str(kind), "text")


_BY_ARROW = {
    "bool": "boolean", "int8": "smallint", "int16": "smallint", "int32": "integer", "int64": "bigint",
    "uint8": "smallint", "uint16": "integer", "uint32": "bigint", "uint64": "numeric(20,0)", "float": "real",
    "halffloat": "real", "double": "double precision", "string": "text", "large_string": "text",
    "string_view": "text", "binary": "bytea", "large_binary": "bytea", "binary_view": "bytea", "date32[day]": "date",
    "date64[ms]": "date", "null": "text",
}  # fmt: skip


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def binary_fit(source: str, target: str) -> str | None:
    """What a source column of type `source` must be cast to so that its binary bytes load into `target`.

    The same type if they fit as they are; None if a cast could lose or refuse values (the columnar lane finds out
    row by row). Rounding by a type modifier counts as loss.
    """
    a, b = PgType(source), PgType(target)
    if a.array != b.array or not b.portable:
        return None
    if a.name == b.name:
        return source if a.portable and _mods_fit(a, b) else None
    if a.array:
        return target if not a.portable and b.name == "text" else None
    if a.name in _TEXTS and b.name in _TEXTS:
        return source
    if b.name in _WIDER.get(a.name, ()) and (not b.mods or b.name in _TEXTS):
        return target
    if (a.name, b.name, b.mods) in (("money", "numeric", ()), ("oid", "bigint", ())):
        return target
    return "text" if not a.portable and b.name == "text" else None


def text_fit(source: str, target: str) -> bool:
    """Whether the text form of a type goes into `target` exactly or is refused, never rounded."""
    a, b = PgType(source), PgType(target)
    if a.array or b.array or not b.portable:
        return False
    if a.name == b.name:
        return _mods_fit(a, b)
    if b.name in _TEXTS:
        return a.name != "bytea"
    if a.name in ("smallint", "integer", "bigint"):
        return b.name in _INTEGERS
    if a.name in _TEXTS:
        return b.name in ("uuid", "json", "jsonb")
    return {a.name, b.name} == {"json", "jsonb"}


def csv_fit(arrow: str, target: str) -> bool:
    """Whether text of an Arrow type (by its name) goes into `target` exactly or is refused, never rounded."""
    kind = PgType(target)
    if kind.array:
        return False
    if kind.name in _TEXTS:
        return True
    family = re.split(r"[(\[]", arrow)[0]
    if family == "decimal128":
        scale = int(arrow.rstrip(")").split(",")[1])
        return kind.name == "numeric" and (not kind.mods or (*kind.mods, 0)[1] >= scale)
    if family in ("timestamp", "time64"):
        wanted = ("timestamp with time zone" if "tz=" in arrow else "timestamp without time zone",)
        return kind.name in (wanted if family == "timestamp" else ("time without time zone",)) and not kind.mods
    return kind.name in _CSV.get(family, ())


_INTEGERS = ("smallint", "integer", "bigint", "numeric")
_CSV = {
    "bool": ("boolean",),
    "int8": _INTEGERS,
    "int16": _INTEGERS,
    "int32": _INTEGERS,
    "int64": _INTEGERS,
    "double": ("double precision",),
    "date32": ("date",),
    "string": ("uuid", "json", "jsonb", "boolean", "smallint", "integer", "bigint"),
}
"""The types that take the text of an Arrow type without rounding it."""


def _mods_fit(source: PgType, target: PgType) -> bool:
    if not target.mods or source.mods == target.mods:
        return True
    if source.name == "numeric":
        return bool(source.mods) and (*source.mods, 0)[1] <= (*target.mods, 0)[1]
    if source.name.startswith(("time", "interval")):
        return bool(source.mods) and source.mods[0] <= target.mods[0]
    return source.name in ("character varying", "character")
