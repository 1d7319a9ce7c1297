"""Finds the lists of records among a document's operations, and says of all others why they are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tongqu.kit.answers.guessing import LISTS, MORE, NEXT_URLS, TOKENS, TOTALS
from tongqu.kit.openapi import times, verbs
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.document import Document, Operation, as_mapping
from tongqu.kit.openapi.schemas import Flat, fields_of, flat
from tongqu.kit.openapi.writing import Guess, writing

_HOLE = re.compile(r"\{([^}]+)\}")
_VERSION = re.compile(r"v\d+(\.\d+)*|(open[_-]?)?api|rest|services?", re.IGNORECASE)
_ASKING = re.compile(r"search|query|list|find|page|查询|列表|分页|检索|获取", re.IGNORECASE)
_DEEPEST = 4


@dataclass(frozen=True)
class Found:
    """One operation. `settings` are those of a dataset in plain values; where `reason` is not empty it cannot be read,
    or not before somebody gives what the reason names."""

    name: str
    operation: str
    settings: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    needs: tuple[str, ...] = ()
    """Parameters that must be given under `params` before it can be read."""
    guesses: tuple[Guess, ...] = ()
    """What was concluded from other operations: the `key`, which `settings` has too, and `write`, which they have not:
    who writes should have looked at it."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Fields that an example shows, where nothing describes them."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Operations on its records that no setting could be made of, with the reason."""


def lists(document: Document) -> list[Found]:
    """Every operation in the document's order: those that give lists as datasets, the others with the reason."""
    found: list[Found] = []
    taken: set[str] = set()
    for operation in document.operations():
        one = _look(document, operation)
        if one.settings:
            name = _unique(one.name, taken)
            one = Found(name, one.operation, one.settings, one.reason, one.needs)
            taken.add(name)
        found.append(one)
    found = concluded(document, found)
    return [_with_parent(one, found) for one in found]


def concluded(document: Document, found: Sequence[Found]) -> list[Found]:
    """The lists with what other operations say of their records; operations that became settings are left out."""
    made = [_with_guesses(document, one) for one in found]
    reasons = {operation: reason for one in made for operation, reason in one.unused.items()}
    used = {guess.source for one in made for guess in one.guesses if guess.setting != "key"}
    made = [one for one in made if (one.settings and not one.needs) or one.operation not in used]
    return [one if one.settings else replace(one, reason=reasons.get(one.operation, one.reason)) for one in made]


def _with_guesses(document: Document, one: Found) -> Found:
    """A list with what other operations say of its records."""
    fields = one.settings.get("fields") or one.shown
    if not fields or not one.settings:
        return one
    told = writing(document, one.operation.partition(" ")[2], fields, one.settings.get("key", []))
    key = next(({"key": guess.value} for guess in told.guesses if guess.setting == "key"), {})
    return replace(one, settings={**one.settings, **key}, guesses=told.guesses, unused=told.unused)


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}_{n}" for n in range(2, len(taken) + 3) if f"{name}_{n}" not in taken)


def _look(document: Document, operation: Operation) -> Found:
    label = operation.label
    if operation.method not in ("get", "post"):
        return Found("", label, reason=f"{operation.method.upper()} changes something")
    if operation.method == "post" and not _ASKING.search(f"{operation.path.rpartition('/')[2]} {operation.words[:80]}"):
        return Found("", label, reason="POST that does not look like a query")
    schema, form, headers = _answer(document, operation)
    if form == "":
        return Found("", label, reason="no answer with JSON, XML or CSV is described")
    name = name_of(operation.path)
    if schema is None:
        if form == "json":
            return Found("", label, reason="its answer is not described")
        return _listed(document, operation, name, {"format": form}, None, headers=headers)
    root = flat(document, schema)
    if root.foreign:
        return Found("", label, reason=f"its answer is described in another document: {root.foreign[:100]}")
    if form != "json":
        return _listed(document, operation, name, {"format": form}, None, headers=headers)
    place = records_of(document, root)
    if place is None:
        kind = root.type or "nothing that is known"
        return Found(
            "", label, reason=f"its answer is {'one object' if kind == 'object' else kind}, no list of records"
        )
    keys, item = place
    if item.foreign:
        return Found("", label, reason=f"its records are described in another document: {item.foreign[:100]}")
    types, titles = fields_of(document, item)
    given: dict[str, Any] = {"records": ".".join(keys)} if all(re.fullmatch(r"[\w@-]+", k) for k in keys) else {
        "records": "/" + "/".join(k.replace("~", "~0").replace("/", "~1") for k in keys)
    }  # fmt: skip
    if types:
        given |= {"fields": types, "trust": False}
        key = words.key_field(types, name.rpartition("_")[2])
        if key and types[key] != "json":
            given["key"] = [key]
        if titles:
            given["titles"] = titles
    return _listed(document, operation, name, given, root, headers=headers)


