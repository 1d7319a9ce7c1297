"""The operations of one API, as OpenAPI says them: only those that the caller may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.gateway.docs import filters, shapes
from tongqu.gateway.docs.security import purpose, ways
from tongqu.gateway.docs.sights import Sight
from tongqu.gateway.docs.words import TOLD
from tongqu.gateway.policy.values import family
from tongqu.gateway.rest.formats import ARROW, JSON, OBJECT

Json = dict[str, Any]
_READ_REFUSED = (400, 401, 403, 404, 406, 416, 422, 429, 500, 503, 504)
_WRITE_REFUSED = (400, 401, 403, 404, 406, 409, 412, 413, 415, 422, 428, 429, 500, 503, 504)


def paths(sight: Sight, examples: Mapping[str, Any]) -> dict[str, Json]:
    """The paths of an API. `examples` are made-up: `rows` as the caller would see them, `row` as it may write one."""
    api = sight.api
    shared = {"x-owner": api.entry.owner} if api.entry.owner else {}
    many: Json = {**shared, "get": _list(sight, examples), "head": _head(sight)}
    if sight.may("insert"):
        many["post"] = _add(sight, examples)
    if sight.may("update"):
        many["patch"] = _change(sight, examples)
    if sight.may("delete"):
        many["delete"] = _remove(sight)
    if sight.key and sight.may("insert", "update"):
        keys = [filters.equal(name, sight.fields[name], sight.language) for name in sight.key]
        many["put"] = _written(sight, "replace", "replaced", keys, examples, operation="replace_by")
    made = {api.path: many}
    if sight.key:
        made[f"{api.path}/{','.join(f'{{{_word(sight, name)}}}' for name in sight.key)}"] = _by_key(sight, examples)
    return made


def _by_key(sight: Sight, examples: Mapping[str, Any]) -> Json:
    one: Json = {"parameters": [_key(sight, name) for name in sight.key]}
    read = _operation(sight, "one", "one", [filters.selecting(sight), *_own(sight), *_read_headers(sight)])
    read["responses"] = {
        "200": _answer(sight, "row", _content(sight, many=False, example=_first(examples))),
        "304": {"description": _t(sight, "same")},
        **_refusals(_READ_REFUSED),
    }
    one["get"] = read
    if sight.may("update"):
        one["patch"] = _written(sight, "change_one", "changed", [], examples, matched=True)
    if sight.may("insert", "update"):
        one["put"] = _written(sight, "replace", "replaced", [], examples, matched=True)
    if sight.may("delete"):
        one["delete"] = _written(sight, "remove_one", "", [], examples, matched=True)
    return one


def _list(sight: Sight, examples: Mapping[str, Any]) -> Json:
    made = _operation(sight, "list", "list", _questions(sight))
    content = _content(sight, many=True, example=examples.get("rows"))
    made["responses"] = {
        "200": _answer(sight, "rows", content), "206": _answer(sight, "part", content),
        "304": {"description": _t(sight, "same")}, **_refusals(_READ_REFUSED),
    }  # fmt: skip
    return made


def _head(sight: Sight) -> Json:
    made = _operation(sight, "head", "head", _questions(sight))
    made["responses"] = {
        "200": {"description": _t(sight, "rows")}, "206": {"description": _t(sight, "part")},
        "304": {"description": _t(sight, "same")},
        **{str(code): {"description": _t(sight, "refused")} for code in _READ_REFUSED},
    }  # fmt: skip
    return made


def _questions(sight: Sight) -> list[Json]:
    order = filters.ordering(sight)
    most = sight.api.entry.limit.rows
    return [
        filters.selecting(sight), *filters.references(sight), *([order] if order else []),
        _query(sight, "limit", _t(sight, "limit").format(rows=most), _whole(2**53)),
        _query(sight, "offset", _t(sight, "offset"), _whole(10_000_000)),
        *_own(sight), *_read_headers(sight), _header("Tongqu-After", _t(sight, "after")),
        _header("Range", _t(sight, "range")),
    ]  # fmt: skip


def _add(sight: Sight, examples: Mapping[str, Any]) -> Json:
    fields = sorted(sight.writable("insert"))
    query = []
    if fields:
        columns = filters.listed("columns", _t(sight, "columns"), {"type": "string", "enum": fields})
        needed = shapes.added(sight).get("required", ())
        if needed:
            columns["schema"]["allOf"] = [{"contains": {"const": name}} for name in needed]
        query.append(columns)
    if sight.api.dataset.key and sight.may("insert", "update"):
        names = {"type": "string", "enum": list(sight.api.dataset.key)}
        query.append(filters.listed("on_conflict", _t(sight, "conflict"), names))
    return _written(sight, "add", "added", query, examples, several=True)


def _change(sight: Sight, examples: Mapping[str, Any]) -> Json:
    return _written(sight, "change", "changed", filters.references(sight), examples)


def _remove(sight: Sight) -> Json:
    return _written(sight, "remove", "", filters.references(sight), {})


def _written(
    sight: Sight, word: str, schema: str, query: Sequence[Json], examples: Mapping[str, Any], *, matched: bool = False,
    several: bool = False, operation: str = "",
) -> Json:  # fmt: skip
    write = sight.api.entry.write
    headers = [
        _header("Prefer", _t(sight, "prefer_write")),
        {**_header("Idempotency-Key", _t(sight, "key")), "required": write.idempotency == "required",
         "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}},
    ]  # fmt: skip
    if matched:
        conditional = write.conditional and word != "add"
        headers.append({**_header("If-Match", _t(sight, "match")), "required": conditional})
    made = _operation(sight, word, operation or word, [*query, *_purposes(sight), *headers])
    if schema:
        made["requestBody"] = _body(sight, schema, examples, several=several)
    content = _content(sight, many=not matched, example=examples.get("rows") if not matched else _first(examples))
    new = word in ("add", "replace")
    given = {} if several else content  # without `return=representation` the answer to new rows is empty
    made["responses"] = {
        "200": _answer(sight, "done", given), "204": {"description": _t(sight, "done")},
        **({"201": _answer(sight, "added", {})} if new else {}), **_refusals(_WRITE_REFUSED),
    }  # fmt: skip
    return made


def _body(sight: Sight, schema: str, examples: Mapping[str, Any], *, several: bool) -> Json:
    one: Json = {"$ref": f"#/components/schemas/{sight.api.name}.{schema}"}
    shown = {"oneOf": [one, {"type": "array", "items": one}]} if several else one
    media: Json = {"schema": shown}
    if "row" in examples:
        left = sight.api.dataset.key if schema == "replaced" else ()
        media["example"] = {name: value for name, value in examples["row"].items() if name not in left}
    return {"required": True, "content": {JSON: media}}


def _operation(sight: Sight, word: str, name: str, parameters: Sequence[Json]) -> Json:
    entry = sight.api.entry
    made: Json = {
        "operationId": f"{name}_{sight.api.name}",
        "summary": f"{sight.title}: {_t(sight, word)}",
        "tags": [sight.api.name],
        "parameters": [*parameters],
        "security": ways(entry.access.public),
    }
    if entry.deprecated:
        made["deprecated"] = True
    return made


def _content(sight: Sight, *, many: bool, example: Any) -> Json:
    one = {"$ref": f"#/components/schemas/{sight.api.name}"}
    media: Json = {"schema": {"type": "array", "items": one} if many else one}
    if example is not None:
        media["example"] = example
    made = {JSON: media, "text/csv": {"schema": {"type": "string"}}, "application/xml": {"schema": {}}}
    if many:
        made |= {OBJECT: {"schema": one}, ARROW: {"schema": {"type": "string", "contentEncoding": "binary"}}}
    return made


def _answer(sight: Sight, word: str, content: Json) -> Json:
    names = {"ETag": "string", "Content-Range": "string", "Tongqu-Request-Id": "string"}
    headers: Json = {name: {"schema": {"type": kind}} for name, kind in names.items()}
    if word in ("rows", "part"):
        headers["Tongqu-Next"] = {"description": _t(sight, "next"), "schema": {"type": "string"}}
    made: Json = {"description": _t(sight, word), "headers": headers}
    return {**made, "content": content} if content else made


def _refusals(codes: Sequence[int]) -> Json:
    return {str(code): {"$ref": "#/components/responses/Refused"} for code in codes}


def _read_headers(sight: Sight) -> list[Json]:
    return [*_purposes(sight), _header("Prefer", _t(sight, "prefer")),
            _header("If-None-Match", _t(sight, "none_match"))]  # fmt: skip


def _purposes(sight: Sight) -> list[Json]:
    """The header of the purpose, where rules ask for one."""
    access = sight.api.entry.access
    asked = any(rule.purposes for rule in access.rules) or any(rule.purposes for rule in access.fields.values())
    return [purpose(sight.language)] if asked else []


def _own(sight: Sight) -> list[Json]:
    """The parameters of an SQL source."""
    made = []
    for name, told in sight.api.entry.source.parameters.items():
        needed = told.required and told.default is None
        schema: Json = {"type": "string", "x-type": told.type}
        if told.default is not None:
            schema["default"] = str(told.default)
        made.append({**_query(sight, name, told.description or told.type, schema), "required": needed})
    return made


def _key(sight: Sight, name: str) -> Json:
    field = sight.api.dataset.schema.field(name)
    schema: Json = {"type": "string", "minLength": 1}
    if pa.types.is_integer(field.type):
        bits, signed = field.type.bit_width, pa.types.is_signed_integer(field.type)
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        schema = {"type": "integer", "minimum": least, "maximum": most}
    elif family(field) in ("uuid", "date"):
        schema["format"] = family(field)
    return {
        "name": _word(sight, name), "in": "path", "required": True, "description": f"{_t(sight, 'identifies')}: {name}",
        "schema": schema,
    }  # fmt: skip


def _word(sight: Sight, name: str) -> str:
    """A key field's name as a template's, which many tools only know in ASCII."""
    return name if name.isascii() and name.isidentifier() else f"key{sight.key.index(name)}"


def _query(sight: Sight, name: str, told: str, schema: Json) -> Json:
    del sight
    return {"name": name, "in": "query", "required": False, "description": told, "schema": schema}


def _header(name: str, told: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": told, "schema": {"type": "string"}}


def _whole(most: int) -> Json:
    return {"type": "integer", "minimum": 0, "maximum": most}


def _first(examples: Mapping[str, Any]) -> Any:
    rows = examples.get("rows")
    return rows[0] if rows else None


def _t(sight: Sight, word: str) -> str:
    return TOLD[sight.language][word]
