"""JSON Schemas as documents write them: combined, made flat, and their types as fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.kit.openapi.document import Document, as_mapping

_DEEPEST = 24
_DECIMALS = ("decimal", "bigdecimal", "big-decimal", "money", "currency")
_AMOUNT = re.compile(r"-?\d+\.\d+")
_STEP = re.compile(r"0?\.(0*)1")


@dataclass
class Flat:
    """One schema with everything it is combined of."""

    type: str = ""
    format: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    items: Any = None
    title: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)
    foreign: str = ""
    """A reference out of the document that was met."""


def flat(document: Document, node: Any, depth: int = 0) -> Flat:
    """The schema of a node: references followed, `allOf` put together, of `oneOf` and `anyOf` everything that can be
    (required is what all require), null left out. A schema inside itself adds nothing."""
    reference = node.get("$ref") if isinstance(node, Mapping) else None
    if not isinstance(reference, str):
        return _flat(document, node, depth)
    if reference not in document.flattened:
        document.flattened[reference] = Flat()  # what it is while it is being looked at
        document.flattened[reference] = _flat(document, node, depth)
    found: Flat = document.flattened[reference]
    return found


def _flat(document: Document, node: Any, depth: int) -> Flat:
    foreign = document.foreign(node)
    raw = as_mapping(document.resolved(node))
    found = Flat(_type(raw), str(raw.get("format") or ""), raw=raw, foreign=foreign)
    found.title = str(raw.get("title") or raw.get("description") or "").strip().partition("\n")[0]
    found.properties = dict(as_mapping(raw.get("properties")))
    required = raw.get("required")
    found.required = {str(one) for one in required} if isinstance(required, list) else set()
    found.items = raw.get("items")
    if depth >= _DEEPEST:
        return found
    for one in _listed(raw.get("allOf")):
        part = flat(document, one, depth + 1)
        _join(found, part)
        found.required = found.required | part.required
    for several in (_listed(raw.get("oneOf")), _listed(raw.get("anyOf"))):
        choices = [flat(document, one, depth + 1) for one in several]
        choices = [one for one in choices if one.type != "null"]
        kinds = {one.type for one in choices}
        for one in choices:
            _join(found, one)
        if choices and len(kinds) > 1 and "object" not in kinds:
            found.type = "mixed"
        if choices:
            found.required = found.required | set.intersection(*(one.required for one in choices))
    if not found.type and found.properties:
        found.type = "object"
    if not found.type and found.items is not None:
        found.type = "array"
    return found


def _join(found: Flat, one: Flat) -> None:
    found.properties = {**one.properties, **found.properties}
    found.type = found.type or one.type
    found.format = found.format or one.format
    found.items = found.items if found.items is not None else one.items
    found.title = found.title or one.title
    found.foreign = found.foreign or one.foreign
    found.raw = {**one.raw, **found.raw}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _type(raw: Mapping[str, Any]) -> str:
    """The type; of several (3.1) the one beside null, `mixed` where there are more."""
    told = raw.get("type")
    if isinstance(told, list):
        kinds = [str(one) for one in told if one != "null"]
        if len(kinds) > 1:
            return "number" if set(kinds) <= {"integer", "number"} else "mixed"
        return kinds[0] if kinds else "null"
    return str(told or "")


def field_type(document: Document, node: Any) -> str:
    """The name of the type that values of a schema have as a field; objects, arrays and what may be anything are
    `json`."""
    found = flat(document, node)
    if found.format.lower() in _DECIMALS and found.type in ("number", "string"):
        return "decimal(38,10)"
    if found.type == "integer":
        return "int64"
    if found.type == "number":
        step = _STEP.fullmatch(str(found.raw.get("multipleOf", "")))
        return f"decimal(18,{len(step[1]) + 1})" if step else "double"
    if found.type == "boolean":
        return "bool"
    if found.type == "string":
        return {"date": "date", "date-time": "timestamptz", "uuid": "uuid", "byte": "binary"}.get(
            found.format, "string"
        )
    return "json"


def is_number_as_text(document: Document, node: Any) -> bool:
    """Whether values of a schema are numbers that are written as text, by its format, example or default."""
    found = flat(document, node)
    if found.type != "string":
        return False
    shown = (found.raw.get("example"), found.raw.get("default"), *_listed(found.raw.get("examples")))
    return found.format.lower() in _DECIMALS or any(isinstance(one, str) and _AMOUNT.fullmatch(one) for one in shown)


def fields_of(document: Document, found: Flat) -> tuple[dict[str, str], dict[str, str]]:
    """The types and the titles of an object's fields; write-only ones are left out."""
    types: dict[str, str] = {}
    titles: dict[str, str] = {}
    for name, node in found.properties.items():
        one = flat(document, node)
        if one.raw.get("writeOnly") is True:
            continue
        types[name] = field_type(document, node)
        if one.title:
            titles[name] = one.title[:120]
    return types, titles
