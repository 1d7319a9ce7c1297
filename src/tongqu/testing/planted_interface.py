"""A vendor's document whose faults are known: 6 of 10 quality scenarios covered, 3 of 10 key fields undescribed."""

from __future__ import annotations

from typing import Any

COVERED = (
    "inspection_results", "submit_inspection_result", "inspection_plans", "inspection_standards", "nonconformities",
    "report_nonconformity",
)  # fmt: skip
PARTIAL = ("inspection_results_changed",)
MISSING = ("dispositions", "corrective_actions", "quality_events")
UNDESCRIBED = (
    "#/components/schemas/Result/properties/value",
    "#/components/schemas/Standard/properties/lower_limit",
    "#/components/schemas/Nonconformity/properties/quantity",
)


def planted(server: str = "https://qms.example/api/v1") -> dict[str, Any]:
    """A fresh copy of the document (OpenAPI 3.0.3), which the caller may change."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Plant QMS",
            "version": "1.4.0",
            "description": "Fields are only added: backward compatible.",
        },
        "servers": [{"url": server}],
        "security": [{"token": ["quality"]}],
        "paths": {
            "/inspection-results": {
                "get": _list("listInspectionResults", "Inspection results", "Result"),
                "post": _create("submitInspectionResult", "Submit an inspection result", "Result"),
            },
            "/inspection-plans": {"get": _list("listInspectionPlans", "Inspection plans", "Plan")},
            "/standards": {"get": _list("listStandards", "Inspection standards", "Standard")},
            "/nonconformities": {
                "get": _list("listNonconformities", "Nonconformities", "Nonconformity"),
                "post": _create("reportNonconformity", "Report a nonconformity", "Nonconformity"),
            },
        },
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "oauth2",
                    "flows": {"clientCredentials": {"tokenUrl": f"{server}/token", "scopes": {"quality": "all"}}},
                }
            },
            "schemas": {
                "Result": _object(
                    ["lot_no", "item_code", "value"],
                    lot_no={"type": "string", "description": "Lot number", "example": "L20260001"},
                    item_code={"type": "string", "description": "Inspection item"},
                    value={"type": "number"},
                    inspector={"type": "string", "description": "Who measured"},
                ),
                "Plan": _object(["plan_no"], plan_no={"type": "string", "description": "Plan number"}),
                "Standard": _object(
                    ["item_code"],
                    item_code={"type": "string", "description": "Inspection item"},
                    upper_limit={"type": "number", "description": "Upper limit"},
                    lower_limit={"type": "number"},
                ),
                "Nonconformity": _object(
                    ["nc_no"],
                    nc_no={"type": "string", "description": "Number of the report"},
                    lot_no={"type": "string", "description": "Lot number"},
                    quantity={"type": "integer"},
                    state={"type": "string", "enum": ["open", "closed"]},
                ),
                "Error": _object([], code={"type": "string"}, message={"type": "string"}),
            },
        },
    }


def _object(required: list[str], **fields: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": fields}


def _list(name: str, summary: str, schema: str) -> dict[str, Any]:
    page = {"name": "page", "in": "query", "schema": {"type": "integer"}}
    size = {"name": "page_size", "in": "query", "schema": {"type": "integer"}}
    array = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    body = {"type": "object", "properties": {"items": array, "total": {"type": "integer"}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [page, size],
        "responses": {"200": _answer(body), "429": _answer({"$ref": "#/components/schemas/Error"})},
    }


def _create(name: str, summary: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {"201": _answer({"$ref": f"#/components/schemas/{schema}"}), "400": {"description": "refused"}},
    }


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "an answer", "content": {"application/json": {"schema": schema}}}
