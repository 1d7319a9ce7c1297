"""Messages are acknowledged when their rows are durable, and handed out again otherwise: each protocol, each broker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.connectors.messages import again, eventually, follow, ids, rows
from tests.kit.handed.conftest import QUIET, Queues

from tongqu.core.data import Read, Split
from tongqu.core.errors import ConnectError, InvalidPlanError
from tongqu.core.log import Follow


def said(queue: str, **more: Any) -> dict[str, Any]:
    return {"orders": {"queue": queue, "fields": {"id": "int64", "v": "string"}, **more}}


def test_messages_are_kept_until_they_are_durable(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.put("orders", *rows(1, 5))
    with queues.log("orders", queues=said(queue)) as log:
        assert ids(follow(log, log.begin(), 5)) == [1, 2, 3, 4, 5]
    eventually(lambda: queues.ready("orders") == 5)  # nothing was acknowledged: all are handed out again
    with queues.log("orders", queues=said(queue)) as log:
        found = follow(log, log.begin(), 5)
        log.acknowledge(found[-1].position or {})
    assert sorted(ids(found)) == [1, 2, 3, 4, 5]
    eventually(lambda: queues.ready("orders") == 0)


def test_more_messages_come_than_may_be_on_their_way(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.put("orders", *rows(1, 50))
    with queues.log("orders", queues=said(queue), prefetch=4) as log:
        position, found = log.begin(), list[int]()
        while len(found) < 50:
            batches = follow(log, position)
            position = batches[-1].position or {}
            found += ids(batches)
            log.acknowledge(position)
    assert sorted(set(found)) == list(range(1, 51))
    eventually(lambda: queues.ready("orders") == 0)


def test_one_reader_goes_on_as_it_acknowledges(queues: Queues) -> None:
    """In order, and within one reading: what may come grows with what is acknowledged."""
    queue = queues.make("orders")
    queues.put("orders", *rows(1, 50))
    with queues.log("orders", queues=said(queue), prefetch=4) as log:
        asked = Follow(log.begin())
        found: list[int] = []
        for batch in log.read(asked):
            found += ids([batch])
            log.acknowledge(batch.position or {})
            if len(found) >= 50:
                asked.stop.set()
    assert found == list(range(1, 51))
    eventually(lambda: queues.ready("orders") == 0)


def test_a_queue_is_followed_until_it_is_silent(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.put("orders", *rows(1, 3))
    with queues.log("orders", queues=said(queue), quiet_seconds=QUIET) as log:
        until = log.head()
        found = follow(log, log.begin(), until=until)
        assert (ids(found), log.reached(found[-1].position or {}, until)) == ([1, 2, 3], True)


def test_a_message_that_cannot_be_read_is_quarantined_and_refused(queues: Queues) -> None:
    """The broker keeps it among its dead letters too."""
    queue = queues.make("orders")
    bad = f"{queue} is not JSON".encode()
    queues.put("orders", *rows(1, 1), bad, *rows(2, 2))
    with queues.log("orders", queues=said(queue, bad="reject")) as log:
        found = follow(log, log.begin(), 3)
        log.acknowledge(found[-1].position or {})
    assert (ids(found), [one.code for batch in found for one in batch.bad]) == ([1, 2], ["message.unreadable"])
    eventually(lambda: queues.ready("orders") == 0)
    eventually(lambda: queues.ready(queues.dead) > 0)
    assert bad in [body for _, body in queues.held(queues.dead)]


def test_messages_have_what_is_told_of_them(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.put("orders", *rows(1, 1), id="m")
    names = ["_message_id", "_redelivered", "_headers", "_destination", "_timestamp", "_content_type"]
    with queues.log("orders", queues=said(queue, metadata=names)) as log:
        assert [one.state for one in log.examine()] == ["ok"]
        (row,) = [row for batch in follow(log, log.begin(), 1) for row in batch.rows.to_pylist()]
    assert (row["id"], row["_message_id"], row["_redelivered"]) == (1, "m0", False)
    assert isinstance(json.loads(row["_headers"]), dict)
    eventually(lambda: queues.ready("orders") == 1)
    with queues.log("orders", queues=said(queue, metadata=names)) as log:
        (row,) = [row for batch in follow(log, log.begin(), 1) for row in batch.rows.to_pylist()]
    assert (row["_message_id"], row["_redelivered"]) == ("m0", True)


@pytest.mark.parametrize("queues", ["stomp to ActiveMQ", "amqp1 to RabbitMQ"], indirect=True)
def test_a_server_that_comes_back_is_followed_on(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.put("orders", *rows(1, 3))
    with queues.log("orders", queues=said(queue)) as log:
        reading = log.read(Follow(log.begin()))
        batch = next(batch for batch in reading if batch.rows.num_rows)
        queues.server.restart()
        with pytest.raises(ConnectError):
            for more in reading:
                assert more.rows.num_rows == 0
        found = again(lambda: follow(log, batch.position or {}, 3))
        assert sorted(set(ids(found))) == [1, 2, 3]
        log.acknowledge(found[-1].position or {})
    eventually(lambda: queues.ready("orders") == 0)


def test_a_queue_is_declared_and_only_followed(queues: Queues) -> None:
    queue = queues.make("orders")
    with queues.source(queues=said(queue)) as source:
        (dataset,) = source.datasets()
        with pytest.raises(InvalidPlanError, match="gives each message once"):
            next(source.read(Read(dataset, Split("0", "orders"))))
    with (
        queues.source(queues={"orders": {"queue": queue}}) as source,
        pytest.raises(Exception, match="must be declared"),
    ):
        source.datasets()
