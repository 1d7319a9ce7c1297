"""PostgreSQL by psqlODBC: every type there and back, MERGE on a real server, tables that are tied down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tongqu.connectors.odbc import connector
from tongqu.connectors.odbc.settings import from_url
from tongqu.core.data import Mode, Read, Split, WriteMode
from tongqu.core.errors import AuthError, NotFoundError
from tongqu.kit.tables.dialects.postgres import Postgres
from tongqu.kit.tables.source import TableSource
from tongqu.testing.conformance.place import Place, items, pairs
from tongqu.testing.types import CASES, canonical


@pytest.fixture
def place(odbc_pg_url: str) -> Place:
    return Place(connector, odbc_pg_url)


@pytest.fixture
def sql(pg_url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(pg_url, autocommit=True) as session:
        yield session


def test_every_type_comes_back(place: Place) -> None:
    for case in CASES:
        rows = case.table().slice(0, len(case.values))
        assert place.fill(rows, name=f"t_{case.name}").inserted == rows.num_rows, case.name
        found = {row["id"]: row["v"] for row in place.table(f"t_{case.name}").to_pylist()}
        for row in rows.to_pylist():
            assert canonical(found[row["id"]], case) == canonical(row["v"], case), case.name


def test_a_merge_statement_does_what_update_and_insert_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Postgres, "merge", "merge")
    assert place.change(items(range(4)), run="run 1").inserted == 4
    mixed = pa.concat_tables([items([0]), items([1], "new{}"), items([9])])
    counts = place.change(mixed, run="run 2")
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, 1)
    assert place.rows() == sorted([*pairs([0, 2, 3, 9]), (1, "new1")], key=repr)


def test_a_table_with_a_view_keeps_its_identity(place: Place, sql: psycopg.Connection[tuple[Any, ...]]) -> None:
    place.fill(items(range(3)))
    sql.execute("create view seen as select * from items")
    before = sql.execute("select 'items'::regclass::oid").fetchone()
    counts = place.fill(items(range(1, 4), "new{}"))
    assert (counts.inserted, counts.updated, counts.deleted) == (1, 2, 1)
    assert sql.execute("select 'items'::regclass::oid").fetchone() == before
    assert sql.execute("select count(*) from seen where v like 'new%'").fetchone() == (3,)


def test_undo_puts_the_generation_before_back(place: Place) -> None:
    place.fill(items(range(3)))
    place.fill(items(range(5), "new{}"))
    with place.sink() as sink:
        assert sink.undo("items") == 3
    assert place.rows() == pairs(range(3))


def test_increments_wait_for_a_transaction_that_is_open(
    place: Place, sql: psycopg.Connection[tuple[Any, ...]], pg_url: str
) -> None:
    sql.execute("create table t (id int primary key, at timestamptz not null default clock_timestamp())")
    with psycopg.connect(pg_url) as slow:
        slow.execute("insert into t (id) values (1)")
        sql.execute("insert into t (id) values (2)")
        with place.source() as source:
            (dataset,) = source.datasets(["t"])
            until = source.horizon(dataset, "at", None)
            assert until is None, "row 2 is later than the open transaction of row 1"
        slow.commit()
    with place.source() as source:
        until = source.horizon(dataset, "at", None)
        split = Split("0", "t", {"after": None, "until": until})
        read = Read(dataset, split, mode=Mode.INCREMENTAL, cursor="at")
        assert {v for batch in source.read(read) for v in batch.rows.column("id").to_pylist()} == {1, 2}


def test_keys_indexes_and_titles_are_discovered(place: Place, sql: psycopg.Connection[tuple[Any, ...]]) -> None:
    sql.execute("create table parent (id int primary key)")
    sql.execute("create table child (a int, b int, p int references parent, g int generated always as (a * 2) stored,"
                " primary key (b, a), unique (p))")  # fmt: skip
    sql.execute("comment on column child.a is '批号'")
    with place.source() as source:
        (child,) = source.datasets(["child"])
    assert child.key == ("b", "a")
    assert [(index.columns, index.unique) for index in child.indexes] == [(("p",), True)]
    assert [(key.columns, key.target, key.target_columns) for key in child.foreign_keys] == [
        (("p",), "parent", ("id",))
    ]
    metadata = child.schema.field("a").metadata
    assert metadata is not None and metadata[b"tongqu.title"].decode() == "批号"


def test_what_the_driver_says_becomes_our_errors(odbc_pg_url: str) -> None:
    settings = from_url(odbc_pg_url)
    for wrong, kind in (
        (settings.model_copy(update={"database": "no_such"}), NotFoundError),
        (settings.model_copy(update={"user": "nobody"}), AuthError),
        (settings.model_copy(update={"driver": "no such driver"}), NotFoundError),
    ):
        with Place(connector, odbc_pg_url).source(wrong) as source, pytest.raises(kind):
            source.datasets(None)


def test_a_server_that_nobody_knows_is_only_read(place: Place, odbc_pg_url: str) -> None:
    place.fill(items(range(3)))
    unknown = from_url(odbc_pg_url + "&dialect=ansi&db_schema=public")
    with place.source(unknown) as source:
        assert isinstance(source, TableSource)
        (dataset,) = source.datasets(["items"])
        assert dataset.key == ("id",)
        (batch,) = source.read(Read(dataset, Split("0", "items")))
    assert batch.rows.column("v").to_pylist() == ["v0", "v1", "v2"]
    with place.sink(unknown) as sink, pytest.raises(Exception, match="read only"):
        sink.start("s", "r", False)
    assert WriteMode.UPSERT
