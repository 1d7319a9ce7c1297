"""Arrow batches copied as binary must read back as the server itself would have stored the same values."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.connectors.postgres import encode_rows
from tongqu.connectors.postgres.encode import HEADER, TRAILER, Encoder, supports
from tongqu.core.errors import CastError, SchemaError
from tongqu.testing.services import Postgres

Connection = psycopg.Connection[tuple[Any, ...]]

UTC = dt.UTC
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
MICROS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))  # noqa: DTZ001
SECONDS = MICROS.map(lambda at: at.replace(microsecond=0))
MILLIS = MICROS.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
NANO_RANGE = st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2262, 1, 1))  # noqa: DTZ001
DATES = st.dates()
TIMES = st.times()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value, ensure_ascii=False))
UUIDS = st.uuids()


def integers(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from([low, high, 0])


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    top = 10**precision - 1
    whole = st.integers(-top, top) | st.sampled_from([top, -top, 0, 1, -1]) | st.integers(-99_999, 99_999)
    return whole.map(lambda number: Decimal((int(number < 0), Decimal(number).as_tuple().digits, -scale)))


def zoned(naive: st.SearchStrategy[dt.datetime]) -> st.SearchStrategy[dt.datetime]:
    return naive.map(lambda at: at.replace(tzinfo=UTC))


def lists(element: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.none() | element, max_size=5)


CASES: list[tuple[pa.DataType, str, st.SearchStrategy[Any]]] = [
    (pa.int8(), "smallint", integers(8)),
    (pa.uint8(), "smallint", integers(8, signed=False)),
    (pa.int16(), "smallint", integers(16)),
    (pa.int16(), "bigint", integers(16)),
    (pa.uint16(), "integer", integers(16, signed=False)),
    (pa.int32(), "integer", integers(32)),
    (pa.int64(), "integer", integers(32)),
    (pa.uint32(), "bigint", integers(32, signed=False)),
    (pa.uint32(), "oid", integers(32, signed=False)),
    (pa.int64(), "bigint", integers(64)),
    (pa.uint64(), "bigint", integers(63, signed=False)),
    (pa.bool_(), "boolean", st.booleans()),
    (pa.float16(), "real", st.floats(width=16)),
    (pa.float32(), "real", st.floats(width=32)),
    (pa.float32(), "double precision", st.floats(width=32)),
    (pa.float64(), "double precision", st.floats()),
    (pa.int16(), "real", integers(16)),
    (pa.int32(), "double precision", integers(32)),
    (pa.int64(), "numeric", integers(64)),
    (pa.uint64(), "numeric(20,0)", integers(64, signed=False)),
    (pa.int32(), "numeric(14,3)", integers(32)),
    (pa.decimal32(5, 2), "numeric(5,2)", decimals(5, 2)),
    (pa.decimal64(18, 4), "numeric", decimals(18, 4)),
    (pa.decimal128(12, 2), "numeric(12,2)", decimals(12, 2)),
    (pa.decimal128(12, 2), "numeric(16,5)", decimals(11, 2)),
    (pa.decimal128(18, 3), "numeric", decimals(18, 3)),
    (pa.decimal128(38, 10), "numeric(38,10)", decimals(38, 10)),
    (pa.decimal128(38, 37), "numeric", decimals(38, 37)),
    (pa.decimal128(38, 10), "numeric(20,2)", decimals(20, 2)),
    (pa.decimal128(20, -3), "numeric", decimals(20, -3)),
    (pa.decimal128(20, 0), "numeric(10,-3)", decimals(10, -3)),
    (pa.decimal256(76, 30), "numeric", decimals(76, 30)),
    (pa.decimal256(76, 75), "numeric(76,75)", decimals(76, 75)),
    (pa.string(), "text", TEXT),
    (pa.string(), "character varying(40)", TEXT),
    (pa.large_string(), "text", TEXT),
    (pa.string_view(), "text", TEXT),
    (pa.dictionary(pa.int8(), pa.string()), "text", TEXT),
    (pa.string(), "character(5)", st.text("ab 中", max_size=5)),
    (pa.string(), "name", st.text("ab中", max_size=20)),
    (pa.string(), '"char"', st.text("aZ9", max_size=1)),
    (pa.string(), "json", JSON),
    (pa.string(), "jsonb", JSON.filter(lambda text: "\\u0000" not in text)),
    (pa.binary(), "bytea", st.binary(max_size=40)),
    (pa.large_binary(), "bytea", st.binary(max_size=40)),
    (pa.binary_view(), "bytea", st.binary(max_size=40)),
    (pa.binary(3), "bytea", st.binary(min_size=3, max_size=3)),
    (pa.date32(), "date", DATES),
    (pa.date64(), "date", DATES),
    (pa.time32("s"), "time without time zone", TIMES.map(lambda at: at.replace(microsecond=0))),
    (pa.time32("ms"), "time(3) without time zone", TIMES.map(lambda at: at.replace(microsecond=123_000))),
    (pa.time64("us"), "time without time zone", TIMES),
    (pa.time64("ns"), "time without time zone", TIMES),
    (pa.timestamp("s"), "timestamp without time zone", SECONDS),
    (pa.timestamp("ms"), "timestamp(3) without time zone", MILLIS),
    (pa.timestamp("us"), "timestamp without time zone", MICROS),
    (pa.timestamp("ns"), "timestamp without time zone", NANO_RANGE),
    (pa.timestamp("s", "UTC"), "timestamp(0) with time zone", zoned(SECONDS)),
    (pa.timestamp("us", "Asia/Shanghai"), "timestamp with time zone", zoned(MICROS)),
    (pa.binary(16), "uuid", UUIDS),
    (pa.uuid(), "uuid", UUIDS),
    (pa.string(), "uuid", UUIDS.map(str)),
    (pa.large_string(), "uuid", UUIDS.flatmap(lambda v: st.sampled_from([str(v).upper(), v.hex, f"{{{v}}}"]))),
    (pa.json_(), "jsonb", JSON.filter(lambda text: "\\u0000" not in text)),
    (pa.list_(pa.int64()), "integer[]", lists(integers(32))),
    (pa.list_(pa.string()), "text[]", lists(TEXT)),
    (pa.large_list(pa.large_string()), "character varying(40)[]", lists(TEXT)),
    (pa.list_(pa.decimal128(38, 2)), "numeric(38,2)[]", lists(decimals(38, 2))),
    (pa.list_(pa.float64()), "double precision[]", lists(st.floats())),
    (pa.list_(pa.bool_()), "boolean[]", lists(st.booleans())),
    (pa.list_(pa.timestamp("us", "UTC")), "timestamp with time zone[]", lists(zoned(MICROS))),
    (pa.list_(pa.date32()), "date[]", lists(DATES)),
    (pa.list_(pa.binary()), "bytea[]", lists(st.binary(max_size=9))),
]


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[Connection]:
    """One session for all tests here: each works in a temporary table of its own transaction."""
    postgres.mend()
    url = postgres.database()
    with psycopg.connect(url, autocommit=True) as session:
        session.prepare_threshold = None  # the temporary table differs from test to test
        session.execute("set timezone = 'UTC'")
        session.execute("set client_encoding = 'UTF8'")
        yield session
    postgres.drop(urlsplit(url).path[1:])


def arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array[Any]:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, arrow(values, kind.storage_type))
    if isinstance(kind, pa.DictionaryType):
        return arrow(values, kind.value_type).dictionary_encode().cast(kind)
    if kind == pa.binary(16):
        return pa.array([None if value is None else value.bytes for value in values], kind)
    if kind == pa.float16():
        return pa.array([None if value is None else np.float16(value) for value in values], kind)
    return pa.array(values, kind)


def copy(connection: Connection, batch: pa.RecordBatch, types: Sequence[str]) -> list[tuple[Any, ...]]:
    """COPY the batch into a table of these types; the columns as text, in the order of the first."""
    encoder = Encoder(batch.schema, types)
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(types))
    shown = ", ".join(f"c{i}::text" for i in range(len(types)))
    with connection.transaction():
        connection.execute(f"create temporary table t ({columns}) on commit drop")
        with connection.cursor() as cursor, cursor.copy("copy t from stdin (format binary)") as stream:
            stream.write(HEADER)
            stream.write(encoder.encode(batch))
            stream.write(TRAILER)
        return connection.execute(f"select {shown} from t order by t.c0").fetchall()


def stored(connection: Connection, values: Sequence[Any], pg_type: str) -> list[str | None]:
    """What the server makes of the values when a client sends them one by one as parameters."""
    if not values:
        return []
    rows = ", ".join(f"({i}, %s::{pg_type})" for i in range(len(values)))
    query = f"select v::text from (values {rows}) as t (n, v) order by n"
    return [text for (text,) in connection.execute(query, list(values)).fetchall()]


def between(array: pa.Array[Any]) -> pa.RecordBatch:
    """A batch in which the array stands between a row number and a text."""
    numbers = pa.array(range(len(array)), pa.int32())
    names = pa.array([None if i % 3 == 0 else f"第{i}行" for i in range(len(array))], pa.string())
    return pa.record_batch([numbers, array, names], names=["n", "value", "name"])


def column(connection: Connection, array: pa.Array[Any], pg_type: str) -> list[str | None]:
    rows = copy(connection, between(array), ["integer", pg_type, "text"])
    assert [row[0] for row in rows] == [str(i) for i in range(len(array))]
    assert [row[2] for row in rows] == [None if i % 3 == 0 else f"第{i}行" for i in range(len(array))]
    return [row[1] for row in rows]


@pytest.mark.parametrize(("kind", "pg_type", "values"), CASES, ids=[f"{k}->{p}" for k, p, _ in CASES])
def test_random_values_arrive_as_if_sent_one_by_one(
    connection: Connection, kind: pa.DataType, pg_type: str, values: st.SearchStrategy[Any]
) -> None:
    assert supports(kind, pg_type)

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn=st.lists(st.none() | values, max_size=20), skip=st.integers(0, 9), sparse=st.booleans())
    def check(drawn: list[Any], skip: int, sparse: bool) -> None:
        drawn = drawn if sparse else [value for value in drawn if value is not None]
        sliced = arrow(drawn, kind).slice(skip)
        assert column(connection, sliced, pg_type) == stored(connection, drawn[skip:], pg_type)

    check()


@pytest.mark.parametrize(("kind", "pg_type"), [(k, p) for k, p, _ in CASES], ids=[f"{k}->{p}" for k, p, _ in CASES])
def test_columns_of_nulls_and_batches_without_rows(connection: Connection, kind: pa.DataType, pg_type: str) -> None:
    assert column(connection, arrow([None] * 3, kind), pg_type) == [None, None, None]
    assert column(connection, arrow([], kind), pg_type) == []


D = Decimal
EDGES: list[tuple[pa.Array[Any], str, list[str | None]]] = [
    (pa.array([-(2**63), 2**63 - 1, 0, None]), "bigint", ["-9223372036854775808", "9223372036854775807", "0", None]),
    (
        pa.array([D("9" * 28 + "." + "9" * 10), D("-0.0000000001"), D(0), D("-0.00001")], pa.decimal128(38, 10)),
        "numeric(38,10)",
        ["9" * 28 + "." + "9" * 10, "-0.0000000001", "0.0000000000", "-0.0000100000"],
    ),
    (
        pa.array([D("10000.00"), D("0.01"), D("-9999.99")], pa.decimal128(12, 2)),
        "numeric",
        ["10000.00", "0.01", "-9999.99"],
    ),
    (pa.array([D("1.50"), D("-2.00")], pa.decimal128(9, 2)), "numeric(9,1)", ["1.5", "-2.0"]),
    (pa.array([D(-(10**76) + 1)], pa.decimal256(76, 0)), "numeric", ["-" + "9" * 76]),
    (pa.array([D("12E3")], pa.decimal128(5, -3)), "numeric", ["12000"]),
    (pa.array([2**64 - 1], pa.uint64()), "numeric", ["18446744073709551615"]),
    (
        pa.array([float("nan"), float("inf"), float("-inf"), -0.0, 5e-324]),
        "double precision",
        ["NaN", "Infinity", "-Infinity", "-0", "5e-324"],
    ),
    (pa.array(["", None, "衢🙂\t\\N\n"]), "text", ["", None, "衢🙂\t\\N\n"]),
    (
        pa.array([-1, 946_684_799_999_999, -210_866_803_200_000_000, 2**63 - 1], pa.timestamp("us")),
        "timestamp without time zone",
        [
            "1969-12-31 23:59:59.999999",
            "1999-12-31 23:59:59.999999",
            "4714-11-24 00:00:00 BC",
            "294247-01-10 04:00:54.775807",
        ],
    ),
    (pa.array([9_224_318_015_999], pa.timestamp("s", "UTC")), "timestamp with time zone", ["294276-12-31 23:59:59+00"]),
    (pa.array([-(2**63) + 808], pa.timestamp("ns")), "timestamp without time zone", ["1677-09-21 00:12:43.145225"]),
    (pa.array([-2_440_588, 2_145_042_905], pa.date32()), "date", ["4714-11-24 BC", "5874897-12-31"]),
    (pa.array([86_400], pa.time32("s")), "time without time zone", ["24:00:00"]),
    (pa.array(["A0EEBC99-9C0B4EF8BB6D-6BB9BD380A11"]), "uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    (
        pa.array([[], None, [None], [1, None, 3]], pa.list_(pa.int32())),
        "integer[]",
        ["{}", None, "{NULL}", "{1,NULL,3}"],
    ),
    (pa.array([[None, None], []], pa.list_(pa.null())), "text[]", ["{NULL,NULL}", "{}"]),
    (pa.array([["", "a,b", '"', "NULL"]]), "text[]", ['{"","a,b","\\"","NULL"}']),
    (pa.nulls(2), "interval", [None, None]),
]


@pytest.mark.parametrize(("array", "pg_type", "texts"), EDGES, ids=[f"{a.type}->{p}" for a, p, _ in EDGES])
def test_edges(connection: Connection, array: pa.Array[Any], pg_type: str, texts: list[str | None]) -> None:
    assert column(connection, array, pg_type) == texts


def test_bytes_hidden_under_nulls_are_not_sent(connection: Connection) -> None:
    hidden = pa.py_buffer(b"\x05")  # the second of three values is null
    offsets = pa.py_buffer(np.array([0, 1, 3, 4], np.int32).tobytes())
    text = pa.Array.from_buffers(pa.string(), 3, [hidden, offsets, pa.py_buffer(b"a\0\0b")])
    number = pa.Array.from_buffers(pa.int64(), 3, [hidden, pa.py_buffer(np.array([1, 2**60, 3]).tobytes())])
    lists = pa.ListArray.from_arrays(
        pa.array([0, 1, 3, 4], pa.int32()), pa.array([1, 7, 7, 4]), mask=pa.array([False, True, False])
    )
    assert column(connection, text, "text") == ["a", None, "b"]
    assert column(connection, number, "integer") == ["1", None, "3"]
    assert column(connection, number, "numeric(3,0)") == ["1", None, "3"]
    assert column(connection, lists, "bigint[]") == ["{1}", None, "{4}"]


REFUSED: list[tuple[pa.Array[Any], str, int, str]] = [
    (pa.array([1, None, 40_000]), "smallint", 2, "outside smallint"),
    (pa.array([1, -1]), "oid", 1, "outside oid"),
    (pa.array([2**63], pa.uint64()), "bigint", 0, "outside bigint"),
    (pa.array([D("1.10"), D("1.11")], pa.decimal128(9, 2)), "numeric(9,1)", 1, "decimal places"),
    (pa.array([D("99.99"), D("-100.00")], pa.decimal128(9, 2)), "numeric(4,2)", 1, "integer digits"),
    (pa.array([D("1e30")], pa.decimal128(38, 0)), "numeric(30,0)", 0, "integer digits"),
    (pa.array([D("0.001"), D("0.01")], pa.decimal128(9, 3)), "numeric(2,4)", 1, "integer digits"),
    (pa.array([1000, 1001]), "numeric(3,-3)", 1, "decimal places"),
    (pa.array([None, "ok", "a\0b"]), "text", 2, "NUL"),
    (pa.array(["[]", "\0"]), "jsonb", 1, "NUL"),
    (pa.array(["a" * 63, "a" * 64]), "name", 1, "63 bytes"),
    (pa.array(["a", "é"]), '"char"', 1, "one byte"),
    (
        pa.array([None, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g"]),
        "uuid",
        2,
        "UUID",
    ),
    (pa.array(["{a0eebc999c0b4ef8bb6d6bb9bd380a11"]), "uuid", 0, "UUID"),
    (pa.array([0, 1_500], pa.timestamp("ns")), "timestamp without time zone", 1, "nanoseconds"),
    (pa.array([1_000, 1_001], pa.timestamp("us", "UTC")), "timestamp(3) with time zone", 1, "3 digits"),
    (pa.array([0, 2**62], pa.timestamp("s")), "timestamp without time zone", 1, "range"),
    (pa.array([-(2**63)], pa.timestamp("us")), "timestamp without time zone", 0, "range"),
    (pa.array([0, -(2**31)], pa.date32()), "date", 1, "range"),
    (pa.array([0, 1], pa.date64()), "date", 1, "whole day"),
    (pa.array([0, 86_401], pa.time32("s")), "time without time zone", 1, "outside the day"),
    (pa.array([[1], [], [2, 2**40]]), "integer[]", 2, "element 2: value is outside integer"),
]


@pytest.mark.parametrize(
    ("array", "pg_type", "row", "message"), REFUSED, ids=[f"{a.type}->{p}" for a, p, _, _ in REFUSED]
)
def test_a_value_without_exact_form_is_named(array: pa.Array[Any], pg_type: str, row: int, message: str) -> None:
    batch = between(array)
    with pytest.raises(CastError, match=message) as caught:
        Encoder(batch.schema, ["integer", pg_type, "text"]).encode(batch)
    assert (caught.value.field, caught.value.row) == ("value", row)


@pytest.mark.parametrize(
    ("kind", "pg_type"),
    [
        (pa.float64(), "real"),
        (pa.float64(), "numeric"),
        (pa.int64(), "double precision"),
        (pa.int64(), "text"),
        (pa.string(), "numeric"),
        (pa.string(), "interval"),
        (pa.string(), "mood"),
        (pa.string(), "text[]"),
        (pa.list_(pa.string()), "text"),
        (pa.list_(pa.list_(pa.int32())), "integer[]"),
        (pa.list_(pa.int32()), "mood[]"),
        (pa.timestamp("us"), "timestamp with time zone"),
        (pa.timestamp("us", "UTC"), "timestamp without time zone"),
        (pa.time64("us"), "time with time zone"),
        (pa.binary(), "uuid"),
        (pa.binary(), "text"),
        (pa.uuid(), "bytea"),
        (pa.bool8(), "boolean"),
        (pa.struct([("a", pa.int32())]), "jsonb"),
        (pa.int32(), ""),
    ],
    ids=str,
)
def test_what_the_server_would_have_to_convert_is_not_supported(kind: pa.DataType, pg_type: str) -> None:
    assert not supports(kind, pg_type)
    with pytest.raises(SchemaError, match="no exact binary form") as caught:
        Encoder(pa.schema([("value", kind)]), [pg_type])
    assert caught.value.field == "value"


def test_schema_table_and_batch_must_agree() -> None:
    with pytest.raises(SchemaError, match="1 columns in the batch, 2 in the target"):
        Encoder(pa.schema([("a", pa.int32())]), ["integer", "integer"])
    with pytest.raises(SchemaError, match="column types"):
        Encoder(pa.schema([("a", pa.int32())]), ["integer"]).encode(pa.record_batch({"a": pa.array(["x"])}))


def test_long_batches_are_cut_and_rows_keep_their_numbers(connection: Connection) -> None:
    array = pa.array([None if i % 7 == 0 else f"值{i}" for i in range(20_000)])
    batch = between(array)
    encoder = Encoder(batch.schema, ["integer", "text", "text"])
    assert len(list(encoder.chunks(batch))) > 1
    assert [row[1] for row in copy(connection, batch, ["integer", "text", "text"])] == array.to_pylist()
    spoilt = between(pa.array(["ok"] * 15_000 + ["a\0"]))
    with pytest.raises(CastError) as caught:
        encoder.encode(spoilt)
    assert (caught.value.field, caught.value.row) == ("value", 15_000)


def test_rows_beyond_what_arrow_can_address_are_encoded_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = between(pa.array(["x" * 100] * 40))
    encoder = Encoder(batch.schema, ["integer", "text", "text"])
    whole = bytes(encoder.encode(batch))
    monkeypatch.setattr(encode_rows, "MAX_STREAM", 1_000)
    assert len(list(encoder.chunks(batch))) > 4
    assert bytes(encoder.encode(batch)) == whole
    huge = between(pa.array(["x", "x" * 2_000]))
    with pytest.raises(CastError, match="larger than the 1 GB"):
        encoder.encode(huge)


def test_the_documented_layout() -> None:
    assert HEADER[:11] == b"PGCOPY\n\xff\r\n\0"
    assert (HEADER[11:], len(HEADER), TRAILER) == (bytes(8), 19, b"\xff\xff")
    batch = pa.record_batch({"a": pa.nulls(2)})
    assert bytes(Encoder(batch.schema, ["integer"]).encode(batch)) == b"\0\x01\xff\xff\xff\xff" * 2
