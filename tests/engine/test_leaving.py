"""A changed row that a step leaves out now is taken out of a target that is written by key."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core import registry
from tongqu.core.data import Dataset, Lane, Mode, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.events import silent
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.engine.job import Job, Limits, Stream, Surroundings
from tongqu.engine.lanes import route
from tongqu.engine.leaving import Leaving, Trail, leaving
from tongqu.engine.report import StreamReport
from tongqu.engine.run import run
from tongqu.testing.fakes import FakeSink, FakeSource, World

IDS = count(1)
AROUND = Surroundings(
    now=lambda: datetime.now(UTC), new_id=lambda: f"run {next(IDS)}", stop=Event(), wait=lambda _: False
)
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()), pa.field("n", pa.int64()), pa.field("t", pa.string()), pa.field("at", pa.int64())
]  # fmt: skip
Steps = Sequence[dict[str, Any]]


def chained(steps: Steps, dataset: Dataset | None = None) -> Chain:
    return Chain(
        dataset or Dataset("rows", pa.schema(FIELDS), ("id",), cursor="at"),
        [parse_step(step, f"steps[{n}]") for n, step in enumerate(steps)],
    )


class Table:
    """A SQLite table that changes, and pipelines from it into another file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.clock = count(1)
        with closing(sqlite3.connect(folder / "s.db")) as db, db:
            db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, n INTEGER, t TEXT, at INTEGER NOT NULL)")

    def put(self, id: int, n: int | None, t: str | None) -> None:
        """Write a row with a new cursor value."""
        with closing(sqlite3.connect(self.folder / "s.db")) as db, db:
            db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", (id, n, t, next(self.clock)))

    def move(
        self, steps: Steps, target: str, *, mode: Mode = Mode.INCREMENTAL, write: WriteMode, key: str = "id"
    ) -> StreamReport:
        """One run of the pipeline."""
        ours, theirs = registry.connector("sqlite"), registry.connector("sqlite")
        assert ours.source is not None
        assert theirs.sink is not None
        source = ours.source(ours.from_url(f"sqlite:{self.folder}/s.db"))
        sink = theirs.sink(theirs.from_url(f"sqlite:{self.folder}/t.db"))
        with closing(source), closing(sink):
            (dataset,) = source.datasets(["rows"])
            if mode is Mode.INCREMENTAL:
                dataset = Dataset(dataset.name, dataset.schema, dataset.key, cursor="at")
            chain = chained(steps, dataset)
            with closing(chain):
                stream = Stream(
                    target, source, dataset, sink, target, mode, write, sync=target, key=(key,),
                    cursor="at" if mode is Mode.INCREMENTAL else None, chain=chain,
                )  # fmt: skip
                report = run(Job([stream], limits=Limits(chunk_rows=5, batch_rows=2)), silent, AROUND)
        assert report.status in ("succeeded", "attention"), report.problems
        (done,) = report.streams
        counts = done.counts
        assert counts.read + counts.generated == counts.written + counts.filtered + counts.quarantined
        for step in counts.steps.values():
            step.check()
        return done

    def rows(self, target: str, columns: str = "*", *, where: str = "1") -> list[tuple[Any, ...]]:
        """What the pipeline wrote."""
        with closing(sqlite3.connect(self.folder / "t.db")) as db:
            return sorted(db.execute(f"SELECT {columns} FROM {target} WHERE {where}").fetchall(), key=repr)


PIPELINES: list[Steps] = [
    [{"filter": "n > 0"}],
    [{"filter": "t <> 'a'"}, {"derive": {"m": "n * 2"}}, {"id": "late", "filter": "m < 10"}],
    [{"rename": {"id": "no", "n": "id"}}, {"filter": "id is not null"}, {"rename": {"id": "n", "no": "id"}}],
    [{"check": {"t": {"required": True}}}, {"filter": "n >= 0"}, {"select": ["n", "id", "at"]}],
    [{"filter": "n > -3"}, {"cast": {"t": "integer"}}, {"id": "late", "filter": "t > 1 or n = 2"}],
    [
        {"filter": "n > -3"},
        {"code_map": {"t": {"map": {f"{v}": f"x{v}" for v in range(300)}, "unmatched": "quarantine"}}},
        {"id": "late", "filter": "t <> 'x1'"},
    ],
]
EDIT = st.tuples(
    st.integers(1, 6), st.none() | st.integers(-5, 9), st.none() | st.sampled_from(["a", "b", "1", "2", "7"])
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(EDIT, max_size=8), min_size=1, max_size=4),
    st.sampled_from(PIPELINES),
    st.sampled_from([WriteMode.UPSERT, WriteMode.HISTORY]),
)
def test_increments_give_what_a_full_run_gives(
    rounds: list[list[tuple[int, int | None, str | None]]], steps: Steps, write: WriteMode
) -> None:
    """A quarantined update leaves the row of before, so rows that are bad now are not compared."""
    with tempfile.TemporaryDirectory() as folder:
        table = Table(Path(folder))
        for edits in rounds:
            for edit in edits:
                table.put(*edit)
            table.move(steps, "changes", write=write)
        table.move(steps, "whole", mode=Mode.FULL, write=WriteMode.REPLACE)
        columns = ", ".join(chained(steps).output.columns)
        bad = "SELECT cast(json_extract(original, '$.id') AS INTEGER) FROM _tongqu_quarantine WHERE stream = 'whole'"
        good = f"id NOT IN ({bad})"
        current = f"{good} AND _current" if write is WriteMode.HISTORY else good
        assert table.rows("changes", columns, where=current) == table.rows("whole", columns, where=good)


