"""Three packages of other people, as they are on PyPI, read a file and a local API. Part of `make test-all`: they are
installed from the index, and need some minutes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tongqu.core import registry
from tongqu.core.connector import Source
from tongqu.core.data import Mode, Read, Split
from tongqu.kit.foreign.installing import Origin, install, resolve
from tongqu.kit.foreign.shelf import Shelf
from tongqu.testing.command_line import tongqu

EXAMPLE = Path(__file__).parents[2] / "examples/other-connectors"
ORDERS: list[dict[str, Any]] = [
    {"id": 1, "amount": 1.5, "updated_at": "2026-02-01T00:00:00Z", "lines": [{"sku": "a"}]},
    {"id": 2, "amount": None, "updated_at": "2026-03-01T00:00:00Z", "lines": None},
]
NEW = {"id": 3, "amount": 7.25, "updated_at": "2026-04-01T00:00:00Z", "lines": []}
MANIFEST = """
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [orders]}
streams:
  - type: DeclarativeStream
    name: orders
    primary_key: [id]
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: updated_at
      datetime_format: "%Y-%m-%dT%H:%M:%SZ"
      start_datetime: "2026-01-01T00:00:00Z"
      end_datetime: "2026-12-31T00:00:00Z"
      start_time_option: {type: RequestOption, inject_into: request_parameter, field_name: since}
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: "{{ config['base_url'] }}"
        path: /orders
        authenticator:
          type: ApiKeyAuthenticator
          api_token: "{{ config['api_key'] }}"
          inject_into: {type: RequestOption, inject_into: header, field_name: X-Key}
      record_selector: {type: RecordSelector, extractor: {type: DpathExtractor, field_path: [items]}}
    schema_loader:
      type: InlineSchemaLoader
      schema:
        type: object
        properties:
          id: {type: integer}
          amount: {type: [number, "null"]}
          updated_at: {type: string, format: date-time}
          lines: {type: [array, "null"]}
spec:
  type: Spec
  connection_specification:
    type: object
    required: [base_url, api_key]
    properties: {base_url: {type: string}, api_key: {type: string, airbyte_secret: true}}
"""


class Api(BaseHTTPRequestHandler):
    """Orders that changed since a time."""

    orders: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        since = parse_qs(urlsplit(self.path).query).get("since", [""])[0]
        items = [one for one in self.orders if one["updated_at"] >= since]
        body = json.dumps({"items": items}).encode()
        self.send_response(200 if self.headers.get("X-Key") == "k3y" else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture(name="url")
def api() -> Iterator[str]:
    """The address of the API, which has two orders."""
    Api.orders = list(ORDERS)
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session", name="packages")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The three packages."""
    shelf = Shelf(tmp_path_factory.mktemp("home") / "foreign")
    for requirement in ("tap-jsonl==0.3.1", "dlt==1.31.0", "airbyte-cdk==7.39.1"):
        found = resolve(requirement, Origin())
        install(shelf, found, found.digest, Origin())
    return shelf


def read(source: Source, mode: Mode, after: Any = None) -> tuple[list[dict[str, Any]], Any]:
    """All rows, and where the next increment begins."""
    (dataset,) = source.datasets(["orders"])
    until = source.horizon(dataset, "", after) if mode is Mode.INCREMENTAL else None
    batches = list(source.read(Read(dataset, Split("0", "orders", {"after": after, "until": until}), mode=mode)))
    assert not [bad for batch in batches for bad in batch.bad]
    return [row for batch in batches for row in batch.rows.to_pylist()], batches[-1].position


def opened(kind: str, packages: Shelf, **settings: Any) -> Source:
    found = registry.connector(kind)
    assert found.source is not None
    return found.source(found.settings.parse({"installed": str(packages.folder), **settings}))


def held(source: Source) -> None:
    """Both orders come in full, and by increments only what is new, from the state that was left."""
    assert list(source.check())
    rows, _ = read(source, Mode.FULL)
    assert [(row["id"], row["amount"]) for row in rows] == [(1, 1.5), (2, None)]
    assert str(rows[0]["updated_at"]) == "2026-02-01 00:00:00+00:00"
    assert json.loads(rows[0]["lines"]) == [{"sku": "a"}]
    _, position = read(source, Mode.INCREMENTAL)
    Api.orders = [*ORDERS, NEW]
    rows, _ = read(source, Mode.INCREMENTAL, position)
    assert 1 not in [row["id"] for row in rows]
    assert 3 in [row["id"] for row in rows]
    source.close()


if "TONGQU_EXHAUSTIVE" in os.environ:

    @pytest.mark.timeout(600)
    def test_a_singer_tap(packages: Shelf, tmp_path: Path) -> None:
        file = tmp_path / "orders.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in ORDERS))
        os.utime(file, (1_700_000_000, 1_700_000_000))
        config = {"path": str(file), "stream_name": "orders", "primary_keys": ["id"]}
        source = opened("singer", packages, tap="tap-jsonl", config=config)
        first, egress, *rest = source.check()
        assert (first, egress.partition(",")[0]) == ("installed", "egress: not enforced")
        assert rest == ["streams (1)", "sample orders"]
        rows, position = read(source, Mode.INCREMENTAL)
        assert [(row["id"], row["amount"]) for row in rows] == [(1, 1.5), (2, None)]
        assert position["state"]["bookmarks"]["orders"]["replication_key_value"] == "2023-11-14T22:13:20+00:00"
        source.close()

    @pytest.mark.timeout(600)
    def test_a_dlt_source(packages: Shelf, url: str) -> None:
        changed = {"cursor_path": "updated_at", "start_param": "since", "initial_value": "2026-01-01T00:00:00Z"}
        endpoint = {"path": "orders", "data_selector": "items", "incremental": changed}
        client = {"base_url": url, "headers": {"X-Key": "k3y"}}
        config = {"client": client, "resources": [{"name": "orders", "primary_key": "id", "endpoint": endpoint}]}
        held(opened("dlt", packages, source="dlt.sources.rest_api:rest_api_source", config={"config": config}))

    @pytest.mark.timeout(600)
    def test_an_airbyte_manifest(packages: Shelf, url: str, tmp_path: Path) -> None:
        manifest = tmp_path / "manifest.yaml"
        manifest.write_text(MANIFEST)
        held(opened("airbyte", packages, manifest=str(manifest), config={"base_url": url, "api_key": "k3y"}))

    @pytest.mark.timeout(600)
    def test_the_example(packages: Shelf, tmp_path: Path) -> None:
        shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
        given = {"TONGQU_HOME": str(packages.folder.parent), "ORDERS_FILE": str(tmp_path / "orders.jsonl")}
        first = tongqu(tmp_path, "run", "orders", "--json", **given).document["streams"][0]
        assert (first["read"], first["filtered"], first["inserted"]) == (3, 1, 2)
        assert tongqu(tmp_path, "run", "orders", **given).code == 0
