"""`tongqu test`: cases made of a connection, kept as files, and run against its system, a mock or a sandbox."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.command_line import Done, inside, make, start
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.services.soap_orders import SoapOrders

TOKEN = "t0ken-of-the-plant-4711"
PHONE = "13800138000"
LOT: dict[str, Any] = {
    "type": "object",
    "required": ["lot_no"],
    "properties": {
        "lot_no": {"type": "string", "maxLength": 12, "example": "L1"},
        "state": {"type": "string", "enum": ["open", "closed"]},
        "phone": {"type": "string"},
    },
}


def document() -> dict[str, Any]:
    def answer(schema: Any) -> Any:
        return {"description": "x", "content": {"application/json": {"schema": schema}}}

    size = {"name": "size", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 50}}
    number = {"name": "lot_no", "in": "path", "required": True, "schema": {"type": "string"}}
    page = {"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": LOT}}}
    body = {"required": True, "content": {"application/json": {"schema": LOT}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "MES", "version": "1"},
        "security": [{"token": []}],
        "paths": {
            "/lots": {
                "get": {"parameters": [size], "responses": {"200": answer(page), "400": answer({})}},
                "post": {"requestBody": body, "responses": {"201": answer(LOT), "400": answer({})}},
            },
            "/lots/{lot_no}": {"get": {"parameters": [number], "responses": {"200": answer(LOT), "404": answer({})}}},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


class Mes(HttpPeer):
    """A system that keeps its document's word, except in `faults`."""

    name = "MES"

    def __init__(self) -> None:
        super().__init__()
        self.faults: set[str] = set()
        self.routes = {"/api/lots": self.lots, "/api/lots/L1": self.lot}

    def lots(self, asked: Asked, out: Out) -> None:
        if not self._knows(asked, out):
            return
        size = asked.query.get("size", "10")
        if not size.isdigit() or (not 1 <= int(size) <= 50 and "size" not in self.faults):
            out.json({"message": "size"}, 400)
        elif asked.method == "POST":
            out.json(asked.json(), 201)
        else:
            out.json(
                {"items": [{"lot_no": "L1", "state": "lost" if "state" in self.faults else "open", "phone": PHONE}]}
            )

    def lot(self, asked: Asked, out: Out) -> None:
        if self._knows(asked, out):
            out.json({"lot_no": "L1", "state": "open", "phone": PHONE})

    def _knows(self, asked: Asked, out: Out) -> bool:
        known = "open" in self.faults or asked.headers.get("authorization") == f"Bearer {TOKEN}"
        if not known:
            out.json({"message": "who are you?"}, 401)
        return known


@pytest.fixture
def mes() -> Iterator[Mes]:
    with Mes() as peer:
        yield peer


def project(folder: Path, base: str = "https://mes.example/api", **more: Any) -> None:
    (folder / "mes.json").write_text(json.dumps(document()), encoding="utf-8")
    connection = {
        "type": "rest",
        "base_url": base,
        "openapi": "mes.json",
        "auth": {"bearer": "${env:MES_TOKEN}"},
        **more,
    }
    (folder / "tongqu.yaml").write_text(json.dumps({"connections": {"mes": connection}}), encoding="utf-8")


def generated(folder: Path) -> Any:
    return inside(folder, "test", "generate", "mes", "--json").document["connections"][0]


def run(folder: Path, *arguments: str) -> Done:
    return inside(folder, "test", *arguments, "--json", MES_TOKEN=TOKEN)


def without_network(folder: Path) -> None:
    """Switch the cases of an unstable network off, which take seconds."""
    for path in (folder / "cases").rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace("    title:\n      zh: 网络", "    enabled: false\n    title:\n      zh: 网络"),
            encoding="utf-8",
        )


@pytest.fixture
def ready(tmp_path: Path, mes: Mes) -> Path:
    project(tmp_path, f"{mes.url}/api")
    generated(tmp_path)
    for name in ("get_lots", "post_lots", "get_lots_lot_no"):
        path = tmp_path / f"cases/mes/{name}.yaml"
        lines = path.read_text(encoding="utf-8").splitlines()
        made = [
            line + "\n    enabled: false"
            if line.startswith("  - id: network.") and not line.endswith("reset")
            else line
            for line in lines
        ]
        path.write_text("\n".join(made).replace("values: {}", "values: {lot_no: L1}") + "\n", encoding="utf-8")
    return tmp_path


def failed(done: Done) -> set[str]:
    return {f"{one['operation']} {one['case']}" for one in done.document["cases"] if one["outcome"] == "failed"}


