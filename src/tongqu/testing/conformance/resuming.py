"""A run that stopped anywhere goes on where it was; who was overtaken writes nothing more."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.connector import Can, Sink
from tongqu.core.data import Checkpoint, Counts, Split, Write, WriteMode
from tongqu.core.errors import BusyError, FencedError
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place, items, pairs
from tongqu.testing.pour import pour, put

CHUNKS = [items(range(at, at + 4)) for at in range(0, 20, 4)]
MODES = [WriteMode.REPLACE, WriteMode.APPEND, WriteMode.UPSERT]
BUSY_SECONDS = 10.0


class Interrupted(Exception):  # noqa: N818  # not an error of ours: what the test itself throws
    """Ends a run in the middle."""


class ResumeChecks:
    """Runs that are cut, replayed, overtaken and restarted."""

    @needed(Can.READ, Can.WRITE, Can.TRANSACTIONS)
    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_cut_before_every_commit_nothing_is_lost_or_doubled(self, place: Place, mode: WriteMode) -> None:
        with place.sink() as sink:
            if mode not in sink.modes():
                return
        for cut in range(len(CHUNKS)):
            name = f"cut{cut}"
            write = place.ask(items([]), mode, name=name, incremental=mode is WriteMode.UPSERT, unique=True)
            with place.sink() as sink, pytest.raises(Interrupted):
                pour(sink, write, breaking(CHUNKS, cut))
            with place.sink() as sink:
                later = replace(write, run="run that is not needed")
                counts = pour(sink, later, CHUNKS)
            assert place.rows(name) == pairs(range(20)), f"cut before commit {cut}"
            assert (counts.read, counts.inserted) == (20, 20), "counts are totals over both attempts"

    @needed(Can.READ, Can.WRITE, Can.TRANSACTIONS, Can.APPEND)
    def test_a_resumed_run_keeps_its_id_and_position(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.APPEND)
        with place.sink() as sink, pytest.raises(Interrupted):
            pour(sink, write, breaking(CHUNKS, 2))
        with place.sink() as sink:
            started = sink.start(write.sync, "another", False)
            assert (started.run, started.attempt) == ("run 1", 2)
            opened = sink.open(replace(write, run=started.run))
        (checkpoint,) = opened.checkpoints.values()
        assert checkpoint.position == {"n": 2}
        assert (checkpoint.counts.read, checkpoint.counts.inserted) == (8, 8)

    @needed(Can.READ, Can.WRITE, Can.TRANSACTIONS, Can.APPEND)
    def test_finishing_twice_changes_nothing(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.APPEND, key=(), resumable=False)
        with place.sink() as sink:
            counts, write = opened(sink, write, CHUNKS[:2])
            sink.finish(write, counts, {"n": 1})
            sink.finish(write, counts, {"n": 1})
        with place.sink() as sink:  # as after a crash between `finish` and `end`
            started = sink.start(write.sync, "another", False)
            again = sink.open(replace(write, run=started.run))
            assert again.finished
            assert again.counts.inserted == 8
            sink.end(write.sync, started.run, [write])
        assert place.rows() == pairs(range(8))

    @needed(Can.READ, Can.WRITE, Can.TRANSACTIONS, Can.APPEND)
    def test_restart_begins_anew(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.REPLACE)
        with place.sink() as sink, pytest.raises(Interrupted):
            pour(sink, write, breaking(CHUNKS, 2))
        with place.sink() as sink:
            started = sink.start(write.sync, "run 2", True)
            assert (started.run, started.attempt) == ("run 2", 1)
            assert not sink.open(replace(write, run="run 2", restart=True)).checkpoints

    @needed(Can.READ, Can.WRITE, Can.TRANSACTIONS, Can.APPEND)
    def test_the_position_of_a_finished_run_is_kept(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.APPEND, incremental=True)
        with place.sink() as sink:
            counts, write = opened(sink, write, CHUNKS[:1])
            sink.finish(write, counts, {"cursor": ["2024-01-01 00:00:00.000001"]})
            sink.end(write.sync, write.run, [write])
        with place.sink() as sink:
            started = sink.start(write.sync, "run 2", False)
            assert started.run == "run 2"
            previous = sink.open(replace(write, run="run 2")).previous
        assert previous == {"cursor": ["2024-01-01 00:00:00.000001"]}

    @needed(Can.READ, Can.WRITE, Can.TRANSACTIONS, Can.APPEND)
    def test_an_overtaken_writer_is_fenced_off(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.APPEND)
        split = Split("0", "items")
        with place.sink() as slow:
            slow.start(write.sync, write.run, False)
            slow.open(write)
            slow.begin(write, [split])
            if Can.ONE_WRITER in place.connector.can:
                busy(place, slow, write)
                return
            with closing(slow.session(write, split)) as session:
                with place.sink() as fast:
                    counts = pour(fast, write, [items([1])])
                    assert counts.inserted == 1
                with pytest.raises(FencedError):
                    put(session, items([2]), Counts())
                    session.commit(Checkpoint(split, {"n": 1}, Counts(), done=True))
            with pytest.raises(FencedError):
                slow.finish(write, Counts(), None)
            with pytest.raises(FencedError):
                slow.reopen(write)
        assert place.rows() == pairs([1])


def busy(place: Place, first: Sink, write: Write) -> None:
    """While one process writes, another is told so at once and changes nothing."""
    split = Split("0", "items")
    with closing(first.session(write, split)) as session:
        put(session, items([1]), Counts())
        begun = time.monotonic()
        second = subprocess.run(
            [sys.executable, "-m", "tongqu.testing.conformance.second", place.connector.name, place.url,
                 str(place.home or "")],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert time.monotonic() - begun < BUSY_SECONDS, "the second writer was kept waiting"
        assert second.stdout.strip() == BusyError.code, second
        session.commit(Checkpoint(split, {"n": 1}, Counts(read=1, inserted=1), done=True))
    first.finish(write, Counts(read=1, inserted=1), None)
    first.end(write.sync, write.run, [write])
    first.close()
    assert place.rows() == pairs([1])


def breaking(chunks: Sequence[pa.Table], cut: int) -> Any:
    """The chunks before `cut`, then the end of the process."""
    yield from chunks[:cut]
    raise Interrupted


def opened(sink: Sink, write: Write, chunks: Sequence[pa.Table]) -> tuple[Counts, Write]:
    """Everything up to `finish`."""
    write = replace(write, run=sink.start(write.sync, write.run, False).run)
    sink.open(write)
    split = Split("0", "items")
    sink.begin(write, [split])
    counts = Counts()
    with closing(sink.session(write, split)) as session:
        for number, rows in enumerate(chunks, 1):
            put(session, rows, counts)
            session.commit(Checkpoint(split, {"n": number}, counts, done=number == len(chunks)))
    return counts, write