def test_a_row_that_leaves_counts_as_deleted_and_one_that_never_came_as_filtered(tmp_path: Path) -> None:
    table = Table(tmp_path)
    for id in range(1, 5):
        table.put(id, id, "a")
    steps: Steps = [{"filter": "n > 1"}]
    first = table.move(steps, "t", write=WriteMode.UPSERT).counts
    assert (first.read, first.inserted, first.filtered, first.deleted) == (4, 3, 1, 0)

    table.put(3, 0, "left")
    table.put(9, 0, "never there")
    table.put(2, 7, "stays")
    second = table.move(steps, "t", write=WriteMode.UPSERT).counts
    found = (second.updated, second.deleted, second.filtered, second.unchanged, second.generated)
    assert found == (1, 1, 1, second.read - 3, 0)
    (step,) = second.steps.values()
    assert (step.rows_in, step.rows_out, step.filtered) == (second.read, second.read - 2, 2)
    assert table.rows("t", "id, n, t") == [(2, 7, "stays"), (4, 4, "a")]


def test_history_ends_the_version_of_a_row_that_leaves_and_begins_one_when_it_is_back(tmp_path: Path) -> None:
    table, steps = Table(tmp_path), [{"filter": "n > 0"}]
    for n in (1, 0, 5):
        table.put(1, n, None)
        table.move(steps, "t", write=WriteMode.HISTORY)
    versions = table.rows("t", "n, _current, _valid_from, _valid_to")
    assert [(n, current) for n, current, _, _ in versions] == [(1, 0), (5, 1)]
    (_, _, begun, ended), (_, _, again, open_) = versions
    assert begun < ended < again
    assert open_ is None


def test_a_key_of_several_rows_keeps_its_row(tmp_path: Path) -> None:
    """Where several rows of the source write one row of the target, one that is left out says nothing of the others."""
    table, steps = Table(tmp_path), [{"filter": "n > 0"}]
    for id, n, key in [(1, 1, "a"), (2, 1, "b"), (3, 1, "c")]:
        table.put(id, n, key)
    table.move(steps, "t", write=WriteMode.UPSERT, key="t")
    for id, n, text in [(4, 0, "a"), (5, 2, "a"), (6, 3, "b"), (7, 0, "b"), (8, 0, None), (9, 0, "d"), (10, 0, "d")]:
        table.put(id, n, text)
    table.move(steps, "t", write=WriteMode.UPSERT, key="t")
    table.move(steps, "whole", mode=Mode.FULL, write=WriteMode.UPSERT, key="t")
    assert table.rows("t", "t, n") == table.rows("whole", "t, n") == [("a", 2), ("b", 3), ("c", 1)]


def test_a_key_that_does_not_hold_the_source_s_is_refused_unless_the_author_says_what_identifies_a_row() -> None:
    made = replace(stream([{"filter": "n > 0"}], removing()), key=("t",))
    why = leaving(made, asked(made))
    assert isinstance(why, str)
    assert why.endswith("another row of the source may have its key, which does not hold 'id'")
    assert isinstance(leaving(replace(made, identity=("t",)), asked(made)), Leaving)


def test_a_row_of_which_one_part_goes_through_stays(tmp_path: Path) -> None:
    table = Table(tmp_path)
    steps: Steps = [{"split_rows": {"column": "t", "separator": ","}}, {"filter": "t <> 'x'"}]
    table.put(1, 1, "a,b")
    table.put(2, 1, "c")
    table.move(steps, "t", write=WriteMode.UPSERT)
    table.put(1, 1, "d,x")
    table.put(2, 1, "x,x")
    table.move(steps, "t", write=WriteMode.UPSERT)
    assert table.rows("t", "id, t") == [(1, "d")]


