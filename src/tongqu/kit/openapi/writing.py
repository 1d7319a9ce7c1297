"""Guesses from a document's changing operations how the records of a list are written back, and what tells them apart.

Nothing in OpenAPI says that `PUT /items/{itemId}` changes a record of `GET /items`: it is concluded from paths, verbs
and the fields that both have, and each conclusion names the operation it comes from, for a person to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.kit.openapi import verbs
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.document import Document, Operation, as_mapping
from tongqu.kit.openapi.schemas import Flat, flat, is_number_as_text

_HOLE = re.compile(r"\{([^}]+)\}")
_ENDS = ("id", "no", "code", "number", "key", "uuid", "guid", "name")
_REFERS = re.compile(r"(id|no|code|key|number|编号|编码|主键)s?$", re.IGNORECASE)
_BATCH = 100
_SCALARS = ("string", "integer", "number", "boolean")


@dataclass(frozen=True)
class Guess:
    """A setting of a dataset that was concluded (`key`, `write.update`), and the operation it was concluded from."""

    setting: str
    value: Any
    source: str


@dataclass(frozen=True)
class Writing:
    """What was concluded, and the operations on the same records that are of no use, with the reason."""

    guesses: tuple[Guess, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)

    @property
    def used(self) -> frozenset[str]:
        """The operations that were concluded from."""
        return frozenset(one.source for one in self.guesses if one.setting.startswith("write."))


@dataclass(frozen=True)
class _Records:
    """The records that are written: their collection's path, what one is called, their fields and what tells them
    apart."""

    base: str
    noun: str
    fields: Mapping[str, str]
    key: Sequence[str]


@dataclass(frozen=True)
class _Call:
    """An operation on the records: what it does and, where its path ends so, the parameter that names one of them."""

    kind: str
    operation: Operation
    hole: str = ""


def writing(document: Document, path: str, fields: Mapping[str, str], key: Sequence[str]) -> Writing:
    """What the other operations say of the records of the list at `path`, which have these fields and perhaps a key."""
    base, noun = _collection(path)
    records = _Records(base, noun, {name: kind for name, kind in fields.items() if re.fullmatch(r"\w+", name)}, key)
    calls = list(_calls(document, records, path))
    guesses: list[Guess] = []
    told = next((one for one in calls if one.hole and _named(records, one.hole)), None)
    named = _named(records, told.hole) if told is not None else ""
    if told is None:
        ways = ((one, _told_by(document, records, one)) for one in calls if one.kind in (verbs.DELETE, verbs.LOOK))
        told, named = next(((one, field) for one, field in ways if field), (None, ""))
    if told is not None:
        guesses.append(Guess("key", [named], told.operation.label))
        records = _Records(base, noun, records.fields, guesses[0].value)
    elif key:
        guesses.append(Guess("key", list(key), f"fields.{key[0]}"))
    made: dict[str, Guess] = {}
    unused: dict[str, str] = {}
    for one in sorted(calls, key=lambda one: one.operation.method != "patch"):  # PATCH changes only what is sent
        settings, reason = _settings(document, records, one)
        if settings is None:
            unused[one.operation.label] = reason
        elif one.kind in made:
            unused[one.operation.label] = f"{made[one.kind].source} does the same"
        else:
            made[one.kind] = Guess(f"write.{one.kind}", settings, one.operation.label)
    if made and any(
        _idempotent(one.operation) for one in calls if made.get(one.kind, _NONE).source == one.operation.label
    ):
        create = made.get(verbs.CREATE, next(iter(made.values())))
        made["key_honoured"] = Guess("write.key_honoured", True, create.source)
    writes = made.keys() - {verbs.LOOK}
    return Writing((*guesses, *(made.values() if writes else ())), unused)


_NONE = Guess("", None, "")


def _collection(path: str) -> tuple[str, str]:
    """The path below which a list's records stand, and what one is called: both without a verb at the end."""
    above, _, last = path.rstrip("/").rpartition("/")
    kind, noun = verbs.taken_apart(last)
    if last.startswith("{") or not kind or kind == verbs.LOOK:
        return path.rstrip("/"), verbs.taken_apart(last)[1] if not last.startswith("{") else ""
    return above, noun or verbs.taken_apart(above.rpartition("/")[2])[1]


