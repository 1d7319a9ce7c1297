"""Quarantined rows go in again in every SQL system: each exactly, each once, in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core import registry
from tongqu.core.connector import Sink, Source
from tongqu.core.data import BadRow, Checkpoint, Counts, Dataset, Read, Split, Write, WriteMode
from tongqu.core.dirty import DISCARDED, FIXED, REPLAYED, Dirty, Fix
from tongqu.core.errors import BusyError, FencedError
from tongqu.engine.replay import Entry, Way, replay, tried
from tongqu.kit.originals import originals, restored, shape_of
from tongqu.testing.types import CASES, canonical

SYSTEMS = ("sqlite", "duckdb", "postgres", "mariadb")


@pytest.fixture(params=SYSTEMS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("pg_url"))
    if request.param == "mariadb":
        return str(request.getfixturevalue("mysql_url"))
    return f"{request.param}:{tmp_path}/sink.{request.param}"


@pytest.fixture
def sink(url: str) -> Iterator[Sink]:
    connector = registry.by_url(url)
    assert connector.sink is not None
    with closing(connector.sink(connector.from_url(url))) as made:
        yield made


def stored(url: str, name: str) -> pa.Table:
    connector = registry.by_url(url)
    assert connector.source is not None
    source: Source = connector.source(connector.from_url(url))
    with closing(source):
        (dataset,) = source.datasets([name])
        batches = [b.rows for split in source.splits(dataset, 1) for b in source.read(Read(dataset, split))]
        return pa.Table.from_batches(batches, schema=dataset.schema)


_NUMBERS = itertools.count()


def ids() -> Callable[[], str]:
    return lambda: f"replay-{next(_NUMBERS)}"


def asked(name: str, schema: pa.Schema, **more: Any) -> Write:
    key = ("id",)
    write = Write(name, Dataset(name, schema, key), WriteMode.UPSERT, f"sync {name}", "run-1", key, incremental=True)
    return replace(write, started_at="2026-03-01T00:00:00+00:00", **more)


def keep(sink: Sink, write: Write, rows: pa.Table) -> None:
    """A run in which all these rows were refused."""
    write = replace(write, run=sink.start(write.sync, write.run, False).run)
    sink.open(write)
    split = Split("0", write.stream)
    sink.begin(write, [split])
    shape = shape_of(rows.schema)
    bad = [BadRow("check", "check.range", "v", None, text, "bad", shape=shape) for text in originals(rows)]
    counts = Counts(read=len(bad), quarantined=len(bad))
    with closing(sink.session(write, split)) as session:
        session.commit(Checkpoint(split, {"n": 1}, counts, done=True, quarantine=bad))
    sink.finish(write, counts, None)
    sink.end(write.sync, write.run, [write])


def entries(sink: Sink, **which: Any) -> list[Entry]:
    found = sink.dirty(Dirty(arrival=True, **which))
    return [Entry(str(row["id"]), str(row["fixed"] or row["original"])) for row in found]


def way(sink: Sink, write: Write, schema: pa.Schema) -> Way:
    return Way(sink, replace(write, sync=f"replay {write.sync}", replay=True), schema)


WIDE = [case for case in CASES if case.name not in ("negative_zero", "seconds", "nanoseconds")]


def wide() -> pa.Table:
    """A column for each type, with the values that every system holds exactly, and a row for each value."""
    fields = [pa.field("id", pa.int64(), nullable=False), *(case.field.with_name(f"c_{case.name}") for case in WIDE)]
    count = 1 + max(len(case.values) for case in WIDE)
    columns = [pa.array((list(case.values) + [None] * count)[:count], case.type) for case in WIDE]
    return pa.Table.from_arrays([pa.array(range(count), pa.int64()), *columns], schema=pa.schema(fields))


def test_every_type_goes_in_again_exactly(sink: Sink, url: str) -> None:
    rows = wide()
    write = asked("t", rows.schema)
    keep(sink, write, rows)
    kept = entries(sink)
    assert restored([one.row for one in kept], rows.schema).rows.equals(rows)
    done = replay(way(sink, write, rows.schema), kept, ids(), Event())
    assert (done.count(REPLAYED), done.counts.written) == (rows.num_rows, rows.num_rows), done.settled
    back = sorted(stored(url, "t").to_pylist(), key=lambda row: int(row["id"]))
    for case in WIDE:
        name = f"c_{case.name}"
        expected = [canonical(value, case) for value in rows.column(name).to_pylist()]
        found = [row[name] for row in back]
        if case.name == "instant" and stored(url, "t").schema.field(name).type.tz is None:  # kept in UTC, without zone
            found = [None if value is None else value.replace(tzinfo=UTC) for value in found]
        assert [canonical(value, case) for value in found] == expected, case.name


SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), *(pa.field(n, pa.int64()) for n in ("v", "at"))])


def rows(*values: tuple[int, int, int]) -> pa.Table:
    return pa.Table.from_pylist([{"id": i, "v": v, "at": a} for i, v, a in values], schema=SCHEMA)


def test_many_rows_in_order_of_arrival(sink: Sink, url: str) -> None:
    write = asked("t", SCHEMA, cursor="at")
    keep(sink, write, rows(*((n % 700, n, n) for n in range(1500))))
    done = replay(way(sink, write, SCHEMA), entries(sink, limit=5000), ids(), Event())
    assert done.count(REPLAYED) == 1500
    assert {row["id"]: row["v"] for row in stored(url, "t").to_pylist()} == {n % 700: n for n in range(1500)}
    assert entries(sink, states=("new",)) == []


def test_a_row_that_is_older_than_the_target_stays_out(sink: Sink, url: str) -> None:
    write = asked("t", SCHEMA, cursor="at")
    keep(sink, write, rows((1, 1, 1), (2, 2, 2), (3, 3, 3)))
    later = replace(write, sync="later", run="run-2")
    later = replace(later, run=sink.start(later.sync, later.run, False).run)
    sink.open(later)
    split = Split("0", "t")
    sink.begin(later, [split])
    with closing(sink.session(later, split)) as session:
        session.write(rows((2, 20, 9), (3, 30, 3)))
        session.commit(Checkpoint(split, {"n": 1}, Counts(read=2, inserted=2), done=True))
    with pytest.raises(BusyError, match="has not ended"):
        replay(way(sink, write, SCHEMA), entries(sink), ids(), Event())
    sink.finish(later, Counts(read=2, inserted=2), None)
    sink.end(later.sync, later.run, [later])
    done = replay(way(sink, write, SCHEMA), entries(sink), ids(), Event())
    assert [one.state for one in done.settled] == ["replayed", "superseded", "replayed"]
    assert sorted(row["v"] for row in stored(url, "t").to_pylist()) == [1, 3, 20]


def test_fixes_stay_beside_the_original_and_are_tried_without_a_trace(sink: Sink, url: str) -> None:
    write = asked("t", SCHEMA)
    keep(sink, write, rows((1, 1, 1), (2, 2, 2)))
    first, second = sink.dirty(Dirty(arrival=True))
    fixed = '{"id": 1, "v": 100, "at": 1}'
    assert sink.fix([Fix(first["id"], FIXED, fixed, "[1]"), Fix(second["id"], DISCARDED, None, "[2]")]) == 2
    assert sink.fix([Fix(second["id"], FIXED, fixed, "[3]")]) == 0
    (row,) = sink.dirty(Dirty(states=(FIXED,)))
    assert (row["original"], row["fixed"], row["history"]) == (first["original"], fixed, "[1]")
    again = entries(sink, states=(FIXED,))
    assert tried(way(sink, write, SCHEMA), again, ids()) == {}
    assert stored(url, "t").num_rows == 0
    assert replay(way(sink, write, SCHEMA), again, ids(), Event()).counts.written == 1
    assert stored(url, "t").column("v").to_pylist() == [100]
    with pytest.raises(FencedError, match="nothing was written twice"):
        replay(way(sink, write, SCHEMA), again, ids(), Event())
    assert stored(url, "t").num_rows == 1


def test_a_ledger_of_the_first_version_is_widened(sink: Sink, url: str) -> None:
    write = asked("t", SCHEMA)
    keep(sink, write, rows((1, 1, 1)))
    db: Any = sink.control()  # type: ignore[attr-defined]  # every SQL sink has its own connection
    for column in ("shape", "fixed", "history", "cause"):
        db.begin()
        db.run(f"ALTER TABLE {db.quote('_tongqu_quarantine')} DROP COLUMN {column}")
        db.commit()
    (row,) = sink.dirty(Dirty())
    assert (row["shape"], row["fixed"]) == ("", None)
    keep(sink, replace(write, run="run-2"), rows((2, 2, 2)))
    assert [bool(row["shape"]) for row in sink.dirty(Dirty(arrival=True))] == [False, True]
