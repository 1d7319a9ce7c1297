"""Streams are followed by sequence: nothing is passed over, and what is gone is said to be gone."""

from __future__ import annotations

import pytest
from tests.connectors.messages import follow, ids, rows
from tests.connectors.nats.conftest import Streams

from tongqu.core.errors import ConnectError, InvalidPlanError, LostPositionError
from tongqu.core.log import Follow

ORDERS = {"orders": {"fields": {"id": "int64", "v": "string"}}}


def test_what_comes_behind_a_position_is_read_once_in_order(streams: Streams) -> None:
    stream = streams.make("orders")
    streams.server.put(stream, *rows(1, 5))
    with streams.log("orders", streams=ORDERS) as log:
        first = follow(log, log.begin(), 5)
        streams.server.put(stream, *rows(6, 8))
        second = follow(log, first[-1].position or {}, 3)
        assert (ids(first), ids(second)) == ([1, 2, 3, 4, 5], [6, 7, 8])
        assert log.reached(second[-1].position or {}, log.head())
        assert log.lag(log.begin()).rows == 8


def test_several_streams_are_followed_together(streams: Streams) -> None:
    for name in ("orders", "parts"):
        streams.server.put(streams.make(name), *rows(1, 3))
    with streams.log("orders", "parts") as log:
        found = follow(log, log.begin(), until=log.head())
        assert {batch.dataset: ids([b for b in found if b.dataset == batch.dataset]) for batch in found} == {
            "orders": [1, 2, 3], "parts": [1, 2, 3],
        }  # fmt: skip


def test_only_the_asked_subject_is_read_and_the_position_still_comes_to_the_end(streams: Streams) -> None:
    stream = streams.make("orders", f"{streams.prefix}o.>")
    streams.server.put(f"{streams.prefix}o.north.a", *rows(1, 2))
    streams.server.put(f"{streams.prefix}o.south.a", *rows(3, 4))
    said = {
        "north": {
            "stream": stream, "subject": f"{streams.prefix}o.north.*", "fields": {"id": "int64"},
            "metadata": ["_subject", "_sequence"],
        }
    }  # fmt: skip
    with streams.log("north", streams=said) as log:
        found = follow(log, log.begin(), until=log.head())
    assert [row for batch in found for row in batch.rows.to_pylist()] == [
        {"id": n, "_subject": f"{streams.prefix}o.north.a", "_sequence": n} for n in (1, 2)
    ]


def test_a_message_that_cannot_be_read_is_set_aside_and_stops_no_other(streams: Streams) -> None:
    stream = streams.make("orders")
    streams.server.put(stream, *rows(1, 1), b"\xff not JSON", *rows(2, 2))
    with streams.log("orders", streams=ORDERS) as log:
        found = follow(log, log.begin(), 3)
    assert ids(found) == [1, 2]
    (bad,) = [bad for batch in found for bad in batch.bad]
    assert f"stream {stream}, sequence 2" in bad.message


def test_a_server_that_comes_back_is_followed_from_the_last_position(streams: Streams) -> None:
    stream = streams.make("orders")
    streams.server.put(stream, *rows(1, 3))
    with streams.log("orders", streams=ORDERS) as log:
        asked = Follow(log.begin())
        reading = log.read(asked)
        batch = next(batch for batch in reading if batch.rows.num_rows)
        streams.server.kill9()
        with pytest.raises(ConnectError):
            for again in reading:
                assert again.rows.num_rows == 0
        streams.server.restart()
        streams.server.put(stream, *rows(4, 5))
        assert ids([batch]) == [1, 2, 3]
        assert ids(follow(log, batch.position or {}, 2)) == [4, 5]


@pytest.mark.parametrize("how", ["purged", "overtaken", "made anew"])
def test_what_is_gone_is_a_lost_position(streams: Streams, how: str) -> None:
    stream = streams.make("orders", max_msgs=5)
    streams.server.put(stream, *rows(1, 3))
    with streams.log("orders", streams=ORDERS) as log:
        after = follow(log, log.begin(), 3)[-1].position or {}
        if how == "overtaken":
            streams.server.put(stream, *rows(4, 10))
        elif how == "purged":
            streams.server.put(stream, *rows(4, 5))
            streams.server.purge(stream)
        else:
            streams.server.drop(stream)
            streams.make("orders")
            streams.server.put(stream, *rows(1, 5))
        with pytest.raises(LostPositionError, match="begins at") as caught:
            follow(log, after, 1)
    assert "--restart" in caught.value.hint


def test_what_is_purged_while_it_is_followed_is_a_lost_position(streams: Streams) -> None:
    stream = streams.make("orders")
    streams.server.put(stream, *rows(1, 1))
    with streams.log("orders", streams=ORDERS) as log:
        after = follow(log, log.begin(), 1)[-1].position or {}
        streams.server.put(stream, *rows(2, 4))
        streams.server.purge(stream, keep=1)
        with pytest.raises(LostPositionError):
            follow(log, after, 1)


def test_a_stream_that_gives_each_message_once_is_refused(streams: Streams) -> None:
    streams.server.put(streams.make("orders", retention="workqueue"), *rows(1, 1))
    with streams.log("orders", streams=ORDERS) as log:
        (finding,) = log.examine()
        assert (finding.state, finding.what) == ("error", "retention")
        with pytest.raises(InvalidPlanError, match="retention: workqueue"):
            follow(log, log.begin(), 1)


def test_an_idle_stream_has_a_heartbeat(streams: Streams) -> None:
    streams.make("orders")
    with streams.log("orders", streams=ORDERS) as log:
        asked = Follow(log.begin())
        reading = log.read(asked)
        beat = next(reading)
        asked.stop.set()
        assert (beat.kind, list(reading)) == ("heartbeat", [])