def _calls(document: Document, records: _Records, path: str) -> Iterator[_Call]:
    """The operations on the records, in the document's order: on their collection (`POST /items`), on one of them
    (`PUT /items/{id}`), or with a verb (`POST /items/update`, `/items/{id}/delete`, `/updateItem`)."""
    for operation in document.operations():
        if not operation.path.startswith(records.base) or (operation.method == "get" and operation.path == path):
            continue
        parts = [part for part in operation.path[len(records.base) :].split("/") if part]
        if operation.path[len(records.base) :][:1] not in ("", "/") or len(parts) > 2:
            continue
        holes = [part for part in parts if _HOLE.fullmatch(part)]
        said = [part for part in parts if part not in holes]
        if len(holes) > 1 or len(said) > 1 or (holes and not said and len(parts) > 1):
            continue
        kind = _kind(operation, records, said[0] if said else "", one=bool(holes))
        if kind and not (operation.path == path and kind in (verbs.LOOK, verbs.LIST)):
            yield _Call(kind, operation, holes[0][1:-1] if holes else "")


def _kind(operation: Operation, records: _Records, said: str, *, one: bool) -> str:
    """What an operation does to the records; empty if nothing that is known."""
    if said:
        kind, noun = verbs.taken_apart(said)
        about = noun in ("", "batch", records.noun) or said.lower() in ("batch",)
        return kind if about and kind != verbs.LIST and (kind != verbs.LOOK or operation.method == "get") else ""
    if operation.method == "get":
        return verbs.LOOK if one else ""
    if operation.method == "post":
        named, noun = verbs.taken_apart(str(operation.raw.get("operationId") or ""))
        if named == verbs.LIST or (one and not named):
            return ""
        return named if one or named == verbs.UPSERT else verbs.CREATE
    if operation.method == "put" and one and "201" in operation.responses:
        return verbs.UPSERT
    return {"put": verbs.UPDATE, "patch": verbs.UPDATE, "delete": verbs.DELETE}[operation.method]


def _named(records: _Records, hole: str) -> str:
    """The field that a parameter of this name stands for; empty if none does."""
    by_name = {words.plain(name): name for name, kind in records.fields.items() if kind != "json"}
    name, noun = words.plain(hole), words.plain(records.noun)
    if name in by_name:
        return by_name[name]
    if end := next((end for end in _ENDS if name == f"{noun}{end}" and end in by_name), ""):
        return by_name[end]
    if name in (*_ENDS, noun, "identifier", "pk") or name.endswith(noun):
        return records.key[0] if len(records.key) == 1 else ""
    tail = next((end for end in _ENDS if name.endswith(end)), "")
    return by_name.get(tail, "") if tail and noun and noun.endswith(name.removesuffix(tail)) else ""


def _told_by(document: Document, records: _Records, call: _Call) -> str:
    """The field by which an operation on one record is told which, in its query or its body, if that is all it
    takes."""
    needed = [str(p.get("name")) for p in call.operation.parameters if p.get("in") == "query" and p.get("required")]
    schema = _sent(document, call.operation)
    if schema is not None:
        needed += flat(document, schema).properties
    if len(needed) != 1:
        return ""
    name = needed[0]
    return _named(records, name) or _named(records, name.removesuffix("List").removesuffix("s"))


def _settings(document: Document, records: _Records, call: _Call) -> tuple[dict[str, Any] | None, str]:
    """The settings of an operation of `write`, or None and why it is of no use."""
    operation = call.operation
    path, reason = _path(records, call)
    if reason:
        return None, reason
    if call.kind == verbs.LOOK:
        return (None, "it names no record") if "{" not in path[len(records.base) :] else ({
            "path": path, **_at(_record_in(document, operation, records))}, "")  # fmt: skip
    told: dict[str, Any] = {"method": operation.method.upper(), "path": path}
    if operation.method == "get":
        return None, "GET changes nothing"
    body, reason = _body(document, operation, records, call.kind)
    if body is None:
        return None, reason
    if call.kind == verbs.DELETE and body and "body" not in body:
        body = {}
    if call.kind == verbs.CREATE and (place := _identifier(document, operation, records)) not in ("", "id"):
        body["id"] = place
    names_one = "{" in path[len(records.base) :] or bool(set(records.key) & set(body.get("names", records.fields)))
    body.pop("names", None)
    if call.kind in (verbs.UPDATE, verbs.UPSERT, verbs.DELETE) and not names_one:
        return None, "it does not say which record it means"
    if call.kind == verbs.DELETE and "{" not in path[len(records.base) :] and "body" not in body:
        return None, "it does not say which record it means"
    return {**told, **body}, ""


