"""Values of the log are those of a full read, whatever their type."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tongqu.connectors.mysql.db import literal

Sql = Callable[..., list[tuple[Any, ...]]]
Following = Callable[..., Any]
Full = Callable[[str], pa.Table]

ADDRESSES = ("::", "::1", "1::", "::1.2.3.4", "::ffff:1.2.3.4", "1:0:0:2:0:0:0:3", "1:2:3:0:5:6:7:8", "0:0:1::")
UUIDS = ("018e4567-e89b-72d3-a456-426655440000", "018e4567-e89b-82d3-a456-426655440000", str(uuid.UUID(int=0)))
TEXTS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=12)
MOMENTS = st.datetimes(datetime.datetime.fromisoformat("1000-01-01"))
INSTANTS = st.datetimes(*map(datetime.datetime.fromisoformat, ("1971-01-01", "2037-12-31")))


def _whole(bits: int, *, unsigned: bool = False) -> st.SearchStrategy[str]:
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(low, high).map(str)


def _quoted(texts: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return texts.map(lambda value: literal(str(value)))


def _hex(size: int) -> st.SearchStrategy[str]:
    return st.binary(max_size=size).map(lambda value: f"X'{value.hex()}'")


def _decimal(precision: int, scale: int) -> st.SearchStrategy[str]:
    return st.integers(-(10**precision) + 1, 10**precision - 1).map(lambda n: str(Decimal(f"{n}e-{scale}")))


VALUES: dict[str, st.SearchStrategy[str]] = {
    "tinyint": _whole(8), "tinyint(1)": _whole(8), "tinyint unsigned": _whole(8, unsigned=True),
    "smallint": _whole(16), "smallint unsigned": _whole(16, unsigned=True),
    "mediumint": _whole(24), "mediumint unsigned": _whole(24, unsigned=True),
    "int": _whole(32), "int unsigned zerofill": _whole(32, unsigned=True),
    "bigint": _whole(64), "bigint unsigned": _whole(64, unsigned=True),
    "decimal(5,0)": _decimal(5, 0), "decimal(9,9)": _decimal(9, 9), "decimal(12,3)": _decimal(12, 3),
    "decimal(38,10)": _decimal(38, 10), "decimal(65,30)": _decimal(65, 30),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
    "double": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
    "varchar(20)": _quoted(TEXTS), "varchar(300)": _quoted(TEXTS), "char(20)": _quoted(TEXTS), "text": _quoted(TEXTS),
    "longtext": _quoted(TEXTS), "varchar(20) character set latin1": _quoted(st.text("abcé ÿ€", max_size=9)),
    "char(9) character set gbk": _quoted(st.text("a汉字 ", max_size=9)),
    "varchar(9) character set utf16": _quoted(st.text("a汉𝄞", max_size=9)),
    "binary(9)": _hex(9), "varbinary(300)": _hex(30), "tinyblob": _hex(9), "longblob": _hex(30),
    "date": _quoted(st.dates(datetime.date(1, 1, 1))),
    "time": _quoted(st.times().map(lambda t: t.replace(microsecond=0))),
    "time(3)": _quoted(st.times().map(lambda t: f"{t:%H:%M:%S}.{t.microsecond // 1000:03}")),
    "time(6)": _quoted(st.times()),
    "datetime": _quoted(MOMENTS.map(lambda t: t.replace(microsecond=0))), "datetime(1)": _quoted(MOMENTS.map(
        lambda t: t.replace(microsecond=t.microsecond // 100_000 * 100_000))), "datetime(6)": _quoted(MOMENTS),
    "timestamp null": _quoted(INSTANTS.map(lambda t: t.replace(microsecond=0))), "timestamp(5) null": _quoted(
        INSTANTS.map(lambda t: t.replace(microsecond=t.microsecond // 10 * 10))),
    "year": st.sampled_from(["0", "1901", "2026", "2155"]),
    "bit(1)": st.sampled_from(["0", "1"]), "bit(13)": _whole(13, unsigned=True), "bit(64)": _whole(64, unsigned=True),
    "enum('a','it''s','中')": _quoted(st.sampled_from(["a", "it's", "中"])),
    "set('a','b','c','d','e','f','g','h','i')": _quoted(st.sets(st.sampled_from("abcdefghi")).map(",".join)),
    "geometry": st.sampled_from(["POINT(1, 2)", "ST_GeomFromText('LINESTRING(0 0, 1.5 -2)', 4326)", "NULL"]),
    "json": _quoted(st.sampled_from(["{}", '{"a": [1, "中", null]}', "12", '"x"'])),
    "uuid": _quoted(st.uuids(version=4) | st.uuids(version=1) | st.sampled_from(UUIDS)),
    "inet6": _quoted(st.ip_addresses(v=6) | st.sampled_from(ADDRESSES)),
    "inet4": _quoted(st.ip_addresses(v=4)),
}  # fmt: skip


@pytest.fixture
def types(sql: Sql, following: Following) -> Any:
    """A table of all types, with computed columns behind; and its log."""
    columns = [f"c{number} {kind}" for number, kind in enumerate(VALUES)]
    computed = ["stored int AS (id + 1) STORED", "virtual varchar(9) AS (CONCAT('v', id)) VIRTUAL"]
    sql(f"CREATE TABLE t (id int PRIMARY KEY, {', '.join([*columns, *computed])}) CHARACTER SET utf8mb4")
    return following("t")


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), min_size=2, max_size=8))
def test_rows_of_the_log_are_those_of_a_full_read(sql: Sql, types: Any, full: Full, rows: list[Any]) -> None:
    first = int(sql("SELECT COUNT(*) FROM t")[0][0])
    for number, row in enumerate(rows, first):
        sql(f"INSERT INTO t (id, {', '.join(f'c{n}' for n in range(len(row)))}) VALUES "
            f"({number}, {', '.join('NULL' if value is None else value for value in row)})")  # fmt: skip
    logged = [batch.rows for batch in types.batches() if batch.kind == "rows"]
    read = full("t").slice(first)
    told = pa.Table.from_batches(logged)
    assert [name for name in read.column_names if told[name].type != read[name].type] == []
    assert {n: told[n].to_pylist() for n in read.column_names} == {n: read[n].to_pylist() for n in read.column_names}


def test_moments_that_do_not_exist_are_refused_as_a_full_read_refuses_them(
    sql: Sql, following: Following, mysql_url: str
) -> None:
    from tongqu.connectors.mysql.settings import from_url
    from tongqu.connectors.mysql.source import MysqlSource
    from tongqu.core.data import Read, Split

    sql("CREATE TABLE t (id int PRIMARY KEY, d date, s datetime(3), i timestamp(2) NULL, t time(1))")
    log = following("t")
    sql("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
    sql("INSERT INTO t VALUES (1, '2026-01-01', NULL, NULL, NULL)", "INSERT INTO t (id, d) VALUES (2, '0000-00-00')",
        "INSERT INTO t (id, s) VALUES (3, '2026-02-31 01:02:03.5')", "INSERT INTO t (id, i) VALUES (4, 0)",
        "INSERT INTO t (id, t) VALUES (5, '-100:00:00.5'), (6, '24:00:00')",
        "INSERT INTO t (id, d) VALUES (7, '2026-00-10')")  # fmt: skip
    (batch,) = [batch for batch in log.batches() if batch.kind == "rows"]
    source = MysqlSource(from_url(mysql_url))
    dataset = source.datasets(["t"])[0]
    bad = [row for part in source.read(Read(dataset, Split("0", "t"))) for row in part.bad]
    source.close()
    assert batch.rows["id"].to_pylist() == [1]
    assert [(row.code, row.field, row.value, row.original) for row in batch.bad] == [
        (row.code, row.field, row.value, row.original) for row in bad
    ]
    assert [row.value for row in batch.bad] == [
        "0000-00-00", "2026-02-31 01:02:03.500", "0000-00-00 00:00:00.00", "-100:00:00.5", "24:00:00.0", "2026-00-10",
    ]  # fmt: skip


def test_a_row_with_a_moment_that_does_not_exist_can_be_deleted(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, d date)", "SET SESSION sql_mode = ''", "INSERT INTO t VALUES (1, 0)")
    log = following("t")
    sql("DELETE FROM t")
    assert log.changes() == [{"id": 1, "d": None, "_op": "d"}]


def test_rows_of_many_kinds_in_one_batch_keep_their_order(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    log = following("t")
    sql("BEGIN", "INSERT INTO t SELECT seq, IF(seq % 3, NULL, REPEAT('x', seq)) FROM seq_1_to_2000",
        "UPDATE t SET v = CONCAT('u', id) WHERE id % 2 = 0", "DELETE FROM t WHERE id > 1990", "COMMIT")  # fmt: skip
    told = log.changes()
    assert [row["_op"] for row in told] == ["c"] * 2000 + ["u"] * 1000 + ["d"] * 10
    assert [row["v"] for row in told[:2000]] == [None if n % 3 else "x" * n for n in range(1, 2001)]
    assert [row["v"] for row in told[2000:3000]] == [f"u{n}" for n in range(2, 2001, 2)]
