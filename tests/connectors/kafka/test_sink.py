"""Messages are written once, under their keys, and a killed run is completed by the next."""

from __future__ import annotations

import signal
from contextlib import closing

import pyarrow as pa
import pytest
from tests.connectors.kafka.conftest import Topics
from tests.connectors.messages import follow

from tongqu.connectors.kafka.settings import from_url
from tongqu.connectors.kafka.sink import KafkaSink
from tongqu.connectors.kafka.source import KafkaSource
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.testing.crashing import crash, run
from tongqu.testing.pour import pour, table

ROWS = pa.table({"id": [1, 2], "v": ["a", "b"]})


def _write(mode: WriteMode, **more: object) -> Write:
    key = ("id",) if mode is WriteMode.UPSERT else ()
    return Write("orders", Dataset("orders", ROWS.schema, key), mode, "sync 7", "run 1", key, **more)  # type: ignore[arg-type]  # fields of Write


@pytest.mark.crash
@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.REPLACE])
@pytest.mark.parametrize("point", ["mid_write:2", "in_commit:4", "in_finish", "after_swap"])
def test_a_killed_run_is_completed_by_the_next(kafka_url: str, mode: WriteMode, point: str) -> None:
    died = crash(kafka_url, mode, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    counts = run(kafka_url, mode)
    with closing(KafkaSource(from_url(kafka_url))) as source:
        rows = sorted((row["id"], row["v"]) for row in table(source, "t").to_pylist())
    assert rows == [(1, "0-1"), (2, "0-2"), (3, "0-3"), (4, "1-4"), (5, "1-5"), (6, "1-6"), (7, "2-7"), (8, "2-8")]
    assert (counts.read, counts.inserted) == (8, 8)


def test_without_transactions_messages_come_at_least_once(kafka_url: str) -> None:
    url = f"{kafka_url}?transactions=never"
    died = crash(url, WriteMode.APPEND, "in_commit:6")
    assert died.returncode == -signal.SIGKILL, died.stderr
    run(url, WriteMode.APPEND)
    with closing(KafkaSource(from_url(url))) as source:
        assert {row["id"] for row in table(source, "t").to_pylist()} == set(range(1, 9))


@pytest.mark.parametrize("envelope", ["upsert", "debezium", "canal"])
def test_changes_are_written_and_followed(topics: Topics, envelope: str) -> None:
    write = _write(WriteMode.UPSERT, incremental=True)
    said = {"orders": {"envelope": envelope, "key": "id", "fields": {"id": "int64", "v": "string"}}}
    with closing(KafkaSink(topics.settings(topics=said))) as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        split = Split("0", "orders")
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            assert session.write(ROWS).inserted == 2
            assert session.remove(ROWS.select(["id"]).slice(1)) == 1
            session.commit(Checkpoint(split, {"n": 1}, Counts(read=3, inserted=2, deleted=1), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, write.run, [write])
    with topics.log("orders", topics=said) as log:
        found = [row for batch in follow(log, log.begin(), 3) for row in batch.rows.to_pylist()]
    assert [(row["_op"], row["id"], row["_origin"]) for row in found] == [
        ("u", 1, "sync 7"), ("u", 2, "sync 7"), ("d", 2, "sync 7"),
    ]  # fmt: skip


def test_a_message_that_is_too_large_is_quarantined(kafka_url: str) -> None:
    rows = pa.table({"id": [1, 2], "v": ["x" * 1_200_000, "b"]})
    with closing(KafkaSink(from_url(kafka_url))) as sink:
        counts = pour(sink, _write(WriteMode.APPEND), [rows])
        (bad,) = sink.quarantined()
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert "too large" in bad["message"]
    assert bad["original"].startswith('{"id": 1, "v": "xxx')


def test_deletes_cannot_be_found_by_a_full_read(kafka_url: str) -> None:
    from tongqu.core.data import Deletes

    with closing(KafkaSink(from_url(kafka_url))) as sink, pytest.raises(InvalidPlanError, match="stay away"):
        sink.open(_write(WriteMode.UPSERT, deletes=Deletes.HARD))
