"""Topics as a queue of our own: whatever changes tell comes out as it went in, between commits."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from tests.connectors.kafka.conftest import Topics

from tongqu.connectors.kafka.queued.sink import QueuedSink
from tongqu.core.data import Batch, Checkpoint, Counts, Dataset, Deletes, Opened, Split, Write, WriteMode
from tongqu.core.errors import InvalidSettingsError, LostPositionError, ReadError
from tongqu.core.log import Follow

SPLIT = Split("log", "订单")
ROWS = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "amount": pa.array([Decimal("0.10"), None], pa.decimal128(38, 2)),
        "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC), None], pa.timestamp("ns", "UTC")),
        "raw": pa.array([b"\x00\xff", b""], pa.binary()),
        "parts": pa.array([[{"n": float("nan")}], []], pa.list_(pa.struct([("n", pa.float64())]))),
    }
)


class Place:
    """One queue, written as the engine does."""

    def __init__(self, topics: Topics):
        self.topics = topics
        self.sink = QueuedSink(topics.settings(queue="plant"))

    def ask(self, rows: pa.Table = ROWS, **more: Any) -> Write:
        mode = more.pop("mode", WriteMode.UPSERT)
        told: dict[str, Any] = {"incremental": True, "follows": True, "run": "run 1", "sync": "sync 7"} | more
        return Write("orders", Dataset("订单", rows.schema, ("id",)), mode, key=("id",), **told)

    def open(self, write: Write) -> Opened:
        self.sink.start(write.sync, write.run, write.restart)
        opened = self.sink.open(write)
        if not opened.checkpoints:
            self.sink.begin(write, [SPLIT])
        return opened

    def checkpoint(self, number: int) -> Checkpoint:
        return Checkpoint(SPLIT, {"n": number}, Counts(read=number))

    def read(self, after: Any = None) -> list[Batch]:
        """What there is to read; each batch but marks with its position."""
        with self.topics.log("订单", queue="plant") as log:
            return list(log.read(Follow(after or log.begin(), until=log.head())))


@pytest.fixture
def place(topics: Topics) -> Any:
    made = Place(topics)
    with closing(made.sink):
        yield made


def told(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """What happened, in order; a line between commits."""
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        if batch.kind == "heartbeat":
            found += [("-",)] if batch.position is not None and (not found or found[-1] != ("-",)) else []
        elif batch.kind != "rows":
            found.append((batch.kind,))
        for row in batch.rows.to_pylist():
            found.append((row["_op"], row["id"], tuple(row.get("_unchanged") or ())))
    return found


def test_changes_come_out_as_they_went_in(place: Place) -> None:
    write = place.ask()
    place.open(write)
    session = place.sink.session(write, SPLIT)
    session.write(ROWS)
    session.commit(place.checkpoint(1))
    session.amend(ROWS.select(["id", "amount"]).slice(0, 1))
    session.remove(ROWS.select(["id"]).slice(1))
    session.commit(place.checkpoint(2))
    session.clear()
    session.write(ROWS.slice(0, 1))
    session.commit(place.checkpoint(3))
    session.write(ROWS.slice(1))
    session.abort()  # nobody sees it
    session.close()
    found = place.read()
    assert told(found) == [
        ("r", 1, ()), ("r", 2, ()), ("-",), ("u", 1, ("at", "raw", "parts")), ("d", 2, ()), ("-",),
        ("truncate",), ("r", 1, ()), ("-",),
    ]  # fmt: skip
    rows = pa.Table.from_batches([found[0].rows])
    assert rows.select(ROWS.column_names).cast(ROWS.schema).drop(["parts"]).equals(ROWS.drop(["parts"]))
    assert str(rows.column("parts").to_pylist()) == str(ROWS.column("parts").to_pylist())
    assert all(at is not None for at in rows.column("_at").to_pylist())
    first = next(batch.position for batch in found if batch.position is not None)
    assert told(place.read(first))[0] == ("u", 1, ("at", "raw", "parts"))


def test_a_row_larger_than_a_message_and_a_new_column(place: Place) -> None:
    narrow = pa.table({"id": [1], "v": ["x" * 3_000_000]})
    write = place.ask(narrow)
    place.open(write)
    with closing(place.sink.session(write, SPLIT)) as session:
        session.write(narrow)
        session.commit(place.checkpoint(1))
    wide = pa.table({"id": [2], "v": ["b"], "more": [7]})
    write = place.ask(wide)
    place.sink.open(write)
    with closing(place.sink.session(write, SPLIT)) as session:
        session.write(wide)
        session.commit(place.checkpoint(2))
    with place.topics.log("订单", queue="plant") as log:
        log._dataset = Dataset("订单", narrow.schema, ("id",))  # type: ignore[attr-defined]  # what an older reader knows
        found = list(log.read(Follow(log.begin(), until=log.head())))
    assert [batch.kind for batch in found if batch.kind != "heartbeat"] == ["rows", "schema", "rows"]
    assert len(found[0].rows.column("v")[0].as_py()) == 3_000_000
    assert found[-2].rows.column("more").to_pylist() == [7]


def test_a_generation_appears_at_once_and_a_reader_begins_with_it(place: Place, topics: Topics) -> None:
    follows = place.ask()
    place.open(follows)
    session = place.sink.session(follows, SPLIT)
    session.write(ROWS)
    session.commit(place.checkpoint(1))
    session.close()
    load = place.ask(incremental=False, follows=False, deletes=Deletes.HARD, sync="load 7")
    place.open(load)
    session = place.sink.session(load, SPLIT)
    session.write(ROWS.slice(1))
    session.commit(place.checkpoint(1))
    session.close()
    before = place.read()
    assert told(before) == [("r", 1, ()), ("r", 2, ()), ("-",)]
    place.sink.finish(load, Counts(), None)
    after = next(batch.position for batch in reversed(before) if batch.position is not None)
    assert told(place.read(after)) == [("truncate",), ("r", 2, ()), ("-",)]
    with place.topics.log("订单", queue="plant") as log:
        topics.server.delete_before(f"{topics.prefix}plant.{topic(topics)}", log.begin()["topics"].popitem()[1]["0"])
        assert told(place.read()) == [("truncate",), ("r", 2, ()), ("-",)]
        topics.server.delete_before(f"{topics.prefix}plant.{topic(topics)}")
        with pytest.raises(LostPositionError, match="does not add up"):
            log.begin()


def topic(topics: Topics) -> str:
    """The topic of the dataset, whose name Kafka does not take."""
    name: str = topics.settings(queue="plant").topic("订单").topic.rpartition("plant.")[2]
    return name


def test_a_topic_that_was_made_anew_is_not_read_on(place: Place, topics: Topics) -> None:
    write = place.ask()
    place.open(write)
    with closing(place.sink.session(write, SPLIT)) as session:
        session.write(ROWS)
        session.commit(place.checkpoint(1))
    after = next(batch.position for batch in reversed(place.read()) if batch.position is not None)
    assert after is not None
    with pytest.raises(LostPositionError, match="made anew"):
        place.read({**after, "queue": "another"})
    topics.server.drop(f"{topics.prefix}plant.{topic(topics)}")
    with closing(QueuedSink(topics.settings(queue="plant"))) as sink, pytest.raises(LostPositionError, match="is gone"):
        sink.open(write)


def test_what_somebody_else_wrote_stops_the_reader(place: Place, topics: Topics) -> None:
    place.open(place.ask())
    topics.server.put(f"{topics.prefix}plant.{topic(topics)}", b"{}")
    with pytest.raises(ReadError, match="no part of a queue"):
        place.read()


def test_a_queue_without_transactions_is_refused(topics: Topics) -> None:
    with pytest.raises(InvalidSettingsError, match="needs transactions"):
        topics.settings(queue="plant", transactions="never")
