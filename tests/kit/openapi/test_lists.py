"""A document's operations become datasets, or are named with the reason why not; nothing in it is trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.connectors.rest.settings import DatasetSettings
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.openapi.document import read_document
from tongqu.kit.openapi.lists import Found, lists, name_of
from tongqu.kit.openapi.postman import collection

ORDER = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "integer"},
        "orderNo": {"type": "string", "description": "订单号"},
        "amount": {"type": "number", "multipleOf": 0.01},
        "weight": {"type": "number"},
        "paid": {"type": "boolean"},
        "day": {"type": "string", "format": "date"},
        "updateTime": {"type": "string", "format": "date-time"},
        "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}},
        "password": {"type": "string", "writeOnly": True},
    },
}


def parameter(name: str, **more: Any) -> dict[str, Any]:
    place = more.pop("place", "query")
    return {"name": name, "in": place, "required": more.pop("required", place == "path"), **more}


def document(path: str, schema: Any, *parameters: Any, version: str = "3.0.3", **more: Any) -> Any:
    answer = {"description": "", "content": {"application/json": {"schema": schema}}, **more.pop("answer", {})}
    operation = {"parameters": list(parameters), "responses": {"200": answer}, **more}
    return {
        "openapi": version,
        "servers": [{"url": "https://{env}.example/api/", "variables": {"env": {"default": "mes"}}}],
        "paths": {path: {"get": operation}},
        "components": {"schemas": {"Order": ORDER}},
    }


def found(raw: Any) -> list[Found]:
    made = lists(read_document(json.dumps(raw).encode(), "api.json"))
    for one in made:
        if one.settings and not one.needs:
            DatasetSettings.parse(one.settings)
    return made


def only(raw: Any) -> Found:
    (one,) = found(raw)
    return one


REF = {"$ref": "#/components/schemas/Order"}
LIST = {"type": "array", "items": REF}
TEXT = {"type": "string"}


def test_a_list_becomes_a_dataset_with_its_fields() -> None:
    raw = document(
        "/v1/sales/orders",
        {"type": "object", "properties": {"code": {"type": "integer"}, "data": {
            "type": "object", "properties": {"total": {"type": "integer"}, "list": LIST}}}},
        parameter("pageNum", description="页码", schema={"type": "integer", "default": 1}),
        parameter("pageSize", schema={"type": "integer", "maximum": 500}),
        parameter("updateTimeStart", description="更新时间起"),
    )  # fmt: skip
    one = only(raw)
    assert (one.name, one.operation, one.reason) == ("sales_orders", "GET /v1/sales/orders", "")
    assert one.settings["fields"] == {
        "id": "int64", "orderNo": "string", "amount": "decimal(18,2)", "weight": "double", "paid": "bool",
        "day": "date", "updateTime": "timestamptz", "lines": "json",
    }  # fmt: skip
    assert one.settings["records"] == "data.list"
    assert one.settings["key"] == ["id"]
    assert one.settings["titles"] == {"orderNo": "订单号"}
    assert one.settings["paging"] == {
        "kind": "page", "param": "pageNum", "start": 1, "size_param": "pageSize", "size": 500, "total": "data.total",
    }  # fmt: skip
    assert one.settings["incremental"] == {"cursor": "updateTime", "param": "updateTimeStart"}


@pytest.mark.parametrize(
    ("schema", "records"),
    [
        (LIST, ""),
        ({"properties": {"items": LIST}}, "items"),
        ({"properties": {"value": LIST, "@odata.nextLink": {"type": "string"}}}, "value"),
        ({"properties": {"result": {"properties": {"list": LIST}}}}, "result.list"),
        ({"properties": {"orders": LIST, "next": {"type": "string"}}}, "orders"),
        ({"allOf": [{"properties": {"data": LIST}}, {"properties": {"total": {"type": "integer"}}}]}, "data"),
        ({"oneOf": [{"type": "null"}, LIST]}, ""),
        ({"type": ["array", "null"], "items": {"anyOf": [REF, {"type": "null"}]}}, ""),
        ({"type": "array", "items": {"type": "string"}}, ""),
    ],
)
def test_where_records_stand(schema: Any, records: str) -> None:
    assert only(document("/orders", schema)).settings["records"] == records


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (REF, "one object, no list of records"),
        ({"$ref": "other.yaml#/Order"}, "another document: other.yaml#/Order"),
        ({"type": "array", "items": {"$ref": "https://evil.example/x.json"}}, "another document: https://evil"),
        ({"type": "string"}, "string, no list"),
        ({"$ref": "#/components/schemas/Missing"}, "no list"),
        ({"type": "object", "properties": {"id": {"type": "integer"}, "tags": LIST}}, "one object"),
        (None, "not described"),
    ],
)
def test_what_is_no_list_is_named_with_the_reason(schema: Any, reason: str) -> None:
    one = only(document("/orders", schema))
    assert reason in one.reason
    assert not one.settings


def test_schemas_that_hold_themselves_end() -> None:
    raw = document("/nodes", {"type": "array", "items": {"$ref": "#/components/schemas/Node"}})
    raw["components"]["schemas"] |= {
        "Node": {"allOf": [{"$ref": "#/components/schemas/Node"}, {"properties": {"id": {"type": "integer"}}}]},
        "Loop": {"$ref": "#/components/schemas/Loop"},
    }
    assert only(raw).settings["fields"] == {"id": "int64"}
    raw["paths"]["/nodes"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = {
        "$ref": "#/components/schemas/Loop"
    }
    assert only(raw).reason


@pytest.mark.parametrize(
    ("parameters", "schema", "answer", "paging"),
    [
        ([parameter("cursor"), parameter("limit")], {"items": LIST, "meta": {"properties": {"next_cursor": TEXT}}}, {},
         {"kind": "cursor", "param": "cursor", "next": "meta.next_cursor", "size_param": "limit", "size": 100}),
        ([parameter("$skip"), parameter("$top")], {"value": LIST, "@odata.nextLink": TEXT}, {},
         {"kind": "next_url", "next": "@odata.nextLink", "size_param": "$top", "size": 100}),
        ([parameter("offset", schema={"default": 0})], {"items": LIST, "total": {"type": "integer"}}, {},
         {"kind": "offset", "param": "offset", "total": "total"}),
        ([parameter("page"), parameter("per_page")], LIST, {"headers": {"Link": {}}},
         {"kind": "link", "size_param": "per_page", "size": 100}),
        ([parameter("start")], LIST, {"headers": {"X-Total-Count": {}}},
         {"kind": "offset", "param": "start", "total": "header:X-Total-Count"}),
        ([], LIST, {}, {"kind": "auto"}),
    ],
    ids=["cursor", "OData", "offset", "Link", "total in a header", "nothing said"],
)  # fmt: skip
def test_paging_is_recognised(parameters: Any, schema: Any, answer: Any, paging: dict[str, Any]) -> None:
    schema = schema if schema is LIST else {"properties": schema}
    assert only(document("/orders", schema, *parameters, answer=answer)).settings["paging"] == paging


def test_a_path_below_another_list_gets_it_as_parent() -> None:
    raw = document("/orders", LIST)
    raw["paths"]["/orders/{order-id}/lines"] = {
        "parameters": [parameter("order-id", place="path")],
        "get": raw["paths"]["/orders"]["get"],
    }
    raw["paths"]["/plants/{plant}/lots"] = {"get": {**raw["paths"]["/orders"]["get"], "parameters": []}}
    orders, lines, lots = found(raw)
    assert lines.settings["path"] == "/orders/{order_id}/lines"
    assert lines.settings["parent"] == {"dataset": "orders", "values": {"order_id": "id"}}
    assert not lines.needs
    assert (lots.needs, lots.reason) == (("plant",), "needs plant: give them under params")
    assert orders.name == "orders"


def test_what_must_be_given_is_named_or_taken_from_the_document() -> None:
    one = only(document("/orders", LIST, parameter("plant", required=True), parameter("v", required=True, example="2")))
    assert (one.needs, one.settings["params"]) == (("plant",), {"v": "2"})


def test_calls_that_change_something_are_left_out() -> None:
    raw = document("/orders", LIST)
    raw["paths"]["/orders"] |= {"post": raw["paths"]["/orders"]["get"], "delete": {"responses": {}}}
    assert [one.reason for one in found(raw)][1:] == [
        "it takes no JSON", "it does not say which record it means",
    ]  # fmt: skip


def test_a_query_by_post_puts_its_paging_into_the_body() -> None:
    raw = document("/orders/query", LIST)
    operation = raw["paths"]["/orders/query"].pop("get")
    properties = {"pageNo": {"type": "integer"}, "pageSize": {"type": "integer"}, "filter": {"type": "object"}}
    body = {"schema": {"type": "object", "properties": properties}}
    raw["paths"]["/orders/query"]["post"] = {**operation, "requestBody": {"content": {"application/json": body}}}
    settings = only(raw).settings
    assert (settings["method"], settings["paging"]["param"]) == ("POST", "pageNo")


def test_swagger_2() -> None:
    page = {"name": "page", "in": "query", "type": "integer", "default": 0}
    limit = {"name": "limit", "in": "query", "type": "integer", "maximum": 50}
    answer = {"schema": {"type": "array", "items": {"$ref": "#/definitions/Order"}}}
    raw = {
        "swagger": "2.0",
        "host": "mes.example",
        "basePath": "/v2",
        "schemes": ["http", "https"],
        "definitions": {"Order": ORDER},
        "paths": {"/orders": {"get": {"parameters": [page, limit], "responses": {"200": answer}}}},
    }
    made = read_document(json.dumps(raw).encode(), "swagger.json")
    assert (made.version, made.base_url()) == ("2.0", "https://mes.example/v2")
    one = only(raw)
    assert one.settings["paging"] == {"kind": "page", "param": "page", "start": 0, "size_param": "limit", "size": 50}
    assert one.settings["fields"]["amount"] == "decimal(18,2)"


def test_where_the_api_is() -> None:
    raw = document("/orders", LIST)
    assert read_document(json.dumps(raw).encode(), "x.json").base_url() == "https://mes.example/api"
    raw["servers"] = [{"url": "/v3"}]
    assert (
        read_document(json.dumps(raw).encode(), "https://host.example/docs/openapi.json").base_url()
        == "https://host.example/v3"
    )
    assert read_document(json.dumps(raw).encode(), "x.json").base_url() == ""


def test_yaml_is_read_too() -> None:
    assert read_document(b"openapi: 3.1.0\ninfo: {title: T}\npaths: {}\n", "x.yaml").title == "T"


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"<html>", b'{"openapi": "4.0"}', b"a: [", b"[" * 100_000])
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidSettingsError):
        read_document(text, "x")


@pytest.mark.parametrize(
    "paths",
    [
        [],
        {"/a": []},
        {"/a": {"get": []}},
        {"/a": {"get": {"responses": []}}},
        {"/a": {"get": {"parameters": 7}}},
        {"/a": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": 7, "items": 7}}}}}}}},
        {"/a": {"$ref": "#/paths/~1a"}},
    ],
)
def test_whatever_is_in_it_it_is_read_to_its_end(paths: Any) -> None:
    assert all(one.reason for one in found({"openapi": "3.0.0", "paths": paths}))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/orders", "orders"),
        ("/api/v2.1/mes/orders/{id}/lines", "mes_orders_lines"),
        ("/", "data"),
        ("/a-b/c.d", "a_b_c_d"),
    ],
)
def test_names_come_from_paths(path: str, name: str) -> None:
    assert name_of(path) == name


def test_a_postman_collection() -> None:
    answer = {"body": json.dumps({"data": {"records": [{"id": 1}]}})}
    orders = {"method": "GET", "url": {"raw": "{{base}}/orders?pageNo=1&pageSize=20&plant=P1"}}
    one = {"url": {"raw": "{{base}}/orders/:id", "variable": [{"key": "id", "value": ""}]}}
    lots = {"method": "POST", "url": "{{base}}/lots/query", "body": {"raw": '{"a": 1}'}}
    raw = {
        "info": {"schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
        "variable": [{"key": "base", "value": "https://mes.example/api"}],
        "item": [
            {"name": "folder", "item": [{"name": "orders", "request": orders, "response": [answer]}]},
            {"name": "one order", "request": one},
            {"name": "query lots", "request": lots},
            {"name": "delete", "request": {"method": "DELETE", "url": "{{base}}/orders/1"}},
            {"name": "elsewhere", "request": {"method": "GET", "url": "{{other}}/x"}},
        ],
    }
    base, found = collection(json.dumps(raw).encode(), "c.json")
    assert base == "https://mes.example"
    by_name = {one.operation: one for one in found}
    told = by_name["GET orders"].settings
    assert (told["path"], told["params"], told["records"]) == ("/api/orders", {"plant": "P1"}, "data.records")
    assert told["paging"] == {"kind": "page", "param": "pageNo", "size_param": "pageSize", "size": 100}
    assert [guess.source for guess in by_name["GET orders"].guesses if guess.setting != "key"][::-1] == [
        "DELETE /api/orders/{id}", "GET /api/orders/{id}",
    ]  # fmt: skip
    assert by_name["POST query lots"].settings["body"] == {"a": 1}
    assert "other" in by_name["GET elsewhere"].reason
