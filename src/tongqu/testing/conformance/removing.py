"""Single rows are taken out of what is written by key, together with what else the chunk does."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

import pyarrow as pa
import pytest

from tongqu.core.connector import Can
from tongqu.core.data import Checkpoint, Counts, Deletes, Split, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.merging import LATER, VALIDITY
from tongqu.testing.conformance.place import ONE_RUN, Place, items, pairs

_MARKED = ("id", "_deleted_at")


def taken(
    place: Place,
    gone: Iterable[int],
    *more: pa.Table | Iterable[int],
    run: str,
    at: str = ONE_RUN,
    mode: WriteMode = WriteMode.UPSERT,
    deletes: Deletes = Deletes.IGNORE,
) -> list[int] | None:
    """One run over changes that takes out the keys of `gone`, then writes a table or takes out further keys, in one
    commit; how many rows each removal took, or None where the sink says that it cannot."""
    shape = items([])
    write = place.ask(shape, mode, run=run, at=at, incremental=True, deletes=deletes)
    split = Split("0", write.dataset.name)
    found = []
    with place.sink() as sink:
        if not sink.removes(write):
            return None
        sink.start(write.sync, run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            for part in (gone, *more):
                if isinstance(part, pa.Table):
                    session.write(part)
                else:
                    found.append(session.remove(items(part).select(["id"])))
            session.commit(Checkpoint(split, {"n": 1}, Counts(), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, run, [write])
    return found


class RemoveChecks:
    """Taking rows out by key."""

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_rows_are_taken_out_by_key(self, place: Place) -> None:
        place.change(items(range(6)), run="run 1")
        found = taken(place, [1, 4, 9], items([7]), [0], [7], run="run 2")
        if found is not None:
            assert found == [2, 1, 1]
            assert place.rows() == pairs([2, 3, 5])

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_a_row_that_was_taken_out_comes_back(self, place: Place) -> None:
        place.change(items(range(3)), run="run 1")
        found = taken(place, [1], items([1], "new{}"), run="run 2")
        if found is not None:
            assert found == [1]
            assert place.rows() == sorted([*pairs([0, 2]), (1, "new1")], key=repr)

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_soft_deletes_mark_what_is_taken_out(self, place: Place) -> None:
        place.change(items(range(3)), run="run 1")
        found = taken(place, [1, 9], run="run 2", at=LATER, deletes=Deletes.SOFT)
        if found is None:
            return
        assert found == [1]
        assert [(id, at is not None) for id, at in place.rows(columns=_MARKED)] == [(0, False), (1, True), (2, False)]
        assert taken(place, [1], items([1]), run="run 3", deletes=Deletes.SOFT) == [0]
        assert [at for _, at in place.rows(columns=_MARKED)] == [None] * 3

    @needed(Can.READ, Can.WRITE, Can.HISTORY)
    def test_history_ends_the_version_of_what_is_taken_out(self, place: Place) -> None:
        place.change(items(range(3)), run="run 1", mode=WriteMode.HISTORY)
        new = items([5])
        found = taken(place, [1, 9], new, [5], items([0], "new{}"), run="run 2", at=LATER, mode=WriteMode.HISTORY)
        if found is None:
            return
        assert found == [1, 1]
        versions = [(0, "v0", False), (0, "new0", True), (1, "v1", False), (2, "v2", True)]
        assert place.rows(columns=VALIDITY) == sorted(versions, key=repr)
        for row in place.table().to_pylist():
            assert (row["_valid_to"] is None) == bool(row["_current"])

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_a_sink_that_cannot_take_rows_out_says_so(self, place: Place) -> None:
        place.change(items(range(3)), run="run 1")
        write = place.ask(items([]), WriteMode.UPSERT, run="run 2", incremental=True)
        split = Split("0", write.dataset.name)
        with place.sink() as sink:
            if sink.removes(write):
                return
            sink.start(write.sync, "run 2", False)
            sink.open(write)
            sink.begin(write, [split])
            with closing(sink.session(write, split)) as session, pytest.raises(InvalidPlanError):
                session.remove(items([1]).select(["id"]))
