"""A sink that goes away between two streams is asked again, as long as the job allows."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Event as Flag

import pyarrow as pa
import pytest

from tongqu.core.errors import AuthError, ConnectError, TongquError
from tongqu.core.events import Event, Retrying
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits, Surroundings
from tongqu.engine.report import Report
from tongqu.engine.run import run
from tongqu.testing.fakes import FakeSink, FakeSource
from tongqu.testing.world import Stored, World

PARTS = pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]})


def moved(faults: dict[str, list[TongquError]], limits: Limits | None = None) -> tuple[Report, World, list[Event]]:
    """One sync between worlds in memory into a sink with these faults; waiting takes no time."""
    stop, told, sink = Flag(), list[Event](), World(faults=faults)
    around = Surroundings(lambda: datetime.now(UTC), lambda: "run 1", stop, lambda seconds: stop.is_set())
    streams = plan_sync(
        FakeSource(World({"parts": Stored(PARTS, ("id",))})), FakeSink(sink), source_id="a", sink_id="b",
        wanted=Wanted(tables=("parts",)),
    )  # fmt: skip
    return run(Job(streams, limits=limits or Limits(), run="run 1"), told.append, around), sink, told


@pytest.mark.parametrize("call", ["open", "begin", "finish", "end"])
def test_a_lost_connection_is_survived(call: str) -> None:
    report, sink, told = moved({call: [ConnectError("gone"), ConnectError("still gone")]})

    assert [stream.status for stream in report.streams] == ["succeeded"]
    assert sink.tables["parts"].rows.num_rows == 3
    assert [(event.problem, event.attempt) for event in told if isinstance(event, Retrying)] == [
        ("gone", 1),
        ("still gone", 2),
    ]


@pytest.mark.parametrize("call", ["open", "begin", "finish", "end"])
def test_the_limit_of_retries_holds(call: str) -> None:
    report, _, told = moved({call: [ConnectError("gone")] * 5}, Limits(retries=2))

    assert report.streams[0].status == "failed"
    assert report.streams[0].problem is not None
    assert report.streams[0].problem["message"] == "gone"
    assert sum(isinstance(event, Retrying) for event in told) == 2


def test_what_waiting_cannot_mend_fails_at_once() -> None:
    report, _, told = moved({"open": [AuthError("no such user")]})

    assert report.streams[0].status == "failed"
    assert not any(isinstance(event, Retrying) for event in told)
