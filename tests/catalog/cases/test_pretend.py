"""A system that is made of its document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.catalog.cases.pretend import Pretend
from tongqu.kit.openapi.document import Document

LOT = {
    "type": "object",
    "required": ["lot_no"],
    "properties": {
        "lot_no": {"type": "string", "maxLength": 20},
        "weight": {"type": "number", "minimum": 0},
        "state": {"type": "string", "enum": ["open", "closed"]},
    },
}
DATA = {"type": "object", "properties": {"total": {"type": "integer"}, "list": {"type": "array", "items": LOT}}}
PAGE = {"type": "object", "properties": {"code": {"type": "integer", "enum": [0]}, "data": DATA}}


def answer(schema: Any) -> Any:
    return {"description": "x", "content": {"application/json": {"schema": schema}}}


RAW: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "MES"},
    "servers": [{"url": "https://mes.example/api"}],
    "security": [{"key": []}],
    "paths": {
        "/lots": {
            "get": {
                "parameters": [{"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}},
                               {"name": "page_size", "in": "query", "schema": {"type": "integer", "maximum": 100}}],
                "responses": {"200": answer(PAGE)},
            },
            "post": {
                "requestBody": {"required": True, "content": {"application/json": {"schema": LOT}}},
                "responses": {"201": answer(LOT), "422": {}},
            },
        },
        "/lots/{lot_no}": {
            "parameters": [{"name": "lot_no", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"responses": {"200": answer(LOT)}},
            "patch": {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                      "responses": {"200": answer(LOT)}},
            "delete": {"responses": {"204": {"description": "gone"}}},
        },
        "/lots/{lot_no}/steps": {
            "parameters": [{"name": "lot_no", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"responses": {"200": answer({"type": "array", "items": {"type": "object", "properties": {
                "step": {"type": "integer"}}}})}},
        },
    },
    "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}},
}  # fmt: skip


class Asker:
    """Asks with valid credentials."""

    def __init__(self) -> None:
        self.system = Pretend(Document(RAW, "x"))

    def __call__(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        said = self.system.answer(method, target, {"x-key": "mock", **headers}, content)
        return said.status, said.value


@pytest.fixture
def ask() -> Asker:
    return Asker()


def test_a_list_has_records_in_its_envelope_and_pages(ask: Asker) -> None:
    status, value = ask("GET", "/api/lots?page=2&page_size=2")
    assert status == 200
    assert value["code"] == 0
    assert value["data"]["total"] == 3
    assert [one["lot_no"] for one in value["data"]["list"]] == ["lot_no-3"]
    assert ask("GET", "/lots?page=9")[1]["data"]["list"] == []


def test_what_is_created_is_found_changed_and_deleted(ask: Asker) -> None:
    assert ask("POST", "/lots", {"lot_no": "L1", "weight": 2}) == (201, {"lot_no": "L1", "weight": 2})
    assert ask("PATCH", "/lots/L1", {"state": "closed"})[1] == {"lot_no": "L1", "weight": 2, "state": "closed"}
    assert ask("GET", "/lots/L1")[1]["state"] == "closed"
    assert ask("GET", "/lots")[1]["data"]["total"] == 4
    assert ask("DELETE", "/lots/L1") == (204, None)
    assert ask("GET", "/lots/L1")[0] == 404


def test_there_is_always_a_record_to_ask_for(ask: Asker) -> None:
    for _ in range(7):
        assert ask("DELETE", f"/lots/{ask.system.values('/lots/{lot_no}')['lot_no']}")[0] == 204


def test_the_document_s_own_example_is_there(ask: Asker) -> None:
    raw = json.loads(json.dumps(RAW))
    for path in ("/lots/{lot_no}", "/lots/{lot_no}/steps"):
        raw["paths"][path]["parameters"][0]["example"] = "L2026"
    ask.system = Pretend(Document(raw, "x"))
    assert ask("GET", "/lots/L2026")[1]["lot_no"] == "L2026"
    assert [ask("GET", f"/lots/{lot}/steps")[0] for lot in ("L2026", "L2027")] == [200, 404]


def test_one_idempotency_key_is_one_record(ask: Asker) -> None:
    first = ask("POST", "/lots", {"lot_no": "L1"}, **{"idempotency-key": "k"})
    assert ask("POST", "/lots", {"lot_no": "L1"}, **{"idempotency-key": "k"}) == first
    assert ask("GET", "/lots")[1]["data"]["total"] == 4


def test_lists_of_a_record_that_is_there(ask: Asker) -> None:
    assert ask.system.values("/lots/{lot_no}/steps") == {"lot_no": "lot_no-1"}
    assert len(ask("GET", "/lots/lot_no-1/steps")[1]) == 3
    assert ask("GET", "/lots/nowhere/steps")[0] == 404


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/lots?page=0", None, 400),
        ("GET", "/lots?page=x", None, 400),
        ("POST", "/lots", {"weight": 1}, 422),
        ("POST", "/lots", {"lot_no": "x" * 21}, 422),
        ("POST", "/lots", {"lot_no": "L", "state": "lost"}, 422),
        ("POST", "/lots", None, 422),
        ("PUT", "/lots", {}, 405),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_what_the_document_does_not_allow_is_refused(
    ask: Asker, method: str, target: str, body: Any, status: int
) -> None:
    assert ask(method, target, body)[0] == status


def test_nobody_gets_in_without_the_key(ask: Asker) -> None:
    assert ask("GET", "/lots", **{"x-key": "wrong"})[0] == 401
    assert ask("GET", "/lots", **{"x-key": "", "authorization": "Bearer mock"})[0] == 200
