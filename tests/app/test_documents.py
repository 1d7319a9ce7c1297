"""Documents as vendors write them become connections that read, follow changes and write back as they are."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tongqu.testing.command_line import Done, inside
from tongqu.testing.services.http_peer import Asked, Handler, HttpPeer, Out

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Routes(dict[str, Handler]):
    """One handler for all paths."""

    def __init__(self, handler: Handler):
        super().__init__()
        self._handler = handler

    def get(self, key: str, default: Any = None) -> Any:
        del key, default
        return self._handler


class Vendor(HttpPeer):
    """A system with records by key, and its document at `/docs/…`."""

    name = "vendor"

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.clock = START + timedelta(days=1)
        super().__init__()
        self.routes = Routes(self._route)

    def _route(self, asked: Asked, out: Out) -> None:
        if asked.path.startswith("/docs/"):
            out.answer(200, self.files()[asked.path[6:]].encode(), Content_Type="text/plain")
        else:
            status, body = self.answered(asked)
            out.json(body, status, Date=formatdate(self.clock.timestamp(), usegmt=True))

    def files(self) -> dict[str, str]:
        raise NotImplementedError

    def answered(self, asked: Asked) -> tuple[int, Any]:
        raise NotImplementedError


def imported(folder: Path, *arguments: str) -> tuple[Done, str]:
    """What `connect import` did, and the file it wrote."""
    done = inside(folder, "connect", "import", *arguments, "--out", "tongqu.yaml", "--json", "--lang", "en")
    assert done.code == 0, done.err
    return done, (folder / "tongqu.yaml").read_text()


def synced(folder: Path, *arguments: str, **environ: str) -> list[dict[str, Any]]:
    done = inside(folder, "sync", *arguments, "--json", **environ)
    assert done.code == 0, done.err
    streams: list[dict[str, Any]] = done.document["streams"]
    return streams


def rows(folder: Path, statement: str) -> list[Any]:
    with sqlite3.connect(folder / "x.db") as database:
        found = database.execute(statement).fetchall()
    database.close()
    return found


def same(folder: Path, source: str, table: str, **environ: str) -> bool:
    done = inside(folder, "diff", source, "sqlite:x.db", "--table", table, "--json", **environ)
    (one,) = done.document["tables"]
    return bool(one["same"]) and not one["missing"] + one["extra"] + one["different"]


# ---- Swagger 2 as springfox writes it: envelopes, queries by POST, verbs in paths, errors with status 200


class Personnel(Vendor):
    """人事系统."""

    def files(self) -> dict[str, str]:
        person = {
            "type": "object",
            "properties": {
                "empId": {"type": "string", "description": "员工编号"},
                "empName": {"type": "string"},
                "salary": {"type": "number", "format": "bigdecimal"},
                "entryDate": {"type": "string", "format": "date"},
                "updateTime": {"type": "string", "format": "date-time", "description": "更新时间"},
                "certs": {"type": "array", "items": {"type": "object", "properties": {"no": {"type": "string"}}}},
            },
        }
        asked = {
            "type": "object",
            "required": ["current", "size"],
            "properties": {
                "current": {"type": "integer", "description": "当前页"},
                "size": {"type": "integer", "description": "每页条数"},
                "updateTimeBegin": {"type": "string", "example": "2026-01-01 00:00:00"},
            },
        }

        def ref(name: str) -> dict[str, str]:
            return {"$ref": f"#/definitions/{name}"}

        def answer(data: Any) -> dict[str, Any]:
            whole = {"code": {"type": "integer"}, "msg": {"type": "string"}, "data": data}
            return {"200": {"schema": {"type": "object", "properties": whole}}}

        def post(takes: Any, gives: Any) -> dict[str, Any]:
            body = {"in": "body", "name": "dto", "schema": takes}
            return {"post": {"consumes": ["application/json"], "parameters": [body], "responses": answer(gives)}}

        page = {"records": {"type": "array", "items": ref("员工")}, "total": {"type": "integer"}, "pages": {}}
        one = {"in": "path", "name": "empId", "required": True, "type": "string"}
        paths = {
            "/employee/page": post(ref("查询"), {"type": "object", "properties": page}),
            "/employee/add": post(ref("员工"), {"type": "string"}),
            "/employee/update": post(ref("员工"), {"type": "string"}),
            "/employee/delete/{empId}": {"delete": {"parameters": [one], "responses": answer({})}},
            "/employee/detail": {
                "get": {"parameters": [{**one, "in": "query"}], "responses": answer(ref("员工"))},
            },
        }  # fmt: skip
        key = {"type": "apiKey", "name": "X-App-Key", "in": "header"}
        return {
            "api-docs": json.dumps(
                {
                    "swagger": "2.0", "basePath": "/hr", "schemes": ["http"], "host": f"{self.host}:{self.port}",
                    "securityDefinitions": {"key": key}, "security": [{"key": []}], "paths": paths,
                    "definitions": {"员工": person, "查询": asked},
                }
            )
        }  # fmt: skip

    def answered(self, asked: Asked) -> tuple[int, Any]:
        if asked.headers.get("x-app-key") != "app-key-of-the-test":
            return 200, {"code": 401, "msg": "密钥无效", "data": None}
        verb = asked.path.split("/")[3]
        if verb == "detail":
            held = self.rows.get(asked.query["empId"])
            return 200, {"code": 200 if held else 500, "msg": "" if held else "员工不存在", "data": held}
        if verb == "delete":
            return 200, {"code": 200, "data": self.rows.pop(asked.path.rpartition("/")[2], None)}
        body = asked.json()
        if verb == "page":
            since = body.get("updateTimeBegin", "2000-01-01 00:00:00")
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", since)
            found = [one for one in self.rows.values() if one["updateTime"] >= since]
            start = (int(body["current"]) - 1) * int(body["size"])
            part = found[start : start + int(body["size"])]
            return 200, {"code": 200, "msg": "成功", "data": {"records": part, "total": len(found)}}
        if (body["empId"] in self.rows) == (verb == "add"):
            return 200, {"code": 500, "msg": "不能这样"}
        self.rows[body["empId"]] = {**self.rows.get(body["empId"], {}), **body, "updateTime": "2026-03-01 20:00:00"}
        return 200, {"code": 200, "data": body["empId"]}


@pytest.fixture
def personnel() -> Iterator[Personnel]:
    with Personnel() as made:
        made.rows = {
            f"E{n:03d}": {
                "empId": f"E{n:03d}", "empName": f"员工{n}", "salary": f"{n * 1000.5:.2f}", "entryDate": "2020-01-02",
                "updateTime": str((START + timedelta(minutes=n)).replace(tzinfo=None)), "certs": [{"no": str(n)}],
            }
            for n in range(1, 131)
        }  # fmt: skip
        yield made


def test_swagger_of_a_personnel_system(personnel: Personnel, tmp_path: Path) -> None:
    secret = {"TONGQU_SECRET_hr": "app-key-of-the-test"}
    done, text = imported(tmp_path, "--openapi", f"{personnel.url}/docs/api-docs", "--name", "hr")
    assert {(one["setting"], one["from"]) for one in done.document["guessed"]} == {
        ("key", "DELETE /employee/delete/{empId}"),
        ("write.create", "POST /employee/add"),
        ("write.update", "POST /employee/update"),
        ("write.delete", "DELETE /employee/delete/{empId}"),
        ("write.look", "GET /employee/detail"),
    }
    assert "# guessed from DELETE /employee/delete/{empId}\n        key: [empId]" in text
    told = YAML(typ="safe").load(text)["connections"]["hr"]["datasets"]["employee"]
    assert told["incremental"] == {
        "cursor": "updateTime", "format": "%Y-%m-%d %H:%M:%S", "param": "updateTimeBegin", "timezone": "UTC",
    }  # fmt: skip
    sync = ("hr", "sqlite:x.db", "--table", "employee", "--mode", "incremental")
    assert synced(tmp_path, *sync, **secret)[0]["written"] == 130
    found = rows(tmp_path, "SELECT salary, updateTime, certs FROM employee WHERE empId = 'E002'")
    assert [(Decimal(found[0][0]), *found[0][1:])] == [
        (Decimal("2001.00"), "2026-03-01 08:02:00.000000", '[{"no": "2"}]'),
    ]  # fmt: skip
    personnel.clock += timedelta(days=1)
    personnel.rows["E007"] |= {"empName": "新名", "updateTime": "2026-03-02 12:00:00"}
    assert synced(tmp_path, *sync, **secret)[0]["written"] == 1
    assert same(tmp_path, "hr", "employee", **secret)
    (tmp_path / "n.csv").write_text("empId,empName,salary\nE007,再改,1.25\nE999,新人,2.50\n")
    (stream,) = synced(
        tmp_path, "file:n.csv", "hr", "--table", "n=employee", "--write", "upsert", "--key", "empId", **secret
    )
    assert (stream["inserted"], stream["updated"]) == (1, 1)
    assert [personnel.rows[key]["empName"] for key in ("E007", "E999")] == ["再改", "新人"]
    assert personnel.rows["E007"]["entryDate"] == "2020-01-02"


# ---- OpenAPI 3 in several files: a relative server, OAuth 2, references out and in circles, links in the answer


class Orders(Vendor):
    """An ERP."""

    def files(self) -> dict[str, str]:
        return {
            "erp.yaml": """
