"""Documents hold what their caller may use, and examples that are nobody's; sandboxes need no source."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Answered, Gateway

PROJECT = """
project: plant
connections:
  qms: {type: sqlite, path: plant.sqlite}
datasets:
  items:
    fields:
      inspector: {class: personal, mask: name}
      lot: {pattern: "L[0-9]{4}"}
apis:
  items:
    title: {zh: 检验, en: Inspections}
    source: {connection: qms, dataset: items, key: id}
    access:
      roles: [quality]
      write_roles: [quality]
      fields: {inspector: {roles: [hr], otherwise: mask}, salary: {roles: [hr], otherwise: hide}}
    write: {insert: true, update: true}
  wages: {source: {connection: qms, dataset: items, key: id}, access: {roles: [hr]}}
  lines: {source: {connection: qms, dataset: lines, key: id}, access: {public: true}}
"""
TABLES = """
CREATE TABLE items (id INTEGER PRIMARY KEY, lot TEXT NOT NULL, inspector TEXT, salary INTEGER);
INSERT INTO items VALUES (1, 'L0001', '张三丰', 12345), (2, 'L0002', '李四', 23456);
CREATE TABLE lines (id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO lines VALUES (1, 'press');
"""


class Served:
    """The plant's gateway, whose source was deleted after it was published."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway, self.folder = gateway, folder
        self._tokens: dict[str, str] = {}

    def ask(self, path: str, client: str = "", method: str = "GET", body: Any = None, **headers: str) -> Answered:
        """One call as a client, or as nobody."""
        given = [(name.replace("_", "-"), text) for name, text in headers.items()]
        if client:
            if client not in self._tokens:
                issued = inside(self.folder, "token", "issue", client, "--json")
                self._tokens[client] = issued.document["access_token"]
            given.append(("authorization", f"Bearer {self._tokens[client]}"))
        return self.gateway.ask(path, method, body, given)

    def document(self, client: str = "", format: str = "json") -> dict[str, Any]:
        """A document of v1."""
        answer = self.ask(f"/openapi/v1.{format}", client)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found


def planted(folder: Path) -> None:
    """The project and its database."""
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    database = sqlite3.connect(folder / "plant.sqlite")
    database.executescript(TABLES)
    database.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("plant")
    planted(folder)
    for name, *flags in (("mes", "--role", "quality"), ("trial", "--role", "quality", "--sandbox")):
        added = inside(folder, "client", "add", name, *flags, "--json")
        assert added.code == 0, added.err
    with Gateway(folder) as gateway:
        (folder / "plant.sqlite").unlink()
        yield Served(gateway, folder)


def test_a_document_is_valid_and_names_only_what_its_caller_may_use(served: Served) -> None:
    document = served.document("mes")
    validate(document)
    assert set(document["paths"]) == {"/api/v1/items", "/api/v1/items/{id}", "/api/v1/lines", "/api/v1/lines/{id}"}
    assert set(document["paths"]["/api/v1/items"]) == {"get", "head", "post", "patch", "put"}
    assert set(document["paths"]["/api/v1/lines"]) == {"get", "head"}
    fields = document["components"]["schemas"]["items"]["properties"]
    assert (list(fields), fields["inspector"]["x-masked"]) == (["id", "lot", "inspector"], "name")
    assert "salary" not in json.dumps(document)
    assert "wages" not in json.dumps(document)


def test_examples_are_made_up_and_masked(served: Served) -> None:
    content = served.document("mes")["paths"]["/api/v1/items"]["get"]["responses"]["200"]["content"]
    rows = content["application/json"]["example"]
    assert rows
    assert all(row["inspector"] is None or "*" in row["inspector"] for row in rows)
    assert not {row["lot"] for row in rows} & {"L0001", "L0002"}


def test_nobody_sees_what_is_public_and_a_version_that_is_not_there_is_like_one_that_may_not_be_seen(
    served: Served,
) -> None:
    assert set(served.document()["paths"]) == {"/api/v1/lines", "/api/v1/lines/{id}"}
    assert served.ask("/openapi").json["versions"][0]["version"] == "v1"
    assert (served.ask("/openapi/v2.json").status, served.ask("/openapi/v2.json", "mes").status) == (401, 404)


def test_filters_are_parameters_with_the_operators_of_their_field(served: Served) -> None:
    document = served.document("mes")
    filters = {one["name"]: one for one in document["components"]["parameters"].values()}
    assert "gte" in filters["id"]["description"]
    assert {"id", "lot", "and", "or"} <= set(filters)


def test_a_postman_collection_and_an_asyncapi_document_say_the_same(served: Served) -> None:
    collection = served.document("mes", "postman.json")
    assert collection["info"]["schema"].endswith("v2.1.0/collection.json")
    assert {folder["name"] for folder in collection["item"]} == {"items", "lines"}
    assert {one["request"]["method"] for one in collection["item"][0]["item"]} == {
        "GET",
        "HEAD",
        "POST",
        "PATCH",
        "PUT",
    }
    events = served.document("mes", "asyncapi.json")
    assert events["asyncapi"] == "3.0.0"
    assert events["channels"]["live_items"]["address"] == "/live/v1/items"
    assert "salary" not in json.dumps([collection, events])


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
def test_pages_have_no_script_or_style_inside(served: Served, path: str) -> None:
    page = served.ask(path, accept_language="zh")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    text = page.body.decode()
    assert '<html lang="zh-CN">' in text
    assert "<style" not in text
    assert all(part.startswith(' src="/docs/assets/') for part in text.split("<script")[1:])


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css", "docs.js", "docs.css"])
def test_what_pages_load_comes_from_here(served: Served, name: str) -> None:
    plain = served.ask(f"/docs/assets/{name}")
    assert (plain.status, served.ask(f"/docs/assets/{name}", if_none_match=plain.headers["etag"]).status) == (200, 304)
    packed = served.ask(f"/docs/assets/{name}", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body)


def test_a_refusal_names_the_parameter_and_leads_to_the_document(served: Served) -> None:
    told = served.ask("/api/v1/items?salary=gt.1", "mes")
    assert told.json["errors"][0]["parameter"] == "salary"
    assert told.json["documentation"] == "/openapi/v1.json"
    assert 'rel="service-desc"' in told.headers["link"]
    assert 'id="field.unknown"' in served.ask(told.json["type"].partition("#")[0]).body.decode()
    hidden, missing = (served.ask(f"/api/v1/{name}", "mes") for name in ("wages", "nothing"))
    assert ("link" in hidden.headers, "link" in missing.headers) == (False, False)


def test_made_up_rows_come_although_the_source_is_gone(served: Served) -> None:
    assert served.ask("/api/v1/items", "mes").status == 503
    for answer in (
        served.ask("/api/v1/items?limit=5", "mes", prefer="mock"),
        served.ask("/api/v1/items?limit=5", "trial"),
    ):
        assert (answer.status, answer.headers["tongqu-mock"], len(answer.json)) == (200, "true", 5)
    assert served.ask("/api/v1/lines?limit=3", prefer="mock").status == 200


def test_a_sandbox_client_writes_into_its_sandbox_by_every_protocol(served: Served) -> None:
    row = {"id": 9000, "lot": "L9000"}
    assert served.ask("/api/v1/items", "trial", "POST", row).status == 201
    query = {"query": "{ items(where: {id: {eq: 9000}}) { nodes { id lot } } }"}
    told = served.ask("/graphql/v1", "trial", "POST", query)
    assert "9000" in told.body.decode(), told.body
    assert served.ask("/live/v1/items", "trial").status == 403


@pytest.mark.parametrize("format", ["openapi", "asyncapi", "postman"])
def test_a_document_is_printed_on_the_command_line(tmp_path: Path, format: str) -> None:
    planted(tmp_path)
    told = inside(tmp_path, "api", "openapi", "lines", "--files", "--format", format)
    assert told.code == 0, told.err
    assert "lines" in json.dumps(json.loads(told.out))


@pytest.mark.parametrize(("format", "begin"), [("wsdl", "<?xml"), ("sdl", "")])
def test_a_description_of_another_protocol_is_printed_too(tmp_path: Path, format: str, begin: str) -> None:
    planted(tmp_path)
    told = inside(tmp_path, "api", "openapi", "lines", "--files", "--format", format)
    assert told.code == 0, told.err
    assert told.out.startswith(begin)
    assert "lines" in told.out


def test_a_document_of_nothing_is_refused(tmp_path: Path) -> None:
    planted(tmp_path)
    assert "lines" in inside(tmp_path, "api", "openapi", "lime", "--files").err
    assert inside(tmp_path, "api", "openapi", "wages", "--files", "--format", "wsdl").code == 2


class Mocked(Gateway):
    """`tongqu mock --apis` of a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        at = self._command.index("serve")
        self._command[at : at + 1] = ["mock", "--apis"]


def test_the_projects_own_apis_are_mocked_with_their_rules(tmp_path: Path) -> None:
    planted(tmp_path)
    with sqlite3.connect(tmp_path / "plant.sqlite") as database:
        database.executemany(
            "INSERT INTO lines VALUES (?, ?)", [(n, "press" if n % 3 else "weld") for n in range(2, 40)]
        )
    database.close()
    assert inside(tmp_path, "profile", "qms", "--table", "lines").code == 0
    with Mocked(tmp_path) as gateway:
        answer = gateway.ask("/api/v1/lines?limit=7")
        assert (answer.status, len(answer.json), answer.headers["tongqu-mock"]) == (200, 7, "true")
        assert {row["title"] for row in gateway.ask("/api/v1/lines").json} == {"press", "weld"}  # as the profile tells
        assert gateway.ask("/api/v1/items").status == 401
        assert not (gateway.home / "serve.json").exists()
