"""`tongqu sync` from and to RabbitMQ: killed anywhere, nothing is lost; by message id nothing is doubled."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import duckdb
import pytest
from tests.connectors.rabbitmq.conftest import Queues

from tongqu.testing.command_line import Done, tongqu

COUNT = 300
PROJECT = """
project: lab
connections:
  bus: {{type: rabbitmq, host: 127.0.0.1, port: {port}, user: tongqu, password: "${{env:PASSWORD}}", prefix: "{prefix}",
         queues: {{orders: {{kind: {kind}, fields: {{id: int64}}, metadata: [{metadata}]}}}}}}
  lake: {{type: duckdb, path: t.duckdb}}
"""


def _sync(queues: Queues, folder: Path, *more: str, **environ: str) -> Done:
    password = queues.url.partition("tongqu:")[2].partition("@")[0]
    return tongqu(
        folder, "sync", "bus", "lake", "--json", "--mode", "stream", "--until-caught-up", "--table", "orders", *more,
        PASSWORD=password, **environ,
    )  # fmt: skip


@pytest.mark.crash
@pytest.mark.parametrize(
    ("kind", "point"),
    [("quorum", "in_commit:1"), ("quorum", "after_commit:1"), ("stream", "in_commit:1"), ("stream", "after_commit:1")],
)
def test_messages_come_into_a_table_exactly_once(queues: Queues, tmp_path: Path, kind: str, point: str) -> None:
    metadata, write = ("_message_id", "upsert") if kind == "quorum" else ("_offset", "append")
    queue = queues.make("orders", kind)
    queues.server.put_all(queue, [(json.dumps({"id": n}).encode(), {"message_id": f"m{n}"}) for n in range(COUNT)])
    text = PROJECT.format(port=queues.server.port, prefix=queues.prefix, kind=kind, metadata=metadata)
    (tmp_path / "tongqu.yaml").write_text(text)
    killed = _sync(queues, tmp_path, "--write", write, TONGQU_CRASH_AT=point)
    assert killed.code == -signal.SIGKILL, killed.err
    done = _sync(queues, tmp_path, "--write", write)
    assert done.code == 0, done.err
    with duckdb.connect(str(tmp_path / "t.duckdb"), read_only=True) as connection:
        found = connection.execute("select count(*), count(distinct id), max(id) from orders").fetchone()
    assert found == (COUNT, COUNT, COUNT - 1)
    if kind == "quorum":
        assert queues.server.ready(queue) == 0


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_call:1", "in_commit:1"])
def test_every_row_is_a_message(queues: Queues, tmp_path: Path, point: str) -> None:
    (tmp_path / "orders.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(COUNT)))
    told = ("sync", "file:orders.csv", "${env:D}", "--json", "--write", "append")
    killed = tongqu(tmp_path, *told, D=queues.url, TONGQU_CRASH_AT=point)
    assert killed.code == -signal.SIGKILL, killed.err
    done = tongqu(tmp_path, *told, D=queues.url)
    assert done.code == 0, done.err
    held = queues.server.taken(f"{queues.prefix}orders")
    assert sorted({json.loads(message.body)["id"] for message in held}) == list(range(COUNT))
    assert len({message.properties["message_id"] for message in held}) == COUNT