openapi: 3.0.3
servers: [{url: '/{tenant}/odata', variables: {tenant: {default: acme}}}]
paths:
  /orders: {$ref: './paths/orders.yaml#/all'}
  /orders/{OrderNumber}: {$ref: './paths/orders.yaml#/one'}
components: {securitySchemes: {o: {type: oauth2, flows: {clientCredentials: {tokenUrl: /token, scopes: {}}}}}}
security: [{o: []}]
""",
            "paths/orders.yaml": """
all:
  get:
    parameters: [{name: $top, in: query, schema: {type: integer, maximum: 50}}]
    responses: {200: {content: {application/json: {schema: {$ref: '../schemas.yaml#/Page'}}}}}
one:
  parameters: [{name: OrderNumber, in: path, required: true, schema: {type: string}}]
  get: {responses: {200: {content: {application/json: {schema: {$ref: '../schemas.yaml#/Order'}}}}}}
  put:
    requestBody: {content: {application/json: {schema: {$ref: '../schemas.yaml#/Order'}}}}
    responses: {200: {description: ok}, 201: {description: new}}
""",
            "schemas.yaml": """
Page: {type: object, properties: {value: {type: array, items: {$ref: '#/Order'}}, nextLink: {type: string}}}
Order:
  allOf:
    - {type: object, required: [OrderNumber], properties: {OrderNumber: {type: string}, Qty: {type: integer}}}
    - {properties: {Customer: {oneOf: [{$ref: '#/Customer'}], nullable: true}, Net: {type: string, format: decimal}}}
