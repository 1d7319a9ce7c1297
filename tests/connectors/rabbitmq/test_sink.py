"""Rows become persistent messages that the server has confirmed, where the templates lead them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.connectors.messages import follow
from tests.connectors.rabbitmq.conftest import Queues

from tongqu.connectors.rabbitmq.settings import RabbitmqSettings, from_url
from tongqu.connectors.rabbitmq.sink import RabbitmqSink
from tongqu.connectors.rabbitmq.source import RabbitmqSource
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import AuthError
from tongqu.testing.pour import pour

ROWS = pa.table({"id": [1, 2], "plant": ["north", "south"]})


def _write(mode: WriteMode = WriteMode.APPEND, **more: Any) -> Write:
    key = ("id",) if mode is WriteMode.UPSERT else ()
    return Write("orders", Dataset("orders", ROWS.schema, key), mode, "sync 7", "run 1", key, **more)


def _sink(settings: RabbitmqSettings, folder: Path) -> RabbitmqSink:
    made = RabbitmqSink(settings)
    made.lodge(folder)
    return made


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_queue_is_made_and_messages_are_persistent(queues: Queues, tmp_path: Path, kind: str) -> None:
    with closing(_sink(queues.settings(kind=kind), tmp_path)) as sink:
        assert pour(sink, _write(), [ROWS]).inserted == 2
    held = queues.server.taken(f"{queues.prefix}orders")
    assert [json.loads(message.body) for message in held] == ROWS.to_pylist()
    assert {message.properties["delivery_mode"] for message in held} == {2}
    assert len({message.properties["message_id"] for message in held}) == 2
    assert {message.properties["application_headers"]["tongqu-origin"] for message in held} == {"sync 7"}


def test_an_exchange_and_a_routing_key_are_made_of_columns(queues: Queues, tmp_path: Path) -> None:
    exchange = f"{queues.prefix}plants"
    with queues.server.client() as client:
        channel = client.channel()
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
        for name in ("north", "south"):
            queue = queues.make(name, "classic")
            channel.queue_bind(queue, exchange, f"orders.{name}")
    told = {"orders": {"exchange": exchange, "routing_key": "orders.{plant}"}}
    with closing(_sink(queues.settings(queues=told), tmp_path)) as sink:
        rows = pa.table({"id": [1, 2, 3, 4], "plant": ["north", "south", "east", None]})
        counts = pour(sink, _write(), [rows])
        bad = sorted(one["message"] for one in sink.quarantined())
    assert (counts.inserted, counts.quarantined) == (2, 2)
    assert "is null" in bad[0]
    assert f"no queue takes it: exchange '{exchange}', routing key 'orders.east'" in bad[1]
    for number, name in enumerate(("north", "south"), 1):
        (message,) = queues.server.taken(queues.prefix + name)
        assert json.loads(message.body)["id"] == number


@pytest.mark.parametrize("envelope", ["upsert", "debezium", "canal"])
def test_changes_are_written_and_followed(queues: Queues, tmp_path: Path, envelope: str) -> None:
    write = _write(WriteMode.UPSERT, incremental=True)
    told = {
        "orders": {"kind": "stream", "envelope": envelope, "key": ["id"], "fields": {"id": "int64", "plant": "string"}}
    }
    split = Split("0", "orders")
    with closing(_sink(queues.settings(queues=told), tmp_path)) as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            assert session.write(ROWS).inserted == 2
            session.remove(ROWS.select(["id"]).slice(1))
            session.commit(Checkpoint(split, {"n": 1}, Counts(read=3, inserted=2, deleted=1), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, write.run, [write])
    with queues.log("orders", queues=told) as log:
        found = [row for batch in follow(log, log.begin(), 3) for row in batch.rows.to_pylist()]
    assert [(row["_op"], row["id"], row["_origin"]) for row in found] == [
        ("u", 1, "sync 7"), ("u", 2, "sync 7"), ("d", 2, "sync 7"),
    ]  # fmt: skip


def test_every_stage_is_checked(queues: Queues) -> None:
    queue = queues.make("orders")
    with queues.source(queues={"orders": {}}) as source:
        assert list(source.check()) == [
            "dns", "tcp", "tls: not used", f"login (RabbitMQ {queues.server.version}, virtual host /)",
            f"sample ({queue}: 0 ready)",
        ]  # fmt: skip


def test_a_wrong_password_is_refused_and_not_shown(queues: Queues) -> None:
    with closing(RabbitmqSource(queues.settings(password="wrong-one"))) as source, pytest.raises(AuthError) as caught:
        list(source.check())
    assert "wrong-one" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://h", {"host": "h", "port": 5672, "virtual_host": "/", "tls": None}),
        ("amqp://me:p%40ss@h:1/lab?kind=stream", {"user": "me", "port": 1, "virtual_host": "lab", "kind": "stream"}),
        ("amqps://h/%2F", {"port": 5671, "virtual_host": "/"}),
    ],
)
def test_a_url_says_where_and_how(url: str, told: dict[str, Any]) -> None:
    settings = from_url(url)
    assert {name: getattr(settings, name) for name in told} == told
