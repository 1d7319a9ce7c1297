"""JSON Schema of a record, as Singer and Airbyte say it, turned into Arrow fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.kit.formats.types import named

_JSON: dict[Any, Any] = {Meta.LOGICAL.value.encode(): b"json"}
_UNBOUNDED: dict[Any, Any] = {Meta.LOGICAL.value.encode(): b"decimal"}
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_FORMATS = {
    "date-time": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "time": pa.time64("us"),
}
_AIRBYTE: dict[str, pa.DataType] = {
    "timestamp_with_timezone": pa.timestamp("us", "UTC"),
    "timestamp_without_timezone": pa.timestamp("us"),
    "time_without_timezone": pa.time64("us"),
    "time_with_timezone": pa.string(),
    "integer": pa.int64(),
    "big_integer": pa.decimal128(38, 0),
}
_DIGITS, _SCALE = 38, 18
_MULTIPLE = re.compile(r"1?(?:0?\.(0*)1|[eE]-0*(\d+))")


def fields(
    schema: Mapping[str, Any], key: Sequence[str], told: Mapping[str, str]
) -> tuple[list[pa.Field[Any]], tuple[str, ...]]:
    """The fields of a record's schema, and the names of those that come as different scalars (they are texts). `told`
    are types that are known better; a key is never null. A field of no or of several nested types is JSON."""
    found: list[pa.Field[Any]] = []
    loose: list[str] = []
    properties = schema.get("properties")
    for name, node in (properties if isinstance(properties, Mapping) else {}).items():
        if name in told:
            one = named(name, told[name])
            loose.append(name)
        else:
            one, mixed = _field(name, node)
            loose += [name] * mixed
        found.append(one.with_nullable(name not in key))
    known = {one.name for one in found}
    for name in told:
        if name not in known:
            found.append(named(name, told[name]).with_nullable(name not in key))
            loose.append(name)
    return found, tuple(loose)


def _field(name: str, node: Any) -> tuple[pa.Field[Any], bool]:
    nodes = list(_choices(node))
    kinds = {kind for one in nodes for kind in _kinds(one)} - {"null"}
    if not kinds or kinds & {"object", "array"} or not kinds <= _SCALARS:
        return pa.field(name, pa.string(), metadata=_JSON), False
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1:
        return pa.field(name, pa.string()), True
    (kind,) = kinds
    own = next(one for one in nodes if kind in _kinds(one) or "integer" in _kinds(one))
    if kind == "string":
        formats = {one.get("format") for one in nodes if "string" in _kinds(one)}
        if formats == {"singer.decimal"}:
            return pa.field(name, pa.string(), metadata=_UNBOUNDED), True
        plain = _FORMATS.get(str(own.get("format"))) if len(formats) == 1 else None
        return pa.field(name, _AIRBYTE.get(str(own.get("airbyte_type"))) or plain or pa.string()), False
    if kind == "boolean":
        return pa.field(name, pa.bool_()), False
    if kind == "integer":
        return pa.field(name, _AIRBYTE.get(str(own.get("airbyte_type")), pa.int64())), False
    told = _AIRBYTE.get(str(own.get("airbyte_type")))
    scale = _scale(own.get("multipleOf"))
    exact = pa.decimal128(_DIGITS, scale) if scale is not None else pa.float64()
    return pa.field(name, told or exact), False


def _choices(node: Any) -> Iterable[Mapping[str, Any]]:
    """The alternatives of a schema."""
    if not isinstance(node, Mapping):
        return
    inner = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if not inner:
        yield node
    for one in inner:
        yield from _choices(one)


def _kinds(node: Mapping[str, Any]) -> list[str]:
    kind = node.get("type")
    if kind is None:
        values = {_kind_of(value) for value in node.get("enum", ())}
        return sorted(values)
    return [kind] if isinstance(kind, str) else [str(one) for one in kind]


def _kind_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return kinds.get(type(value), "object")


def _scale(multiple: Any) -> int | None:
    """Digits after the point that `multipleOf` promises; None if it promises none, or too many to be meant."""
    if multiple is None:
        return None
    match = _MULTIPLE.fullmatch(str(multiple))
    if match is None:
        return None
    scale = int(match[2]) if match[2] else len(match[1] or "") + 1
    return scale if scale <= _SCALE else None


def schema_of(schema: pa.Schema, key: Sequence[str]) -> dict[str, Any]:
    """The JSON Schema of rows that are written as JSON by `kit.originals`."""
    return {"type": "object", "properties": {one.name: _node(one, one.name in key) for one in schema}}


def _node(field: pa.Field[Any], key: bool) -> dict[str, Any]:
    kind, logical = field.type, (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"").decode()
    more: dict[str, str] = {}
    if logical == "json" or pa.types.is_nested(kind):
        types = ["object", "array", "string"]
    elif pa.types.is_boolean(kind):
        types = ["boolean"]
    elif pa.types.is_integer(kind):
        types = ["integer"]
    elif pa.types.is_floating(kind):
        types = ["number"]
    else:
        types, more = ["string"], _format(kind, logical)
    return {"type": types if key else [*types, "null"], **more}


def _format(kind: pa.DataType, logical: str) -> dict[str, str]:
    if pa.types.is_timestamp(kind):
        return {"format": "date-time"}
    if pa.types.is_date(kind):
        return {"format": "date"}
    if pa.types.is_time(kind):
        return {"format": "time"}
    return {"format": "singer.decimal"} if pa.types.is_decimal(kind) or logical == "decimal" else {}