def _listed(
    document: Document, operation: Operation, name: str, given: dict[str, Any], root: Flat | None, *, headers: Any
) -> Found:
    """The dataset of an operation with its parameters taken apart."""
    settings: dict[str, Any] = {"path": _HOLE.sub(lambda m: f"{{{_word(m[1])}}}", operation.path)}
    if operation.method == "post":
        settings["method"] = "POST"
    asked = [p for p in operation.parameters if p.get("in") in ("query", "path")]
    if operation.method == "post":
        asked += _body_fields(document, operation)
    roles: dict[str, str] = {}
    params: dict[str, Any] = {}
    needs: list[str] = []
    for parameter in asked:
        title = str(parameter.get("name") or "")
        leaf = {**parameter, "name": title.rpartition(".")[2]} if parameter.get("in") == "body" else parameter
        what = words.role(leaf) if parameter.get("in") != "path" else ""
        if what and what not in roles:
            roles[what] = title
        elif parameter.get("required") is True:
            value = _value(document, parameter)
            if value is not None and parameter.get("in") != "path":
                params[title] = value
            else:
                needs.append(_word(title) if parameter.get("in") == "path" else title)
    needs += [_word(hole) for hole in _HOLE.findall(operation.path) if _word(hole) not in needs]
    if params:
        settings["params"] = params
    settings |= given
    settings["paging"] = _paging(document, roles, asked, root, headers)
    if words.plain(roles.get(words.CURSOR, "")) in words.AFTER_RECORD and settings["paging"]["kind"] in (
        "auto",
        "link",
    ):
        settings["paging"] |= _after_record(settings, roles[words.CURSOR])
    settings |= _incremental(roles, settings.get("fields", {}), document, asked)
    reason = f"needs {', '.join(needs)}: give them under params" if needs else ""
    return Found(name, operation.label, settings, reason, tuple(needs))


def _paging(
    document: Document, roles: Mapping[str, str], asked: Sequence[Mapping[str, Any]], root: Flat | None, headers: Any
) -> dict[str, Any]:
    """How the list is paged, by the names of parameters and of the answer's other fields."""
    told = _envelope(document, root) if root is not None and root.type == "object" else {}
    by_plain = {path.rpartition(".")[2]: path for path in reversed(list(told))}
    total = next((by_plain[name] for name in TOTALS if name in by_plain), "")
    more = next((by_plain[name] for name in MORE if name in by_plain), "")
    url = next((by_plain[name] for name in NEXT_URLS if name in by_plain), "")
    token = next((by_plain[name] for name in TOKENS if name in by_plain), "")
    counted = next((name for name in headers if words.plain(str(name)) in ("xtotalcount", "xtotal", "totalcount")), "")
    total = total or (f"header:{counted}" if counted else "")
    size = {"size_param": roles[words.SIZE], "size": _size(document, roles[words.SIZE], asked)} if words.SIZE in roles \
        else {}  # fmt: skip
    if words.CURSOR in roles and token:
        paging: dict[str, Any] = {"kind": "cursor", "param": roles[words.CURSOR], "next": token, **size}
    elif any(words.plain(str(name)) == "link" for name in headers):
        return {"kind": "link", **size}
    elif url and words.CURSOR not in roles and told.get(url) in ("string", "", "mixed"):
        return {"kind": "next_url", "next": url, **size}
    elif words.PAGE in roles:
        start = _start(document, roles[words.PAGE], asked)
        paging = {"kind": "page", "param": roles[words.PAGE], **({"start": start} if start is not None else {}), **size}
    elif words.OFFSET in roles:
        paging = {"kind": "offset", "param": roles[words.OFFSET], **size}
    else:
        paging = {"kind": "auto", **size}
    return paging | ({"total": total} if total else {}) | ({"more": more} if more else {})


def _after_record(settings: Mapping[str, Any], param: str) -> dict[str, Any]:
    """Paging by the last record's key, where an answer shows no other cursor."""
    key = settings.get("key", [])
    return {"kind": "keyset", "param": param, "field": key[0]} if len(key) == 1 else {}


def _envelope(document: Document, root: Flat, above: str = "", depth: int = 0) -> dict[str, str]:
    """The small values around the records: their places and types."""
    found: dict[str, str] = {}
    for name, node in root.properties.items():
        one = flat(document, node)
        if one.type == "object" and depth < 2:
            found |= _envelope(document, one, f"{above}{name}.", depth + 1)
        elif one.type != "array":
            found[f"{above}{name}"] = one.type
    return found


