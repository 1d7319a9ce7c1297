"""MariaDB read through the source's public door: types, ranges, positions, bad rows, COPY text, horizons."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pymysql
import pytest

from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Batch, Bytes, Meta, Mode, Read, Split
from tongqu.core.errors import AuthError, ConnectError, NotFoundError, SchemaError
from tongqu.core.select import Column, Select

Sql = Callable[..., list[tuple[Any, ...]]]
Reading = Callable[..., Read]

EVERY_TYPE = """
CREATE TABLE every (
  id bigint PRIMARY KEY, t8 tinyint, u8 tinyint unsigned, i24 mediumint, u32 int unsigned, u64 bigint unsigned,
  flag bit(1), bits bit(40), price decimal(38,10), huge decimal(65,30), f float, d double,
  name varchar(40) COMMENT '名称', note longtext, latin varchar(20) CHARACTER SET latin1,
  gbk varchar(20) CHARACTER SET gbk,
  raw varbinary(20), lump longblob, day date, clock time(6), at datetime(6), stamp timestamp(6) NULL, y year,
  mood enum('好','坏'), tags set('a','b'), doc json, doubled bigint AS (id * 2) STORED, uid uuid
) DEFAULT CHARSET=utf8mb4 COMMENT '全部类型'
"""
FULL_ROW = (
    "INSERT INTO every (id,t8,u8,i24,u32,u64,flag,bits,price,huge,f,d,name,note,latin,gbk,raw,lump,day,clock,at,"
    "stamp,y,mood,tags,doc,uid) VALUES (4611686018427387904,-128,255,-8388608,4294967295,18446744073709551615,1,"
    "1099511627775,1234567890123456789012345678.0123456789,12345678901234567890123456789012345.000000000000000000000000000001,"
    "0.1,0.1,'a\\tb\\nc\\\\N\\r','😀\\0\\'\"', 'é','汉字',X'00FF5C0A',X'',"
    "'9999-12-31','23:59:59.999999','0001-01-01 00:00:00.000001','2038-01-19 03:14:07.999999',2155,'坏','a,b',"
    "'{\"k\": [1, null]}','123e4567-e89b-12d3-a456-426614174000')"
)
EXPECTED = {
    "id": 4611686018427387904, "t8": -128, "u8": 255, "i24": -8388608, "u32": 4294967295,
    "u64": 18446744073709551615, "flag": True, "bits": 1099511627775,
    "price": Decimal("1234567890123456789012345678.0123456789"),
    "huge": Decimal("12345678901234567890123456789012345.000000000000000000000000000001"),
    "f": 0.10000000149011612, "d": 0.1, "name": "a\tb\nc\\N\r", "note": "😀\0'\"", "latin": "é", "gbk": "汉字",
    "raw": b"\x00\xff\\\n", "lump": b"", "day": date(9999, 12, 31), "clock": time(23, 59, 59, 999999),
    "at": datetime(1, 1, 1, 0, 0, 0, 1), "stamp": datetime(2038, 1, 19, 3, 14, 7, 999999, UTC), "y": 2155,  # noqa: DTZ001
    "mood": "坏", "tags": "a,b", "doc": '{"k": [1, null]}', "doubled": -2,
    "uid": "123e4567-e89b-12d3-a456-426614174000",
}  # fmt: skip


def table_of(batches: list[Batch]) -> pa.Table:
    return pa.Table.from_batches([batch.rows for batch in batches])


def ids_of(batches: Iterator[Batch]) -> list[Any]:
    found: list[Any] = table_of(list(batches)).column("id").to_pylist()
    return sorted(found)


def drained(data: Iterator[Bytes]) -> list[tuple[bytes, int, int, Any]]:
    """Content, rows, rows looked at and position of each chunk."""
    return [(b"".join(bytes(b) for b in one.chunks), one.rows(), one.read(), one.position) for one in data]


def test_every_type_is_read_exactly(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql(EVERY_TYPE.replace("id * 2", "-2"), FULL_ROW, "INSERT INTO every (id) VALUES (1)")
    empty, full = sorted(table_of(list(source.read(reading(source, "every")))).to_pylist(), key=lambda row: row["id"])
    assert full == EXPECTED
    assert set(empty.values()) == {1, -2, None}


def test_what_columns_mean_travels_in_the_schema(source: MysqlSource, sql: Sql) -> None:
    sql(EVERY_TYPE)
    dataset = source.datasets(["every"])[0]
    meta = {f.name: {k.decode(): v.decode() for k, v in (f.metadata or {}).items()} for f in dataset.schema}
    assert (dataset.title, dataset.key, dataset.schema.field("id").nullable) == ("全部类型", ("id",), False)
    assert meta["name"][Meta.TITLE] == "名称"
    assert [meta[name][Meta.LOGICAL] for name in ("doc", "uid", "mood")] == ["json", "uuid", "enum"]
    assert meta["doubled"][Meta.GENERATED] == "stored"
    assert meta["u64"][Meta.NATIVE] == "mysql:bigint(20) unsigned"


def test_zero_dates_and_long_times_become_bad_rows(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql(
        "CREATE TABLE dates (id int PRIMARY KEY, d date, t time)",
        "SET sql_mode = ''",
        "INSERT INTO dates VALUES (1, '2024-02-29', '01:00:00'), (2, '0000-00-00', NULL), (3, NULL, '-26:00:00')",
    )
    (batch,) = source.read(reading(source, "dates"))
    assert batch.rows.column("id").to_pylist() == [1]
    assert [(bad.field, bad.value) for bad in batch.bad] == [("d", "0000-00-00"), ("t", "-26:00:00")]
    assert json.loads(batch.bad[0].original)["id"] == "2"


def test_a_read_resumes_after_every_position_and_loses_nothing(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql(
        "CREATE TABLE pairs (a varchar(5) COLLATE utf8mb4_unicode_ci, b int, PRIMARY KEY (a, b))",
        "INSERT INTO pairs SELECT ELT(1 + seq % 4, 'a', 'B', 'ç', '汉'), seq FROM seq_1_to_100",
    )
    read = reading(source, "pairs", chunk_rows=7)
    seen = [(batch.rows.num_rows, batch.position) for batch in source.read(read)]
    assert sum(rows for rows, _ in seen) == 100
    for number, (_, position) in enumerate(seen):
        rest = sum(batch.rows.num_rows for batch in source.read(replace(read, after=position)))
        assert rest == 100 - sum(rows for rows, _ in seen[: number + 1])
    again = table_of(list(source.read(replace(read, after=seen[2][1], until=seen[3][1]))))
    assert again.num_rows == seen[3][0]


def test_splits_cover_all_rows_once(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql("CREATE TABLE many (id bigint PRIMARY KEY)", "INSERT INTO many SELECT seq * 3 FROM seq_1_to_1000")
    dataset = replace(source.datasets(["many"])[0], rows=1_000_000)
    splits = source.splits(dataset, 4)
    ids: list[Any] = [
        value
        for split in splits
        for batch in source.read(reading(source, "many", split=split))
        for value in batch.rows.column("id").to_pylist()
    ]
    assert len(splits) == 4
    assert sorted(ids) == [n * 3 for n in range(1, 1001)]


def test_a_table_without_a_key_is_one_range(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql("CREATE TABLE loose (a int, e enum('z','a'))", "INSERT INTO loose VALUES (1, 'z'), (1, 'z')")
    batches = list(source.read(reading(source, "loose", chunk_rows=1)))
    assert not source.can_resume(source.datasets(["loose"])[0])
    assert (table_of(batches).num_rows, batches[-1].position) == (2, {"end": True})


def test_enum_keys_are_not_cut(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql("CREATE TABLE moods (e enum('z','a') PRIMARY KEY)", "INSERT INTO moods VALUES ('z'), ('a')")
    assert table_of(list(source.read(reading(source, "moods", chunk_rows=1)))).num_rows == 2


def test_copy_text_is_what_postgres_reads(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql(EVERY_TYPE.replace("id * 2", "-2"), FULL_ROW.replace("😀\\0", "😀"), "INSERT INTO every (id) VALUES (1)")
    read = reading(source, "every")
    select = Select(tuple(Column(name) for name in read.dataset.schema.names))
    ((content, rows, looked, position),) = drained(source.copy_out(read, select, "pgcopy-text"))
    empty, full = content.decode().splitlines()
    assert (rows, looked, position) == (2, 2, {"end": True})
    assert empty.split("\t") == ["1", *["\\N"] * 25, "-2", "\\N"]
    cells = dict(zip(read.dataset.schema.names, full.split("\t"), strict=True))
    assert cells["name"] == "a\\tb\\nc\\\\N\\r"
    assert (cells["raw"], cells["lump"], cells["flag"]) == ("\\\\x00FF5C0A", "\\\\x", "t")
    assert (cells["f"], cells["latin"], cells["gbk"]) == ("0.10000000149011612", "é", "汉字")
    assert cells["stamp"] == "2038-01-19 03:14:07.999999+00"
    kinds = dict(zip(read.dataset.schema.names, source.wire_types(read.dataset, select), strict=True))
    assert (kinds["u64"], kinds["raw"], kinds["doc"], kinds["flag"]) == ("numeric(20,0)", "bytea", "json", "boolean")


def test_a_pushed_filter_counts_what_it_looked_at(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql("CREATE TABLE n (id int PRIMARY KEY)", "INSERT INTO n SELECT seq FROM seq_1_to_10")
    select = Select((Column("id"), Column("twice", "id * 2", pa.field("twice", pa.int64()))), where="id % 2 = 0")
    found = drained(source.copy_out(reading(source, "n", chunk_rows=6), select, "pgcopy-text"))
    assert [(rows, looked) for _, rows, looked, _ in found] == [(3, 6), (2, 4)]
    assert found[0][0] == b"2\t4\n4\t8\n6\t12\n"


def test_an_incremental_read_stops_below_open_transactions(source: MysqlSource, sql: Sql, mysql_url: str) -> None:
    sql("CREATE TABLE ev (id int PRIMARY KEY, at datetime(6) NOT NULL)", "INSERT INTO ev VALUES (1, '2020-01-01')")
    dataset = source.datasets(["ev"])[0]
    assert source.horizon(dataset, "at", None) == {"cursor": ["2020-01-01 00:00:00"]} or source.horizon(
        dataset, "at", None
    ) == {"cursor": ["2020-01-01 00:00:00.000000"]}
    other = _other(mysql_url)
    with other.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("INSERT INTO ev VALUES (2, UTC_TIMESTAMP(6))")
    sql("INSERT INTO ev VALUES (3, UTC_TIMESTAMP(6) + INTERVAL 1 SECOND)")
    bound = source.horizon(dataset, "at", None)
    other.commit()
    other.close()
    late = sql("SELECT CAST(at AS CHAR) FROM ev WHERE id = 2")[0][0]
    assert bound is not None
    assert bound["cursor"][0] < late


def test_a_number_cursor_waits_for_writers(sql: Sql, mysql_url: str) -> None:
    hurried = MysqlSource(from_url(mysql_url + "?wait_seconds=0"))
    sql("CREATE TABLE num (id int PRIMARY KEY)", "INSERT INTO num VALUES (1)")
    dataset = hurried.datasets(["num"])[0]
    other = _other(mysql_url)
    with other.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("INSERT INTO num VALUES (2)")
    sql("INSERT INTO num VALUES (3)")
    assert hurried.horizon(dataset, "id", {"cursor": ["1"]}) == {"cursor": ["1"]}
    other.commit()
    other.close()
    patient = MysqlSource(from_url(mysql_url))
    assert patient.horizon(dataset, "id", {"cursor": ["1"]}) == {"cursor": ["3"]}
    hurried.close()
    patient.close()


def test_incremental_rows_come_once_or_with_their_ties(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql("CREATE TABLE ch (id int PRIMARY KEY, v int NOT NULL)", "INSERT INTO ch VALUES (1,1),(2,1),(3,2),(4,2),(5,3)")
    split = Split("0", "ch", {"after": {"cursor": ["1"]}, "until": {"cursor": ["2"]}})
    read = reading(source, "ch", split=split, mode=Mode.INCREMENTAL, cursor="v", chunk_rows=1)
    assert ids_of(source.read(read)) == [1, 2, 3, 4]
    assert ids_of(source.read(replace(read, ties=False))) == [3, 4]


def test_null_cursors_are_refused(source: MysqlSource, sql: Sql) -> None:
    sql("CREATE TABLE holes (id int PRIMARY KEY, v int)", "INSERT INTO holes VALUES (1, NULL)")
    with pytest.raises(SchemaError, match="1 rows of 'holes' have no 'v'"):
        source.horizon(source.datasets(["holes"])[0], "v", None)


def test_a_killed_reader_is_a_lost_connection(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql(
        "CREATE TABLE big (id int PRIMARY KEY, t text)",
        "INSERT INTO big SELECT seq, REPEAT('x', 2000) FROM seq_1_to_40000",
    )
    batches = source.read(reading(source, "big", batch_rows=1000))
    next(batches)
    victims = sql(
        "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT%FROM%big%' AND id <> CONNECTION_ID()"
    )
    sql(*(f"KILL {victim}" for (victim,) in victims))
    with pytest.raises(ConnectError):
        list(batches)


def test_stop_ends_a_read(source: MysqlSource, sql: Sql, reading: Reading) -> None:
    sql("CREATE TABLE few (id int PRIMARY KEY)", "INSERT INTO few SELECT seq FROM seq_1_to_100")
    stop = threading.Event()
    batches = source.read(reading(source, "few", chunk_rows=10, stop=stop))
    next(batches)
    stop.set()
    assert len(list(batches)) <= 1


def test_errors_name_cause_and_hide_the_password(mysql_url: str, source: MysqlSource) -> None:
    settings = from_url(mysql_url)
    wrong = MysqlSource(settings.model_copy(update={"password": from_url("mysql://a:s3cret@h/d").password}))
    with pytest.raises(AuthError) as refused:
        list(wrong.check())
    assert "s3cret" not in f"{refused.value} {refused.value.hint} {refused.value.path}"
    with pytest.raises(NotFoundError, match="no table 'nowhere'"):
        source._table("nowhere")
    stages = [stage.partition(":")[0] for stage in source.check()]
    assert stages == ["dns", "tcp", "tls", "login", "privilege", "sample"]


def _other(url: str) -> pymysql.Connection[Any]:
    settings = from_url(url)
    assert settings.password is not None
    return pymysql.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password.get_secret_value(),
        database=settings.database,
        init_command="SET time_zone = '+00:00'",
    )


def test_without_the_privilege_to_see_transactions_the_read_stays_behind(
    sql: Sql, mysql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = from_url(mysql_url)
    sql("CREATE TABLE ev (id int PRIMARY KEY, at timestamp(6) NULL)", "INSERT INTO ev VALUES (1, UTC_TIMESTAMP(6))",
        "CREATE OR REPLACE USER limited@'127.0.0.1' IDENTIFIED BY 'p'",
        f"GRANT SELECT ON `{settings.database}`.* TO limited@'127.0.0.1'")  # fmt: skip
    behind = from_url(f"mysql://limited:p@127.0.0.1:{settings.port}/{settings.database}?lag_seconds=60")
    limited = MysqlSource(behind)
    bound = limited.horizon(limited.datasets(["ev"])[0], "at", None)
    assert bound is not None
    assert bound["cursor"][0] < sql("SELECT CAST(at - INTERVAL 50 SECOND AS CHAR) FROM ev")[0][0]
    assert "PROCESS privilege" in caplog.text
    limited.close()
    sql("DROP USER limited@'127.0.0.1'")