def _path(records: _Records, call: _Call) -> tuple[str, str]:
    """The path with fields in its braces, and required parameters of the query; or why it cannot be made."""
    path = call.operation.path
    own = _named(records, call.hole) if call.hole else ""
    if call.hole and not own:
        return "", f"no field of the records is {{{call.hole}}}"
    query = []
    for parameter in call.operation.parameters:
        name = str(parameter.get("name") or "")
        if parameter.get("in") == "query" and (parameter.get("required") is True or _names_record(call, records, name)):
            held = _named(records, name)
            if not held:
                return "", f"it needs {name}, which records lack"
            query.append(f"{name}={{{held}}}")
        if parameter.get("in") == "header" and parameter.get("required") is True and not _is_key(name):
            return "", f"it needs the header {name}"
    filled = _HOLE.sub(lambda m: f"{{{own if m[1] == call.hole and own else _word(m[1])}}}", path)
    return f"{filled}?{'&'.join(query)}" if query else filled, ""


def _names_record(call: _Call, records: _Records, name: str) -> bool:
    """Whether a parameter that may be left out is how a record is named: the key, of an operation on one record."""
    one = call.kind in (verbs.LOOK, verbs.DELETE) and not call.hole
    return one and [_named(records, name)] == list(records.key)


def _body(document: Document, operation: Operation, records: _Records, kind: str) -> tuple[dict[str, Any] | None, str]:
    """What is sent: `fields`, `body`, `batch` and `items`, and under `names` the fields among it."""
    schema = _sent(document, operation)
    if schema is None:
        if kind == verbs.DELETE:
            return {}, ""
        return None, "it takes no JSON"
    whole = flat(document, schema)
    if whole.type == "array":
        return _several(document, whole, records, kind, "")
    if kind == verbs.DELETE:
        return _naming(document, whole, records)
    found, reason = _fields(document, whole, records, kind)
    if found is not None:
        return found, ""
    for name, node in whole.properties.items():
        inner = flat(document, node)
        others = whole.required - {name}
        if inner.type == "object" and inner.properties and not others:
            wrapped, why = _fields(document, inner, records, kind)
            if wrapped is not None:
                return {**wrapped, "body": {name: "{*}"}}, ""
            reason = why
        if inner.type == "array" and not others and flat(document, inner.items).properties:
            return _several(document, inner, records, kind, name)
    return None, reason


def _several(
    document: Document, listed: Flat, records: _Records, kind: str, name: str
) -> tuple[dict[str, Any] | None, str]:
    """A body that takes several records at once."""
    if kind == verbs.DELETE and flat(document, listed.items).type in _SCALARS and len(records.key) == 1:
        return {"body": [f"{{{records.key[0]}}}"]}, ""
    found, reason = _fields(document, flat(document, listed.items), records, kind)
    if found is None:
        return None, reason
    most = listed.raw.get("maxItems")
    most = most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else _BATCH
    return {**found, "batch": min(most, 10_000), **({"items": name} if name else {})}, ""


def _naming(document: Document, whole: Flat, records: _Records) -> tuple[dict[str, Any] | None, str]:
    """The body of a deletion: the key, or a list of keys, under some name."""
    if len(records.key) == 1:
        for name, node in whole.properties.items():
            one = flat(document, node)
            many = one.type == "array" and flat(document, one.items).type in _SCALARS
            plain = name[:-1] if many and name.endswith("s") else name.removesuffix("List") if many else name
            if (many or one.type in _SCALARS) and _named(records, plain) == records.key[0]:
                if others := whole.required - {name}:
                    return None, f"it needs {', '.join(sorted(others))}, which records lack"
                hole = f"{{{records.key[0]}}}"
                return {"body": {name: [hole] if many else hole}}, ""
    return None, "it does not say which record it means"


