"""Rows become messages that are there once, under their subjects, with ids, headers and keys."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.connectors.messages import follow
from tests.connectors.nats.conftest import Streams

from tongqu.connectors.nats.settings import NatsSettings, from_url
from tongqu.connectors.nats.sink import NatsSink
from tongqu.connectors.nats.source import NatsSource
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import AuthError, InvalidPlanError, InvalidSettingsError
from tongqu.testing.pour import pour

ROWS = pa.table({"id": [1, 2], "plant": ["north", "south"]})


def _write(mode: WriteMode = WriteMode.APPEND, **more: Any) -> Write:
    key = ("id",) if mode is WriteMode.UPSERT else ()
    return Write("orders", Dataset("orders", ROWS.schema, key), mode, "sync 7", "run 1", key, **more)


def _sink(settings: NatsSettings, folder: Path) -> NatsSink:
    made = NatsSink(settings)
    made.lodge(folder)
    return made


def test_messages_have_subject_id_and_origin(streams: Streams, tmp_path: Path) -> None:
    stream = f"{streams.prefix}orders"
    said = {"orders": {"to": stream + ".{plant}"}}
    with closing(_sink(streams.settings(streams=said), tmp_path)) as sink:
        assert pour(sink, _write(), [ROWS]).inserted == 2
    held = streams.server.held(stream)
    assert [(subject, json.loads(body)) for subject, body, _ in held] == [
        (f"{stream}.north", {"id": 1, "plant": "north"}), (f"{stream}.south", {"id": 2, "plant": "south"}),
    ]  # fmt: skip
    assert {headers["Tongqu-Origin"] for _, _, headers in held} == {"sync 7"}
    assert len({headers["Nats-Msg-Id"] for _, _, headers in held}) == 2


def test_a_row_that_makes_no_subject_is_quarantined(streams: Streams, tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2, 3], "plant": ["north", None, "a b"]})
    said = {"orders": {"to": f"{streams.prefix}orders.{{plant}}"}}
    with closing(_sink(streams.settings(streams=said), tmp_path)) as sink:
        counts = pour(sink, _write(), [rows])
        messages = sorted(bad["message"] for bad in sink.quarantined())
    assert (counts.inserted, counts.quarantined) == (1, 2)
    assert "is null" in messages[1]
    assert "no subject" in messages[0]


def test_a_message_sent_again_is_there_once(streams: Streams, tmp_path: Path) -> None:
    """Both attempts send the same ids, as after a crash whose calls nobody noted: the stream takes them once."""
    for attempt in ("a", "b"):
        with closing(_sink(streams.settings(), tmp_path / attempt)) as sink:
            pour(sink, _write(), [ROWS])
    assert len(streams.server.held(f"{streams.prefix}orders")) == 2


@pytest.mark.parametrize("envelope", ["upsert", "debezium", "canal"])
def test_changes_are_written_and_followed(streams: Streams, tmp_path: Path, envelope: str) -> None:
    write = _write(WriteMode.UPSERT, incremental=True)
    said = {"orders": {"envelope": envelope, "key": ["id"], "fields": {"id": "int64", "plant": "string"}}}
    split = Split("0", "orders")
    with closing(_sink(streams.settings(streams=said), tmp_path)) as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            assert session.write(ROWS).inserted == 2
            session.remove(ROWS.select(["id"]).slice(1))
            session.commit(Checkpoint(split, {"n": 1}, Counts(read=3, inserted=2, deleted=1), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, write.run, [write])
    with streams.log("orders", streams=said) as log:
        found = [row for batch in follow(log, log.begin(), 3) for row in batch.rows.to_pylist()]
    assert [(row["_op"], row["id"], row["_origin"]) for row in found] == [
        ("u", 1, "sync 7"), ("u", 2, "sync 7"), ("d", 2, "sync 7"),
    ]  # fmt: skip


def test_a_stream_of_plain_messages_takes_no_upserts(streams: Streams, tmp_path: Path) -> None:
    with (
        closing(_sink(streams.settings(), tmp_path)) as sink,
        pytest.raises(InvalidPlanError, match="cannot be written in mode 'upsert'"),
    ):
        pour(sink, _write(WriteMode.UPSERT), [ROWS])


def test_a_message_that_is_too_large_is_quarantined(streams: Streams, tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2], "plant": ["x" * 1_100_000, "b"]})
    with closing(_sink(streams.settings(), tmp_path)) as sink:
        counts = pour(sink, _write(), [rows])
    assert (counts.inserted, counts.quarantined) == (1, 1)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nats://h", {"host": "h", "port": 4222}),
        ("nats://me:p%40ss@h:1/lab_", {"user": "me", "port": 1, "prefix": "lab_"}),
        ("nats://h?envelope=canal&domain=hub", {"envelope": "canal", "domain": "hub"}),
    ],
)
def test_a_url_says_where_and_how(url: str, told: dict[str, Any]) -> None:
    settings = from_url(url)
    assert {name: getattr(settings, name) for name in told} == told


def test_one_login_is_enough() -> None:
    with pytest.raises(InvalidSettingsError, match="either user and password, token, or seed"):
        NatsSettings.parse({"user": "me", "password": "x", "token": "y"})


def test_a_seed_that_is_none_is_told_without_being_shown(streams: Streams) -> None:
    settings = NatsSettings.parse({"host": streams.server.host, "port": streams.server.port, "seed": "SUNOSEED"})
    with closing(NatsSource(settings)) as source, pytest.raises(AuthError) as caught:
        source.datasets()
    assert "SUNOSEED" not in f"{caught.value} {caught.value.hint}"
