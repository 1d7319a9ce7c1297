"""Changes of SQL Server that Debezium puts into Kafka are followed by a pipeline, as docs/change-capture.md shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
from tests.connectors.kafka.conftest import Topics

from tongqu.testing.command_line import tongqu

SOURCE = {"connector": "sqlserver", "ts_ms": 1_700_000_000_000, "db": "erp", "schema": "dbo", "table": "orders"}
PROJECT = """
project: plant
connections:
  bus:
    type: kafka
    host: {host}
    port: {port}
    topics:
      orders: {{topic: "{topic}", envelope: debezium, key: [id]}}
  lake: {{type: duckdb, path: lake.duckdb}}
pipelines:
  orders:
    source: {{connection: bus, dataset: orders, mode: stream}}
    sink: {{connection: lake, dataset: orders, write: upsert, deletes: hard}}
"""


def _put(topics: Topics, topic: str, op: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
    key = json.dumps({"id": (after or before or {})["id"]}).encode()
    message = {"op": op, "before": before, "after": after, "source": SOURCE, "ts_ms": 1}
    topics.server.put(topic, json.dumps(message).encode(), keys=[key])


def test_a_table_of_sql_server_is_followed_through_debezium(topics: Topics, tmp_path: Path) -> None:
    topic = topics.make("erp.dbo.orders")
    _put(topics, topic, "r", None, {"id": 1, "v": "snapshot"})
    _put(topics, topic, "c", None, {"id": 2, "v": "new"})
    project = PROJECT.format(host=topics.server.host, port=topics.server.port, topic=topic)
    (tmp_path / "tongqu.yaml").write_text(project)
    assert _rows(tmp_path) == [(1, "snapshot"), (2, "new")]
    _put(topics, topic, "u", {"id": 1, "v": "snapshot"}, {"id": 1, "v": "changed"})
    _put(topics, topic, "d", {"id": 2, "v": "new"}, None)
    assert _rows(tmp_path) == [(1, "changed")]


def _rows(folder: Path) -> list[tuple[Any, ...]]:
    done = tongqu(folder, "run", "orders", "--until-caught-up", "--json")
    assert done.code == 0, done.out + done.err
    with duckdb.connect(str(folder / "lake.duckdb")) as lake:
        return lake.sql("SELECT id, v FROM orders ORDER BY id").fetchall()
