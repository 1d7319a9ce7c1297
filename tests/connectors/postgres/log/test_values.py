"""The log gives exactly the values of a full read, in every type that can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.connectors.postgres.log.conftest import Sql, batches
from tests.connectors.postgres.test_odd_types import BAD, TABLE

from tongqu.connectors.postgres.log import PostgresLog
from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.data import BadRow, Read

Make = Callable[..., PostgresLog]
MORE = """
create table more (id int primary key, a money, b bool, c bool[], d "char", e name, f cidr, g macaddr, h varbit,
  i timestamptz[], j date[], k bytea[], l numeric(20,0), m numeric(38,10), n smallint, o bigint, p box[], q time[],
  r inet[], s point, t tsvector, u money[], v oid[], w float8[], x uuid[], y jsonb[], z hstore);
insert into more (id) values (0);
insert into more values (1, '-1234.56', true, '{t,f,NULL}', 'x', 'name', '10.0.0.0/8', '08:00:2b:01:02:03', '101',
  '{2024-01-01 00:00:00.5+00,NULL}', '{2024-02-29}', '{"\\\\x00ff",NULL}', 12345678901234567890,
  -1234567890123456789012345678.0123456789, -32768, 9223372036854775807, '{(1,1),(0,0);(2,2),(1,1)}',
  '{23:59:59.999999,24:00:00}', '{10.0.0.1,::1}', '(1,2)', 'a b', '{1.00,-0.05}', '{1,4294967295}', '{1.5,-0,1e300}',
  '{123e4567-e89b-12d3-a456-426614174000}', '{"{\\"a\\": \\"b,\\\\\\\\c\\"}"}', 'a=>1');
insert into more (id, a, b, c, i) values (2, '0.05', false, '{}', '{}');
"""
TIMES = """
create table times (id int primary key, d date, t timestamp, z timestamptz, c time);
insert into times values (1, '0044-03-15 BC', '4713-01-01 00:00:00 BC', '0001-01-01 00:00:00+00 BC', '24:00:00'),
  (2, '12024-02-29', '200000-12-31 23:59:59.999999', '10000-01-01 00:00:00.5+00', '00:00:00.000001'),
  (3, '0001-01-01', '9999-12-31 23:59:59.5', '2024-06-30 12:00:00+08', '12:30'), (4, null, null, null, null);
"""


def both(url: str, follow: Make, sql: Sql, table: str, make: str) -> tuple[pa.Table, pa.Table, list[BadRow]]:
    """The table's rows by a full read and by the log, and what the log refused."""
    create, _, rows = make.partition("insert into ")
    sql(create)
    log = follow(table)
    after = log.begin()
    sql(f"insert into {rows}")
    found = batches(log, after)
    source = PostgresSource(from_url(url))
    try:
        dataset = source.datasets([table])[0]
        full = [batch.rows for batch in source.read(Read(dataset, source.splits(dataset, 1)[0]))]
    finally:
        source.close()
    told = [batch.rows.select(list(dataset.columns)) for batch in found if batch.kind == "rows"]
    whole = pa.concat_tables([pa.Table.from_batches([one]) for one in told])
    bad = [row for batch in found for row in batch.bad]
    return pa.Table.from_batches(full), whole, bad


def equal(full: pa.Table, told: pa.Table) -> None:
    full, told = full.sort_by("id"), told.sort_by("id")
    assert full.column_names == told.column_names
    for name in full.column_names:
        one, other = full.column(name).combine_chunks(), told.column(name).combine_chunks()
        assert one.type == other.type, name
        assert str(one) == str(other), name
        assert one.equals(other) or "nan" in str(one), name


def test_odd_types(url: str, sql: Sql, follow: Make) -> None:
    make = TABLE if sql("select 1 where version() !~ ' 18'") else TABLE.replace("x xml", "x text")
    full, told, bad = both(url, follow, sql, "odd", make)
    equal(full, told)
    assert (told.num_rows, bad) == (2, [])


def test_more_types(url: str, sql: Sql, follow: Make) -> None:
    has = sql("select 1 from pg_available_extensions where name = 'hstore'")
    if has:
        sql("create extension hstore")
    make = MORE if has else MORE.replace(", z hstore", "").replace(", 'a=>1'", "")
    full, told, bad = both(url, follow, sql, "more", make)
    equal(full, told)
    assert (told.num_rows, bad) == (3, [])


def test_times_of_all_ages(url: str, sql: Sql, follow: Make) -> None:
    full, told, bad = both(url, follow, sql, "times", TIMES)
    equal(full, told)
    assert (told.num_rows, bad) == (4, [])


def test_values_that_arrow_lacks_are_set_aside_with_their_row(url: str, sql: Sql, follow: Make) -> None:
    full, told, bad = both(url, follow, sql, "bad", BAD)
    equal(full, told)
    assert sorted((row.code, row.field, row.value or "") for row in bad) == [
        ("read.no_such_value", "at", "-infinity"),
        ("read.no_such_value", "d", "infinity"),
        ("read.no_such_value", "da", "{infinity}"),
        ("read.no_such_value", "ia", "[0:1]={5,6}"),
        ("read.no_such_value", "ia", "{{1,2},{3,4}}"),
        ("read.no_such_value", "n", "NaN"),
    ]


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
ROW = st.tuples(
    st.none() | TEXT,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.floats(width=32, allow_nan=False),
    st.none() | st.decimals(-(10**10), 10**10, places=3, allow_nan=False),
    st.none() | st.binary(max_size=20),
    st.none() | st.datetimes(),
    st.none() | st.times(),
    st.none() | st.lists(st.none() | TEXT, max_size=4),
    st.none() | st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=4),
    st.none() | st.booleans(),
)


@pytest.fixture
def anything(url: str, sql: Sql, follow: Make) -> tuple[str, PostgresLog, dict[str, Any]]:
    sql("create table rows (id serial primary key, a text, b bigint, c float8, d real, e numeric(14,3), f bytea, "
        "g timestamp, h time, i text[], j int[], k bool)")  # fmt: skip
    log = follow("rows")
    return url, log, {"after": log.begin()}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=20))
def test_any_rows(anything: tuple[str, PostgresLog, dict[str, Any]], rows: list[tuple[Any, ...]]) -> None:
    url, log, state = anything
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        connection.execute("delete from rows")
        values = f"insert into rows values (default{', %s' * 11})"
        connection.cursor().executemany(values, rows)
    found = batches(log, state["after"])
    state["after"] = [batch.position for batch in found if batch.position][-1]
    parts = [pa.Table.from_batches([batch.rows]) for batch in found if batch.kind == "rows"]
    told = pa.concat_tables([part.filter(ds.field("_op") == "c") for part in parts])
    source = PostgresSource(from_url(url))
    try:
        dataset = source.datasets(["rows"])[0]
        full = [batch.rows for batch in source.read(Read(dataset, source.splits(dataset, 1)[0]))]
    finally:
        source.close()
    equal(pa.Table.from_batches(full), told.select(list(dataset.columns)))
