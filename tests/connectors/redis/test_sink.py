"""Rows become entries, once under their ids, in the stream that the template names."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.connectors.messages import follow
from tests.connectors.redis.conftest import Streams

from tongqu.connectors.redis.link import Link
from tongqu.connectors.redis.settings import from_url
from tongqu.connectors.redis.sink import RedisSink
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import AuthError, ConnectError, ReadError
from tongqu.testing.pour import pour

ROWS = pa.table({"id": [1, 2, 3], "plant": ["north", "south", None]})


def _write(mode: WriteMode = WriteMode.APPEND, **more: Any) -> Write:
    key = ("id",) if mode is WriteMode.UPSERT else ()
    return Write("orders", Dataset("orders", ROWS.schema, key), mode, "sync 7", "run 1", key, **more)


def _sink(bus: Streams, folder: Path, **more: Any) -> RedisSink:
    made = RedisSink(bus.settings(**more))
    made.lodge(folder)
    return made


def test_entries_have_the_message_and_who_wrote_it(streams: Streams, tmp_path: Path) -> None:
    with closing(_sink(streams, tmp_path)) as sink:
        assert pour(sink, _write(), [ROWS]).inserted == 3
    held = streams.held("orders")
    assert [json.loads(one[b"value"]) for one in held] == ROWS.to_pylist()
    assert {one[b"tongqu-origin"] for one in held} == {b"sync 7"}
    assert len({one[b"tongqu-id"] for one in held}) == 3


def test_a_template_names_streams_and_what_it_cannot_name_is_set_aside(streams: Streams, tmp_path: Path) -> None:
    told = {"orders": {"to": "orders:{plant}", "field": "*"}}
    with closing(_sink(streams, tmp_path, streams=told)) as sink:
        counts = pour(sink, _write(), [ROWS])
        (bad,) = sink.quarantined()
    assert (counts.inserted, counts.quarantined) == (2, 1)
    assert "is null" in bad["message"]
    (north,) = streams.held("orders:north")
    assert (north[b"id"], north[b"plant"]) == (b"1", b"north")


def test_a_key_of_another_kind_is_told_and_left_alone(streams: Streams, tmp_path: Path) -> None:
    with streams.client() as client:
        client.set("orders", "precious")
    with closing(_sink(streams, tmp_path)) as sink, pytest.raises(ReadError, match="is no stream but a string"):
        pour(sink, _write(), [ROWS])
    with streams.client() as client:
        assert client.get("orders") == b"precious"


@pytest.mark.parametrize("limit", [("maxmemory", "1mb", "0"), ("min-replicas-to-write", "3", "0")])
def test_what_the_server_refuses_for_now_is_tried_again(streams: Streams, limit: tuple[str, str, str]) -> None:
    name, tight, free = limit
    with streams.client() as client, closing(Link(streams.settings())) as link:
        client.config_set(name, tight)
        try:
            with pytest.raises(ConnectError, match="can not do it now") as caught, link.told():
                link.client.eval("return redis.call('SET', 'a', 'b')", 0)
        finally:
            client.config_set(name, free)
    assert caught.value.retryable


@pytest.mark.parametrize("envelope", ["upsert", "debezium", "canal"])
def test_changes_are_written_and_followed(streams: Streams, tmp_path: Path, envelope: str) -> None:
    write = _write(WriteMode.UPSERT, incremental=True)
    told = {"orders": {"envelope": envelope, "key": ["id"], "fields": {"id": "int64", "plant": "string"}}}
    split = Split("0", "orders")
    with closing(_sink(streams, tmp_path, streams=told)) as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            assert session.write(ROWS.slice(0, 2)).inserted == 2
            session.remove(ROWS.select(["id"]).slice(1, 1))
            session.commit(Checkpoint(split, {"n": 1}, Counts(read=3, inserted=2, deleted=1), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, write.run, [write])
    with streams.log("orders", streams=told) as log:
        found = [row for batch in follow(log, log.begin(), 3) for row in batch.rows.to_pylist()]
    assert [(row["_op"], row["id"], row["_origin"]) for row in found] == [
        ("u", 1, "sync 7"), ("u", 2, "sync 7"), ("d", 2, "sync 7"),
    ]  # fmt: skip


def test_every_stage_is_checked(streams: Streams) -> None:
    streams.put("orders", b'{"id": 1}')
    with streams.source() as source:
        assert list(source.check()) == [
            "dns", "tcp", "tls: not used", f"login (Redis {streams.server.version}, database "
            f"{streams.settings().database})", "streams: 1", "sample",
        ]  # fmt: skip


def test_a_wrong_password_is_refused_and_not_shown(streams: Streams) -> None:
    with streams.source(password="wrong-one") as source, pytest.raises(AuthError) as caught:
        list(source.check())
    assert "wrong-one" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://h", {"host": "h", "port": 6379, "database": 0, "tls": None}),
        ("redis://me:p%40ss@h:1/3?prefix=lab:", {"user": "me", "port": 1, "database": 3, "prefix": "lab:"}),
    ],
)
def test_a_url_says_where_and_how(url: str, told: dict[str, Any]) -> None:
    settings = from_url(url)
    assert {name: getattr(settings, name) for name in told} == told