def test_generated_for_every_operation_without_secret_or_system(tmp_path: Path) -> None:
    project(tmp_path)
    done = inside(tmp_path, "test", "generate", "mes", "--json")
    assert done.code == 3  # lot_no needs a value
    files = {one["operation"]: one for one in done.document["connections"][0]["files"]}
    assert set(files) == {"GET /lots", "POST /lots", "GET /lots/{lot_no}"}
    assert files["GET /lots/{lot_no}"]["needs"] == ["lot_no"]
    assert {"size.above", "size.least", "credentials.wrong", "network.half_open"} <= set(files["GET /lots"]["new"])
    assert {"lot_no.missing", "lot_no.null", "lot_no.too_long", "state.no_choice", "delivered_twice"} <= set(
        files["POST /lots"]["new"]
    )
    texts = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "cases").rglob("*.yaml"))]
    generated(tmp_path)
    assert texts == [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "cases").rglob("*.yaml"))]


def test_comments_and_edits_stay_when_the_document_changes(tmp_path: Path) -> None:
    project(tmp_path)
    generated(tmp_path)
    path = tmp_path / "cases/mes/get_lots.yaml"
    text = path.read_text(encoding="utf-8").replace(
        "  - id: size.above", "  # agreed with the vendor\n  - id: size.above"
    )
    path.write_text(text.replace("size: 51", "size: 52"), encoding="utf-8")
    changed = document()
    changed["paths"]["/lots"]["get"]["parameters"][0]["schema"]["maximum"] = 99
    del changed["paths"]["/lots/{lot_no}"]
    (tmp_path / "mes.json").write_text(json.dumps(changed), encoding="utf-8")
    made = generated(tmp_path)
    file = next(one for one in made["files"] if one["operation"] == "GET /lots")
    assert file["edited"] == ["size.above"]
    assert file["changed"] == ["size.greatest"]
    assert made["orphans"] == ["cases/mes/get_lots_lot_no.yaml"]
    after = path.read_text(encoding="utf-8")
    assert "# agreed with the vendor" in after
    assert "size: 52" in after
    assert "size: 99" in after


def test_against_the_mock_everything_passes_without_a_secret(tmp_path: Path) -> None:
    project(tmp_path)
    generated(tmp_path)
    without_network(tmp_path)
    done = inside(tmp_path, "test", "--against", "mock", "--json")
    assert failed(done) == set()
    assert done.code == 0
    counts = done.document["counts"]
    assert counts["passed"] > 25
    assert counts["needs"] == 0
    assert {one["reason"] for one in done.document["cases"] if one["outcome"] == "skipped"} <= {"switched off"}


def test_a_system_that_keeps_its_word_passes_and_nothing_is_written_to_it(ready: Path, mes: Mes) -> None:
    done = run(ready)
    assert failed(done) == set()
    assert done.code == 0
    assert {call.method for call in mes.calls} == {"GET"}
    reasons = {one["reason"] for one in done.document["cases"] if one["case"] == "delivered_twice"}
    assert reasons == {"may change something; say `sandbox: true` in the connection, or --allow-writes"}


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("size", {"GET /lots size.above", "GET /lots size.below"}),
        ("open", {f"GET /lots{end} credentials.{kind}" for end in ("", "/{lot_no}") for kind in ("none", "wrong")}),
        ("state", {"GET /lots normal", "GET /lots size.least", "GET /lots size.greatest"}),
    ],
)
def test_a_system_that_does_not_is_found(ready: Path, mes: Mes, fault: str, found: set[str]) -> None:
    mes.faults = {fault}
    done = run(ready)
    assert done.code == 1
    assert failed(done) == found


def test_writes_go_to_a_sandbox(ready: Path, mes: Mes) -> None:
    project(ready, f"{mes.url}/api", sandbox=True)
    done = run(ready, "--operation", "POST *", "--kind", "normal")
    assert (done.code, done.document["counts"]["passed"]) == (0, 1)
    posts = [call for call in mes.calls if call.method == "POST"]
    assert posts[0].json()["lot_no"] == "L1"
    assert posts[0].headers["idempotency-key"]


def test_writes_go_nowhere_else_unless_allowed(ready: Path, mes: Mes) -> None:
    done = run(ready, "--operation", "POST *", "--against", f"{mes.url}/api")
    assert done.document["counts"]["passed"] == 0
    assert mes.calls == []
    run(ready, "--operation", "POST *", "--kind", "normal", "--allow-writes")
    assert [call.method for call in mes.calls] == ["POST"]


