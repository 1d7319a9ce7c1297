"""Streams are followed by id: nothing is passed over, and what is gone is said to be gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.connectors.messages import follow, ids, rows
from tests.connectors.redis.conftest import Streams

from tongqu.core.data import Read
from tongqu.core.errors import ConnectError, LostPositionError
from tongqu.core.log import Follow

ORDERS = {"orders": {"fields": {"id": "int64", "v": "string"}}}


def test_what_comes_behind_a_position_is_read_once_in_order(streams: Streams) -> None:
    streams.put("orders", *rows(1, 5))
    with streams.log("orders", streams=ORDERS) as log:
        first = follow(log, log.begin(), 5)
        streams.put("orders", *rows(6, 8))
        second = follow(log, first[-1].position or {}, 3)
        assert (ids(first), ids(second)) == ([1, 2, 3, 4, 5], [6, 7, 8])
        assert log.reached(second[-1].position or {}, log.head())
        assert (log.lag(log.begin()).rows, log.lag(log.head()).rows) == (8, 0)


def test_several_streams_are_followed_together_to_their_heads(streams: Streams) -> None:
    streams.put("orders", *rows(1, 3))
    streams.put("parts", *rows(4, 6))
    with streams.log("orders", "parts") as log:
        found = follow(log, log.begin(), until=log.head())
    assert sorted(ids(found)) == [1, 2, 3, 4, 5, 6]


def test_an_entry_that_cannot_be_read_is_set_aside_and_stops_no_other(streams: Streams) -> None:
    streams.put("orders", *rows(1, 1), b"\xff not JSON", *rows(2, 2))
    with streams.client() as client:
        client.xadd("orders", {"other": "field"})
    with streams.log("orders", streams=ORDERS) as log:
        found = follow(log, log.begin(), 4)
    assert ids(found) == [1, 2]
    bad = [bad for batch in found for bad in batch.bad]
    assert [one.code for one in bad] == ["message.unreadable", "message.no_value"]
    assert "stream orders, entry " in bad[0].message


def test_fields_of_their_own_are_columns(streams: Streams) -> None:
    """As most writers of Redis do it: no message in one field, but each column a field, as text."""
    with streams.client() as client:
        client.xadd("orders", {"id": "7", "name": "12", "weight": "1.50"})
        client.xadd("orders", {"id": "eight", "name": "x"})
    told = {"orders": {"field": "*", "fields": {"id": "int64", "name": "string", "weight": "decimal(6,2)"}}}
    with streams.log("orders", streams=told) as log:
        found = follow(log, log.begin(), 2)
    assert [{**row, "weight": str(row["weight"])} for batch in found for row in batch.rows.to_pylist()] == [
        {"id": 7, "name": "12", "weight": "1.50"}
    ]
    (bad,) = [bad for batch in found for bad in batch.bad]
    assert '"eight"' in (bad.original or "")


def test_a_position_whose_entries_were_trimmed_after_they_were_read_goes_on(streams: Streams) -> None:
    streams.put("orders", *rows(1, 5))
    with streams.log("orders", streams=ORDERS) as log:
        position = follow(log, log.begin(), 5)[-1].position or {}
        with streams.client() as client:
            client.xtrim("orders", maxlen=0, approximate=False)
        streams.put("orders", *rows(6, 7))
        assert ids(follow(log, position, 2)) == [6, 7]


def _trimmed(streams: Streams) -> None:
    streams.put("orders", *rows(4, 10))
    with streams.client() as client:
        client.xtrim("orders", maxlen=5, approximate=False)


def _emptied(streams: Streams) -> None:
    streams.put("orders", *rows(4, 5))
    with streams.client() as client:
        client.xtrim("orders", maxlen=0, approximate=False)


def _made_anew(streams: Streams) -> None:
    with streams.client() as client:
        client.delete("orders")
    streams.put("orders", *rows(1, 2))


def _deleted(streams: Streams) -> None:
    with streams.client() as client:
        client.delete("orders")


def _rolled_back(streams: Streams) -> None:
    with streams.client() as client:
        client.delete("orders")
        client.xadd("orders", {"value": rows(1, 1)[0]}, id="5-0")


@pytest.mark.parametrize("harm", [_trimmed, _emptied, _made_anew, _deleted, _rolled_back])
def test_what_is_gone_before_it_was_read_is_a_lost_position(streams: Streams, harm: Callable[[Streams], None]) -> None:
    streams.put("orders", *rows(1, 3))
    with streams.log("orders", streams=ORDERS) as log:
        after = follow(log, log.begin(), 3)[-1].position or {}
        harm(streams)
        with pytest.raises(LostPositionError) as caught:
            follow(log, after, 1)
    assert "--restart" in caught.value.hint


def test_what_is_trimmed_while_it_is_read_in_full_is_a_lost_position(streams: Streams) -> None:
    streams.put("orders", *rows(1, 6))
    with streams.source(streams=ORDERS) as source:
        dataset = source.datasets(["orders"])[0]
        batches = source.read(Read(dataset, source.splits(dataset, 1)[0], batch_rows=2))
        first = next(batches)
        with streams.client() as client:
            client.xtrim("orders", maxlen=1, approximate=False)
        with pytest.raises(LostPositionError):
            list(batches)
    assert ids([first]) == [1, 2]


def test_a_server_that_comes_back_without_its_entries_is_a_lost_position(streams: Streams) -> None:
    streams.put("orders", *rows(1, 3))
    with streams.log("orders", streams=ORDERS) as log:
        assert [one.what for one in log.examine() if one.state == "warning"] == ["persistence"]
        reading = log.read(Follow(log.begin()))
        batch = next(batch for batch in reading if batch.rows.num_rows)
        streams.server.kill9()
        with pytest.raises(ConnectError):
            for more in reading:
                assert more.rows.num_rows == 0
        streams.server.restart()
        with pytest.raises(LostPositionError):
            follow(log, batch.position or {}, 1)


def test_an_idle_stream_has_a_heartbeat(streams: Streams) -> None:
    with streams.client() as client:
        client.xgroup_create("orders", "g", mkstream=True)
    with streams.log("orders", streams=ORDERS) as log:
        asked = Follow(log.begin())
        reading = log.read(asked)
        beat = next(reading)
        asked.stop.set()
        assert (beat.kind, list(reading)) == ("heartbeat", [])