def _fields(document: Document, taken: Flat, records: _Records, kind: str) -> tuple[dict[str, Any] | None, str]:
    """Which of our fields an object takes, and as what; None if it needs others, or hardly takes any."""
    ours = {words.plain(name): name for name in records.fields}
    found: dict[str, str] = {}
    for name, node in taken.properties.items():
        own = name if name in records.fields else ours.get(words.plain(name), "")
        if own and own not in found and flat(document, node).raw.get("readOnly") is not True:
            found[own] = name
    missing = sorted(name for name in taken.required if name not in found.values() and name in taken.properties)
    missing = [name for name in missing if flat(document, taken.properties[name]).raw.get("readOnly") is not True]
    if taken.properties and (not found or len(found) * 3 < len(taken.properties)):
        return None, "what it takes is not the record"
    if missing:
        return None, f"it needs {', '.join(missing)}, which records lack"
    names = list(found) or list(records.fields)
    texts = [own for own, name in found.items() if is_number_as_text(document, taken.properties[name])]
    given = {"names": names, **({"texts": texts} if texts else {})}
    if not found or (list(found.values()) == names and set(names) == set(records.fields)):
        return given, ""
    same = all(own == name for own, name in found.items())
    return {"fields": names if same else found, **given}, ""


def _sent(document: Document, operation: Operation) -> Any:
    """The schema of the JSON that an operation takes; None if it takes none."""
    if document.old:
        kinds = operation.raw.get("consumes") or document.raw.get("consumes") or ["application/json"]
        body = next((p.get("schema") for p in operation.parameters if p.get("in") == "body"), None)
        return body if any(_is_json(kind) for kind in kinds if isinstance(kinds, list)) else None
    content = as_mapping(as_mapping(document.resolved(operation.raw.get("requestBody"))).get("content"))
    return next((as_mapping(one).get("schema") for kind, one in content.items() if _is_json(kind)), None)


def _is_json(kind: Any) -> bool:
    return str(kind).partition(";")[0].strip().lower() in ("application/json", "text/json", "*/*", "application/*")


def _given(document: Document, operation: Operation) -> Flat | None:
    """What an operation answers when it went through."""
    responses = operation.responses
    code = next((code for code in ("200", "201", "2XX", "202", "default") if code in responses), "")
    response = as_mapping(document.resolved(responses.get(code)))
    if document.old:
        return flat(document, response["schema"]) if "schema" in response else None
    content = as_mapping(response.get("content"))
    schema = next((as_mapping(one).get("schema") for kind, one in content.items() if "json" in str(kind)), None)
    return None if schema is None else flat(document, schema)


def _record_in(document: Document, operation: Operation, records: _Records) -> tuple[str, ...] | None:
    """The keys that lead to the record in an answer; None if it has none that is known."""
    whole = _given(document, operation)
    level: list[tuple[tuple[str, ...], Flat]] = [((), whole)] if whole is not None else []
    for _ in range(3):
        following = []
        for above, one in level:
            shown = flat(document, one.items) if one.type == "array" else one
            if shown.properties and len(shown.properties.keys() & records.fields.keys()) * 2 > len(shown.properties):
                return above
            following += [((*above, name), flat(document, node)) for name, node in one.properties.items()]
        level = [(keys, one) for keys, one in following if one.type in ("object", "array")]
    return None


def _at(keys: tuple[str, ...] | None) -> dict[str, str]:
    return {"results": ".".join(keys)} if keys else {}


def _identifier(document: Document, operation: Operation, records: _Records) -> str:
    """Where the answer to a creation holds what the new record is called: keys with points between them."""
    whole = _given(document, operation)
    if whole is None or len(records.key) != 1:
        return ""
    keys = _record_in(document, operation, records)
    if keys is not None:
        return ".".join((*keys, records.key[0]))
    for name, node in whole.properties.items():
        one = flat(document, node)
        if name == records.key[0]:
            return name
        if name in ("data", "result") and one.type in ("string", "integer"):
            return name
        if one.type == "object" and records.key[0] in one.properties:
            return f"{name}.{records.key[0]}"
    return ""


def _idempotent(operation: Operation) -> bool:
    return any(p.get("in") == "header" and _is_key(str(p.get("name"))) for p in operation.parameters)


def _is_key(name: str) -> bool:
    return words.plain(name) in ("idempotencykey", "xidempotencykey")


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)
