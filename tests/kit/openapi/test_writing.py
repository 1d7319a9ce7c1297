"""What a document's other operations say of the records of a list: their key, and how they are written back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.connectors.rest.settings import WriteSettings
from tongqu.kit.openapi.document import read_document
from tongqu.kit.openapi.lists import Found, lists
from tongqu.kit.openapi.postman import collection
from tongqu.kit.openapi.verbs import taken_apart

ITEM = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "itemNo": {"type": "string"},
        "name": {"type": "string"},
        "price": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
REF = {"$ref": "#/components/schemas/Item"}


def hole(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def query(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", **more}


def operation(sends: Any = None, gives: Any = None, *parameters: Any, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"responses": {"200": {"description": ""}}, "parameters": list(parameters), **more}
    if gives is not None:
        made["responses"] = {"200": {"description": "", "content": {"application/json": {"schema": gives}}}}
    if sends is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": sends}}}
    return made


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def read(paths: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str], Found]:
    """What was guessed of the first list with where from, what was left out with the reason, and the list itself."""
    raw = {"openapi": "3.0.3", "paths": paths, "components": {"schemas": {"Item": ITEM}}}
    found = lists(read_document(json.dumps(raw).encode(), "api.json"))
    one = next(one for one in found if one.settings)
    WriteSettings.parse({g.setting.partition(".")[2]: g.value for g in one.guesses if g.setting != "key"})
    guessed = {f"{guess.setting} from {guess.source}": guess.value for guess in one.guesses if guess.setting != "key"}
    return guessed, {one.operation: one.reason for one in found if not one.settings}, one


LIST = operation(None, {"type": "array", "items": REF})


def test_a_resource_by_its_paths() -> None:
    guessed, left_out, one = read(
        {
            "/items": {"get": LIST, "post": operation(REF, REF)},
            "/items/{itemId}": {
                "parameters": [hole("itemId")],
                "get": operation(None, obj(data=REF)),
                "put": operation(REF),
                "patch": operation(obj(name={"type": "string"}, price={"type": "number"})),
                "delete": operation(),
            },
        }
    )
    assert guessed == {
        "write.create from POST /items": {
            "method": "POST", "path": "/items", "fields": ["itemNo", "name", "price", "tags"],
        },
        "write.update from PATCH /items/{itemId}": {
            "method": "PATCH", "path": "/items/{id}", "fields": ["name", "price"],
        },
        "write.delete from DELETE /items/{itemId}": {"method": "DELETE", "path": "/items/{id}"},
        "write.look from GET /items/{itemId}": {"path": "/items/{id}", "results": "data"},
    }  # fmt: skip
    assert left_out == {"PUT /items/{itemId}": "PATCH /items/{itemId} does the same"}
    assert one.settings["key"] == ["id"]


@pytest.mark.parametrize(
    ("name", "key"),
    [("itemNo", ["itemNo"]), ("item_no", ["itemNo"]), ("id", ["id"]), ("item-id", ["id"]), ("warehouse", ["id"])],
)
def test_the_key_is_what_a_path_names(name: str, key: list[str]) -> None:
    one = read({"/items": {"get": LIST}, f"/items/{{{name}}}": {"delete": operation(None, None, hole(name))}})[2]
    assert one.settings["key"] == key
    assert one.guesses[0].source == ("fields.id" if name == "warehouse" else f"DELETE /items/{{{name}}}")


def test_verbs_in_paths_and_keys_in_bodies() -> None:
    result = obj(code={"type": "integer"}, data={"type": "integer"})
    page = obj(code={"type": "integer"}, data=obj(total={"type": "integer"}, list={"type": "array", "items": REF}))
    guessed, left_out, _ = read(
        {
            "/item/page": {"post": operation(obj(pageNo={"type": "integer"}), page)},
            "/item/add": {"post": operation(obj(item_no={"type": "string"}, name={"type": "string"}), result)},
            "/item/edit": {"post": operation(obj(id={"type": "integer"}, name={"type": "string"}), result)},
            "/item/remove": {"post": operation(obj(ids={"type": "array", "items": {"type": "integer"}}), result)},
            "/item/detail": {"get": operation(None, obj(data=REF), query("id", required=True))},
            "/item/export": {"get": operation(None, {"type": "string"})},
            "/item/approve": {"post": operation(obj(id={"type": "integer"}), result)},
        }
    )
    assert guessed == {
        "write.create from POST /item/add": {
            "method": "POST", "path": "/item/add", "fields": {"itemNo": "item_no", "name": "name"}, "id": "data",
        },
        "write.update from POST /item/edit": {"method": "POST", "path": "/item/edit", "fields": ["id", "name"]},
        "write.delete from POST /item/remove": {"method": "POST", "path": "/item/remove", "body": {"ids": ["{id}"]}},
        "write.look from GET /item/detail": {"path": "/item/detail?id={id}", "results": "data"},
    }  # fmt: skip
    assert set(left_out) == {"GET /item/export", "POST /item/approve"}


def test_batches_wrappers_and_idempotency_keys() -> None:
    key = {"name": "Idempotency-Key", "in": "header", "required": True}
    many = {"type": "array", "items": REF, "maxItems": 50}
    wrapped = obj(item={"allOf": [REF, obj(secret={"type": "string", "writeOnly": True})]})
    guessed, _, _ = read(
        {
            "/items": {"get": LIST, "post": operation(many, None, key)},
            "/items/{id}": {"put": operation(wrapped, None, hole("id"), responses={"200": {}, "201": {}})},
        }
    )
    assert guessed["write.create from POST /items"]["batch"] == 50
    assert guessed["write.upsert from PUT /items/{id}"]["body"] == {"item": "{*}"}
    assert guessed["write.key_honoured from POST /items"] is True


@pytest.mark.parametrize(
    ("sends", "parameters", "reason"),
    [
        ({**obj(name={}, plant={}), "required": ["plant"]}, (), "it needs plant, which records lack"),
        (obj(x={}, y={}), (), "what it takes is not the record"),
        (REF, (query("tenant", required=True),), "it needs tenant, which records lack"),
        (REF, ({"name": "X-Plant", "in": "header", "required": True},), "it needs the header X-Plant"),
        (None, (), "it takes no JSON"),
    ],
)
def test_what_cannot_be_called_with_a_record_is_named_with_the_reason(sends: Any, parameters: Any, reason: str) -> None:
    guessed, left_out, _ = read({"/items": {"get": LIST, "post": operation(sends, None, *parameters)}})
    assert (guessed, left_out) == ({}, {"POST /items": reason})


def test_numbers_that_go_as_text_are_named() -> None:
    lot = obj(no={"type": "string", "example": "L1"}, qty={"type": "string", "example": "12.5000"}, net={
        "type": "string", "format": "decimal"})  # fmt: skip
    guessed, _, _ = read({
        "/lots": {"get": operation(None, {"type": "array", "items": lot}), "post": operation(lot)},
    })  # fmt: skip
    assert guessed["write.create from POST /lots"] == {"method": "POST", "path": "/lots", "texts": ["qty", "net"]}


def test_nothing_is_guessed_from_other_resources() -> None:
    guessed, _, _ = read(
        {
            "/items": {"get": LIST},
            "/items/{id}/approve": {"post": operation(obj(id={}), None, hole("id"))},
            "/items-archive": {"post": operation(REF)},
            "/orders": {"post": operation(REF)},
        }
    )
    assert guessed == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("getOrderList", ("list", "order")),
        ("save_orders", ("upsert", "order")),
        ("saveOrUpdateOrder", ("upsert", "order")),
        ("deleteOrderById", ("delete", "order")),
        ("QueryInspectionLots", ("list", "inspectionlot")),
        ("GetOrder", ("look", "order")),
        ("entries", ("", "entry")),
        ("approve", ("", "approve")),
    ],
)
def test_names_are_taken_apart(name: str, said: tuple[str, str]) -> None:
    assert taken_apart(name) == said


def test_a_postman_collection_by_its_examples() -> None:
    saved = {"body": json.dumps({"data": {"list": [{"orderNo": "A", "qty": 1, "note": None}]}})}
    sent = {"raw": '{"orderNo": "{{no}}", "qty": {{qty}}}'}
    requests: list[tuple[str, dict[str, Any], list[Any]]] = [
        ("orders", {"method": "GET", "url": "https://a.example/v1/orders?page=1"}, [saved]),
        ("new order", {"method": "POST", "url": "https://a.example/v1/orders", "body": sent}, []),
        ("change", {"method": "PUT", "url": "https://a.example/v1/orders/:orderNo", "body": sent}, []),
        ("drop", {"method": "DELETE", "url": "https://a.example/v1/orders/{{order_no}}"}, []),
        ("drop by query", {"method": "DELETE", "url": "https://a.example/v1/orders?tenant=1"}, []),
    ]
    items = [{"name": name, "request": request, "response": answers} for name, request, answers in requests]
    found = collection(json.dumps({"info": {}, "item": items}).encode(), "c.json")[1]
    (orders,) = (one for one in found if one.settings)
    assert orders.settings["key"] == ["orderNo"]
    assert {guess.setting: guess.value for guess in orders.guesses} == {
        "key": ["orderNo"],
        "write.create": {"method": "POST", "path": "/v1/orders", "fields": ["orderNo", "qty"]},
        "write.update": {"method": "PUT", "path": "/v1/orders/{orderNo}", "fields": ["orderNo", "qty"]},
        "write.delete": {"method": "DELETE", "path": "/v1/orders/{orderNo}"},
    }
    assert {one.operation: one.reason for one in found if not one.settings} == {
        "DELETE drop by query": "it needs tenant, which records lack",
    }  # fmt: skip
