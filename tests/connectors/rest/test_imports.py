"""What a document says becomes datasets of the connection, and what the settings say goes over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.rest.imports import imported
from tongqu.connectors.rest.settings import RestSettings
from tongqu.core.errors import InvalidSettingsError
from tongqu.testing.services.vendor_api import VendorApi


def settings(folder: Path, document: dict[str, Any], **more: Any) -> RestSettings:
    file = folder / "api.json"
    file.write_text(json.dumps(document))
    return RestSettings.parse({"openapi": str(file), **more})


def test_the_settings_go_over_the_document(vendor: VendorApi, tmp_path: Path) -> None:
    own = {
        "page_items": {"title": "Items", "params": {"status": "open"}, "key": ["v"]},
        "more": {"path": "/plain/items"},
    }
    told = settings(tmp_path, vendor.document(), base_url=vendor.url, datasets=own)
    whole = imported(told)
    items = whole.datasets["page_items"]
    assert list(whole.datasets) == ["page_items", "more"]
    assert (items.title, items.key, items.params, items.records) == ("Items", ("v",), {"status": "open"}, "data.list")
    assert items.fields == {"id": "int64", "v": "string"}


def test_lists_that_need_values_wait_for_them(vendor: VendorApi, tmp_path: Path) -> None:
    document = vendor.document()
    path = document["paths"].pop("/page/items")
    path["get"]["parameters"].append({"name": "plant", "in": "query", "required": True})
    document["paths"] = {"/{site}/items": path}
    assert imported(settings(tmp_path, document, base_url=vendor.url)).datasets == {}
    given = {"items": {"params": {"site": "page", "plant": "P1"}}}
    (items,) = imported(settings(tmp_path, document, base_url=vendor.url, datasets=given)).datasets.values()
    assert (items.path, items.params) == ("/{site}/items", {"site": "page", "plant": "P1"})


def test_a_document_does_not_decide_where_credentials_go(vendor: VendorApi, tmp_path: Path) -> None:
    assert imported(RestSettings.parse({"openapi": f"{vendor.url}/openapi.json"})).base_url == vendor.url
    with pytest.raises(InvalidSettingsError, match="not where the document is"):
        imported(settings(tmp_path, vendor.document()))
    vendor.served["/other.json"] = json.dumps(
        vendor.document() | {"servers": [{"url": "http://127.0.0.1:1/"}]}
    ).encode()
    with pytest.raises(InvalidSettingsError, match="not where the document is"):
        imported(RestSettings.parse({"openapi": f"{vendor.url}/other.json"}))


def test_a_request_of_a_collection_to_another_place_is_left_out(tmp_path: Path) -> None:
    requests = [
        ("orders", "https://a.example/orders"),
        ("lots", "https://a.example/lots"),
        ("x", "https://evil.example/x"),
    ]
    items = [{"name": name, "request": {"method": "GET", "url": url}} for name, url in requests]
    (tmp_path / "c.json").write_text(json.dumps({"info": {}, "item": items}))
    told = RestSettings.parse({"postman": str(tmp_path / "c.json"), "base_url": "https://a.example"})
    assert sorted(imported(told).datasets) == ["lots", "orders"]
