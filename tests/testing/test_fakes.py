"""The fakes keep the promises of real connectors, and a run through them shows how the engine meets faults."""

from __future__ import annotations

import secrets

import pyarrow as pa

from tongqu.core.data import WriteMode
from tongqu.core.errors import ConnectError, WriteError
from tongqu.core.events import silent
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits
from tongqu.engine.report import Report
from tongqu.engine.run import run
from tongqu.testing.conformance import conformance
from tongqu.testing.fakes import FakeClock, FakeSink, FakeSource, Stored, World, connector

TestFake = conformance(
    connector,
    lambda request: f"fake:{secrets.token_hex(8)}",
    waivers={
        "test_a_whole_generation_deletes_what_it_lacks": "never: the fake refuses delete detection, as it says",
        "test_soft_deletes_are_marked_and_cleared": "never: the fake refuses delete detection, as it says",
    },
)

ROWS = pa.table({"id": pa.array(range(100), pa.int64()), "name": [f"件{n}" for n in range(100)]})


def moved(source: World, sink: World, clock: FakeClock, write: WriteMode = WriteMode.REPLACE) -> Report:
    ends = FakeSource(source), FakeSink(sink)
    streams = plan_sync(*ends, source_id="a", sink_id="b", wanted=Wanted(write=write))
    return run(Job(streams, limits=Limits(chunk_rows=10), run=clock.new_id()), silent, clock.surroundings())


def test_rows_move_from_one_world_to_another() -> None:
    source, sink = World(tables={"parts": Stored(ROWS, ("id",))}), World()
    report = moved(source, sink, FakeClock())
    assert report.status == "succeeded"
    assert sorted(sink.tables["parts"].rows.to_pylist(), key=repr) == sorted(ROWS.to_pylist(), key=repr)


def test_lost_replies_and_broken_lines_are_mended_without_waiting() -> None:
    source, sink, clock = World(tables={"parts": Stored(ROWS, ("id",))}), World(), FakeClock()
    source.faults["read"] = [ConnectError("the line broke")]
    sink.faults["reply"] = [ConnectError("no answer"), ConnectError("no answer")]
    sink.faults["finish"] = [ConnectError("no answer")]
    report = moved(source, sink, clock)
    assert (report.status, report.streams[0].counts.read) == ("succeeded", 100)
    assert sink.tables["parts"].rows.num_rows == 100
    assert len(clock.waited) == 4


def test_a_refused_write_ends_the_run_and_the_next_one_goes_on() -> None:
    source, sink, clock = World(tables={"parts": Stored(ROWS, ("id",))}), World(), FakeClock()
    sink.faults["commit"] = [WriteError("the disk is full")]
    failed = moved(source, sink, clock, WriteMode.APPEND)
    again = moved(source, sink, clock, WriteMode.APPEND)
    assert (failed.status, again.status) == ("failed", "succeeded")
    assert (again.run, again.attempts) == (failed.run, 2)
    assert sink.tables["parts"].rows.num_rows == 100