def test_the_keys_of_a_chunk_are_those_whose_last_row_is_left_out() -> None:
    made = stream([{"filter": "n > 0"}], removing())
    found = leaving(made, asked(made))
    assert isinstance(found, Leaving)
    ids = [1, 1, 2, 2, None, 3, 3, 4]
    rows = pa.table([ids, [0, 1, 1, 0, 0, 0, 0, 1], [None] * 8, range(8)], schema=pa.schema(FIELDS))
    trail = Trail(rows.num_rows)
    with closing(chained([{"filter": "n > 0"}])) as chain:
        chain.run(rows, trail)
    gone = found.keys(rows, trail)
    assert gone is not None
    assert set(gone.column("id").to_pylist()) == {2, 3}


def stream(steps: Steps, sink: Any, *, mode: Mode = Mode.INCREMENTAL, write: WriteMode = WriteMode.UPSERT) -> Stream:
    chain = chained(steps)
    return Stream("t", FakeSource(World()), chain.source, sink, "t", mode, write, sync="t", key=("id",), chain=chain)


def asked(made: Stream) -> Write:
    assert made.chain is not None
    return Write("t", made.chain.output, made.write, "t", "run", key=made.key, incremental=True)


def removing() -> FakeSink:
    sink = FakeSink(World())
    sink.removes = lambda write: True  # type: ignore[method-assign]  # as a database answers
    return sink


def test_a_key_that_is_made_cannot_be_found_and_the_reason_is_told() -> None:
    made = stream([{"derive": {"id": "id + 1"}}, {"filter": "n > 0"}], removing())
    why = leaving(made, asked(made))
    assert isinstance(why, str)
    assert "'filter' leaves it out stays as it was: the key column 'id'" in why
    plain = stream([{"filter": "n > 0"}], FakeSink(World()))
    assert "cannot delete single rows" in str(leaving(plain, asked(plain)))


@pytest.mark.parametrize(
    ("steps", "more"),
    [
        ([{"derive": {"m": "n + 1"}}], {}),
        ([{"filter": "n > 0"}], {"write": WriteMode.APPEND}),
        ([{"filter": "n > 0"}], {"mode": Mode.FULL}),
    ],
    ids=["no filter", "append", "full"],
)
def test_nothing_leaves(steps: Steps, more: Any) -> None:
    made = stream(steps, removing(), **more)
    assert leaving(made, asked(made)) is None


def test_keys_are_found_through_renames_and_rows_travel_in_columns() -> None:
    made = stream([{"rename": {"id": "x"}}, {"filter": "n > 0"}, {"rename": {"x": "id"}}], removing())
    found = leaving(made, asked(made))
    assert isinstance(found, Leaving)
    assert found.columns == ("id",)
    source = made.source
    source.formats, made.sink.formats, source.dialect = ("csv",), ("csv",), "postgres"
    chosen = route(made, asked(made))
    assert (chosen.lane, chosen.reason) == (
        Lane.COLUMNAR, "a row that 'filter' leaves out is deleted in the target by its key"
    )  # fmt: skip
    forced = Stream(**{**made.__dict__, "lane": Lane.PASS})
    with pytest.raises(InvalidPlanError, match="the pass lane cannot carry 't': a row that 'filter' leaves out"):
        route(forced, asked(forced))


def test_a_trail_tells_left_rows_from_refused_ones_through_all_kinds_of_steps() -> None:
    long = {str(v): f"x{v}" for v in range(300)}
    steps: Steps = [
        {"filter": "n <> 1"},
        {"check": {"n": {"max": 5}}},
        {"code_map": {"t": {"map": long, "unmatched": "quarantine"}}},
        {"derive": {"m": "100 // n"}},
        {"id": "last", "filter": "m > 30"},
    ]
    numbers = [1, 9, 2, 3, 4, None, 3]
    texts = ["0", "0", "0", "odd", "0", "0", "1"]
    rows = pa.table([range(7), numbers, texts, range(7)], schema=pa.schema(FIELDS))
    trail = Trail(rows.num_rows)
    with closing(chained(steps)) as chain:
        result = chain.run(rows, trail)
    assert result.rows.column("id").to_pylist() == [rows.column("id")[place].as_py() for place in trail.out] == [2, 6]
    assert sorted(trail.left) == [0, 4, 5]
    assert sorted(row.code for row in result.bad) == ["check.range", "code_map.unmatched"]
