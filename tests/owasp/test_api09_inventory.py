"""API9, improper inventory management: every address is listed with its state, and what is withdrawn is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.owasp.house import House

from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway


def test_every_published_address_is_listed_and_nothing_else_answers(house: House) -> None:
    listed = inside(house.gateway.home.parent, "api", "list", "--files", "--json", SHOP_URL=house.shop).document["apis"]
    assert {(one["path"], one["state"]) for one in listed} == {
        (f"/api/v1/{name}", "published") for name in ("items", "lines", "open", "few")
    }
    for path in (
        "/api/v1/users",
        "/api/v2/items",
        "/api/items",
        "/v1/items",
        "/api/v1",
        "/admin",
        "/.git/config",
        "/.env",
    ):
        assert house.ask("alpha", path).status == 404


def test_calls_to_addresses_that_are_not_there_are_counted(house: House) -> None:
    def refused() -> float:
        text = house.gateway.ask("/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith("tongqu_refused_total{") and "unknown" in line]
        return sum(float(line.split()[-1]) for line in lines)

    before = refused()
    for number in range(5):
        house.ask("alpha", f"/api/v1/shadow{number}")
        house.ask("alpha", f"/shadow{number}")
    house.gateway.until(lambda _: refused() >= before + 10)


def test_the_document_of_a_caller_lists_what_it_may_call(house: House) -> None:
    paths = house.ask("alpha", "/openapi/v1.json").json["paths"]
    assert {path for path in paths if "{" not in path} >= {"/api/v1/items", "/api/v1/lines"}
    lost = house.ask("lost", "/openapi/v1.json")
    assert [path for path in lost.json.get("paths", {}) if "items" in path or "lines" in path] == []


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A project with an old version beside a new one."""
    import sqlite3

    database = sqlite3.connect(tmp_path / "lake.db")
    with database:
        database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, lot TEXT)")
    database.close()
    (tmp_path / "tongqu.yaml").write_text("""
project: old
connections:
  lake: {type: sqlite, path: lake.db}
apis:
  items: {version: v3, source: {connection: lake, dataset: items}, access: {public: true}}
  items_v2:
    name: items
    version: v2
    source: {connection: lake, dataset: items}
    access: {public: true}
    deprecated: 2026-01-01
    sunset: 2099-12-31
    successor: v3
  items_v1:
    name: items
    version: v1
    source: {connection: lake, dataset: items}
    access: {public: true}
    deprecated: 2020-01-01
    sunset: 2021-01-01
    successor: v3
""")
    return tmp_path


def test_old_versions_say_so_and_end(old: Path) -> None:
    with Gateway(old) as gateway:
        current, old_one = gateway.ask("/api/v3/items"), gateway.ask("/api/v2/items")
        assert (current.status, old_one.status) == (200, 200)
        assert "deprecation" not in current.headers
        assert old_one.headers["deprecation"].startswith("@")
        assert "2099" in old_one.headers["sunset"]
        assert "successor-version" in old_one.headers["link"]
        gone = gateway.ask("/api/v1/items")
        assert (gone.status, gone.json["code"]) == (410, "version.gone")
