"""PostgreSQL by its ODBC driver, in columns both ways: as wide, long and odd as real tables are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tongqu.connectors.odbc import connector
from tongqu.core.data import Read
from tongqu.testing.conformance.place import Place, items, pairs

Sql = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def place(odbc_pg_url: str) -> Place:
    return Place(connector, odbc_pg_url)


@pytest.fixture
def sql(pg_url: str) -> Iterator[Sql]:
    with psycopg.connect(pg_url, autocommit=True) as session:
        yield session


@pytest.mark.parametrize("length", [3, 2000, 2001, 300_000])
def test_texts_of_any_length_come_whole(place: Place, sql: Sql, length: int) -> None:
    """Up to 2,000 bytes in the driver's columns, longer ones row by row."""
    sql.execute("create table items (id int primary key, v text, b bytea)")
    sql.execute("insert into items values (1, repeat('x', %s), null), (2, '中😀', decode(repeat('00', %s), 'hex')),"
                " (3, null, ''), (4, '', null)", (length, length))  # fmt: skip
    assert place.rows(columns=("id", "v", "b")) == [
        (1, "x" * length, None), (2, "中😀", b"\0" * length), (3, None, b""), (4, "", None),
    ]  # fmt: skip


def test_short_and_long_rows_are_of_one_instant(place: Place, sql: Sql) -> None:
    sql.execute("create table items (id int primary key, v text)")
    sql.execute("insert into items select g, 'v' || g from generate_series(1, 40) g")
    sql.execute("insert into items select g, repeat('x', 3000) from generate_series(41, 80) g")
    with place.source() as source:
        dataset = place.dataset(source)
        (split,) = source.splits(dataset, 1)
        batches = source.read(Read(dataset, split, chunk_rows=10, batch_rows=10))
        found = next(batches).rows.column("id").to_pylist()
        sql.execute("delete from items where id > 30")
        sql.execute("insert into items select g, 'later' from generate_series(51, 60) g")
        rest = list(batches)
    assert found + [one for batch in rest for one in batch.rows.column("id").to_pylist()] == list(range(1, 81))
    assert "later" not in {one for batch in rest for one in batch.rows.column("v").to_pylist()}


def test_many_columns_and_nulls_go_in_at_once(place: Place) -> None:
    rows = 1000
    table = pa.table(
        {"id": pa.array(range(rows), pa.int64())}
        | {f"列 {at}": pa.array([None if n % 3 == 0 else f'{n},"\\{at}' for n in range(rows)]) for at in range(60)}
    )
    assert place.fill(table).inserted == rows
    assert place.table().sort_by("id").to_pydict() == table.to_pydict()


def test_identity_columns_take_the_values_that_arrive(place: Place, sql: Sql) -> None:
    sql.execute("create table items (id int generated always as identity primary key, v text)")
    place.fill(items([7, 9]))
    place.change(items([9, 11], "new{}"), run="run 2")
    assert place.rows() == [(11, "new11"), (7, "v7"), (9, "new9")]
    sql.execute("create view seen as select * from items")  # now the table keeps its identity
    place.fill(items([1]))
    assert place.rows() == [(1, "v1")]
    with place.sink() as sink:
        assert sink.undo("items") == 3


def test_a_schema_that_is_not_there_is_made(place: Place, sql: Sql) -> None:
    place.fill(items([1]), name='odd "s.t😀')
    assert sql.execute("select nspname from pg_namespace where nspname like 'odd%'").fetchall() == [('odd "s',)]
    place.change(items([2]), run="run 2", name='odd "s.t😀')
    assert place.table('odd "s.t😀').num_rows == 2


def test_types_that_only_the_source_has_become_texts(place: Place, sql: Sql) -> None:
    sql.execute("create type mood as enum ('好', 'it''s bad'); create domain no as varchar(9) check (value <> '')")
    sql.execute("create table items (id no primary key, m mood, r daterange, a text[], n numeric(9,2))")
    sql.execute("insert into items values ('E1', 'it''s bad', '[2024-01-01,2024-02-01)', '{\"a,b\",null}', 1.5)")
    rows = place.table()
    sql.execute("drop table items; drop type mood; drop domain no")
    place.fill(rows)
    found = sql.execute("select i::text, pg_typeof(r)::text, pg_typeof(a)::text from items i").fetchall()
    assert found == [('(E1,"it\'s bad","[2024-01-01,2024-02-01)","{""a,b"",NULL}",1.50)', "daterange", "text[]")]


def test_parts_of_a_table_are_read_with_it_or_by_name(place: Place, sql: Sql) -> None:
    sql.execute("create table items (id int primary key, v text) partition by range (id);"
                " create table part_1 partition of items for values from (0) to (5);"
                " create table part_2 partition of items for values from (5) to (9);"
                " insert into items select g, 'v' || g from generate_series(0, 8) g")  # fmt: skip
    with place.source() as source:
        assert [one.name for one in source.datasets(None)] == ["items"]
        assert [one.name for one in source.datasets(["part_1"])] == ["part_1"]
    assert place.rows() == pairs(range(9))
    assert place.table("part_1").num_rows == 5