def test_reports_hold_evidence_and_neither_secrets_nor_personal_data(ready: Path, mes: Mes) -> None:
    mes.faults = {"state"}
    done = run(ready, "--junit", "out/r.xml", "--html", "out/r.html", "--lang", "zh")
    junit, html = (ready / "out/r.xml").read_text(encoding="utf-8"), (ready / "out/r.html").read_text(encoding="utf-8")
    for text in (junit, html, done.out):
        assert "lost" in text
        assert TOKEN not in text
        assert PHONE not in text
    assert "用例结果" in html
    assert "http" not in html.replace(mes.url, "").replace("https://mes", "").partition("<body>")[0]
    suites = ElementTree.fromstring(junit)  # noqa: S314  # our own
    assert suites.get("failures") == "3"
    assert len(suites.findall(".//testcase/failure")) == 3
    assert {one.get("name") for one in suites} == {"mes: GET /lots", "mes: POST /lots", "mes: GET /lots/{lot_no}"}


@pytest.mark.parametrize("network", ["latency", "cut", "lost_reply"])
def test_an_unstable_network_gives_the_answer_or_a_typed_error(tmp_path: Path, mes: Mes, network: str) -> None:
    project(tmp_path, f"{mes.url}/api")
    right = {"status": ["2xx"]} if network == "latency" else {"error": ["connector.connect"]}
    if network == "lost_reply":
        right = {"status": ["2xx"]}  # the second attempt gets through
    case = {"id": "n", "kind": "abnormal", "request": {"path": "/lots", "network": network}, "expect": right}
    folder = tmp_path / "cases/mes"
    folder.mkdir(parents=True)
    values = {"connection": "mes", "operation": "GET /lots", "cases": [case]}
    (folder / "own.yaml").write_text(json.dumps(values), encoding="utf-8")
    done = run(tmp_path)
    assert [one["outcome"] for one in done.document["cases"]] == ["passed"], done.out


def test_datasets_of_a_database(tmp_path: Path) -> None:
    make(tmp_path / "erp.db", "orders", "id INTEGER PRIMARY KEY, title TEXT", [(1, "a"), (2, "b")])
    (tmp_path / "tongqu.yaml").write_text("connections: {erp: {type: sqlite, path: erp.db}}\n", encoding="utf-8")
    assert inside(tmp_path, "test", "generate", "erp").code == 0
    done = run(tmp_path)
    assert failed(done) == set()
    assert done.document["counts"] == {"passed": 4, "failed": 0, "skipped": 0, "needs": 0}
    (tmp_path / "erp.db").unlink()
    make(tmp_path / "erp.db", "orders", "id INTEGER PRIMARY KEY, title INTEGER", [(1, 5)])
    done = run(tmp_path)
    assert done.code == 1
    assert failed(done) == {f"dataset orders {case}" for case in ("normal", "one_row", "again")}


def test_datasets_of_a_soap_service(tmp_path: Path) -> None:
    with SoapOrders() as api:
        api.put(1)
        connection = {"type": "soap", "base_url": api.url, "auth": {"basic": {"user": "u", "password": "p"}}}
        (tmp_path / "tongqu.yaml").write_text(json.dumps({"connections": {"erp": connection}}), encoding="utf-8")
        done = inside(tmp_path, "test", "generate", "erp", "--operation", "*get_orders", "--json")
        assert done.code == 0, done.err
        new = done.document["connections"][0]["files"][0]["new"]
        assert {"normal", "unknown", "credentials.wrong", "network.half_open"} <= set(new)
        done = run(tmp_path)
    assert failed(done) == {"dataset get_orders credentials.wrong"}  # the service asks nobody who he is


def test_the_mock_of_a_document_is_served_until_it_is_stopped(tmp_path: Path) -> None:
    project(tmp_path)
    with start(tmp_path, "mock", "--openapi", "mes.json", "--json") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        url = next(word.rstrip(";") for word in told.split() if word.startswith("http://"))
        http = Http(HttpSettings.parse({"base_url": url, "auth": {"bearer": "mock"}}))
        assert len(json.loads(http.send(Call("GET", http.url("/lots"))).content)["items"]) == 3
        http.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert json.loads(out)["calls"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("test",), 2),
        (("mock",), 2),
        (("mock", "dingtalk", "--openapi", "mes.json"), 2),
        (("test", "nowhere.yaml"), 1),
        (("test", "generate"), 2),
        (("test", "generate", "nobody"), 2),
        (("test", "--kind", "odd"), 2),
    ],
)
def test_refusals(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    project(tmp_path)
    assert inside(tmp_path, *arguments).code == code


def test_a_case_with_a_wrong_key_is_refused_by_name(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases/a.yaml").write_text(
        "connection: mes\noperation: GET /lots\ncases:\n- {id: a, kind: normal, request: {path: /lots, bdy: 1}}\n",
        encoding="utf-8",
    )
    done = inside(tmp_path, "test")
    assert done.code == 2
    assert "bdy" in done.err
    assert "a.yaml" in done.err
