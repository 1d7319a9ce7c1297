"""Topics are followed by our own positions: nothing is lost, doubled or skipped silently."""

from __future__ import annotations

import json
from time import monotonic, time
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from tests.connectors.kafka.conftest import Topics
from tests.connectors.messages import DEADLINE, follow

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.core.errors import InvalidPlanError, LostPositionError
from tongqu.core.log import Follow
from tongqu.testing.services.kafka import start_kafka


def _values(*ids: int) -> list[bytes]:
    return [b'{"id": %d}' % number for number in ids]


def test_a_log_goes_on_after_any_position(topics: Topics) -> None:
    name = topics.make("orders")
    topics.server.put(name, *_values(*range(10)))
    with topics.log("orders") as log:
        begun = log.begin()
        first = follow(log, begun, 3, batch_rows=3)
        seen = [number for batch in first for number in batch.rows.column("id").to_pylist()]
        position = json.loads(json.dumps(first[-1].position))
    with topics.log("orders") as again:
        rest = follow(again, position, 10 - len(seen))
        seen += [number for batch in rest for number in batch.rows.column("id").to_pylist()]
        assert seen == list(range(10))
        assert [n for batch in follow(again, begun, 10) for n in batch.rows.column("id").to_pylist()] == seen
        assert rest[-1].position is not None
        assert again.reached(rest[-1].position, again.head())
        assert again.lag(rest[-1].position).rows == 0
        assert again.lag(begun).rows == 10


def test_metadata_columns_tell_where_a_message_was(topics: Topics) -> None:
    name = topics.make("orders", 2)
    topics.server.put(name, b'{"id": 1}', keys=[b"k\xff"], partition=1, headers={"trace": b"abc"})
    said = {"orders": {"metadata": ["_topic", "_partition", "_offset", "_timestamp", "_key", "_headers"]}}
    with topics.source(topics=said) as source:
        assert source.datasets(["orders"])[0].key == ("_partition", "_offset")
    with topics.log("orders", topics=said) as log:
        (row,) = follow(log, log.begin())[-1].rows.to_pylist()
    assert row.pop("_timestamp").year >= 2020
    assert row == {"id": 1, "_topic": name, "_partition": 1, "_offset": 0, "_key": "k\\xff",
                   "_headers": '[["trace", "abc"]]'}  # fmt: skip


def test_a_poison_message_is_quarantined_with_its_place(topics: Topics) -> None:
    name = topics.make("orders")
    topics.server.put(name, b'{"id": 1}', b"\x00poison", b'{"id": 2}')
    with topics.log("orders") as log:
        found = follow(log, log.begin(), 3)
    assert [number for batch in found for number in batch.rows.column("id").to_pylist()] == [1, 2]
    (bad,) = [one for batch in found for one in batch.bad]
    assert json.loads(bad.original) | {"raw": ""} == {
        "topic": name,
        "partition": 0,
        "offset": 1,
        "key": None,
        "raw": "",
    }
    assert f"topic {name}, partition 0, offset 1" in bad.message


def test_what_a_transaction_gave_up_is_never_seen(topics: Topics) -> None:
    name = topics.make("orders")
    producer = Producer(topics.server.options(**{"transactional.id": f"{name}-x"}))
    producer.init_transactions(30)
    for number, keep in ((1, True), (2, False), (3, True)):
        producer.begin_transaction()
        producer.produce(name, value=_values(number)[0])
        producer.flush(30)
        if keep:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    with topics.log("orders") as log:
        head = log.head()
        read = list(log.read(Follow(log.begin(), until=head)))
    ids = [number for batch in read if batch.kind == "rows" for number in batch.rows.column("id").to_pylist()]
    assert ids == [1, 3]


def test_a_read_ends_at_the_head_that_was_asked_for(topics: Topics) -> None:
    name = topics.make("orders", 3)
    for partition in range(3):
        topics.server.put(name, *_values(partition, partition + 10), partition=partition)
    with topics.log("orders") as log:
        head = log.head()
        batches = list(log.read(Follow(log.begin(), until=head)))
    ids = [str(n) for batch in batches for n in batch.rows.column("id").to_pylist()]
    assert sorted(ids) == ["0", "1", "10", "11", "12", "2"]
    assert batches[-1].position == head


