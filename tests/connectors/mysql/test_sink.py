"""MariaDB written through the sink's public door: types, refused rows, merging, publishing, resuming, COPY text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.sink import MysqlSink
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Bytes, Checkpoint, Counts, Deletes, Meta, Read, Split, Write, WriteMode
from tongqu.core.errors import ConnectError, FencedError, RefusedRowsError, SchemaError, WriteError

Sql = Callable[..., list[tuple[Any, ...]]]
Move = Callable[..., Any]
UPSERT, APPEND, REPLACE, HISTORY = WriteMode.UPSERT, WriteMode.APPEND, WriteMode.REPLACE, WriteMode.HISTORY


def logical(name: str, kind: str) -> pa.Field[Any]:
    return pa.field(name, pa.string(), metadata={Meta.LOGICAL: kind})


FIELDS: list[Any] = [
    pa.field("id", pa.int64(), nullable=False), ("flag", pa.bool_()), ("i8", pa.int8()), ("u8", pa.uint8()),
    ("i16", pa.int16()), ("u32", pa.uint32()), ("u64", pa.uint64()), ("f", pa.float32()), ("d", pa.float64()),
    ("price", pa.decimal128(38, 10)), ("wide", pa.decimal256(65, 30)), ("name", pa.string()),
    ("large", pa.large_string()), ("raw", pa.binary()), ("fixed", pa.binary(2)), ("day", pa.date32()),
    ("clock", pa.time64("us")), ("second", pa.time32("s")), ("at", pa.timestamp("us")),
    ("milli", pa.timestamp("ms")), ("instant", pa.timestamp("us", "Asia/Shanghai")),
    ("kind", pa.dictionary(pa.int8(), pa.string())), logical("doc", "json"), logical("uid", "uuid"),
    logical("number", "decimal"),
]  # fmt: skip
EVERY = pa.schema(FIELDS)
ROWS: dict[str, list[Any]] = {
    "id": [-(2**63), 2, 2**63 - 1], "flag": [True, None, False], "i8": [-128, None, 127], "u8": [0, None, 255],
    "i16": [-(2**15), None, 1], "u32": [0, None, 2**32 - 1], "u64": [0, None, 2**64 - 1],
    "f": [1.5, None, -0.25], "d": [5e-324, None, 1.7976931348623157e308],
    "price": [Decimal("1234567890123456789012345678.0123456789"), None, Decimal("-0.0000000001")],
    "wide": [Decimal("-12345678901234567890123456789012345.000000000000000000000000000001"), None, Decimal(0)],
    "name": ["a\tb\nc\r\\N\\", None, ""], "large": ["😀𠮷'\"\0x", None, "NULL"],
    "raw": [b"\x00\t\n\\\xff", None, b""], "fixed": [b"\x00\x01", None, b"\\N"],
    "day": [date(1, 1, 1), None, date(9999, 12, 31)],
    "clock": [time(0), None, time(23, 59, 59, 999999)], "second": [time(1, 2, 3), None, time(0)],
    "at": [datetime(1, 1, 1), None, datetime(9999, 12, 31, 23, 59, 59, 999999)],  # noqa: DTZ001
    "milli": [datetime(2024, 2, 29, 1, 2, 3, 4000), None, datetime(1970, 1, 1)],  # noqa: DTZ001
    "instant": [datetime(2050, 1, 1, 0, 0, 0, 1, UTC), None, datetime(1900, 1, 1, tzinfo=UTC)],
    "kind": ["好", None, "坏"], "doc": ['{"a": [1, "\\n"]}', None, "null"],
    "uid": ["123e4567-e89b-12d3-a456-426614174000", None, "00000000-0000-0000-0000-000000000000"],
    "number": ["1.50", None, "-99999999999999999999999999999999999.1"],
}  # fmt: skip


def decimals(*values: str) -> Any:
    return pa.array(values).cast(pa.decimal128(9, 3))


def ids(*values: int, v: list[Any] | None = None) -> pa.Table:
    return pa.table({"id": pa.array(values, pa.int64()), "v": pa.array(v or ["x"] * len(values), pa.string())})


@pytest.mark.parametrize("way", ["sink", "inserting"])
def test_every_arrow_type_arrives_exactly(
    way: str, request: pytest.FixtureRequest, source: MysqlSource, reading: Callable[..., Read], move: Move
) -> None:
    table = pa.table(ROWS, schema=EVERY)
    done = move(request.getfixturevalue(way), table, "every", key=("id",))
    assert (done.counts.inserted, done.refused) == (3, [])
    back = pa.Table.from_batches([batch.rows for batch in source.read(reading(source, "every"))])
    expected = {row["id"]: row for row in table.to_pylist()}
    for row in back.to_pylist():
        wanted = expected[row["id"]]
        for name, value in wanted.items():
            if name == "instant" and value is not None:
                assert row[name] == value.astimezone(UTC).replace(tzinfo=None)
            elif name == "number" and value is not None:
                assert row[name] == Decimal(value)
            else:
                assert row[name] == value, name


def test_lists_and_structs_become_json(sink: MysqlSink, sql: Sql, move: Move) -> None:
    table = pa.table({"id": [1, 2], "l": [[1, None], None], "s": [{"k": "汉"}, None]})
    move(sink, table)
    assert sql("SELECT l, s FROM target ORDER BY id") == [("[1,null]", '{"k":"汉"}'), (None, None)]


@pytest.mark.parametrize("way", ["sink", "inserting"])
@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("tinyint", pa.array([1, 2], pa.int32()), pa.array([300], pa.int32())),
        ("int", pa.array([1.0, 2.0]), pa.array([1.5])),
        ("int", pa.array(["1", "2"]), pa.array(["1.5"])),
        ("int unsigned", pa.array([1, 2]), pa.array([-1])),
        ("decimal(5,2)", decimals("1.25", "2"), decimals("1.255")),
        ("float", pa.array([0.5, 2.0]), pa.array([0.1])),
        ("double", pa.array([1, 2**53]), pa.array([2**53 + 1])),
        ("double", pa.array([0.1, 2.0]), pa.array([float("nan")])),
        ("varchar(3)", pa.array(["abc", ""]), pa.array(["abcd"])),
        ("varchar(3) NOT NULL", pa.array(["abc", ""]), pa.array([None], pa.string())),
        ("varchar(9) CHARACTER SET latin1", pa.array(["é", ""]), pa.array(["汉"])),
        ("enum('a','b')", pa.array(["a", "b"]), pa.array(["1"])),
        ("date", pa.array(["2024-02-29", "2023-01-01"]), pa.array(["0000-00-00"])),
        ("datetime", pa.array([0, 1_000_000], pa.timestamp("us")), pa.array([1], pa.timestamp("us"))),
        ("timestamp NULL", pa.array([1_000_000, 2_000_000], pa.timestamp("us")), pa.array([2**52], pa.timestamp("us"))),
        ("year", pa.array([1999, 2024]), pa.array([99])),
        ("bit(4)", pa.array([1, 15]), pa.array([16])),
        ("json", pa.array(["{}", "[1]"]), pa.array(["{"])),
        ("int CHECK (v > 0)", pa.array([1, 2]), pa.array([-1])),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_row_by_row(
    way: str, column: str, *, good: Any, bad: Any, request: pytest.FixtureRequest, sql: Sql, move: Move
) -> None:
    sql(f"CREATE TABLE target (id bigint PRIMARY KEY, v {column})")
    values = pa.concat_arrays([good.slice(0, 1), bad, good.slice(1)])
    done = move(request.getfixturevalue(way), pa.table({"id": [1, 2, 3], "v": values}), mode=APPEND, key=("id",))
    assert [row.original.startswith('{"id": 2') for row in done.refused] == [True]
    assert (done.counts.inserted, sql("SELECT id FROM target ORDER BY id")) == (2, [(1,), (3,)])


def test_duplicates_in_an_append_are_refused(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, v varchar(9))", "INSERT INTO target VALUES (2, 'old')")
    done = move(sink, ids(1, 2, 3), mode=APPEND)
    assert [row.code for row in done.refused] == ["target.refused"]
    assert sql("SELECT id, v FROM target ORDER BY id") == [(1, "x"), (2, "old"), (3, "x")]


@pytest.mark.parametrize("way", ["sink", "inserting"])
def test_an_upsert_counts_truthfully(way: str, request: pytest.FixtureRequest, sql: Sql, move: Move) -> None:
    writer = request.getfixturevalue(way)
    move(writer, ids(1, 2, 3, v=["a", "b", None]), mode=UPSERT, key=("id",))
    done = move(writer, ids(2, 3, 4, 4, v=["B", None, "n", "m"]), mode=UPSERT, key=("id",), run="r2")
    counts = done.counts
    assert (counts.inserted, counts.updated, counts.unchanged, counts.merged) == (1, 1, 1, 1)
    assert sql("SELECT id, v FROM target ORDER BY id") == [(1, "a"), (2, "B"), (3, None), (4, "m")]


def test_keys_are_equal_as_the_target_says_and_changes_are_exact(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (k varchar(9) COLLATE utf8mb4_unicode_ci PRIMARY KEY, v text COLLATE utf8mb4_unicode_ci)")
    move(sink, pa.table({"k": ["a"], "v": ["é"]}), mode=UPSERT, key=("k",))
    done = move(sink, pa.table({"k": ["A", "b"], "v": ["e", "x"]}), mode=UPSERT, key=("k",), run="r2")
    assert (done.counts.inserted, done.counts.updated) == (1, 1)
    assert sql("SELECT k, v FROM target ORDER BY k") == [("A", "e"), ("b", "x")]


def test_a_new_table_keeps_distinct_keys_distinct(sink: MysqlSink, sql: Sql, move: Move) -> None:
    keys = ["a", "A", "á", "a ", "", "汉"]
    done = move(sink, pa.table({"k": keys, "v": list(range(6))}), key=("k",))
    assert (done.counts.inserted, done.refused) == (6, [])


def test_collations_of_another_server_are_left_out(sink: MysqlSink, sql: Sql, move: Move) -> None:
    native = {Meta.NATIVE: "mysql:varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci"}
    schema = pa.schema([pa.field("k", pa.string(), metadata=native), pa.field("v", pa.string(), metadata=native)])
    done = move(sink, pa.table({"k": ["a", "A"], "v": ["汉", "b"]}, schema=schema), key=("k",))
    assert (done.counts.inserted, sql("SELECT v FROM target WHERE k = 'a'")) == (2, [("汉",)])


def test_an_upsert_needs_no_index_in_the_target(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (id bigint, v varchar(9))", "INSERT INTO target SELECT seq, 'x' FROM seq_1_to_20000")
    done = move(sink, ids(*range(10_001, 30_001)), mode=UPSERT, key=("id",))
    assert (done.counts.inserted, done.counts.unchanged) == (10_000, 10_000)


def test_a_second_unique_key_does_not_redirect_the_merge(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql(
        "CREATE TABLE target (id bigint PRIMARY KEY, v varchar(9) UNIQUE)",
        "INSERT INTO target VALUES (1, 'a'), (2, 'b')",
    )
    done = move(sink, ids(1, 3, v=["b", "c"]), mode=UPSERT, key=("id",))
    assert [("Duplicate entry" in row.message) for row in done.refused] == [True]
    assert sql("SELECT id, v FROM target ORDER BY id") == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize(("deletes", "left"), [(Deletes.HARD, [(1,), (3,)]), (Deletes.SOFT, [(1,), (2,), (3,)])])
def test_a_full_upsert_finds_deletes(deletes: Deletes, left: Any, sink: MysqlSink, sql: Sql, move: Move) -> None:
    more = {"mode": UPSERT, "key": ("id",), "deletes": deletes}
    move(sink, ids(1, 2), **more)
    done = move(sink, ids(1, 3, 3), run="r2", started_at="2026-02-03T04:05:06.000007+00:00", **more)
    written = done.written
    assert (written.inserted, written.unchanged, written.merged, written.deleted) == (1, 1, 1, 1)
    assert sql("SELECT id FROM target ORDER BY id") == left
    if deletes is Deletes.SOFT:
        gone = sql("SELECT CAST(_deleted_at AS CHAR) FROM target WHERE id = 2")
        assert gone == [("2026-02-03 04:05:06.000007",)]
        back = move(sink, ids(1, 2, 3), run="r3", **more).written
        assert (back.updated, back.unchanged) == (1, 2)
        assert sql("SELECT COUNT(*) FROM target WHERE _deleted_at IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("incremental", [True, False])
def test_history_keeps_versions(incremental: bool, sink: MysqlSink, sql: Sql, move: Move) -> None:
    more: dict[str, Any] = {"mode": HISTORY, "key": ("id",), "incremental": incremental, "deletes": Deletes.HARD}
    move(sink, ids(1, 2, v=["a", "b"]), **more)
    done = move(sink, ids(1, 3, v=["A", "c"]), run="r2", started_at="2026-02-01T00:00:00+00:00", **more)
    counts = done.counts if incremental else done.written
    assert (counts.inserted, counts.updated) == (1, 1)
    assert counts.deleted == (0 if incremental else 1)
    closed = "2026-02-01 00:00:00.000000"
    found = sql("SELECT id, v, CAST(_valid_to AS CHAR), _current FROM target ORDER BY id, _valid_from")
    second = (2, "b", None, 1) if incremental else (2, "b", closed, 0)
    assert found == [(1, "a", closed, 0), (1, "A", None, 1), second, (3, "c", None, 1)]


def test_replace_swaps_and_keeps_the_old_generation(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, v varchar(9) DEFAULT 'd' COMMENT '值', KEY by_v (v))",
        "INSERT INTO target VALUES (9, 'old')", "CREATE VIEW seen AS SELECT id FROM target")  # fmt: skip
    table = ids(1, 2).append_column("more", pa.array([1, 2]))
    move(sink, table, key=("id",))
    assert sql("SELECT id FROM seen ORDER BY id") == [(1,), (2,)]
    kept = [name for (name,) in sql("SHOW TABLES LIKE '\\_tongqu\\_previous%'")]
    assert sql(f"SELECT id FROM `{kept[0]}`") == [(9,)]
    assert sql("SELECT COLUMN_COMMENT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
               "AND TABLE_NAME = 'target' AND COLUMN_NAME = 'v'") == [("值",)]  # fmt: skip


def test_a_referenced_table_is_refilled_in_place(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, v varchar(9))", "INSERT INTO target VALUES (1, 'a'), (2, 'b')",
        "CREATE TABLE child (id int PRIMARY KEY, t bigint, FOREIGN KEY (t) REFERENCES target (id))",
        "INSERT INTO child VALUES (1, 1)")  # fmt: skip
    written = move(sink, ids(1, 3), key=("id",)).written
    assert (written.updated, written.inserted, written.deleted) == (1, 1, 1)
    assert sql("SELECT COUNT(*) FROM child JOIN target ON t = target.id") == [(1,)]


def test_myisam_and_views_are_refused(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (id bigint) ENGINE=MyISAM", "CREATE VIEW looked AS SELECT 1 AS id")
    with pytest.raises(SchemaError, match="MyISAM table: it has no transactions"):
        move(sink, ids(1), mode=APPEND)
    with pytest.raises(SchemaError, match="is a view"):
        move(sink, ids(1), "looked", mode=APPEND)


def test_the_target_grows_and_computed_columns_are_left_alone(sink: MysqlSink, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, twice bigint AS (id * 2) STORED)")
    table = pa.table({"id": [1], "twice": [99], "new": ["n"]})
    move(sink, table, mode=UPSERT, key=("id",))
    assert sql("SELECT id, twice, new FROM target") == [(1, 2, "n")]


def test_a_run_resumes_after_every_commit(
    sink: MysqlSink, mysql_url: str, sql: Sql, writing: Callable[..., Write], move: Move
) -> None:
    table, split = ids(*range(10)), Split("0", "target")
    for cut in range(0, 10, 3):
        write = writing(table, key=("id",), sync=f"s{cut}")
        sink.start(write.sync, write.run, restart=False)
        sink.open(write)
        sink.begin(write, [split])
        session = sink.session(write, split)
        session.write(table.slice(0, cut))
        session.commit(Checkpoint(split, {"at": cut}, Counts(inserted=cut)))
        session.write(table.slice(cut, 2))  # never committed
        session.close()
        other = MysqlSink(from_url(mysql_url))
        other.start(write.sync, "another", restart=False)
        opened = other.open(write)
        assert opened.checkpoints["0"].position == {"at": cut}
        with pytest.raises(FencedError):
            late = sink.session(write, split)
            late.write(table.slice(cut, 1))
            late.commit(Checkpoint(split, {"at": 99}, Counts()))
        late.close()
        session = other.session(write, split)
        session.write(table.slice(cut))
        session.commit(Checkpoint(split, {"end": True}, Counts(inserted=10), done=True))
        session.close()
        other.finish(write, Counts(inserted=10), None)
        assert other.finish(write, Counts(inserted=10), None).inserted == 0
        other.close()
        assert sql("SELECT COUNT(*) FROM target") == [(10,)]


def test_a_load_that_is_killed_leaves_nothing(sink: MysqlSink, sql: Sql, writing: Callable[..., Write]) -> None:
    sql("CREATE TABLE target (id bigint, v longtext)")
    write, split = writing(ids(1), mode=APPEND), Split("0", "target")
    sink.start(write.sync, write.run, restart=False)
    sink.open(write)
    sink.begin(write, [split])
    session = sink.session(write, split)

    def blocks() -> Iterator[bytes]:
        yield b"1\tx\n" * 100_000
        (victim,) = sql("SELECT id FROM information_schema.processlist WHERE info LIKE 'LOAD DATA%'")[0]
        sql(f"KILL {victim}")
        for _ in range(200):
            yield b"2\ty\n" * 100_000

    with pytest.raises(ConnectError):
        session.copy_in(Bytes("pgcopy-text", ("id", "v"), blocks(), lambda: 0, lambda: 0, {}))
    session.abort()
    session.close()
    assert sql("SELECT COUNT(*) FROM target") == [(0,)]
    assert not sink.reopen(write).finished


def test_copy_text_from_postgres_is_loaded_as_it_is_meant(
    sink: MysqlSink, sql: Sql, writing: Callable[..., Write]
) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, t longtext, b longblob, at datetime(6), ok tinyint(1))")
    fields: list[Any] = [("id", pa.int64()), ("t", pa.string()), ("b", pa.binary()), ("at", pa.timestamp("us", "UTC")),
                         ("ok", pa.bool_())]  # fmt: skip
    schema = pa.schema(fields)
    write, split = writing(schema.empty_table(), mode=UPSERT, key=("id",)), Split("0", "target")
    sink.start(write.sync, write.run, restart=False)
    sink.open(write)
    sink.begin(write, [split])
    kinds = ["bigint", "text", "bytea", "timestamp(6) with time zone", "boolean"]
    assert sink.accepts(write, "pgcopy-text", kinds) == [*kinds[:3], "timestamp without time zone", "integer"]
    assert sink.accepts(write, "pgcopy-text", ["integer[]", "interval", "text", "date", "text"]) == [None] * 5
    lines = (
        b"1\t\\b\\f\\v\\t\\n\\r\\\\f\\\\N\\\\\t\\\\x00ff\t2024-01-02 03:04:05.5\t1\n"
        b"2\t\\N\t\\N\t\\N\t\\N\n3\t\t\\\\x\t1000-01-01 00:00:00\t0\n"
    )
    for cut in (7, 3, 1000):
        chunks = iter([lines[at : at + cut] for at in range(0, len(lines), cut)])
        session = sink.session(write, split)
        session.copy_in(Bytes("pgcopy-text", tuple(schema.names), chunks, lambda: 3, lambda: 3, {}))
        session.commit(Checkpoint(split, {"at": cut}, Counts()))
        session.close()
        found = sql("SELECT t, b, CAST(at AS CHAR), ok FROM target ORDER BY id")
        assert found == [
            ("\b\f\v\t\n\r\\f\\N\\", b"\x00\xff", "2024-01-02 03:04:05.500000", 1),
            (None, None, None, None),
            ("", b"", "1000-01-01 00:00:00.000000", 0),
        ]
        session = sink.session(write, split)
        with pytest.raises(RefusedRowsError):
            session.copy_in(
                Bytes("pgcopy-text", tuple(schema.names), iter([b"4\tx\t\\N\tinfinity\t1\n"]), lambda: 1, lambda: 1, {})
            )
        session.close()


def test_a_server_gets_no_file_it_was_not_offered(mysql_url: str, sql: Sql) -> None:
    db = MysqlDb(from_url(mysql_url))
    sql("CREATE TABLE stolen (t text)")
    with pytest.raises(WriteError, match="asked for a file that was not offered"):
        db.run("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE stolen")
    assert sql("SELECT COUNT(*) FROM stolen") == [(0,)]
    db.close()


@pytest.mark.parametrize("mode", [REPLACE, UPSERT])
def test_two_sessions_write_at_the_same_time(
    mode: WriteMode, sink: MysqlSink, sql: Sql, writing: Callable[..., Write]
) -> None:
    table = ids(*range(2000))
    write, splits = writing(table, key=("id",), mode=mode), [Split("0", "target"), Split("1", "target")]
    sink.start(write.sync, write.run, restart=False)
    sink.open(write)
    sink.begin(write, splits)

    def work(number: int) -> None:
        session = sink.session(write, splits[number])
        for start in range(number * 1000, number * 1000 + 1000, 100):
            session.write(table.slice(start, 100))
            session.commit(Checkpoint(splits[number], {"at": start}, Counts()))
        session.commit(Checkpoint(splits[number], {"end": True}, Counts(inserted=1000), done=True))
        session.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.finish(write, Counts(inserted=2000), None)
    assert sql("SELECT COUNT(*) FROM target") == [(2000,)]


def test_check_names_the_stages(sink: MysqlSink, inserting: MysqlSink) -> None:
    stages = [stage.partition(":")[0] for stage in sink.check()]
    assert stages == ["dns", "tcp", "tls", "login", "privilege", "load data"]
    assert list(inserting.check())[-1].startswith("load data: off")


def test_names_with_characters_that_no_name_has_are_told(sink: MysqlSink, sql: Sql, move: Move) -> None:
    with pytest.raises(SchemaError, match="😀"):
        move(sink, ids(1), name="a.b😀")
    with pytest.raises(SchemaError, match="a column cannot be called '😀'") as caught:
        move(sink, ids(1).rename_columns(["id", "😀"]))
    assert caught.value.field == "😀"


def test_shapes_on_a_map_are_kept_to_the_bit(sink: MysqlSink, source: MysqlSource, sql: Sql, move: Move) -> None:
    sql("CREATE TABLE src (id int PRIMARY KEY, g geometry, p point NOT NULL)",
        "INSERT INTO src VALUES (1, ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 4326), POINT(1, 2)),"
        " (2, NULL, POINT(0, 0))")  # fmt: skip
    (dataset,) = source.datasets(["src"])
    (split,) = source.splits(dataset, 1)
    rows = pa.Table.from_batches([batch.rows for batch in source.read(Read(dataset, split))], dataset.schema)
    move(sink, rows, "dst", UPSERT, key=("id",))
    again = move(sink, rows, "dst", UPSERT, key=("id",), run="r2")
    assert again.counts.unchanged == 2
    seen = "SELECT id, ST_AsText(g), ST_SRID(g), ST_AsText(p) FROM {} ORDER BY id"
    assert sql(seen.format("dst")) == sql(seen.format("src"))
