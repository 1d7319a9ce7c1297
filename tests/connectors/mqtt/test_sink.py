"""Rows become confirmed messages under their topics, with content type, origin and an id of their own."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.connectors.mqtt.conftest import Topics, taken

from tongqu.connectors.mqtt.sink import MqttSink
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.testing.pour import pour

ROWS = pa.table({"id": [1, 2], "plant": ["north", "south"]})


def _write(mode: WriteMode = WriteMode.APPEND, **more: Any) -> Write:
    key = ("id",) if mode is WriteMode.UPSERT else ()
    return Write("orders", Dataset("orders", ROWS.schema, key), mode, "sync 7", "run 1", key, **more)


def _sink(topics: Topics, folder: Path, **said: Any) -> MqttSink:
    made = MqttSink(topics.settings(**said))
    made.lodge(folder)
    return made


@pytest.mark.parametrize("qos", [1, 2])
def test_messages_have_topic_type_origin_and_id(topics: Topics, tmp_path: Path, qos: int) -> None:
    with topics.server.listening(f"{topics.root}/#") as heard:
        with closing(_sink(topics, tmp_path, to=f"{topics.root}/{{plant}}/orders", qos=qos)) as sink:
            assert pour(sink, _write(), [ROWS]).inserted == 2
        came = heard.wait(2)
    assert [(one.topic, json.loads(one.payload), one.qos) for one in came] == [
        (f"{topics.root}/north/orders", {"id": 1, "plant": "north"}, qos),
        (f"{topics.root}/south/orders", {"id": 2, "plant": "south"}, qos),
    ]
    assert {one.properties.ContentType for one in came} == {"application/json"}
    user = [dict(one.properties.UserProperty) for one in came]
    assert {one["tongqu-origin"] for one in user} == {"sync 7"}
    assert len({one["tongqu-id"] for one in user}) == 2


def test_more_messages_than_the_broker_takes_at_once_are_confirmed(topics: Topics, tmp_path: Path) -> None:
    rows = pa.table({"id": range(1200), "plant": ["a"] * 1200})
    with topics.server.listening(f"{topics.root}/#") as heard:
        with closing(_sink(topics, tmp_path, to=f"{topics.root}/orders", qos=2)) as sink:
            assert pour(sink, _write(), [rows]).inserted == 1200
        came = heard.wait(1200)
    assert [json.loads(one.payload)["id"] for one in came] == list(range(1200))


def test_a_row_that_makes_no_topic_or_is_not_allowed_is_quarantined(topics: Topics, tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2, 3, 4], "plant": [f"{topics.root}/a", None, "a/#", "forbidden/a"]})
    with closing(_sink(topics, tmp_path, to="{plant}")) as sink:
        counts = pour(sink, _write(), [rows])
        messages = " ".join(sorted(bad["message"] for bad in sink.quarantined()))
    assert (counts.inserted, counts.quarantined) == (1, 3)
    assert "is null" in messages
    assert "is no topic" in messages
    assert "not authorized" in messages


def test_changes_are_retained_by_key_and_deletes_remove_them(topics: Topics, tmp_path: Path) -> None:
    said = {"envelope": "upsert", "key": ["id"], "fields": {"id": "int64", "plant": "string"}}
    write = _write(WriteMode.UPSERT, incremental=True)
    split = Split("0", "orders")
    with topics.log(**said) as log:
        begin = log.begin()
        with closing(_sink(topics, tmp_path, to=f"{topics.root}/{{id}}", retain=True, **said)) as sink:
            sink.start(write.sync, write.run, False)
            sink.open(write)
            sink.begin(write, [split])
            with closing(sink.session(write, split)) as session:
                assert session.write(ROWS).inserted == 2
                session.remove(ROWS.select(["id"]).slice(1))
                session.commit(Checkpoint(split, {"n": 1}, Counts(read=3, inserted=2, deleted=1), done=True))
            sink.finish(write, Counts(), None)
            sink.end(write.sync, write.run, [write])
        rows, bad, _ = taken(log, begin, 3)
    assert not bad
    assert [(row["_op"], row["id"], row["_origin"]) for row in rows] == [
        ("u", 1, "sync 7"), ("u", 2, "sync 7"), ("d", 2, "sync 7"),
    ]  # fmt: skip
    with topics.server.listening(f"{topics.root}/#") as heard:
        topics.server.put(f"{topics.root}/end", b"")
        assert [one.topic.rpartition("/")[2] for one in heard.wait(2)] == ["1", "end"]


def test_qos_0_is_not_written(topics: Topics, tmp_path: Path) -> None:
    with closing(_sink(topics, tmp_path, qos=0)) as sink, pytest.raises(InvalidPlanError, match="QoS 0"):
        pour(sink, _write(), [ROWS])


def test_a_check_publishes_nothing(topics: Topics, tmp_path: Path) -> None:
    with closing(_sink(topics, tmp_path)) as sink:
        assert "confirmed messages" in list(sink.check())[-1]
