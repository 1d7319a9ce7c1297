"""REST APIs from the command line: a URL is enough, a killed read goes on, documents become connections."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import duckdb
import pytest

from tongqu.testing.command_line import start, tongqu
from tongqu.testing.services.vendor_api import Reply, VendorApi


@pytest.fixture
def api() -> Iterator[VendorApi]:
    with VendorApi(most=50) as made:
        made.table("items", [{"id": n, "v": f"v{n}"} for n in range(1, 336)])
        yield made


def ids(folder: Path) -> list[tuple[int, int]]:
    with duckdb.connect(folder / "x.duckdb", read_only=True) as database:
        return database.sql("SELECT count(*), count(DISTINCT id) FROM items").fetchall()


def test_a_url_is_enough(api: VendorApi, tmp_path: Path) -> None:
    done = tongqu(tmp_path, "sync", f"{api.url}/cursor/items?limit=50#key=id", "duckdb:x.duckdb", "--json")
    assert done.code == 0, done.err
    assert ids(tmp_path) == [(335, 335)]


def test_a_first_page_is_not_taken_for_the_whole_list(api: VendorApi, tmp_path: Path) -> None:
    done = tongqu(tmp_path, "sync", f"{api.url}/offset/items?limit=50", "duckdb:x.duckdb", "--json", "--lang", "en")
    assert done.code == 1
    (problem,) = json.loads(done.out)["problems"]
    assert problem["code"] == "connector.answer"
    assert "paging" in problem["hint"]
    done = tongqu(
        tmp_path, "sync", f"{api.url}/offset/items?limit=50#key=id&paging=offset", "duckdb:x.duckdb", "--json"
    )
    assert done.code == 0, done.err
    assert ids(tmp_path) == [(335, 335)]


def test_the_address_of_a_document_gives_its_datasets(api: VendorApi, tmp_path: Path) -> None:
    done = tongqu(
        tmp_path, "sync", f"{api.url}/openapi.json", "duckdb:x.duckdb", "--table", "page_items=items", "--json"
    )
    assert done.code == 0, done.err
    assert ids(tmp_path) == [(335, 335)]


def test_a_dataset_that_declares_its_cursor_needs_none_given(api: VendorApi, tmp_path: Path) -> None:
    api.table("orders", [{"id": n, "at": f"2026-01-{n:02d}T00:00:00Z"} for n in range(1, 21)])
    (tmp_path / "tongqu.yaml").write_text(f"""
project: p
connections:
  vendor:
    type: rest
    base_url: {api.url}
    datasets:
      orders: {{path: /page/orders, key: id, paging: page, incremental: {{cursor: at}}}}
      items: {{path: /page/items, key: id, paging: page}}
""")
    command = ("sync", "vendor", "duckdb:x.duckdb", "--mode", "incremental", "--json", "--table")
    done = tongqu(tmp_path, *command, "orders")
    assert done.code == 0, done.err
    (stream,) = json.loads(done.out)["streams"]
    assert (stream["mode"], stream["written"]) == ("incremental", 20)
    done = tongqu(tmp_path, *command, "items", "--lang", "en")
    assert done.code == 1
    assert "needs a cursor and none was given for 'items'" in json.loads(done.out)["problems"][0]["message"]


@pytest.mark.parametrize("way", ["page#paging=page&paging.total=data.total&paging.parallel=2", "cursor#"])
def test_a_read_that_was_killed_goes_on_without_loss_or_doubles(api: VendorApi, tmp_path: Path, way: str) -> None:
    reached, gone = Event(), Event()

    def slow(kind: str, number: int, reply: Reply) -> Reply:
        del kind, number
        body = json.dumps(reply[0], default=str)
        if '"id": 255' in body:
            reached.set()
            gone.wait(20)
        return reply

    kind, _, rest = way.partition("#")
    source = f"{api.url}/{kind}/items?limit=10#key=id&{rest}"
    options = ["sync", source, "duckdb:x.duckdb", "--chunk-rows", "20", "--json"]
    api.spoil = slow
    with start(tmp_path, *options) as process:
        assert reached.wait(30)
        Event().wait(0.5)  # what was read before is committed meanwhile
        process.send_signal(signal.SIGKILL)
        process.wait()
    gone.set()
    api.spoil = None
    before = len(api.calls)
    done = tongqu(tmp_path, *options)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["attempts"] == 2
    assert document["streams"][0]["read"] == 335
    assert ids(tmp_path) == [(335, 335)]
    assert len(api.calls) - before < 20, "it began anew"


def test_a_document_becomes_a_connection(api: VendorApi, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps(api.document()))
    done = tongqu(
        tmp_path, "connect", "import", "--openapi", "api.json", "--name", "mes", "--out", "tongqu.yaml", "--json"
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["datasets"] == [{"name": "page_items", "operation": "GET /page/items", "needs": []}]
    moved = tongqu(tmp_path, "sync", "mes", "duckdb:x.duckdb", "--table", "page_items=items", "--json")
    assert moved.code == 0, moved.err
    assert ids(tmp_path) == [(335, 335)]
    again = tongqu(tmp_path, "connect", "import", "--openapi", "api.json", "--out", "tongqu.yaml", "--json")
    assert again.code == 2


def test_the_credentials_that_a_document_requires_are_a_reference(api: VendorApi, tmp_path: Path) -> None:
    whole = api.document()
    whole |= {"security": [{"way": []}]}
    whole["components"] = {
        **whole.get("components", {}),
        "securitySchemes": {"way": {"type": "http", "scheme": "bearer"}},
    }
    (tmp_path / "api.json").write_text(json.dumps(whole))
    shown = tongqu(tmp_path, "connect", "import", "--openapi", "api.json", "--name", "mes", "--lang", "en")
    assert "bearer: ${secret:mes}" in shown.out
    assert "tongqu secret set mes" in shown.out


def test_the_settings_of_a_connector_are_shown(tmp_path: Path) -> None:
    assert "| `base_url` |" in tongqu(tmp_path, "connectors", "rest").out
    shown = json.loads(tongqu(tmp_path, "connectors", "show", "rest", "--json").out)
    assert "base_url" in shown["settings"]["properties"]


def test_what_is_no_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert tongqu(tmp_path, "connect", "import", "--openapi", "x.json").code != 0
    assert tongqu(tmp_path, "connect", "import", "--openapi", "no.json").code == 1
    assert tongqu(tmp_path, "connect", "import").code == 2