def test_an_idle_log_says_so_and_stops(topics: Topics) -> None:
    topics.server.put(topics.make("orders"), *_values(1))
    with topics.log("orders") as log:
        asked = Follow(log.head())
        begun = monotonic()
        for batch in log.read(asked):
            assert batch.kind == "heartbeat"
            assert batch.rows.num_rows == 0
            asked.stop.set()
        assert monotonic() - begun < DEADLINE


def test_messages_that_were_deleted_stop_the_log(topics: Topics) -> None:
    name = topics.make("orders")
    topics.server.put(name, *_values(*range(5)))
    with topics.log("orders") as log:
        begun = log.begin()
        for done in topics.server.admin().delete_records([TopicPartition(name, 0, 3)]).values():
            done.result(30)
        with pytest.raises(LostPositionError, match="retention") as caught:
            follow(log, begun)
    assert "retention.ms" in caught.value.hint


def test_a_topic_that_was_made_anew_stops_the_log(topics: Topics) -> None:
    name = topics.make("orders")
    topics.server.put(name, *_values(*range(5)))
    with topics.log("orders") as log:
        head = log.head()
        for done in topics.server.admin().delete_topics([name]).values():
            done.result(30)
        topics.make("orders")
        with pytest.raises(LostPositionError):
            follow(log, head)


