"""Rows become durable messages that the broker has confirmed: each protocol, each broker."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.connectors.messages import follow
from tests.kit.handed.conftest import Queues

from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import AuthError
from tongqu.kit.handed.sink import HandedSink
from tongqu.testing.pour import pour

ROWS = pa.table({"id": [1, 2, 3], "plant": ["north", "south", None]})


def _write(mode: WriteMode = WriteMode.APPEND, **more: Any) -> Write:
    key = ("id",) if mode is WriteMode.UPSERT else ()
    return Write("orders", Dataset("orders", ROWS.schema, key), mode, "sync: 7", "run 1", key, **more)


def _sink(bus: Queues, folder: Path, **more: Any) -> HandedSink:
    assert bus.connector.sink is not None
    made = bus.connector.sink(bus.settings(**more))
    assert isinstance(made, HandedSink)
    made.lodge(folder)
    return made


def test_messages_are_durable_and_say_who_wrote_them(queues: Queues, tmp_path: Path) -> None:
    queue = queues.make("orders")
    with closing(_sink(queues, tmp_path, queues={"orders": {"queue": queue}})) as sink:
        assert pour(sink, _write(), [ROWS]).inserted == 3
    held = queues.held("orders")
    assert [json.loads(body) for _, body in held] == ROWS.to_pylist()
    assert {head["persistent"] for head, _ in held} == {"true"}
    assert {head["tongqu-origin"] for head, _ in held} == {"sync: 7"}
    assert len({head["tongqu-id"] for head, _ in held}) == 3


def test_an_address_is_made_of_columns_and_what_has_none_is_set_aside(queues: Queues, tmp_path: Path) -> None:
    for name in ("north", "south"):
        address = queues.make(name).removesuffix(name)
    with closing(_sink(queues, tmp_path, queues={"orders": {"to": f"{address}{{plant}}"}})) as sink:
        counts = pour(sink, _write(), [ROWS])
        (bad,) = sink.quarantined()
    assert (counts.inserted, counts.quarantined) == (2, 1)
    assert "is null" in bad["message"]
    for number, name in enumerate(("north", "south"), 1):
        ((_, body),) = queues.held(name)
        assert json.loads(body)["id"] == number


def test_a_large_message_comes_whole(queues: Queues, tmp_path: Path) -> None:
    """Larger than a frame, with what is special in a protocol of lines."""
    rows = pa.table({"id": [1], "plant": ["北\0\n:\\" * 60_000]})
    queue = queues.make("orders")
    told = {"orders": {"queue": queue, "fields": {"id": "int64", "plant": "string"}}}
    with closing(_sink(queues, tmp_path, queues=told)) as sink:
        assert pour(sink, _write(), [rows]).inserted == 1
    with queues.log("orders", queues=told) as log:
        found = follow(log, log.begin(), 1)
    assert [row for batch in found for row in batch.rows.to_pylist()] == rows.to_pylist()


@pytest.mark.parametrize("envelope", ["upsert", "debezium"])
def test_changes_are_written_and_followed(queues: Queues, tmp_path: Path, envelope: str) -> None:
    write = _write(WriteMode.UPSERT, incremental=True)
    told = {
        "orders": {
            "queue": queues.make("orders"), "envelope": envelope, "key": ["id"],
            "fields": {"id": "int64", "plant": "string"},
        }
    }  # fmt: skip
    split = Split("0", "orders")
    with closing(_sink(queues, tmp_path, queues=told)) as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            assert session.write(ROWS.slice(0, 2)).inserted == 2
            session.remove(ROWS.select(["id"]).slice(1, 1))
            session.commit(Checkpoint(split, {"n": 1}, Counts(read=3, inserted=2, deleted=1), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, write.run, [write])
    with queues.log("orders", queues=told) as log:
        found = [row for batch in follow(log, log.begin(), 3) for row in batch.rows.to_pylist()]
    assert [(row["_op"], row["id"], row["_origin"]) for row in found] == [
        ("u", 1, "sync: 7"), ("u", 2, "sync: 7"), ("d", 2, "sync: 7"),
    ]  # fmt: skip


def test_every_stage_is_checked(queues: Queues) -> None:
    with queues.source() as source:
        stages = list(source.check())
    assert stages[:3] == ["dns", "tcp", "tls: not used"]
    assert stages[3].startswith("login (") and queues.server.version in stages[3]


def test_a_wrong_password_is_refused_and_not_shown(queues: Queues) -> None:
    with queues.source(password="wrong-one") as source, pytest.raises(AuthError) as caught:
        list(source.check())
    assert "wrong-one" not in f"{caught.value} {caught.value.hint}"
