"""Single columns of rows are changed, and a target is emptied, where a sink that is written by key says that it can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pyarrow as pa

from tongqu.core.connector import Can, Session
from tongqu.core.data import Checkpoint, Counts, Deletes, Split, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.merging import LATER
from tongqu.testing.conformance.place import ONE_RUN, Place

_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string()), pa.field("w", pa.string())
]  # fmt: skip
_SCHEMA = pa.schema(_FIELDS)
_ALL = ("id", "v", "w")


def _wide(*rows: tuple[int, str, str]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(_ALL, row, strict=True)) for row in rows], schema=_SCHEMA)


def _narrow(*rows: tuple[int, str]) -> pa.Table:
    return _wide(*((id, v, "") for id, v in rows)).select(["id", "v"])


def _acted(
    place: Place,
    act: Callable[[Session], int],
    *,
    run: str,
    at: str = ONE_RUN,
    mode: WriteMode = WriteMode.UPSERT,
    deletes: Deletes = Deletes.IGNORE,
) -> int | None:
    """One run over changes that does this in one commit; what it gave, or None where the sink says that it cannot."""
    write = place.ask(_wide(), mode, run=run, at=at, incremental=True, deletes=deletes)
    split = Split("0", write.dataset.name)
    with place.sink() as sink:
        if not sink.removes(write):
            return None
        sink.start(write.sync, run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            try:
                found = act(session)
            except InvalidPlanError:
                session.abort()
                return None
            session.commit(Checkpoint(split, {"n": 1}, Counts(), done=True))
        sink.finish(write, Counts(), None)
        sink.end(write.sync, run, [write])
    return found


class AmendChecks:
    """Changing single columns, and emptying."""

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_only_the_columns_that_came_are_changed(self, place: Place) -> None:
        place.change(_wide((1, "a", "x"), (2, "b", "y"), (3, "c", "z")), run="run 1")

        def act(session: Session) -> int:
            there = session.amend(_narrow((1, "new"), (9, "no")))
            session.write(_wide((4, "d", "u")))
            return there * 10 + session.amend(_narrow((4, "e"), (2, "b")))

        found = _acted(place, act, run="run 2")
        if found is not None:
            assert found == 12
            assert place.rows(columns=_ALL) == [(1, "new", "x"), (2, "b", "y"), (3, "c", "z"), (4, "e", "u")]

    @needed(Can.READ, Can.WRITE, Can.HISTORY)
    def test_a_history_gets_a_version_with_the_other_columns_of_the_one_before(self, place: Place) -> None:
        place.change(_wide((1, "a", "x"), (2, "b", "y")), run="run 1", mode=WriteMode.HISTORY)

        def act(session: Session) -> int:
            session.dated(LATER)
            return session.amend(_narrow((1, "new"), (9, "no")))

        found = _acted(place, act, run="run 2", mode=WriteMode.HISTORY)
        if found is not None:
            assert found == 1
            versions = [(1, "a", "x", False), (1, "new", "x", True), (2, "b", "y", True)]
            assert place.rows(columns=(*_ALL, "_current")) == versions

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_a_target_is_emptied_and_written_again_in_one_commit(self, place: Place) -> None:
        place.change(_wide((1, "a", "x"), (2, "b", "y")), run="run 1")

        def act(session: Session) -> int:
            session.write(_wide((3, "c", "z")))
            gone = session.clear()
            session.write(_wide((2, "again", "y")))
            return gone

        found = _acted(place, act, run="run 2")
        if found is not None:
            assert found == 3
            assert place.rows(columns=_ALL) == [(2, "again", "y")]

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    def test_emptying_marks_where_deletes_are_soft(self, place: Place) -> None:
        place.change(_wide((1, "a", "x"), (2, "b", "y")), run="run 1")
        found = _acted(place, lambda session: session.clear(), run="run 2", at=LATER, deletes=Deletes.SOFT)
        if found is not None:
            assert found == 2
            assert [at is not None for _, at in place.rows(columns=("id", "_deleted_at"))] == [True, True]

    @needed(Can.READ, Can.WRITE, Can.HISTORY)
    def test_emptying_ends_the_versions_of_a_history(self, place: Place) -> None:
        place.change(_wide((1, "a", "x"), (2, "b", "y")), run="run 1", mode=WriteMode.HISTORY)
        found = _acted(place, lambda session: session.clear(), run="run 2", at=LATER, mode=WriteMode.HISTORY)
        if found is not None:
            assert found == 2
            assert [current for _, current in place.rows(columns=("id", "_current"))] == [False, False]
