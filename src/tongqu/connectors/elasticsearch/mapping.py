"""Mappings and columns: what a mapped field is read as, and how a column is mapped when an index is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.core.errors import InvalidPlanError

ID = "_id"
OURS = "tongqu"
"""Where the mapping of an index holds what Tongqu knows of it: `_meta` its key, a field's `meta` its type."""
_READ = {
    **dict.fromkeys(("keyword", "text", "wildcard", "constant_keyword", "match_only_text", "version", "ip"), "string"),
    **dict.fromkeys(("long", "integer", "short", "byte"), "int64"),
    **dict.fromkeys(("double", "float", "half_float"), "double"),
    "unsigned_long": "decimal(20,0)",
    "boolean": "bool",
    "binary": "binary",
    "date_nanos": "timestamptz",
}
"""All else (objects, nested, geo, ranges, vectors) is JSON text."""
_DATES = {
    **dict.fromkeys(("date", "strict_date", "yyyy-MM-dd", "year_month_day", "strict_year_month_day"), "date"),
    **dict.fromkeys(("epoch_millis", "epoch_second"), "int64"),
    **dict.fromkeys(("date_optional_time", "date_time", "date_time_no_millis"), "timestamptz"),
    **dict.fromkeys(("yyyy-MM-dd HH:mm:ss", "yyyy-MM-dd HH:mm:ss.SSS"), "timestamp"),
}
_WRITTEN: dict[pa.DataType, tuple[str, dict[str, Any]]] = {
    pa.bool_(): ("", {"type": "boolean"}),
    pa.float32(): ("float", {"type": "float", "ignore_malformed": True}),
    pa.float64(): ("", {"type": "double", "ignore_malformed": True}),
    pa.date32(): ("date", {"type": "date", "format": "strict_date"}),
    pa.time64("us"): ("time", {"type": "keyword"}),
    pa.timestamp("us"): ("timestamp", {"type": "date"}),
    pa.timestamp("us", "UTC"): ("", {"type": "date"}),
    pa.binary(): ("", {"type": "binary"}),
    pa.uint64(): ("", {"type": "unsigned_long"}),
}
"""Malformed numbers are kept in the document and not indexed: these are nan and infinity."""


@dataclass(frozen=True)
class Mapped:
    """What the mapping of one index, or of several that are read as one, says."""

    fields: Mapping[str, str]
    """The type name of each field."""
    key: tuple[str, ...] | None
    """The key that Tongqu wrote the index by, empty if by none; None if others made the index."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Mapped:
        """What an answer to `GET /INDEX/_mapping` says. Where indices differ in a field, it is text."""
        fields: dict[str, str] = {}
        keys = set()
        for one in answer.values():
            held = one.get("mappings", {})
            ours = held.get("_meta", {}).get(OURS)
            keys.add(tuple(ours.get("key", ())) if isinstance(ours, dict) else None)
            for name, told in held.get("properties", {}).items():
                kind = _kind(told)
                if kind:
                    fields[name] = kind if fields.get(name, kind) == kind else "string"
        return cls(fields, keys.pop() if len(keys) == 1 else None)


def _kind(told: Mapping[str, Any]) -> str:
    """The type name of a mapped field; empty for one that no document holds itself."""
    kind = told.get("type", "object")
    if kind == "alias":
        return ""
    if ours := told.get("meta", {}).get(OURS):
        return str(ours)
    if kind == "date":
        formats = told.get("format", "date_optional_time").split("||")
        names = {_DATES.get(one.removeprefix("strict_"), _DATES.get(one, "string")) for one in formats}
        names -= {"int64"} if "timestamptz" in names else set()  # texts and numbers: numbers are quarantined
        return names.pop() if len(names) == 1 else "string"
    if kind == "scaled_float":
        digits = str(told.get("scaling_factor", "")).removesuffix(".0")
        return f"decimal(18,{len(digits) - 1})" if digits.rstrip("0") == "1" else "double"
    return _READ.get(kind, "json")


def properties(schema: pa.Schema) -> dict[str, Any]:
    """The mapping of columns. Raises InvalidPlanError for names that the server reads as something else."""
    found: dict[str, Any] = {}
    for field in schema:
        if field.name == ID:
            continue
        if "." in field.name or field.name.startswith("_") or not field.name.strip():
            raise InvalidPlanError(
                f"a field of Elasticsearch cannot be called {field.name!r}", path=field.name,
                hint="names hold no point (it means an object) and begin with no _: rename the column",
            )  # fmt: skip
        found[field.name] = _property(field)
    return found


def _property(field: pa.Field[Any]) -> dict[str, Any]:
    kind, meant = field.type, logical(field)
    if meant == "json" or pa.types.is_nested(kind):
        return {"type": "object", "enabled": False}
    name, told = _WRITTEN.get(kind, ("", {"type": "long" if pa.types.is_integer(kind) else "keyword"}))
    if pa.types.is_decimal(kind):
        name, told = f"decimal({kind.precision},{kind.scale})", {"type": "double"}
    elif meant == "uuid":
        name = "uuid"
    if told["type"] == "keyword":
        told = {**told, "ignore_above": 8191}  # longer ones would be refused: a term has at most 32,766 bytes
    return {**told, "meta": {OURS: name}} if name else dict(told)


def logical(field: pa.Field[Any]) -> str:
    """What a column of texts means (`json`, `uuid`, `decimal`); empty if only texts."""
    return (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"").decode()


def made(schema: pa.Schema, key: Iterable[str]) -> dict[str, Any]:
    """The mapping of an index that is made for these columns."""
    return {"_meta": {OURS: {"key": list(key)}}, "properties": properties(schema)}
