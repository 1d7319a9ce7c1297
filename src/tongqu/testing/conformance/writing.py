"""Append and replace do what they say, the visible rows change all at once, and the counts are true."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from tongqu.core.connector import Can
from tongqu.core.data import BadRow, Checkpoint, Counts, Split, WriteMode
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place, items, pairs
from tongqu.testing.pour import put


class WriteChecks:
    """Writing without a key to merge by."""

    @needed(Can.READ, Can.WRITE, Can.APPEND)
    def test_append_adds_to_what_is_there(self, place: Place) -> None:
        first = place.put([items(range(5))], place.ask(items([]), WriteMode.APPEND))
        second = place.put([items(range(5, 9))], place.ask(items([]), WriteMode.APPEND, run="run 2"))
        assert (first.inserted, second.inserted) == (5, 4)
        assert place.rows() == pairs(range(9))

    @needed(Can.READ, Can.WRITE, Can.APPEND)
    def test_append_keeps_rows_that_are_equal(self, place: Place) -> None:
        same = items([1, 1, 1])
        for run in ("run 1", "run 2"):
            place.put([same], place.ask(same, WriteMode.APPEND, key=(), run=run, resumable=False))
        assert place.rows() == [(1, "v1")] * 6

    @needed(Can.READ, Can.WRITE, Can.REPLACE)
    def test_replace_leaves_only_the_new_rows(self, place: Place) -> None:
        place.fill(items(range(9)))
        counts = place.put([items(range(3, 5), "new{}")], place.ask(items([]), WriteMode.REPLACE))
        assert counts.inserted == 2
        assert place.rows() == pairs(range(3, 5), "new{}")

    @needed(Can.READ, Can.WRITE, Can.REPLACE)
    def test_replace_shows_the_old_rows_until_it_finishes(self, place: Place) -> None:
        place.fill(items(range(9)))
        write = place.ask(items([]), WriteMode.REPLACE)
        with place.sink() as sink:
            write = replace(write, run=sink.start(write.sync, write.run, False).run)
            sink.open(write)
            split = Split("0", "items")
            sink.begin(write, [split])
            counts = Counts()
            with closing(sink.session(write, split)) as session:
                put(session, items([1, 2], "new{}"), counts)
                session.commit(Checkpoint(split, {"n": 1}, counts, done=True))
            if Can.ONE_WRITER not in place.connector.can:
                assert place.rows() == pairs(range(9))
            sink.finish(write, counts, None)
            sink.end(write.sync, write.run, [write])
        assert place.rows() == pairs([1, 2], "new{}")

    @needed(Can.READ, Can.WRITE, Can.REPLACE)
    def test_replace_by_nothing_leaves_nothing(self, place: Place) -> None:
        place.fill(items(range(9)))
        place.put([], place.ask(items([]), WriteMode.REPLACE))
        assert place.rows() == []

    @needed(Can.READ, Can.WRITE, Can.APPEND)
    def test_aborted_rows_are_gone(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.APPEND)
        with place.sink() as sink:
            write = replace(write, run=sink.start(write.sync, write.run, False).run)
            sink.open(write)
            split = Split("0", "items")
            sink.begin(write, [split])
            counts = Counts()
            with closing(sink.session(write, split)) as session:
                put(session, items([99]), Counts())
                session.abort()
                put(session, items([1]), counts)
                session.commit(Checkpoint(split, {"n": 1}, counts, done=True))
            sink.finish(write, counts, None)
            sink.end(write.sync, write.run, [write])
        assert place.rows() == pairs([1])

    @needed(Can.READ, Can.WRITE, Can.APPEND)
    def test_dirty_rows_of_steps_are_kept_with_their_chunk(self, place: Place) -> None:
        write = place.ask(items([]), WriteMode.APPEND)
        bad = BadRow("check", "check.range", "v", "9\x00'\"", '{"id": 9, "v": "中\\u0000😀"}', "too large: 9\x00")
        with place.sink() as sink:
            write = replace(write, run=sink.start(write.sync, write.run, False).run)
            sink.open(write)
            split = Split("0", "items")
            sink.begin(write, [split])
            counts = Counts(read=2, quarantined=1)
            with closing(sink.session(write, split)) as session:
                counts.inserted += session.write(items([1])).inserted
                session.commit(Checkpoint(split, {"n": 1}, counts, done=True, quarantine=[bad]))
            sink.finish(write, counts, None)
            sink.end(write.sync, write.run, [write])
        (kept,) = place.quarantined()
        assert (kept["step"], kept["code"], kept["field"]) == ("check", "check.range", "v")
        assert kept["original"] == bad.original
        assert (kept["run"], kept["stream"]) == (write.run, "items")

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_a_new_column_is_added(self, place: Place) -> None:
        place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
        wider = items([2]).append_column("more", pa.array([7], pa.int64()))
        place.put([wider], place.ask(wider, WriteMode.APPEND, run="run 2"))
        assert place.rows(columns=("id", "v", "more")) == [(1, "v1", None), (2, "v2", 7)]

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.REPLACE)
    def test_replace_takes_the_new_columns(self, place: Place) -> None:
        place.fill(items([1]))
        wider = items([2]).append_column("more", pa.array([7], pa.int64()))
        place.fill(wider)
        assert place.rows(columns=("id", "v", "more")) == [(2, "v2", 7)]

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_a_column_that_stays_away_is_null(self, place: Place) -> None:
        wider = items([1]).append_column("more", pa.array([7], pa.int64()))
        place.put([wider], place.ask(wider, WriteMode.APPEND))
        place.put([items([2])], place.ask(items([]), WriteMode.APPEND, run="run 2"))
        assert place.rows(columns=("id", "v", "more")) == [(1, "v1", 7), (2, "v2", None)]
