"""`tongqu sync` by STOMP and AMQP 1.0: killed anywhere, nothing is lost; by message id nothing is doubled."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import duckdb
import pytest
from tests.connectors.messages import eventually
from tests.kit.handed.conftest import QUIET, Queues

from tongqu.testing.command_line import tongqu

COUNT = 300


@pytest.mark.crash
def test_messages_come_into_a_table_once(queues: Queues, tmp_path: Path) -> None:
    """Killed behind a commit and before the acknowledgement, so that the broker hands out again what is there."""
    queue = queues.make("orders")
    queues.put("orders", *[json.dumps({"id": n}).encode() for n in range(COUNT)], id="m")
    told = {"queue": queue, "fields": {"id": "int64"}, "metadata": ["_message_id"]}
    settings = queues.settings().model_dump(mode="json", exclude_defaults=True) | {
        "type": queues.connector.name, "password": "${env:PASSWORD}", "prefetch": 100, "quiet_seconds": QUIET,
        "queues": {"orders": told},
    }  # fmt: skip
    place = {"type": "duckdb", "path": "t.duckdb"}
    project = {"project": "lab", "connections": {"bus": settings, "lake": place}}
    (tmp_path / "tongqu.yaml").write_text(json.dumps(project))
    sync = ("sync", "bus", "lake", "--json", "--mode", "stream", "--until-caught-up", "--write", "upsert")
    password = queues.settings().password.get_secret_value()
    killed = tongqu(tmp_path, *sync, PASSWORD=password, TONGQU_CRASH_AT="after_commit:1")
    assert killed.code == -signal.SIGKILL, killed.err
    done = tongqu(tmp_path, *sync, PASSWORD=password)
    assert done.code == 0, done.err
    with duckdb.connect(str(tmp_path / "t.duckdb"), read_only=True) as connection:
        found = connection.execute("select count(*), count(distinct id), max(id) from orders").fetchone()
    assert found == (COUNT, COUNT, COUNT - 1)
    eventually(lambda: queues.ready("orders") == 0)


@pytest.mark.crash
def test_every_row_is_a_message(queues: Queues, tmp_path: Path) -> None:
    queues.make("orders")
    (tmp_path / "orders.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(COUNT)))
    told = ("sync", "file:orders.csv", "${env:D}", "--json", "--write", "append")
    killed = tongqu(tmp_path, *told, D=queues.url, TONGQU_CRASH_AT="in_commit:1")
    assert killed.code == -signal.SIGKILL, killed.err
    done = tongqu(tmp_path, *told, D=queues.url)
    assert done.code == 0, done.err
    held = queues.held("orders")
    assert sorted({json.loads(body)["id"] for _, body in held}) == list(range(COUNT))
    assert len({head["tongqu-id"] for head, _ in held}) == COUNT
