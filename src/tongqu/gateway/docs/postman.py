"""A Postman collection (v2.1) of one version for one caller, made of its OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_PLACES = re.compile(r"\{.*\}")
"""The key of a row in a path; Postman fills in whole segments only, so one of several fields is one variable."""
_METHODS = ("get", "head", "post", "patch", "put", "delete")


def postman(document: Mapping[str, Any], address: str) -> dict[str, Any]:
    """The collection. Variables: `url` is the gateway's address, `token` a bearer token to be filled in."""
    folders: dict[str, list[dict[str, Any]]] = {}
    shared = document["components"]["parameters"]
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                told = [*item.get("parameters", ()), *operation["parameters"]]
                parameters = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in told]
                folders.setdefault(operation["tags"][0], []).append(_request(path, method, operation, parameters))
    info = document["info"]
    return {
        "info": {
            "_postman_id": str(uuid5(NAMESPACE_URL, f"{info['title']} {info['version']}")),
            "name": info["title"],
            "description": info["description"],
            "schema": _SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [{"key": "url", "value": address}, {"key": "token", "value": ""}],
        "item": [{"name": name, "item": requests} for name, requests in folders.items()],
    }


def _request(path: str, method: str, operation: Mapping[str, Any], parameters: list[Any]) -> dict[str, Any]:
    inside, keys = _PLACES.sub(":key", path), _PLACES.search(path)
    query = [
        {"key": one["name"], "value": str(one.get("example", "")), "description": one.get("description", ""),
         "disabled": not one["required"]}
        for one in parameters if one["in"] == "query"
    ]  # fmt: skip
    named = [one for one in parameters if one["in"] == "path"]
    described = ", ".join(one.get("description", "") or one["name"] for one in named)
    variables = [{"key": "key", "value": ",".join("1" for _ in named), "description": described}] if keys else []
    headers = [
        {"key": one["name"], "value": "mock" if one["name"] == "Prefer" else "", "disabled": not one["required"]}
        for one in parameters if one["in"] == "header"
    ]  # fmt: skip
    request: dict[str, Any] = {
        "method": method.upper(),
        "header": headers,
        "description": operation["summary"],
        "url": {
            "raw": "{{url}}" + inside, "host": ["{{url}}"], "path": inside.strip("/").split("/"), "query": query,
            "variable": variables,
        },
    }  # fmt: skip
    if "requestBody" in operation:
        media = operation["requestBody"]["content"]["application/json"]
        raw = json.dumps(media.get("example", {}), ensure_ascii=False, indent=2)
        request["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    return {"name": operation["summary"], "request": request, "response": []}