Customer: {type: object, properties: {Code: {type: string}, Parent: {$ref: '#/Customer'}}}
""",
        }

    def answered(self, asked: Asked) -> tuple[int, Any]:
        if asked.path == "/token":
            return 200, {"access_token": "token-1", "expires_in": 600}
        if asked.headers.get("authorization") != "Bearer token-1":
            return 401, {"error": "unauthorized"}
        key = asked.path.removeprefix("/acme/odata/orders").strip("/")
        if key and asked.method == "PUT":
            self.rows[key] = {**self.rows.get(key, {}), **asked.json()}
            return 200, self.rows[key]
        if key:
            return (200, self.rows[key]) if key in self.rows else (404, {})
        start, size = int(asked.query.get("$skip", 0)), int(asked.query.get("$top", 10))
        found = list(self.rows.values())
        more = {"nextLink": f"{asked.path}?$top={size}&$skip={start + size}"} if start + size < len(found) else {}
        return 200, {"value": found[start : start + size], **more}


def test_openapi_in_several_files(tmp_path: Path) -> None:
    secret = {"TONGQU_SECRET_erp": "client-secret-of-the-test"}
    with Orders() as erp:
        erp.rows = {
            f"SO{n}": {"OrderNumber": f"SO{n}", "Qty": n, "Customer": {"Code": "C1"}, "Net": f"{n}.05"}
            for n in range(1, 121)
        }
        _, text = imported(tmp_path, "--openapi", f"{erp.url}/docs/erp.yaml", "--name", "erp")
        (tmp_path / "tongqu.yaml").write_text(text.replace("client_id: …", "client_id: me"))
        assert synced(tmp_path, "erp", "sqlite:x.db", **secret)[0]["written"] == 120
        assert rows(tmp_path, "SELECT count(*), sum(Qty), sum(CAST(round(Net * 100) AS INTEGER)) FROM orders") == [
            (120, 7260, 726_600)
        ]
        (tmp_path / "n.csv").write_text("OrderNumber,Qty\nSO3,77\nN/1,5\n")
        synced(
            tmp_path, "file:n.csv", "erp", "--table", "n=orders", "--write", "upsert", "--key", "OrderNumber", **secret
        )
        assert (erp.rows["SO3"]["Qty"], erp.rows["SO3"]["Net"], erp.rows["N/1"]["Qty"]) == (77, "3.05", 5)
        for file, content in erp.files().items():
            (tmp_path / "docs" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "docs" / file).write_text(content)
        done = inside(tmp_path, "connect", "import", "--openapi", "docs/erp.yaml", "--json")
        assert [one["name"] for one in done.document["datasets"]] == ["orders"]
        (tmp_path / "docs/deep").mkdir()
        (tmp_path / "docs/deep/x.yaml").write_text(
            (tmp_path / "docs/erp.yaml").read_text().replace("./paths", "../paths")
        )
        outside = inside(tmp_path, "connect", "import", "--openapi", "docs/deep/x.yaml", "--json")
        assert outside.code == 1, "a document led out of its folder"


# ---- a signed API: queries in nested objects, instants in milliseconds, batches


class Works(Vendor):
    """MES."""

    def files(self) -> dict[str, str]:
        return {
            "mes.yaml": f"""
