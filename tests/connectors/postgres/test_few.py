"""Few rows and new rows take shorter ways into PostgreSQL than a merge, and arrive as the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tongqu.connectors.postgres import few
from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.sink import PostgresSink
from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Counts, Dataset, Deletes, Split, Write, WriteMode
from tongqu.core.errors import FencedError

SPLIT = Split("log", "t")
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64(), nullable=False),
    pa.field("small", pa.int16()),
    pa.field("sure", pa.bool_()),
    pa.field("share", pa.float64()),
    pa.field("amount", pa.decimal128(12, 2)),
    pa.field("note", pa.string()),
    pa.field("at", pa.timestamp("us", "UTC")),
    pa.field("local", pa.timestamp("us")),
    pa.field("day", pa.date32()),
]
SCHEMA = pa.schema(FIELDS)
ODD: list[tuple[Any, ...]] = [
    (1, -32768, True, float("inf"), Decimal("-9999999999.99"), 'a "quoted", {b} \\ NULL', datetime(1, 1, 1, tzinfo=UTC),
     datetime.fromisoformat("9999-12-31T23:59:59.999999"), date(1, 1, 1)),
    (2, 0, False, 5e-324, Decimal("0.00"), "'; DROP TABLE t; --", datetime(2024, 2, 29, tzinfo=UTC),
     datetime.fromisoformat("1969-12-31"), date(9999, 12, 31)),
    (3, None, None, None, None, None, None, None, None),
    (4, 1, True, 0.1 + 0.2, Decimal("0.01"), "", datetime(2000, 1, 1, 0, 0, 0, 1, UTC),
     datetime.fromisoformat("2000-01-01"), None),
    (5, 1, True, -0.0, Decimal("7.00"), "NULL 中文 \t\r\n?%s$1", None, None, None),
]  # fmt: skip


def table(rows: list[tuple[Any, ...]], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


@pytest.fixture
def sink(pg_url: str) -> Iterator[PostgresSink]:
    with closing(PostgresSink(from_url(pg_url))) as made:
        yield made


def opened(sink: PostgresSink, schema: pa.Schema = SCHEMA, deletes: Deletes = Deletes.HARD) -> Session:
    write = Write(
        stream="t", dataset=Dataset("t", schema, ("id",)), mode=WriteMode.UPSERT, sync="s", run="r", key=("id",),
        deletes=deletes, incremental=True, unique=True,
    )  # fmt: skip
    sink.start("s", "r", False)
    sink.open(write)
    sink.begin(write, [SPLIT])
    return sink.session(write, SPLIT)


def commit(session: Session) -> None:
    session.commit(Checkpoint(SPLIT, {"n": 1}, Counts()))


def found(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        rows = connection.execute(
            "SELECT id, small, sure, share, amount, note, at::text, local::text, day::text FROM t ORDER BY id"
        )
        return rows.fetchall()


def test_few_rows_arrive_as_through_a_merge(sink: PostgresSink, pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(sink)) as session:
        written = session.write(table(ODD))
        assert (written.inserted, written.updated, written.unchanged) == (5, 0, 0)
        commit(session)
        quick = found(pg_url)
        monkeypatch.setattr(few, "MOST", 0)
        written = session.write(table(ODD))  # by COPY and a merge: nothing differs
        assert (written.inserted, written.updated, written.unchanged) == (0, 0, 5)
        commit(session)
    assert found(pg_url) == quick


def test_what_happened_to_few_rows_is_told(sink: PostgresSink, pg_url: str) -> None:
    with closing(opened(sink)) as session:
        session.write(table(ODD))
        commit(session)
        changed = [(1, *ODD[0][1:5], "new", *ODD[0][6:]), ODD[1], (6, *ODD[3][1:])]
        written = session.write(table(changed))
        assert (written.inserted, written.updated, written.unchanged) == (1, 1, 1)
        assert session.remove(table(ODD[2:4]).select(["id"])) == 2
        assert session.remove(table(ODD[2:4]).select(["id"])) == 0
        commit(session)
    assert [row[0] for row in found(pg_url)] == [1, 2, 5, 6]


def test_a_row_that_is_refused_is_found_among_few(sink: PostgresSink, pg_url: str) -> None:
    with closing(opened(sink)) as session:
        session.write(table(ODD))
        commit(session)
        with psycopg.connect(pg_url) as connection:
            connection.execute("ALTER TABLE t ADD CHECK (small <> 7)")
        rows = [(10, 6, *ODD[4][2:]), (11, 7, *ODD[4][2:]), (12, 8, *ODD[4][2:])]
        written = session.write(table(rows))
        assert (written.inserted, [row.code for row in written.refused]) == (2, ["target.refused"])
        again = session.write(table([(11, 7, *ODD[4][2:])]))  # in the open transaction, which goes on
        assert (again.inserted, len(again.refused)) == (0, 1)
        commit(session)
    assert [row[0] for row in found(pg_url)] == [1, 2, 3, 4, 5, 10, 12]


def test_new_rows_are_loaded_into_the_target_and_known_ones_merged(sink: PostgresSink, pg_url: str) -> None:
    many = [(id, 1, *ODD[4][2:]) for id in range(100, 500)]
    with closing(opened(sink)) as session:
        assert session.insert(table(many)).inserted == 400
        commit(session)
        more = [(id, 2, *ODD[4][2:]) for id in range(499, 900)]  # one of them is there
        written = session.insert(table(more))
        assert (written.inserted, written.updated) == (400, 1)
        commit(session)
    assert sum(row[1] for row in found(pg_url)) == 399 + 2 * 401


def test_row_security_and_rules_keep_new_rows_on_the_ordinary_way(sink: PostgresSink, pg_url: str) -> None:
    with psycopg.connect(pg_url) as connection:
        connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text); CREATE TABLE seen (id bigint)")
        connection.execute("CREATE RULE seeing AS ON UPDATE TO t DO ALSO INSERT INTO seen VALUES (NEW.id)")
    fields: list[pa.Field[Any]] = [FIELDS[0], pa.field("v", pa.string())]
    schema = pa.schema(fields)
    with closing(opened(sink, schema)) as session:
        landing = sink.landing(session._landing.write)  # type: ignore[attr-defined]  # of a SQL session
        assert not sink.inserts(sink.control(), landing)


def test_a_commit_under_an_older_fence_commits_nothing(sink: PostgresSink, pg_url: str) -> None:
    with closing(opened(sink)) as session:
        session.write(table(ODD))
        with psycopg.connect(pg_url) as connection:
            connection.execute("UPDATE _tongqu_checkpoint SET fence = fence + 1")
        with pytest.raises(FencedError):
            commit(session)
    assert found(pg_url) == []
