"""Change logs are examined over HTTP as at the command line, and only of connections that the project names."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections:
  erp: {{type: postgres, url: "{url}"}}
  lake: {{type: sqlite, path: lake.db}}
pipelines:
  orders: {{source: {{connection: erp, dataset: orders, mode: cdc}}, sink: {{connection: lake}}}}
"""


def test_a_log_is_examined_over_http_as_at_the_command_line(tmp_path: Path, pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as database:
        database.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=pg_url), encoding="utf-8")
    local = inside(tmp_path, "cdc", "doctor", "--json").document
    with Gateway(tmp_path) as gateway:
        headers = [("tongqu-owner", json.loads((gateway.home / "serve.json").read_text())["token"])]
        served = gateway.ask("/manage/cdc", headers=headers)
        lake = gateway.ask("/manage/cdc?connections=lake", headers=headers)
        address = gateway.ask("/manage/cdc?connections=sqlite:other.db", headers=headers)
        forgotten = gateway.ask("/manage/cdc/forgotten", "POST", {}, headers)
    assert served.status == 200
    assert [one["what"] for one in served.json["connections"][0]["findings"]] == [
        one["what"] for one in local["connections"][0]["findings"]
    ]
    assert "no change log" in lake.json["problems"][0]["message"]
    assert address.status == 422
    assert "is no connection of the project" in address.body.decode()
    assert forgotten.json == {"ok": True, "forgotten": [], "problems": []}
