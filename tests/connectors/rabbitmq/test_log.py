"""Queues are acknowledged when rows are durable, stream queues are read by offset; what is gone is said to be gone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.connectors.messages import again, eventually, follow, ids, rows
from tests.connectors.rabbitmq.conftest import Queues

from tongqu.core.errors import ConnectError, InvalidPlanError, LostPositionError
from tongqu.core.log import Follow

FIELDS = {"id": "int64", "v": "string"}


def said(kind: str, **more: Any) -> dict[str, Any]:
    return {"orders": {"kind": kind, "fields": FIELDS, **more}}


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_messages_are_kept_until_they_are_durable(queues: Queues, kind: str) -> None:
    queue = queues.make("orders", kind)
    queues.server.put(queue, *rows(1, 5))
    with queues.log("orders", queues=said(kind)) as log:
        first = follow(log, log.begin(), 5)
        assert ids(first) == [1, 2, 3, 4, 5]
    eventually(lambda: queues.server.ready(queue) == 5)  # nothing was acknowledged: all are given again
    with queues.log("orders", queues=said(kind)) as log:
        second = follow(log, log.begin(), 5)
        log.acknowledge(second[-1].position or {})
    assert ids(second) == [1, 2, 3, 4, 5]
    assert queues.server.ready(queue) == 0


def test_only_what_is_durable_is_acknowledged(queues: Queues) -> None:
    queue = queues.make("orders")
    with queues.log("orders", queues=said("quorum")) as log:
        queues.server.put(queue, *rows(1, 2))
        durable = follow(log, log.begin(), 2)[-1].position or {}
        log.acknowledge(durable)
        queues.server.put(queue, *rows(3, 4))
        assert ids(follow(log, durable, 2)) == [3, 4]
    eventually(lambda: queues.server.ready(queue) == 2)


def test_a_queue_is_followed_to_what_it_had_when_asked(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.server.put(queue, *rows(1, 3))
    with queues.log("orders", queues=said("quorum")) as log:
        until = log.head()
        found = follow(log, log.begin(), until=until)
        log.acknowledge(found[-1].position or {})
        assert (ids(found), log.reached(found[-1].position or {}, until)) == ([1, 2, 3], True)


def test_a_queue_that_others_empty_is_at_its_end(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.server.put(queue, *rows(1, 3))
    with queues.log("orders", queues=said("quorum")) as log:
        until = log.head()
        queues.server.taken(queue)
        assert ids(follow(log, log.begin(), until=until)) == []


def test_a_stream_queue_is_read_once_in_order_from_a_position(queues: Queues) -> None:
    queue = queues.make("orders", "stream")
    queues.server.put(queue, *rows(1, 5))
    with queues.log("orders", queues=said("stream")) as log:
        first = follow(log, log.begin(), 5)
        position = first[-1].position or {}
        assert (ids(first), position) == ([1, 2, 3, 4, 5], {"queues": {"orders": {"at": 5}}})
    queues.server.put(queue, *rows(6, 8))
    with queues.log("orders", queues=said("stream")) as log:
        assert ids(follow(log, {"queues": {"orders": {"at": 3}}}, until=log.head())) == [4, 5, 6, 7, 8]
        assert log.lag(position).rows == 3


def test_what_a_stream_queue_does_not_have_is_a_lost_position(queues: Queues) -> None:
    queue = queues.make("orders", "stream")
    queues.server.put(queue, *rows(1, 2))
    with queues.log("orders", queues=said("stream")) as log, pytest.raises(LostPositionError, match="offset 7") as told:
        follow(log, {"queues": {"orders": {"at": 7}}})
    assert "--restart" in told.value.hint


def test_a_message_that_cannot_be_read_is_dead_lettered_and_quarantined(queues: Queues) -> None:
    """The dead letter keeps the original; read as a queue of its own it tells why it is there."""
    dead = queues.make("dead", "classic")
    queue = queues.make("orders", "quorum", x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    queues.server.put(queue, *rows(1, 1), b"\xff not JSON", *rows(2, 2))
    with queues.log("orders", queues=said("quorum", bad="dead_letter")) as log:
        found = follow(log, log.begin(), 3)
        log.acknowledge(found[-1].position or {})
    assert (ids(found), len([bad for batch in found for bad in batch.bad])) == ([1, 2], 1)
    eventually(lambda: queues.server.ready(dead) == 1)
    told = {"dead": {"kind": "classic", "format": "bytes", "metadata": ["_headers"]}}
    with queues.log("dead", queues=told) as log:
        (row,) = [row for batch in follow(log, log.begin(), 1) for row in batch.rows.to_pylist()]
    assert row["value"] == b"\xff not JSON"
    assert json.loads(row["_headers"])["x-death"][0]["reason"] == "rejected"
    assert queues.server.ready(queue) == 0


def test_messages_have_what_the_server_tells_of_them(queues: Queues) -> None:
    queue = queues.make("orders")
    queues.server.put(queue, *rows(1, 1), message_id="m1", application_headers={"a": 1})
    names = ["_routing_key", "_message_id", "_redelivered", "_headers"]
    with queues.log("orders", queues=said("quorum", metadata=names)) as log:
        (row,) = [row for batch in follow(log, log.begin(), 1) for row in batch.rows.to_pylist()]
        assert (log.examine()[0].state, log.examine()[0].found) == (
            "ok", f"{queue}: quorum, redelivered messages are told by _message_id",
        )  # fmt: skip
    assert (row["_routing_key"], row["_message_id"], row["_redelivered"]) == (queue, "m1", False)
    assert json.loads(row["_headers"])["a"] == 1


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
def test_a_server_that_comes_back_is_followed_on(queues: Queues, kind: str) -> None:
    """A killed server of this version does not always find its queues again, whoever asks, so it is stopped here."""
    queue = queues.make("orders", kind)
    queues.server.put(queue, *rows(1, 3))
    with queues.log("orders", queues=said(kind)) as log:
        reading = log.read(Follow(log.begin()))
        batch = next(batch for batch in reading if batch.rows.num_rows)
        queues.server.restart()
        with pytest.raises(ConnectError):
            for more in reading:
                assert more.rows.num_rows == 0
        again(log.head)  # until then no queue takes what is published
        if kind == "stream":
            queues.server.put(queue, *rows(4, 4))
        found = again(lambda: follow(log, batch.position or {}, 1 if kind == "stream" else 3))
        assert ids([batch]) == [1, 2, 3]
        assert ids(found) == ([4] if kind == "stream" else [1, 2, 3])


def test_a_queue_is_not_sampled(queues: Queues) -> None:
    queues.server.put(queues.make("orders"), *rows(1, 1))
    with queues.source() as source, pytest.raises(InvalidPlanError, match="must be declared"):
        source.datasets(["orders"])


def test_a_queue_has_no_full_read(queues: Queues) -> None:
    queues.make("orders")
    with (
        queues.source(queues=said("quorum")) as source,
        pytest.raises(InvalidPlanError, match="gives each message once"),
    ):
        source.splits(source.datasets(["orders"])[0], 1)