def _incremental(
    roles: Mapping[str, str], types: Mapping[str, str], document: Document, asked: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    changed = words.changed_field(types)
    if not changed or types[changed] == "json":
        return {}
    told: dict[str, Any] = {"cursor": changed}
    if words.UNTIL in roles:
        told["until_param"] = roles[words.UNTIL]
    if words.SINCE in roles:
        told["param"] = roles[words.SINCE]
        parameter = next(one for one in asked if one.get("name") == roles[words.SINCE])
        told |= times.written(parameter, _schema(document, parameter).raw)
    return {"incremental": dict(sorted(told.items()))}


def _size(document: Document, name: str, asked: Sequence[Mapping[str, Any]]) -> int:
    """As many as the document allows, up to 1,000; where it says nothing, 100."""
    schema = _schema(document, next(one for one in asked if one.get("name") == name))
    most = schema.raw.get("maximum")
    if isinstance(most, int | float) and not isinstance(most, bool) and most >= 1:
        return min(int(most), 1000)
    default = schema.raw.get("default")
    return max(100, default) if isinstance(default, int) and not isinstance(default, bool) and default <= 1000 else 100


def _start(document: Document, name: str, asked: Sequence[Mapping[str, Any]]) -> int | None:
    schema = _schema(document, next(one for one in asked if one.get("name") == name))
    for told in (schema.raw.get("default"), schema.raw.get("minimum")):
        if told in (0, 1) and not isinstance(told, bool):
            return int(told)
    return None


def _schema(document: Document, parameter: Mapping[str, Any]) -> Flat:
    return flat(
        document, parameter.get("schema") or {k: v for k, v in parameter.items() if k not in ("required", "items")}
    )


def _value(document: Document, parameter: Mapping[str, Any]) -> Any:
    """A value that the document offers for a parameter; None if it offers none."""
    schema = _schema(document, parameter).raw
    offers = [schema.get("default"), parameter.get("example"), schema.get("example")]
    choices = schema.get("enum")
    if isinstance(choices, list) and len(choices) == 1:
        offers.append(choices[0])
    return next((one for one in offers if isinstance(one, str | int | float)), None)


def _body_fields(document: Document, operation: Operation) -> list[dict[str, Any]]:
    """The fields of a query's JSON body, as parameters; those of objects in it with points between their keys."""
    body: Any = next((p.get("schema") for p in operation.parameters if p.get("in") == "body"), None)
    if body is None:
        content = as_mapping(as_mapping(document.resolved(operation.raw.get("requestBody"))).get("content"))
        body = next((as_mapping(one).get("schema") for kind, one in content.items() if "json" in kind), None)
    return list(_fields_in(document, flat(document, body))) if body is not None else []


def _fields_in(document: Document, found: Flat, above: str = "", *, sure: bool = True) -> Iterator[dict[str, Any]]:
    for name, node in found.properties.items():
        one = flat(document, node)
        needed = sure and name in found.required
        if one.type == "object" and above.count(".") < 2:
            yield from _fields_in(document, one, f"{above}{name}.", sure=needed)
        elif one.type not in ("object", "array"):
            said = one.raw.get("description")
            place = f"{above}{name}"
            yield {"name": place, "in": "body", "schema": node, "description": said, "required": needed}


def _answer(document: Document, operation: Operation) -> tuple[Any, str, Mapping[str, Any]]:
    """The schema of a successful answer, its format, and its headers; no format if there is none that can be read."""
    responses = operation.responses
    code = next((c for c in ("200", "206", "201", "2XX", "default") if c in responses), None)
    code = code or next((c for c in responses if c.startswith("2")), None)
    response = as_mapping(document.resolved(responses.get(code))) if code else {}
    headers = as_mapping(response.get("headers"))
    if document.old:
        kinds = operation.raw.get("produces") or document.raw.get("produces") or ["application/json"]
        form = next((f for f in map(_form, kinds if isinstance(kinds, list) else []) if f), "")
        return response.get("schema"), form, headers
    content = as_mapping(response.get("content"))
    forms = {form: kind for kind in reversed(list(content)) if (form := _form(kind))}
    for form in ("json", "ndjson", "csv", "xml"):
        if form in forms:
            return as_mapping(content[forms[form]]).get("schema"), form, headers
    return None, "", headers


def _form(kind: Any) -> str:
    text = str(kind).partition(";")[0].strip().lower()
    if "ndjson" in text or "jsonl" in text or "json-seq" in text:
        return "ndjson"
    if "json" in text or text == "*/*":
        return "json"
    return "xml" if text.endswith("xml") else "csv" if text == "text/csv" else ""


def records_of(document: Document, root: Flat, above: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Flat] | None:
    """The keys that lead to the array of records in an answer, and what a record is; None if there is none."""
    if root.type == "array":
        item = flat(document, root.items)
        if item.type in _SCALARS:
            return above, Flat("object", properties={"value": root.items}, required={"value"})
        return (above, item) if item.type in ("object", "") or item.properties or item.foreign else None
    if len(above) >= _DEEPEST or not root.properties:
        return None
    arrays = {name: one for name, node in root.properties.items() if (one := flat(document, node)).type == "array"}
    named = sorted((name for name in arrays if name in LISTS), key=LISTS.index)
    beside = ("errors", "warnings", "links")
    rest = [name for name in arrays if name not in LISTS and words.plain(name) not in beside]
    if len(rest) > 1:  # texts and numbers beside records
        rest = [name for name in rest if flat(document, arrays[name].items).type not in _SCALARS]
    for name in [*named, *(rest if len(rest) == 1 or not above else [])]:
        found = records_of(document, arrays[name], (*above, name))
        if found is not None and (name in LISTS or _is_envelope(document, root, rest)):
            return found
    for name, node in root.properties.items():
        inner = flat(document, node)
        if inner.type == "object" and inner.properties and words.plain(name) in _WRAPPERS:
            found = records_of(document, inner, (*above, name))
            if found is not None:
                return found
    return None


_SCALARS = ("string", "integer", "number", "boolean")
_WRAPPERS = {
    "data", "result", "response", "body", "d", "payload", "page", "embedded", "hits", "obj", "content", "value",
}  # fmt: skip
_AROUND = frozenset(
    [
        "total", "count", "next", "previous", "page", "pages", "size", "limit", "offset", "cursor", "code", "message",
        "msg", "success", "status", "links", "meta", "paging", "pagination", "errcode", "errmsg", "totalcount",
        "hasmore", "kind", "nextpagetoken", "pagetoken", "etag", "requestid", "apiversion", "metadata", "errors",
        "warnings", "object", "url", "type", "version",
    ]
)  # fmt: skip


def _is_envelope(document: Document, root: Flat, arrays: Sequence[str]) -> bool:
    """Whether an object with one array is a wrapping of it and no record with a list in it: everything else in it is
    known to stand around lists, or two things tell of pages and nothing identifies a record."""
    others = [name for name in root.properties if name not in arrays]
    known = [name for name in others if words.plain(name) in _AROUND or words.role({"name": name})]
    paged = [name for name in others if name in (*TOTALS, *MORE, *NEXT_URLS, *TOKENS) or words.role({"name": name})]
    sure = len(paged) > 1 and not any(words.plain(name) in ("id", "uuid", "guid", "code") for name in others)
    return len(arrays) == 1 and (len(known) == len(others) or sure)


def _with_parent(one: Found, found: Sequence[Found]) -> Found:
    """A list below another list's records gets that one as parent, if it alone is missing."""
    holes = _HOLE.findall(one.settings.get("path", ""))
    if len(holes) != 1 or list(one.needs) != holes:
        return one
    above = one.settings["path"].partition("{")[0].rstrip("/")
    parent = next((p for p in found if p.settings.get("path") == above and not p.needs), None)
    fields = parent.settings.get("fields", {}) if parent else {}
    by_name = {words.plain(name): name for name in fields}
    hole = words.plain(holes[0])
    column = by_name.get(hole) or (by_name.get("id") if hole.endswith("id") or hole == "id" else None)
    key = parent.settings.get("key", []) if parent else []
    column = column or (key[0] if len(key) == 1 else None)
    if parent is None or column is None:
        return one
    settings, name = dict(one.settings), holes[0]
    if name in settings.get("fields", {}):  # the records have another field of that name
        name = f"{verbs.taken_apart(parent.name)[1] or parent.name}_{name}"
        settings["path"] = settings["path"].replace(f"{{{holes[0]}}}", f"{{{name}}}")
    settings["parent"] = {"dataset": parent.name, "values": {name: column}}
    return replace(one, settings=settings, reason="", needs=())


def name_of(path: str) -> str:
    """A dataset's name from a path: its words without versions, braces and a verb that stands alone at the end."""
    parts = [part for part in path.strip("/").split("/") if part and not part.startswith("{")]
    kept = [part for part in parts if not _VERSION.fullmatch(part)] or parts
    if len(kept) > 1 and verbs.taken_apart(kept[-1]) == (verbs.LIST, ""):
        kept = kept[:-1]
    return re.sub(r"[^\w]+", "_", "_".join(kept)).strip("_") or "data"


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)
