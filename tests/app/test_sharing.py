"""A stream of messages that several processes share: parts change hands under load, nothing is lost or doubled."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic

import psycopg
import pyarrow as pa
import pytest

from tongqu.core import registry
from tongqu.core.data import Dataset, Write, WriteMode
from tongqu.core.errors import FencedError
from tongqu.core.lending import Lends
from tongqu.testing.command_line import start, tongqu
from tongqu.testing.services.kafka import Kafka

SECONDS = 120.0
PARTITIONS = 4
PROJECT = """
project: plant
connections:
  line: {{type: kafka, url: "{kafka}", topics: {{events: {{fields: {{id: int64, note: string}}}}}}}}
  lake: {{type: postgres, url: "{postgres}"}}
pipelines:
  events: {{source: {{connection: line, dataset: events, mode: stream}}, sink: {{connection: lake, write: append}}}}
run: {{workers: {{min: 1, max: 3, backlog: 500}}}}
"""


def _until(what: Callable[[], bool]) -> None:
    end, pause = monotonic() + SECONDS, Event()
    while not what():
        assert monotonic() < end
        pause.wait(0.05)


def _events(url: str) -> tuple[int, int]:
    """How many rows came, and how many different ones."""
    with psycopg.connect(url) as database:
        try:
            found = database.execute("SELECT count(*), count(DISTINCT id) FROM events").fetchone()
        except psycopg.errors.UndefinedTable:
            return 0, 0
    assert found is not None
    return int(found[0]), int(found[1])


def _taken(url: str) -> int:
    """How often parts were taken up."""
    with psycopg.connect(url) as database:
        try:
            found = database.execute(
                "SELECT coalesce(sum(fence / 4294967296), 0) FROM _tongqu_checkpoint WHERE split LIKE '%/%'"
            ).fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    assert found is not None
    return int(found[0])


def test_who_lost_a_part_can_commit_nothing_more(pg_url: str) -> None:
    schema = pa.schema([pa.field("id", pa.int64())])
    write = Write(
        stream="events", dataset=Dataset("events", schema), mode=WriteMode.APPEND, sync="s", run="r", incremental=True
    )
    connector = registry.by_url(pg_url)
    assert connector.sink is not None
    one, two = (connector.sink(connector.from_url(pg_url)) for _ in range(2))
    assert isinstance(one, Lends)
    assert isinstance(two, Lends)
    with closing(one), closing(two):
        one.start("s", "r", False)
        fence = one.enter(write).fence
        mine = one.join(write, fence, "t/0", make=True).checkpoints["t/0"]
        two.start("s", "r", False)
        assert two.enter(write).fence == fence
        theirs = two.join(write, fence, "t/0", make=True).checkpoints["t/0"]
        rows = pa.table({"id": [1, 2]}, schema=schema)
        with closing(one.session(write, mine.split)) as late, closing(two.session(write, theirs.split)) as now:
            late.write(rows)
            now.write(rows)
            now.commit(replace(theirs, position={"at": 2}))
            with pytest.raises(FencedError):
                late.commit(replace(mine, position={"at": 2}))
    assert _events(pg_url) == (2, 2)


def test_parts_change_hands_and_every_message_comes_once(
    tmp_path: Path, kafka_server: Kafka, kafka_url: str, pg_url: str
) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(kafka=kafka_url, postgres=pg_url), encoding="utf-8")
    topic = f"{kafka_url.rpartition('/')[2]}events"
    kafka_server.topic(topic, PARTITIONS)
    sent = 0

    def send(each: int) -> None:
        nonlocal sent
        for partition in range(PARTITIONS):
            values = [json.dumps({"id": sent + n, "note": "x" * 50}).encode() for n in range(each)]
            kafka_server.put(topic, *values, partition=partition)
            sent += each

    with ExitStack() as stack:

        def member() -> subprocess.Popen[str]:
            process = stack.enter_context(start(tmp_path, "run", "events", "--json"))
            stack.callback(process.kill)
            return process

        send(500)
        first = member()
        _until(lambda: _events(pg_url) == (sent, sent))
        assert _taken(pg_url) == PARTITIONS
        second = member()
        send(500)
        _until(lambda: _taken(pg_url) >= 2 * PARTITIONS)
        send(500)
        _until(lambda: _events(pg_url)[1] == sent)
        before = _taken(pg_url)
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=SECONDS)
        send(500)
        _until(lambda: _taken(pg_url) > before and _events(pg_url)[1] == sent)
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=SECONDS)
        assert (first.returncode, second.returncode) == (0, 0)
    assert _events(pg_url) == (sent, sent)

    alone = PROJECT.format(kafka=kafka_url, postgres=pg_url).partition("run:")[0]  # the others are taken away for good
    (tmp_path / "tongqu.yaml").write_text(alone, encoding="utf-8")
    send(100)
    done = tongqu(tmp_path, "run", "events", "--until-caught-up", "--json")
    assert done.code == 0, done.err
    assert _events(pg_url) == (sent, sent)
    assert done.document["streams"][0]["read"] == sent
