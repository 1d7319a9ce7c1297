"""JSON Schemas of what an API gives and takes, as one caller sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.core.data import Meta
from tongqu.gateway.docs.sights import Sight
from tongqu.gateway.problems import KINDS
from tongqu.gateway.rewrite.views import Seen
from tongqu.gateway.validating import schema_of
from tongqu.meaning.fields import metadata

_GIVEN: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"}, "decimal": {"type": "number"}, "float": {"type": ["number", "string"]},
    "bool": {"type": "boolean"}, "text": {"type": "string"}, "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string"}, "instant": {"type": "string", "format": "date-time"}, "time": {"type": "string"},
    "uuid": {"type": "string", "format": "uuid"}, "binary": {"type": "string", "pattern": r"^\\x([0-9a-fA-F]{2})*$"},
    "list": {"type": "array", "items": {}},
}  # fmt: skip
_MASKED = {"zh": "已脱敏（{mask}）：看到的不是原值", "en": "masked ({mask}): what is shown is not the value itself"}
_PARTLY = {"zh": "部分行不可见，为空", "en": "null in rows in which it may not be seen"}


def row(sight: Sight) -> dict[str, Any]:
    """What a row looks like when nothing else was asked for."""
    made = {name: given(seen, sight.language) for name, seen in sight.fields.items()}
    return {"type": "object", "title": sight.title, "properties": made}


def given(seen: Seen, language: str) -> dict[str, Any]:
    """What the values of a field look like. A masked one tells so and nothing of what is behind it."""
    made: dict[str, Any] = dict(_GIVEN.get(seen.family, {}))
    if seen.nullable and "type" in made:
        kinds = [made["type"]] if isinstance(made["type"], str) else made["type"]
        made["type"] = [*kinds, "null"]
    told = metadata(seen.field)
    if told.get(Meta.TITLE):
        made["title"] = told[Meta.TITLE]
    if told.get(Meta.UNIT) and seen.mask is None:
        made["x-unit"] = told[Meta.UNIT]
    notes = []
    if seen.mask is not None:
        made["x-masked"] = seen.mask.with_
        notes.append(_MASKED[language].format(mask=seen.mask.with_))
    if seen.partly:
        notes.append(_PARTLY[language])
    if notes:
        made["description"] = "; ".join(notes)
    return made


def added(sight: Sight) -> dict[str, Any]:
    """A new row."""
    return schema_of(sight.api, sight.writable("insert"), whole=True)


def changed(sight: Sight) -> dict[str, Any]:
    """The fields of a row that a change sets."""
    return schema_of(sight.api, sight.writable("update"), whole=False)


def replaced(sight: Sight) -> dict[str, Any]:
    """A row that takes another's place; its key stands in the address."""
    names = sight.writable("insert", "update") - set(sight.api.dataset.key)
    return schema_of(sight.api, names, whole=True)


def problem() -> dict[str, Any]:
    """RFC 9457's document with our members and PostgREST's."""
    text = {"type": "string"}
    error = {
        "type": "object",
        "properties": {"parameter": text, "pointer": text, "code": text, "detail": text},
        "required": ["code", "detail"],
    }
    members: Mapping[str, Any] = {
        "type": {"type": "string", "format": "uri-reference", "description": "where the code is explained"},
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "instance": {"type": "string", "description": "the request's id, also in Tongqu-Request-Id"},
        "code": {"type": "string", "examples": sorted(KINDS)},
        "retryable": {"type": "boolean", "description": "whether the same request may succeed later"},
        "errors": {"type": "array", "items": error, "description": "each with the parameter or place it is about"},
        "message": text,
        "details": {"type": ["string", "null"]},
        "hint": {"type": ["string", "null"]},
    }
    needed = ["type", "title", "status", "code", "retryable", "message"]
    return {"type": "object", "properties": members, "required": needed}