openapi: 3.1.0
servers: [{{url: 'http://{self.host}:{self.port}/openapi'}}]
components:
  securitySchemes: {{sign: {{type: apiKey, in: header, name: X-Sign, description: 'HMAC-SHA256(时间戳 + 正文)'}}}}
  schemas:
    WorkOrder: {{type: object, properties: {{id: {{type: integer}}, orderNo: {{type: string}}, qty: {{type: number}},
      note: {{type: [string, 'null']}}, gmtModified: {{type: integer, description: 修改时间(毫秒)}}}}}}
security: [{{sign: []}}]
paths:
  /workOrder/query:
    post:
      requestBody: {{content: {{application/json: {{schema: {{type: object, properties: {{
        page: {{type: object, properties: {{pageNum: {{type: integer, default: 1}}, pageSize: {{maximum: 40}}}}}},
        filter: {{type: object,
          properties: {{modifiedFrom: {{type: integer, description: 修改时间起(毫秒)}}}}}}}}}}}}}}}}
      responses: {{'200': {{content: {{application/json: {{schema: {{allOf: [
        {{properties: {{success: {{type: boolean}}, errMsg: {{type: string}}}}}},
        {{properties: {{result: {{type: object, properties: {{totalCount: {{type: integer}},
          dataList: {{type: array, items: {{$ref: '#/components/schemas/WorkOrder'}}}}}}}}}}}}]}}}}}}}}}}
  /workOrder/save:
    post:
      requestBody: {{content: {{application/json: {{schema: {{type: array, maxItems: 20,
        items: {{$ref: '#/components/schemas/WorkOrder'}}}}}}}}}}
      responses: {{'200': {{description: ok}}}}
  /workOrder/batchDelete:
    post:
      requestBody: {{content: {{application/json: {{schema: {{type: object, required: [orderNos],
        properties: {{orderNos: {{type: array, items: {{type: string}}}}}}}}}}}}}}
      responses: {{'200': {{description: ok}}}}
"""
        }

    def answered(self, asked: Asked) -> tuple[int, Any]:
        text = asked.headers.get("x-time", "").encode() + asked.body
        if asked.headers.get("x-sign") != hmac.new(b"sign-secret-of-the-test", text, hashlib.sha256).hexdigest():
            return 200, {"success": False, "errCode": "E401", "errMsg": "签名错误"}
        body = asked.json()
        if asked.path.endswith("save"):
            self.rows |= {one["orderNo"]: {**self.rows.get(one["orderNo"], {}), **one} for one in body}
            return 200, {"success": True}
        since = int(body.get("filter", {}).get("modifiedFrom", 0))
        found = [one for one in self.rows.values() if one["gmtModified"] >= since]
        start = (int(body["page"]["pageNum"]) - 1) * int(body["page"]["pageSize"])
        part = found[start : start + int(body["page"]["pageSize"])]
        return 200, {"success": True, "errMsg": None, "result": {"totalCount": len(found), "dataList": part}}


def test_a_signed_api_with_queries_in_nested_objects(tmp_path: Path) -> None:
    secret = {"TONGQU_SECRET_mes": "sign-secret-of-the-test"}
    with Works() as mes:
        mes.rows = {
            f"W{n}": {"id": n, "orderNo": f"W{n}", "qty": n / 4, "note": None, "gmtModified": 1_772_352_000_000 + n}
            for n in range(1, 91)
        }
        done, text = imported(tmp_path, "--openapi", f"{mes.url}/docs/mes.yaml", "--name", "mes")
        assert done.document["credentials"] == {"schemes": ["sign"], "written": False}, "a signature is no key"
        told = YAML(typ="safe").load(text)["connections"]["mes"]["datasets"]["workOrder"]
        assert told["key"] == ["orderNo"]
        assert told["write"]["delete"]["body"] == {"orderNos": ["{orderNo}"]}
        put = '{headers: {X-Time: "{timestamp}", X-Sign: "{signature}"}}'
        auth = f'{{signature: {{secret: "${{secret:mes}}", text: "{{timestamp}}{{body}}", encoding: hex, put: {put}}}}}'
        (tmp_path / "tongqu.yaml").write_text(text.replace("    datasets:", f"    auth: {auth}\n    datasets:", 1))
        sync = ("mes", "sqlite:x.db", "--table", "workOrder", "--mode", "incremental")
        assert synced(tmp_path, *sync, **secret)[0]["written"] == 90
        mes.rows["W5"] |= {"qty": 99.5, "gmtModified": 1_772_352_999_000}
        synced(tmp_path, *sync, **secret)
        assert same(tmp_path, "mes", "workOrder", **secret)
        (tmp_path / "n.csv").write_text("orderNo,id,qty\n" + "".join(f"N{n},{n},1.5\n" for n in range(30)))
        count = len(mes.calls)
        write = ("--write", "upsert", "--key", "orderNo")
        assert synced(tmp_path, "file:n.csv", "mes", "--table", "n=workOrder", *write, **secret)[0]["written"] == 30
        assert len(mes.calls) - count == 2, "batches of 20"
