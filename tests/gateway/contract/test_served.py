"""A live version keeps its promise: what breaks it is refused, a new one stands beside, an old one ends."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tongqu.store.audit.usage import Usage, Used
from tongqu.testing.command_line import Done, inside
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections:
  lake: {{type: sqlite, path: lake.db}}
datasets:
  orders:
    key: id
    fields:
      id: {{class: public}}
      qty: {{class: public, max: {most}}}
      note: {{class: public}}
apis:
{apis}"""
V1 = """\
  orders:
    source: {connection: lake, dataset: orders}
    access: {public: true}
"""
V2 = """\
  orders_v2:
    name: orders
    version: v2
    source: {connection: lake, dataset: orders}
    fields: [id, qty]
    access: {public: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    database = sqlite3.connect(tmp_path / "lake.db")
    database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, qty INTEGER NOT NULL, note TEXT)")
    database.execute("INSERT INTO orders VALUES (1, 5, 'a'), (2, 7, 'b')")
    database.commit()
    database.close()
    return tmp_path


def write(folder: Path, apis: str, most: int = 100) -> None:
    (folder / "tongqu.yaml").write_text(PROJECT.format(apis=apis, most=most), encoding="utf-8")


def call(folder: Path, *arguments: str) -> Done:
    return inside(folder, *arguments, "--json")


def test_a_change_that_breaks_callers_is_refused_and_names_field_and_consumer(folder: Path) -> None:
    write(folder, V1)
    assert call(folder, "apply").document["version"] == 1
    with Gateway(folder, files=False) as gateway:
        used_by(gateway.home)
        write(folder, V1 + "    fields: [id, qty]\n")
        planned = call(folder, "plan")
        assert planned.code == 2
        [contract] = planned.document["contracts"]
        [change] = [one for one in contract["changes"] if one["breaking"]]
        assert (change["code"], change["field"], change["consumers"]) == ("field.removed", "note", ["client:mes"])
        refused = call(folder, "apply")
        [problem] = refused.document["problems"]
        assert (refused.code, problem["code"]) == (2, "config.breaking_change")
        assert "fields.note" in problem["message"] and "client:mes" in problem["message"]
        assert "client:old" not in problem["message"]
        assert gateway.ask("/api/v1/orders?select=note&id=eq.1").json == [{"note": "a"}]

        write(folder, V1 + V2)
        assert call(folder, "apply").document["version"] == 2
        gateway.until(lambda answer: answer.status == 200, "/api/v2/orders?id=eq.1")
        assert gateway.ask("/api/v2/orders?id=eq.1").json == [{"id": 1, "qty": 5}]
        assert gateway.ask("/api/v1/orders?select=note&id=eq.1").json == [{"note": "a"}]
        told = call(folder, "api", "diff", "orders", "v1", "v2").document
        assert [one["field"] for one in told["changes"] if one["breaking"]] == ["note"]

        write(folder, V1 + "    fields: [id, qty]\n" + V2)
        assert call(folder, "apply", "--accept-breaking").document["version"] == 3
        gateway.until(lambda answer: answer.status == 422, "/api/v1/orders?select=note")
        assert call(folder, "versions", "undo").document["version"] == 4
        gateway.until(lambda answer: answer.status == 200, "/api/v1/orders?select=note")
        assert "note" in call(folder, "api", "contract", "orders", "--version", "v1").document["fields"]


def used_by(place: Path) -> None:
    """One client read `note` today, another a year ago."""
    store = Usage(place / "api-usage.db")
    now = datetime.now(UTC)
    store.add({("orders", "v1", "client:mes", "note"): Used(now.isoformat(), 3)})
    store.add({("orders", "v1", "client:old", "note"): Used((now - timedelta(days=365)).isoformat(), 3)})
    store.close()


def test_what_only_the_source_or_the_dictionary_changes_counts_too(folder: Path) -> None:
    write(folder, V1)
    assert call(folder, "apply").code == 0
    write(folder, V1, most=500)
    [change] = call(folder, "plan").document["contracts"][0]["changes"]
    assert (change["code"], change["side"], change["breaking"]) == ("field.max", "response", True)
    write(folder, V1.replace("public: true", "public: true, roles: [mes]"))
    database = sqlite3.connect(folder / "lake.db")
    database.execute("ALTER TABLE orders DROP COLUMN note")
    database.close()
    [problem] = call(folder, "apply").document["problems"]
    assert "fields.note (field.removed)" in problem["message"]
    assert call(folder, "plan", "--offline").code == 0


def test_a_version_may_not_vanish_before_its_sunset(folder: Path) -> None:
    write(folder, V1 + V2)
    assert call(folder, "apply").code == 0
    write(folder, V2)
    [problem] = call(folder, "apply").document["problems"]
    assert "orders v1: version (version.removed)" in problem["message"]


def test_the_end_of_a_version_is_told_in_time_and_is_410(folder: Path) -> None:
    today = datetime.now(UTC).date()
    begun, end = today - timedelta(days=9), today + timedelta(days=90)
    ending = V1 + f"    deprecated: '{begun}'\n    sunset: '{end}'\n    successor: v2\n"
    write(folder, ending + V2)
    assert call(folder, "apply").code == 0
    with Gateway(folder, files=False) as gateway:
        headers = gateway.ask("/api/v1/orders").headers
        assert headers["deprecation"] == f"@{int(datetime(begun.year, begun.month, begun.day, tzinfo=UTC).timestamp())}"
        assert headers["sunset"] == end.strftime("%a, %d %b %Y 00:00:00 GMT")
        assert '</api/v2/orders>; rel="successor-version"' in headers["link"]
        assert "deprecation" not in gateway.ask("/api/v2/orders").headers
        write(folder, ending.replace(str(end), str(today)) + V2)
        assert call(folder, "apply").code == 2  # sooner than was told
        assert call(folder, "apply", "--accept-breaking").code == 0
        gone = gateway.until(lambda answer: answer.status == 410, "/api/v1/orders")
        assert (gone.json["code"], gateway.ask("/api/v2/orders").status) == ("version.gone", 200)
        listed = {one["path"]: one["state"] for one in call(folder, "api", "list").document["apis"]}
        assert listed == {"/api/v1/orders": "gone", "/api/v2/orders": "published"}
        write(folder, V2)
        assert call(folder, "apply").code == 0
        gateway.until(lambda answer: answer.headers["tongqu-config"].startswith("3."), "/api/v2/orders")
        assert gateway.ask("/api/v1/orders").status == 410
        assert gateway.ask("/readyz").json["degraded"] == 0
