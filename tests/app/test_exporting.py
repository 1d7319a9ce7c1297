"""`tongqu api exports` and `allow`: somebody else lets a caller take more, and it is in the audit trail."""

from __future__ import annotations

from pathlib import Path

from tongqu.testing.command_line import inside, make
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {lake: {type: sqlite, path: lake.db}}
apis:
  orders:
    source: {connection: lake, dataset: orders}
    access: {roles: [quality]}
    cache: {seconds: 60}
    export: {rows: 3}
"""


def test_a_second_person_lets_a_client_take_more(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    make(tmp_path / "lake.db", "orders", "id INTEGER PRIMARY KEY", [(1,), (2,), (3,)])
    made = inside(tmp_path, "client", "add", "mes", "--role", "quality", "--key", "api-key", "--json").document
    key = [("x-api-key", made["api_key"])]
    assert inside(tmp_path, "api", "exports", "--json").document == {"waiting": [], "allowed": []}
    with Gateway(tmp_path) as gateway:
        assert len(gateway.ask("/api/v1/orders", headers=key).json) == 3
        for path in ("/api/v1/orders", "/api/v1/orders?id=eq.1"):
            assert gateway.ask(path, headers=key).json["code"] == "export.approval"
        query = {"query": "{orders{nodes{id}}}"}
        assert "export.approval" in str(gateway.ask("/graphql", "POST", query, key).json)
        waiting = inside(tmp_path, "api", "exports", "--json")
        assert waiting.code == 3 and [one["client"] for one in waiting.document["waiting"]] == ["client:mes"]
        assert inside(tmp_path, "api", "allow", "orders", "mes", "--json").document["problems"][0]["path"] == "--reason"
        done = inside(tmp_path, "api", "allow", "orders", "mes", "--reason", "year's end", "--json")
        assert done.code == 0 and done.document["waiting"] == []
        assert [(one["client"], one["rows"]) for one in done.document["allowed"]] == [("client:mes", 3)]
        assert len(gateway.ask("/api/v1/orders", headers=key).json) == 3
        assert gateway.ask("/api/v1/orders", headers=key).json["code"] == "export.approval"
    alerts = inside(tmp_path, "audit", "show", "--kind", "alert", "--json").document["records"]
    assert [(one["what"], one["who"]) for one in alerts] == [("export.refused", "client:mes")]
    actions = inside(tmp_path, "audit", "show", "--kind", "action", "--json").document["records"]
    assert any(one["what"] == "api.allow" and one["outcome"] == "done" for one in actions)