def test_a_topic_that_was_made_anew_is_told_by_its_identity_however_long_it_is(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many messages as we had read, its offsets fit. The server of these tests tells no identities, as Kafka
    does from 2.8 on."""
    identities = {"now": "r4nd0m"}
    monkeypatch.setattr(Cluster, "identity", lambda self, topic: identities["now"])
    name = topics.make("orders")
    topics.server.put(name, *_values(*range(5)))
    with topics.log("orders") as log:
        found = list(log.read(Follow(log.begin(), until=log.head())))
        after = found[-1].position
        assert after is not None
        assert list(after["ids"].values()) == ["r4nd0m"]
        topics.server.put(name, *_values(5))
        more = follow(log, after, 1)
        assert [number for batch in more for number in batch.rows.column("id").to_pylist()] == [5]
        identities["now"] = "another"
        with pytest.raises(LostPositionError, match="made anew"):
            follow(log, after)


def test_a_backlog_comes_by_time_over_all_partitions_and_goes_on_after_any_position(topics: Topics) -> None:
    """However partitions are handed out: windows of event time would take the rows of the last one for late."""
    name = topics.make("orders", 3)
    producer, begun = Producer(topics.server.options()), int(time() * 1000) - 60_000  # retention goes by the time
    for number in range(3000):
        value = b'{"id": %d, "pad": "%s"}' % (number, b"x" * 1000)
        producer.produce(name, value=value, partition=number * 7 // 1000 % 3, timestamp=begun + number)
    producer.flush(DEADLINE)
    fields = {"orders": {"fields": {"id": "int64"}}}
    with topics.log("orders", topics=fields) as log:
        head, after, seen = log.head(), log.begin(), []
        while not log.reached(after, head):
            for batch in log.read(Follow(after, until=head, batch_rows=100, by_time=True)):
                seen += batch.rows.column("id").to_pylist()
                if batch.position is not None:
                    after = batch.position
                    if len(seen) % 700 < 100:
                        break
    assert seen == list(range(3000))


def test_what_came_while_nobody_read_comes_by_time_too(topics: Topics) -> None:
    """Both partitions had been read to their end; a process that was slow, or asleep, finds one's messages first."""
    name = topics.make("orders", 2)
    producer, begun = Producer(topics.server.options()), int(time() * 1000) - 60_000
    for number in range(2):
        producer.produce(name, value=_values(number)[0], partition=number, timestamp=begun + number)
    producer.flush(DEADLINE)
    with topics.log("orders", topics={"orders": {"fields": {"id": "int64"}}}) as log:
        asked, seen, deadline = Follow(log.begin(), batch_rows=100, by_time=True), [], monotonic() + DEADLINE
        more = False
        for batch in log.read(asked):
            seen += batch.rows.column("id").to_pylist()
            if len(seen) == 2 and batch.kind == "heartbeat" and not more:  # the ends of both were seen
                more = True
                for partition in range(2):
                    for number in range(2 + partition, 2002, 2):
                        value = _values(number)[0]
                        producer.produce(name, value=value, partition=partition, timestamp=begun + number * 10)
                    producer.flush(DEADLINE)
            if len(seen) == 2002:
                asked.stop.set()
            assert monotonic() < deadline
    assert seen == list(range(2002))


def test_brokers_that_are_gone_tell_no_ends() -> None:
    server = start_kafka()
    try:
        server.topic("orders", 2)
        server.put("orders", *_values(1, 2), partition=1)
        asked = Cluster(Topics(server, server.url_of("")).settings())
        assert asked.ends([("orders", 0), ("orders", 1), ("unknown", 0)]) == {("orders", 0): 0, ("orders", 1): 2}
    finally:
        server.stop()
    assert asked.ends([("orders", 0), ("orders", 1)]) == {}
    asked.close()


def test_partitions_that_are_added_are_found(topics: Topics) -> None:
    from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # the stubs do not export it

    name = topics.make("orders")
    topics.server.put(name, *_values(1))
    with topics.log("orders", refresh_seconds=0.2) as log:
        asked, deadline = Follow(log.begin()), monotonic() + DEADLINE
        seen: list[int] = []
        for batch in log.read(asked):
            if seen == [1]:
                for done in topics.server.admin().create_partitions([NewPartitions(name, 2)]).values():
                    done.result(30)
                topics.server.put(name, *_values(2), partition=1)
                seen.append(0)
            seen += [row["id"] for row in batch.rows.to_pylist()]
            if seen[-1:] == [2]:
                asked.stop.set()
            assert monotonic() < deadline
        assert seen == [1, 0, 2]


def test_the_group_shows_how_far_we_are(topics: Topics) -> None:
    name = topics.make("orders")
    topics.server.put(name, *_values(1, 2, 3))
    with topics.log("orders", group=f"{topics.prefix}group") as log:
        position = follow(log, log.begin(), 3)[-1].position
        assert position is not None
        log.acknowledge(position)
        log.close()
    from confluent_kafka import Consumer

    consumer = Consumer(topics.server.options(**{"group.id": f"{topics.prefix}group"}))
    deadline = monotonic() + DEADLINE
    while consumer.committed([TopicPartition(name, 0)], 10)[0].offset != 3:
        assert monotonic() < deadline
    consumer.close()


def test_changes_and_messages_are_followed_apart(topics: Topics) -> None:
    for name in ("orders", "changes"):
        topics.server.put(topics.make(name), *_values(1))
    said = {"changes": {"envelope": "upsert", "key": "id"}}
    with pytest.raises(InvalidPlanError, match="own"), topics.log("orders", "changes", topics=said):
        pass


def test_debezium_changes_are_followed_from_the_beginning(topics: Topics) -> None:
    source = {"ts_ms": 1_700_000_000_000, "table": "orders", "db": "erp"}
    changes: list[dict[str, Any]] = [
        {"op": "c", "before": None, "after": {"id": 1, "v": "a"}},
        {"op": "d", "before": {"id": 1}, "after": None},
    ]
    values: list[bytes | None] = [json.dumps(one | {"source": source, "ts_ms": 1}).encode() for one in changes]
    topics.server.put(
        topics.make("orders"), *values, None, keys=[b'{"id": 1}'] * 3, headers={"tongqu-origin": b"sync 7"}
    )
    with topics.log("orders", envelope="debezium", start="latest") as log:
        assert log.changes
        assert log.snapshot() is not None
        found = follow(log, log.begin(), 2)
    rows = [row for batch in found for row in batch.rows.to_pylist()]
    assert [(row["_op"], row["id"], row["_origin"]) for row in rows] == [("c", 1, "sync 7"), ("d", 1, "sync 7")]
