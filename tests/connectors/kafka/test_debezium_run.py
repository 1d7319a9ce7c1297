"""Changes of Oracle and Db2 that Debezium puts into Kafka are followed by pipelines, as docs/change-capture.md says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
from tests.connectors.kafka.conftest import Topics

from tongqu.testing.command_line import tongqu

SOURCES = {
    "ORDERS": {"connector": "oracle", "ts_ms": 1_700_000_000_000, "db": "ERP", "schema": "SHOP", "table": "ORDERS",
               "scn": "2122185", "commit_scn": "2122190"},
    "PARTS": {"connector": "db2", "ts_ms": 1_700_000_000_000, "db": "ERP", "schema": "SHOP", "table": "PARTS",
              "change_lsn": "00000000:00000000", "commit_lsn": "00000001:00000002"},
}  # fmt: skip
PROJECT = """
project: plant
connections:
  bus:
    type: kafka
    host: {host}
    port: {port}
    topics:
      orders: {{topic: "{orders}", envelope: debezium, key: [ID]}}
      parts: {{topic: "{parts}", envelope: debezium, key: [ID]}}
  lake: {{type: duckdb, path: lake.duckdb}}
pipelines:
  orders:
    source: {{connection: bus, dataset: orders, mode: stream}}
    sink: {{connection: lake, dataset: orders, write: upsert, deletes: hard}}
  parts:
    source: {{connection: bus, dataset: parts, mode: stream}}
    sink: {{connection: lake, dataset: parts, write: upsert, deletes: hard}}
"""


def _put(topics: Topics, topic: str, op: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
    key = json.dumps({"ID": (after or before or {})["ID"]}).encode()
    source = next(one for table, one in SOURCES.items() if table in topic)
    message = {"op": op, "before": before, "after": after, "source": source, "ts_ms": 1}
    topics.server.put(topic, json.dumps(message).encode(), keys=[key])


def test_tables_of_oracle_and_db2_are_followed_through_debezium(topics: Topics, tmp_path: Path) -> None:
    orders, parts = topics.make("erp.SHOP.ORDERS"), topics.make("erp.SHOP.PARTS")
    for topic in (orders, parts):
        _put(topics, topic, "r", None, {"ID": 1, "V": "snapshot"})
        _put(topics, topic, "c", None, {"ID": 2, "V": "new"})
    project = PROJECT.format(host=topics.server.host, port=topics.server.port, orders=orders, parts=parts)
    (tmp_path / "tongqu.yaml").write_text(project)
    assert _rows(tmp_path) == {"orders": [(1, "snapshot"), (2, "new")], "parts": [(1, "snapshot"), (2, "new")]}
    _put(topics, orders, "u", {"ID": 1, "V": "snapshot"}, {"ID": 1, "V": "changed"})
    _put(topics, orders, "d", {"ID": 2, "V": "new"}, None)
    assert _rows(tmp_path)["orders"] == [(1, "changed")]


def _rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    for name in ("orders", "parts"):
        done = tongqu(folder, "run", name, "--until-caught-up", "--json")
        assert done.code == 0, done.out + done.err
    with duckdb.connect(str(folder / "lake.duckdb")) as lake:
        return {name: lake.sql(f'SELECT "ID", "V" FROM {name} ORDER BY 1').fetchall() for name in ("orders", "parts")}
