"""Whatever the table holds, the pass lane and the columnar lane leave the same rows, and they are the source's."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.core import registry
from tongqu.core.data import Lane, WriteMode
from tongqu.core.events import silent
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits
from tongqu.engine.run import run
from tongqu.testing.fakes import FakeClock

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def bits(size: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (size - 1)), 2 ** (size - 1) - 1)


def number(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda n: Decimal(f"{n}e-{scale}"))  # exact; scaleb would round


MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))  # noqa: DTZ001
JSON = st.recursive(
    st.none() | st.booleans() | bits(60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "smallint": bits(16),
    "integer": bits(32),
    "bigint": bits(64),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "numeric(38,10)": number(38, 10),
    "numeric(5,0)": number(5, 0),
    "numeric": number(60, 25) | st.just(Decimal("NaN")),
    "text": TEXT,
    "varchar(20)": TEXT,
    "char(5)": st.text("ab é中", max_size=5),
    "bytea": st.binary(max_size=20),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "time": st.times(),
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
    "interval": st.timedeltas(timedelta(-1000), timedelta(1000)),
    "uuid": st.uuids(),
    "jsonb": JSON.map(lambda value: json.dumps(value).replace("\\u0000", "")),
    "integer[]": st.lists(bits(32) | st.none(), max_size=4),
    "text[]": st.lists(TEXT | st.none(), max_size=4),
    "numeric[]": st.lists(number(10, 3), max_size=3),
}


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""Every example runs two syncs in one database."""


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]], int]:
    """Column types, rows, and how many leading columns are the key (the row's number is always the last of them)."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    rows = draw(st.lists(st.tuples(*[KINDS[kind] | st.none() for kind in kinds]), max_size=25))
    return kinds, [list(row) for row in rows], draw(st.sampled_from([0, 1]))


def moved(url: str, target: str, lane: Lane, write: WriteMode) -> None:
    postgres = registry.connector("postgres")
    assert postgres.source is not None
    assert postgres.sink is not None
    source, sink = postgres.source(postgres.from_url(url)), postgres.sink(postgres.from_url(url))
    clock = FakeClock()
    try:
        wanted = Wanted(tables=(f"t={target}",), lane=lane, write=write)
        streams = plan_sync(source, sink, source_id=uuid.uuid4().hex, sink_id="b", wanted=wanted)
        report = run(Job(streams, limits=Limits(chunk_rows=7), run=clock.new_id()), silent, clock.surroundings())
    finally:
        source.close()
        sink.close()
    assert report.status == "succeeded", report.to_json()


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(table=tables(), write=st.sampled_from([WriteMode.REPLACE, WriteMode.APPEND, WriteMode.UPSERT]))
def test_both_lanes_leave_the_rows_of_the_source(
    pg_url: str, table: tuple[list[str], list[list[Any]], int], write: WriteMode
) -> None:
    kinds, rows, keyed = table
    if not keyed and write is WriteMode.UPSERT:
        write = WriteMode.REPLACE
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(kinds))
    key = ", PRIMARY KEY (n)" if keyed else ""
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute(b"DROP TABLE IF EXISTS t, by_pass, by_column")
        connection.execute(f"CREATE TABLE t (n int, {columns}{key})".encode())
        places = ", ".join(f"%s::{kind}" if "[]" in kind or kind == "bytea" else f"%s::text::{kind}" for kind in kinds)
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO t VALUES (%s, {places})".encode(),
                [[number, *map(_text, row, kinds)] for number, row in enumerate(rows)],
            )

        moved(pg_url, "by_pass", Lane.PASS, write)
        moved(pg_url, "by_column", Lane.COLUMNAR, write)

        found = [
            connection.execute(f"SELECT x::text FROM {name} x ORDER BY n".encode()).fetchall()
            for name in ("t", "by_pass", "by_column")
        ]
    assert found[1] == found[0]
    assert found[2] == found[0]


def _text(value: Any, kind: str) -> Any:
    """Values as the server's input text, where the driver would send another type."""
    if value is None or "[]" in kind or kind == "bytea":
        return value
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
