"""Postman collections (v2.0, v2.1): their requests as datasets, and as what writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.answers.guessing import records_at
from tongqu.kit.answers.selecting import looked_up
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.document import Document, as_mapping, parsed_text
from tongqu.kit.openapi.lists import Found, concluded, name_of

_VARIABLE = re.compile(r"\{\{([^}]+)\}\}")
_UNQUOTED = re.compile(r"([:\[,]\s*)\{\{[^}]+\}\}")
_ONE = re.compile(r"\d+|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ASKING = re.compile(r"search|query|list|find|page|查询|列表|分页|检索|获取", re.IGNORECASE)


def collection(text: bytes, where: str) -> tuple[str, list[Found]]:
    """The base URL that most requests share, and every request as a dataset or with the reason why it is none. Raises
    InvalidSettingsError for what is no collection."""
    raw = parsed_text(text, where)
    schema = str(as_mapping(as_mapping(raw).get("info")).get("schema") or "")
    if not isinstance(raw, Mapping) or not isinstance(raw.get("item"), list) or "v1" in schema:
        raise InvalidSettingsError(
            f"{where} is no Postman collection of version 2", path=where, hint="export it as Collection v2.1"
        )
    variables = {str(v.get("key")): str(v.get("value") or "") for v in map(as_mapping, raw.get("variable") or [])}
    requests = list(_requests(raw["item"]))
    bases: dict[str, int] = {}
    looked = []
    for name, item in requests:
        url = _filled(_url(as_mapping(item.get("request")).get("url")), variables)
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else ""
        bases[base] = bases.get(base, 0) + bool(base)
        looked.append((name, item, url, base))
    base = max(bases, key=lambda one: bases[one], default="")
    found: list[Found] = []
    taken: set[str] = set()
    called: dict[str, str] = {}
    paths: dict[str, dict[str, Any]] = {}
    for name, item, url, own in looked:
        one = _look(name, item, url, base if own == base else "")
        if own == base and base:
            method, path = _place(item, url)
            paths.setdefault(path, {})[method.lower()] = _operation(item)
            one, called[f"{method} {path}"] = replace(one, operation=f"{method} {path}"), one.operation
        if one.settings:
            unique = one.name if one.name not in taken else f"{one.name}_{len(taken)}"
            one = replace(one, name=unique)
            taken.add(unique)
        found.append(one)
    told = concluded(Document({"openapi": "3.1.0", "paths": paths}, where), found)
    return base, [replace(one, operation=called.get(one.operation, one.operation)) for one in told]


def _place(item: Mapping[str, Any], url: str) -> tuple[str, str]:
    """The method and the path of a request, with braces for what differs from record to record: `:id`, a variable
    without value, a number, a UUID."""
    path = _VARIABLE.sub(lambda m: f"{{{re.sub(r'[^A-Za-z0-9_]', '_', m[1])}}}", urlsplit(url).path)
    parts = ["{id}" if _ONE.fullmatch(part) else re.sub(r"^:(\w+)$", r"{\1}", part) for part in path.split("/")]
    return str(as_mapping(item.get("request")).get("method") or "GET").upper(), "/".join(parts)


def _operation(item: Mapping[str, Any]) -> dict[str, Any]:
    """A request as OpenAPI describes it, its bodies by their examples."""
    request = as_mapping(item.get("request"))
    url = request.get("url")
    raw = str(url if isinstance(url, str) else as_mapping(url).get("raw") or "")
    made: dict[str, Any] = {"operationId": str(item.get("name") or "")}
    names = [name for name, _ in parse_qsl(raw.partition("?")[2], keep_blank_values=True)]
    made["parameters"] = [{"name": name, "in": "query", "required": True} for name in names]
    if (sent := _schema(as_mapping(request.get("body")).get("raw"))) is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": sent}}}
    answers = (_schema(as_mapping(one).get("body")) for one in item.get("response") or [])
    given = next((one for one in answers if one is not None), None)
    made["responses"] = {"200": {"content": {"application/json": {"schema": given}}} if given else {}}
    return made


def _schema(example: Any) -> Any:
    """The schema of a JSON text; variables without quotes in it stand for anything. None if it is none."""
    try:
        return _shape(json.loads(_UNQUOTED.sub(r'\1"x"', str(example or ""))))
    except (ValueError, RecursionError):
        return None


def _shape(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"type": "object", "properties": {name: _shape(held) for name, held in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": _shape(value[0]) if value else {}}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(value)]} if type(value) in kinds else {}


def _requests(items: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    pending = [items]
    while pending:
        for item in map(as_mapping, pending.pop()):
            if isinstance(item.get("item"), list):
                pending.append(item["item"])
            elif "request" in item:
                yield str(item.get("name") or ""), item


def _url(url: Any) -> str:
    return url if isinstance(url, str) else str(as_mapping(url).get("raw") or "")


def _filled(text: str, variables: Mapping[str, str]) -> str:
    for _ in range(3):
        text = _VARIABLE.sub(lambda m: variables.get(m[1].strip()) or m[0], text)
    return text


def _look(name: str, item: Mapping[str, Any], url: str, base: str) -> Found:
    request = item.get("request")
    asked = as_mapping(request)
    method = str(asked.get("method") or "GET").upper()
    label = f"{method} {name or url.partition('?')[0]}"
    if method not in ("GET", "POST"):
        return Found("", label, reason=f"{method} changes something")
    parts = urlsplit(url)
    if method == "POST" and not _ASKING.search(f"{name} {parts.path.rpartition('/')[2]}"):
        return Found("", label, reason="POST that does not look like a query")
    if _VARIABLE.search(url):
        missing = ", ".join(_VARIABLE.findall(url))
        return Found("", label, reason=f"its URL needs the variables {missing}, which the collection does not give")
    if not parts.netloc:
        return Found("", label, reason="it has no URL")
    path = re.sub(r"/:(\w+)", r"/{\1}", parts.path)
    given = {
        str(v.get("key")): v.get("value") for v in map(as_mapping, as_mapping(asked.get("url")).get("variable") or [])
    }
    settings: dict[str, Any] = {"path": path if base else f"{parts.scheme}://{parts.netloc}{path}"}
    roles: dict[str, str] = {}
    params: dict[str, Any] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        what = words.role({"name": key})
        if what and what not in roles:
            roles[what] = key
        elif value:
            params[key] = value
    params |= {key: value for key, value in given.items() if value and f"{{{key}}}" in path}
    if params:
        settings["params"] = params
    if method == "POST":
        settings["method"] = "POST"
        body = str(as_mapping(asked.get("body")).get("raw") or "")
        try:
            settings["body"] = json.loads(body) if body.strip() else None
        except ValueError:
            return Found("", label, reason="its body is no JSON")
    settings["paging"] = _paging(roles)
    place, shown = _example(item)
    settings |= place
    key = words.key_field(shown, name_of(parts.path).rpartition("_")[2])
    if key:
        settings["key"] = [key]
    needs = tuple(hole for hole in re.findall(r"\{(\w+)\}", path) if hole not in params)
    reason = f"needs {', '.join(needs)}: give them under params" if needs else ""
    return Found(name_of(parts.path), label, settings, reason, needs, shown=shown)


def _paging(roles: Mapping[str, str]) -> dict[str, Any]:
    size = {"size_param": roles[words.SIZE], "size": 100} if words.SIZE in roles else {}
    for what in (words.PAGE, words.OFFSET):
        if what in roles:
            return {"kind": what, "param": roles[what], **size}
    return {"kind": "auto", **size}


def _example(item: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a saved answer shows of its records: where they stand, and their fields."""
    for response in map(as_mapping, item.get("response") or []):
        try:
            document = json.loads(str(response.get("body") or ""))
            keys = records_at(document)
        except (ValueError, RecursionError):
            continue
        records = looked_up(document, ".".join(keys)) if keys else document
        if isinstance(records, list):
            first = next((one for one in records if isinstance(one, dict)), {})
            shown = {name: "json" if isinstance(held, dict | list) else "string" for name, held in first.items()}
            return ({"records": ".".join(keys)} if keys else {}), shown
    return {}, {}
