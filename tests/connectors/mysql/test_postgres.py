"""Bytes between PostgreSQL and MariaDB: the pass lane gives exactly what the columnar lane gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tongqu.connectors.mysql.sink import MysqlSink
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core import registry
from tongqu.core.connector import Source
from tongqu.core.data import Checkpoint, Counts, Dataset, Read, Split, Write, WriteMode
from tongqu.core.errors import RefusedRowsError
from tongqu.core.select import Column, Select

Sql = Callable[..., list[tuple[Any, ...]]]

TABLE = r"""
CREATE TABLE t (id bigint PRIMARY KEY, s smallint, i integer, ok boolean, price numeric(20,4), r real,
  d double precision, name varchar(20) NOT NULL, note text,
  raw bytea, day date, clock time, at timestamp, instant timestamptz, doc json,
  docb jsonb, uid uuid);
INSERT INTO t VALUES
 (1, -32768, 2147483647, true, 1234567890123456.7890, 0.1, 0.1, E'a\tb\nc\\N', E'\b\f\x0b\r\\f\\v\\\\f',
  '\x00ff5c6e09', '0001-01-01', '23:59:59.999999', '9999-12-31 23:59:59.999999', '2024-06-01 12:00:00.5+08',
  '{"a":  1}', '{"b": ["\\n", "汉"]}', '123e4567-e89b-12d3-a456-426614174000'),
 (2, null, null, false, null, null, null, '', null, null, null, null, null, null, null, null, null),
 (3, 0, 0, null, -0.0001, 3.4e38, 1e-300, 'NULL', '😀𠮷', '', '2024-02-29', '00:00', '1970-01-01', '1900-01-01+00',
  'null', '[]', null);
"""


@pytest.fixture
def postgres_source(pg_url: str) -> Source:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute(TABLE)
    found = registry.by_url(pg_url)
    assert found.source is not None
    return found.source(found.from_url(pg_url))


def opened(sink: MysqlSink, dataset: Dataset, name: str) -> tuple[Write, Split]:
    target = replace(dataset, name=name)
    write = Write(name, target, WriteMode.APPEND, sync=name, run="r", started_at="2026-01-01T00:00:00+00:00")
    sink.start(write.sync, write.run, restart=False)
    sink.open(write)
    split = Split("0", dataset.name)
    sink.begin(write, [split])
    return write, split


def fitted(source: Source, sink: MysqlSink, write: Write, dataset: Dataset) -> Select:
    plain = Select(tuple(Column(name) for name in dataset.columns))
    types = source.wire_types(dataset, plain)
    casts = sink.accepts(write, "pgcopy-text", types)
    assert None not in casts, dict(zip(dataset.columns, zip(types, casts, strict=True), strict=True))
    return Select(
        tuple(
            Column(name, cast=cast if cast != kind else None)
            for name, kind, cast in zip(dataset.columns, types, casts, strict=True)
        )
    )


def test_both_lanes_write_the_same_rows(postgres_source: Source, sink: MysqlSink, sql: Sql) -> None:
    dataset = postgres_source.datasets(["t"])[0]
    write, split = opened(sink, dataset, "columnar")
    session = sink.session(write, split)
    for batch in postgres_source.read(Read(dataset, split)):
        assert session.write(pa.Table.from_batches([batch.rows])).refused == []
    session.commit(Checkpoint(split, {}, Counts(), done=True))
    session.close()
    write, split = opened(sink, dataset, "passed")
    session = sink.session(write, split)
    select = fitted(postgres_source, sink, write, dataset)
    moved = [
        session.copy_in(data).inserted for data in postgres_source.copy_out(Read(dataset, split), select, "pgcopy-text")
    ]
    session.commit(Checkpoint(split, {}, Counts(), done=True))
    session.close()
    postgres_source.close()
    assert sum(moved) == 3
    names = ", ".join(f"CAST({name} AS CHAR)" if name != "raw" else "HEX(raw)" for name in dataset.columns)
    passed, columnar = (sql(f"SELECT {names} FROM {name} ORDER BY id") for name in ("passed", "columnar"))
    assert passed == columnar
    assert passed[0][7:10] == ("a\tb\nc\\N", "\b\f\v\r\\f\\v\\\\f", "00FF5C6E09")


def test_what_mysql_cannot_hold_is_refused_in_the_pass_lane(
    postgres_source: Source, pg_url: str, sink: MysqlSink, sql: Sql
) -> None:
    dataset = postgres_source.datasets(["t"])[0]
    for column, value in {"at": "infinity", "price": "NaN", "d": "Infinity", "day": "0044-03-15 BC"}.items():
        with psycopg.connect(pg_url, autocommit=True) as connection:
            connection.execute("DELETE FROM t")
            connection.execute(f"INSERT INTO t (id, name, {column}) VALUES (1, 'n', '{value}')".encode())
        source = registry.by_url(pg_url).source
        assert source is not None
        reader = source(registry.by_url(pg_url).from_url(pg_url))
        write, split = opened(sink, dataset, f"refusing_{column}")
        session = sink.session(write, split)
        select = fitted(reader, sink, write, dataset)
        with pytest.raises(RefusedRowsError):
            for data in reader.copy_out(Read(dataset, split), select, "pgcopy-text"):
                session.copy_in(data)
        session.close()
        reader.close()
    postgres_source.close()


def test_mysql_rows_are_read_by_postgres_as_they_are(
    source: MysqlSource, sql: Sql, pg_url: str, reading: Callable[..., Read]
) -> None:
    sql(
        "CREATE TABLE m (id bigint unsigned PRIMARY KEY, ok bit(1), f float, d double, t longtext, raw longblob, "
        "at datetime(6), stamp timestamp(6) NULL, clock time(6), doc json, price decimal(38,10), uid uuid)",
        "INSERT INTO m VALUES (18446744073709551615, 1, 0.1, 5e-324, 'a\\tb\\nc\\\\N\\r', X'00FF5C', "
        "'9999-12-31 23:59:59.999999', '2024-01-01', '23:59:59.5', '{\"k\": \"汉\"}', -0.0000000001, UUID())",
        "INSERT INTO m (id, t, raw) VALUES (0, '', '')",
    )
    read = reading(source, "m")
    select = Select(tuple(Column(name) for name in read.dataset.columns))
    types = source.wire_types(read.dataset, select)
    with psycopg.connect(pg_url, autocommit=True) as connection:
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(read.dataset.columns, types, strict=True))
        connection.execute(f"CREATE TABLE m ({columns})".encode())
        with connection.cursor() as cursor, cursor.copy("COPY m FROM STDIN") as copy:
            for data in source.copy_out(read, select, "pgcopy-text"):
                for block in data.chunks:
                    copy.write(block)
        found = registry.by_url(pg_url)
        assert found.source is not None
        postgres = found.source(found.from_url(pg_url))
        there = [
            row for b in postgres.read(Read(postgres.datasets(["m"])[0], Split("0", "m"))) for row in b.rows.to_pylist()
        ]
        postgres.close()
    here = [row for b in source.read(read) for row in b.rows.to_pylist()]
    for left, right in zip(sorted(here, key=lambda r: r["id"]), sorted(there, key=lambda r: r["id"]), strict=True):
        assert {k: str(v) if k == "uid" else v for k, v in left.items()} == {
            k: str(v) if k == "uid" else v for k, v in right.items()
        }
