"""PostgREST's operators as query parameters: which a field has, and what their values look like."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from tongqu.gateway.docs.sights import Sight
from tongqu.gateway.rewrite.binding import OPERATORS
from tongqu.gateway.rewrite.views import Seen

_ORDERABLE = frozenset(("int", "decimal", "float", "text", "bool", "date", "timestamp", "instant", "time", "uuid"))
_DAY = "(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_NUMBER = r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?"
_WORDS = {
    "decimal": _NUMBER, "float": _NUMBER, "text": "[A-Za-z0-9]{0,40}",
    "bool": "(?:true|false)", "date": _DAY, "timestamp": f"{_DAY}T{_CLOCK}", "instant": f"{_DAY}T{_CLOCK}Z",
    "time": _CLOCK, "uuid": "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
}  # fmt: skip
"""Values of each kind that are always understood; more than these are."""
_EXAMPLES = {"int": "gt.5", "decimal": "gte.1.5", "float": "lt.2", "text": "eq.A", "bool": "is.true",
             "date": "gte.2026-01-31", "timestamp": "lt.2026-01-31T08:00:00", "instant": "lt.2026-01-31T08:00:00Z",
             "time": "gte.08:00:00", "list": "cs.{a}"}  # fmt: skip
_TELLS = {
    "zh": "筛选：运算符.值，可加 not. 前缀。运算符：{operators}",
    "en": "filter: operator.value, `not.` before it negates. Operators: {operators}",
}
_SINGLE = ("eq", "neq", "gt", "gte", "lt", "lte", "isdistinct")
_MOST_IN_LOGIC = 12


def comparable(sight: Sight) -> dict[str, Seen]:
    """The fields that rows can be chosen by: not those whose mask only exists after the database."""
    return {name: seen for name, seen in sight.fields.items() if seen.after is None and (seen.family in OPERATORS)}


def operators(seen: Seen) -> list[str]:
    """What a field can be asked."""
    return [*sorted(OPERATORS.get(seen.family, ())), "is"]


def pattern(seen: Seen) -> str:
    """What a filter of the field looks like, without anchors; empty where nothing so simple can be said."""
    word = _word(seen)
    if not word:
        return ""
    known = OPERATORS[seen.family]
    single = "|".join(one for one in _SINGLE if one in known)
    truth = "|true|false|unknown" if seen.family == "bool" else ""
    parts = [f"(?:{single})\\.{word}", f"in\\.\\({word}(?:,{word}){{0,5}}\\)", f"is\\.(?:null|not_null{truth})"]
    if "like" in known:
        parts.append(r"i?like\.[A-Za-z0-9*]{1,20}")
    if "in" not in known:
        parts.pop(1)
    return f"(?:not\\.)?(?:{'|'.join(parts)})"


def _word(seen: Seen) -> str:
    if pa.types.is_integer(seen.field.type):
        bits, signed = seen.field.type.bit_width, pa.types.is_signed_integer(seen.field.type)
        digits = len(str((1 << bits - signed) - 1)) - 1
        return f"{'-?' if signed else ''}[0-9]{{1,{digits}}}"
    return _WORDS.get(seen.family, "")


def filters(sight: Sight) -> list[dict[str, Any]]:
    """One parameter a field, and `and`, `or` over several."""
    made = []
    for name, seen in comparable(sight).items():
        schema: dict[str, Any] = {"type": "string"}
        found = pattern(seen)
        if found:
            schema["pattern"] = f"^{found}$"
        told = _TELLS[sight.language].format(operators=", ".join(operators(seen)))
        parameter = {"name": _named(name), "in": "query", "required": False, "description": told, "schema": schema}
        if seen.family in _EXAMPLES:
            parameter["example"] = _EXAMPLES[seen.family]
        made.append(parameter)
    return [*made, *_logic(sight)]


def equal(name: str, seen: Seen, language: str) -> dict[str, Any]:
    """The filter that names one row by a field of its key."""
    schema = {"type": "string", "pattern": f"^eq\\.{_word(seen) or '.+'}$"}
    told = {"zh": "主键：eq.值", "en": "the key: eq.value"}[language]
    return {"name": _named(name), "in": "query", "required": True, "description": told, "schema": schema}


def references(sight: Sight) -> list[dict[str, Any]]:
    """The same, as they stand among the document's components."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in shared(sight)]


def shared(sight: Sight) -> dict[str, dict[str, Any]]:
    """The filters by their names among the components."""
    return {f"{sight.api.name}.filter{n}": one for n, one in enumerate(filters(sight))}


def _named(name: str) -> str:
    """A field's name as a parameter: in double quotes where the grammar needs them."""
    return name if re.fullmatch(r"[A-Za-z_][\w]*", name) and name not in _RESERVED else f'"{name}"'


_RESERVED = frozenset(("select", "order", "limit", "offset", "and", "or", "columns", "on_conflict"))


def _logic(sight: Sight) -> list[dict[str, Any]]:
    able = [(name, pattern(seen)) for name, seen in comparable(sight).items()]
    parts = [f"{re.escape(name)}\\.{found}" for name, found in able if found and re.fullmatch(r"\w+", name)]
    if not parts:
        return []
    one = f"(?:{'|'.join(parts[:_MOST_IN_LOGIC])})"
    told = {
        "zh": "多个条件的组合，例如 (a.gt.5,b.is.null)，可嵌套 and(…)、or(…)、not.and(…)",
        "en": "several conditions, such as (a.gt.5,b.is.null); and(…), or(…), not.and(…) may stand inside",
    }
    schema = {"type": "string", "pattern": f"^\\({one}(?:,{one}){{0,3}}\\)$"}
    return [
        {"name": word, "in": "query", "required": False, "description": told[sight.language], "schema": schema}
        for word in ("and", "or", "not.and", "not.or")
    ]


def selecting(sight: Sight) -> dict[str, Any]:
    """`select`."""
    names = list(sight.fields)
    told = {
        "zh": "要返回的字段，逗号分隔；还可用 别名:字段、字段::类型、字段.sum()、关联(字段)、json->>步",
        "en": "the fields that are wanted; also alias:field, field::type, field.sum(), relation(fields), json->>step",
    }[sight.language]
    if sight.related:
        told += f". {', '.join(f'{name}(…)' for name in sight.related)}"
    return listed("select", told, {"type": "string", "enum": [_named(name) for name in names]})


def ordering(sight: Sight) -> dict[str, Any] | None:
    """`order`; None if nothing can be ordered by."""
    names = [_named(name) for name, seen in comparable(sight).items() if seen.family in _ORDERABLE]
    if not names:
        return None
    told = {
        "zh": "排序：字段.asc|desc.nullsfirst|nullslast",
        "en": "order: field.asc|desc.nullsfirst|nullslast",
    }[sight.language]
    one = "|".join(re.escape(name) for name in names)
    items = {"type": "string", "pattern": f"^(?:{one})(?:\\.(?:asc|desc))?(?:\\.nulls(?:first|last))?$"}
    return listed("order", told, items, most=8)


def listed(name: str, told: str, items: dict[str, Any], most: int = 0) -> dict[str, Any]:
    """A parameter whose values stand with commas between them."""
    schema: dict[str, Any] = {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}
    if most:
        schema["maxItems"] = most
    return {
        "name": name, "in": "query", "required": False, "description": told, "style": "form", "explode": False,
        "schema": schema,
    }  # fmt: skip
