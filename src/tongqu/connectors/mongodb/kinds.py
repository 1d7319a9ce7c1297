"""What each BSON type becomes as a column, and what a field becomes whose values are of several types."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

import pyarrow as pa

from tongqu.connectors.mongodb import walking as bson
from tongqu.core.data import Meta

SYSTEM = "mongodb"


class Kind(StrEnum):
    """How the values of a field are held in a column."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    DECIMAL = "decimal"
    STRING = "string"
    OBJECT_ID = "objectId"
    UUID = "uuid"
    BINARY = "binary"
    DATE = "date"
    TIMESTAMP = "timestamp"
    JSON = "json"


TYPES: dict[Kind, pa.DataType] = {
    Kind.BOOL: pa.bool_(),
    Kind.INT: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.DECIMAL: pa.string(),
    Kind.STRING: pa.string(),
    Kind.OBJECT_ID: pa.string(),
    Kind.UUID: pa.string(),
    Kind.BINARY: pa.binary(),
    Kind.DATE: pa.timestamp("ms", "UTC"),
    Kind.TIMESTAMP: pa.uint64(),
    Kind.JSON: pa.string(),
}
_LOGICAL = {Kind.DECIMAL: "decimal", Kind.UUID: "uuid", Kind.JSON: "json"}
_OF_TYPE = {
    bson.BOOLEAN: Kind.BOOL,
    bson.INT32: Kind.INT,
    bson.INT64: Kind.INT,
    bson.DOUBLE: Kind.DOUBLE,
    bson.DECIMAL: Kind.DECIMAL,
    bson.STRING: Kind.STRING,
    bson.OBJECT_ID: Kind.OBJECT_ID,
    bson.DATE: Kind.DATE,
    bson.TIMESTAMP: Kind.TIMESTAMP,
}
_NUMBERS = (Kind.INT, Kind.DOUBLE, Kind.DECIMAL)
_NOTHING = (0, bson.UNDEFINED, bson.NULL)
NAMES = {
    bson.DOUBLE: "double", bson.STRING: "string", bson.DOCUMENT: "document", bson.ARRAY: "array",
    bson.BINARY: "binary", bson.OBJECT_ID: "objectId", bson.BOOLEAN: "bool", bson.DATE: "date", bson.NULL: "null",
    11: "regex", 12: "dbPointer", 13: "javascript", 14: "symbol", 15: "javascriptWithScope", bson.INT32: "int",
    bson.TIMESTAMP: "timestamp", bson.INT64: "long", bson.DECIMAL: "decimal", 255: "minKey", 127: "maxKey",
}  # fmt: skip
"""What MongoDB calls its types."""


def kind_of(types: Collection[int], subtypes: Collection[int]) -> Kind:
    """The kind that holds all values of these BSON types without loss; `subtypes` are those of the binaries.

    Of numbers the widest (int, double, decimal); numbers, truth values, ObjectIds, dates and texts together are texts;
    everything else together, and nothing at all, is JSON.
    """
    given = {type_ for type_ in types if type_ not in _NOTHING}
    kinds = {_of(type_, subtypes) for type_ in given}
    if len(kinds) == 1:
        return kinds.pop()
    if kinds and kinds <= set(_NUMBERS):
        return max(kinds, key=_NUMBERS.index)
    if Kind.STRING in kinds and not kinds & {Kind.JSON, Kind.BINARY, Kind.TIMESTAMP}:
        return Kind.STRING
    return Kind.JSON


def _of(type_: int, subtypes: Collection[int]) -> Kind:
    if type_ == bson.BINARY:
        return Kind.UUID if set(subtypes) == {4} else Kind.BINARY if set(subtypes) <= {0, 2} else Kind.JSON
    return _OF_TYPE.get(type_, Kind.JSON)


def field_of(name: str, kind: Kind, *, nullable: bool = True) -> pa.Field[Any]:
    """The column of a field whose values were looked at."""
    metadata = {Meta.NATIVE.value: f"{SYSTEM}:{kind.value}"}
    if kind in _LOGICAL:
        metadata[Meta.LOGICAL.value] = _LOGICAL[kind]
    return pa.field(name, TYPES[kind], nullable=nullable, metadata=metadata)


def native_of(field: pa.Field[Any]) -> str:
    """MongoDB's own word for a column's type, empty if the column is of another system."""
    system, _, native = (field.metadata or {}).get(Meta.NATIVE.value.encode(), b"").decode().partition(":")
    return native if system == SYSTEM else ""


def logical_of(field: pa.Field[Any]) -> str:
    """The column's logical type, or nothing."""
    return (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"").decode()
