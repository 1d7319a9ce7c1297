"""OpenAPI 3.1 of one version for one caller: the operations, fields and filters it may use, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.gateway.docs import filters, shapes
from tongqu.gateway.docs.operations import paths
from tongqu.gateway.docs.security import schemes
from tongqu.gateway.docs.sights import Sight
from tongqu.gateway.publication import Publication

_TELLS = {
    "zh": "查询语法同 PostgREST。出错时返回 RFC 9457 文档：`code` 固定不变，`errors` 指明参数，`type` 指向说明。"
    "示例均为模拟数据。",
    "en": "The query grammar is PostgREST's. Refusals are RFC 9457 documents: `code` never changes, `errors` name the "
    "parameter, `type` leads to an explanation. All examples are made up.",
}


def openapi(
    publication: Publication,
    version: str,
    seen: Sequence[Sight],
    language: str,
    examples: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The document. `examples` are by API, see `operations.paths`."""
    served = [sight for sight in seen if "rest" in sight.api.entry.protocols]
    made: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Problem": shapes.problem()}
    parameters: dict[str, Any] = {}
    for sight in served:
        made |= paths(sight, examples.get(sight.api.name, {}))
        schemas |= _schemas(sight)
        parameters |= filters.shared(sight)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{publication.project or 'APIs'} {version}",
            "version": version,
            "description": _TELLS[language],
            "x-config": publication.version,
        },
        "servers": [{"url": "/"}],
        "externalDocs": {"url": "/docs/problems", "description": "RFC 9457"},
        "tags": [_tag(sight) for sight in served],
        "paths": made,
        "components": {
            "schemas": schemas,
            "parameters": parameters,
            "securitySchemes": schemes(language),
            "responses": {"Refused": {
                "description": {"zh": "拒绝：见 code", "en": "refused: see `code`"}[language],
                "headers": {"Retry-After": {"schema": {"type": "string"}}},
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }},
        },
    }  # fmt: skip


def _schemas(sight: Sight) -> dict[str, Any]:
    name = sight.api.name
    made = {name: shapes.row(sight)}
    if sight.may("insert"):
        made[f"{name}.added"] = shapes.added(sight)
    if sight.may("update"):
        made[f"{name}.changed"] = shapes.changed(sight)
    if sight.may("insert", "update"):
        made[f"{name}.replaced"] = shapes.replaced(sight)
    return made


def _tag(sight: Sight) -> dict[str, Any]:
    """An API, and where its other descriptions are."""
    api = sight.api
    links = {"xsd": f"{api.path}?xsd"}
    if "graphql" in api.entry.protocols:
        links["sdl"] = f"/graphql/{api.version}/schema.graphql"
    if "soap" in api.entry.protocols:
        links["wsdl"] = f"/soap/{api.version}/{api.name}?wsdl"
    if "live" in api.entry.protocols:
        links["asyncapi"] = f"/openapi/{api.version}.asyncapi.json"
    made: dict[str, Any] = {"name": api.name, "description": api.entry.description or sight.title, "x-links": links}
    if api.entry.sunset:
        made["x-sunset"] = api.entry.sunset
    if api.entry.successor:
        made["x-successor"] = api.entry.successor
    return made
