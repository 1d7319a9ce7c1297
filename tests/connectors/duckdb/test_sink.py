"""Writing DuckDB files: types, modes, exactness, resuming, fences, generations, one writer."""

# ruff: noqa: DTZ001  # local times without zone are data here
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.duckdb import connector
from tongqu.connectors.duckdb.db import open_sink
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.core.connector import Sink
from tongqu.core.data import BadRow, Checkpoint, Counts, Deletes, Meta, Split, WriteMode
from tongqu.core.errors import (
    BusyError,
    DataError,
    FencedError,
    RefusedRowsError,
    SchemaError,
)
from tongqu.testing.pour import pour, put, table
from tongqu.testing.small_table import SCHEMA, rows, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.duckdb"


@pytest.fixture
def sink(path: Path) -> Iterator[Sink]:
    opened = new_sink(path)
    yield opened
    opened.close()


def new_sink(path: Path, **settings: Any) -> Sink:
    """A sink on the file."""
    assert connector.sink is not None
    return connector.sink(DuckdbSettings(path=str(path), **settings))


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """All rows of a query, over this process's one database of the file."""
    db = open_sink(DuckdbSettings(path=str(path)))
    try:
        return db.rows(sql)
    finally:
        db.close()


def read_back(path: Path, name: str = "t") -> pa.Table:
    """The table through the connector's own source."""
    assert connector.source is not None
    source = connector.source(DuckdbSettings(path=str(path)))
    try:
        return table(source, name)
    finally:
        source.close()


MATRIX: dict[str, tuple[pa.DataType, list[Any], str]] = {
    "flag": (pa.bool_(), [True, False], "BOOLEAN"),
    "tiny": (pa.int8(), [-128, 127], "TINYINT"),
    "big": (pa.int64(), [-(2**63), 2**63 - 1], "BIGINT"),
    "unsigned": (pa.uint64(), [0, 2**64 - 1], "UBIGINT"),
    "single": (pa.float32(), [0.5, float("-inf")], "FLOAT"),
    "double": (pa.float64(), [float("inf"), -5e-324], "DOUBLE"),
    "exact": (pa.decimal128(38, 10), [Decimal("-1234567890123456789012345678.0123456789"), Decimal("0E-10")],
              "DECIMAL(38,10)"),
    "text": (pa.string(), ["", "批号 🏭 \x00 𠮷"], "VARCHAR"),
    "raw": (pa.binary(), [b"", b"\x00\xff"], "BLOB"),
    "day": (pa.date32(), [date.min, date.max], "DATE"),
    "at": (pa.timestamp("us"), [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)], "TIMESTAMP"),
    "instant": (pa.timestamp("us", "UTC"), [datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 2, 29, 1, 2, 3, 4, UTC)],
                "TIMESTAMP WITH TIME ZONE"),
    "clock": (pa.time64("us"), [time.min, time.max], "TIME"),
    "list": (pa.list_(pa.string()), [[], ["a", None]], "VARCHAR[]"),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRIX)
def test_values_come_back_exactly(sink: Sink, path: Path, name: str) -> None:
    type_, values, declared = MATRIX[name]
    schema = pa.schema([("id", pa.int64()), (name, type_)])
    arriving = pa.table({"id": [1, 2, 3], name: pa.array([*values, None], type_)}, schema=schema)
    pour(sink, write(WriteMode.REPLACE, schema), [arriving])
    assert query(path, f"SELECT data_type FROM duckdb_columns() WHERE table_name = 't' AND column_name = '{name}'") == [
        (declared,)
    ]
    assert read_back(path).column(name).to_pylist() == [*values, None]


def test_logical_types_lists_and_zones_come_back_as_what_they_are(sink: Sink, path: Path) -> None:
    logical = {"doc": "json", "code": "uuid", "loose": "decimal"}
    fields: list[pa.Field[Any]] = [
        pa.field("list", pa.list_(pa.int64())),
        pa.field("shanghai", pa.timestamp("ns", "Asia/Shanghai")),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string())),
    ]
    fields += [pa.field(name, pa.string(), metadata={str(Meta.LOGICAL): what}) for name, what in logical.items()]
    schema = pa.schema(fields)
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    row = {"doc": "1.10", "code": "00112233-4455-6677-8899-aabbccddeeff", "loose": "1" * 40 + ".50", "list": [1, None],
           "shanghai": moment, "kind": "a"}  # fmt: skip
    pour(sink, write(WriteMode.APPEND, schema), [pa.Table.from_pylist([row], schema=schema)])
    back = read_back(path)
    assert back.to_pylist() == [row]
    assert {f.name: (f.metadata or {}).get(Meta.LOGICAL.encode()) for f in back.schema if f.name in logical} == {
        "doc": b"json", "code": b"uuid", "loose": None,  # beyond 38 digits DuckDB only has text
    }  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "type_", "good", "bad"),
    [
        ("TIMESTAMPTZ", pa.timestamp("ns", "UTC"), datetime(2024, 1, 1, tzinfo=UTC), 1),
        ("TIMESTAMP", pa.timestamp("ns"), datetime(2024, 1, 1), 1),
        ("BIGINT", pa.uint64(), 5, 2**64 - 1),
        ("INTEGER", pa.string(), "12", "12a"),
        ("INTEGER", pa.string(), "12", "1.5"),
        ("INTEGER", pa.float64(), 2.0, 2.5),
        ("DECIMAL(10,1)", pa.decimal128(12, 3), Decimal("1.500"), Decimal("1.505")),
        ("DECIMAL(10,1)", pa.string(), "1.50", "1.55"),
        ("DATE", pa.string(), "2024-01-01", "0000-00-00"),
        ("DATE", pa.timestamp("us"), datetime(2024, 1, 1), datetime(2024, 1, 1, 1)),
        ("TIMESTAMP", pa.string(), "2024-01-01 00:00:00.5", "2024-01-01 00:00:00.1234567"),
        ("UUID", pa.string(), "00112233-4455-6677-8899-aabbccddeeff", "x"),
        ("JSON", pa.string(), '{"a": 1}', "{"),
        ("VARCHAR CHECK (length(v) < 3)", pa.string(), "ab", "abc"),
        ("VARCHAR NOT NULL", pa.string(), "ab", None),
        ("VARCHAR UNIQUE", pa.string(), "ab", "ab"),
    ],
)
def test_what_a_target_cannot_keep_is_one_quarantined_row(  # noqa: PLR0917  # a table of cases
    sink: Sink, path: Path, declared: str, type_: pa.DataType, good: Any, bad: Any
) -> None:
    query(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
    schema = pa.schema([("id", pa.int64()), ("v", type_)])
    values = pa.array([good, bad, None if "UNIQUE" in declared else good], type_)
    counts = pour(sink, write(WriteMode.APPEND, schema), [pa.table([pa.array([1, 2, 3]), values], schema=schema)])
    assert (counts.inserted, counts.quarantined) == (2, 1)
    assert query(path, "SELECT id FROM t") == [(1,), (3,)]


def test_types_that_can_never_fit_are_refused_at_once(sink: Sink, path: Path) -> None:
    query(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TIMESTAMPTZ)")
    schema = pa.schema([("id", pa.int64()), ("v", pa.timestamp("us"))])
    with pytest.raises(SchemaError, match="'v' arrives as timestamp"):
        pour(sink, write(WriteMode.APPEND, schema), [pa.table({"id": [1], "v": [datetime(2024, 1, 1)]}, schema=schema)])


def test_upsert_counts_what_it_did_and_the_last_of_a_key_wins(sink: Sink, path: Path) -> None:
    first = pour(sink, write(WriteMode.UPSERT), [rows((1, "a"), (2, "b"), (3, None), (4, "é"))])
    assert (first.inserted, first.unchanged) == (4, 0)
    chunk = rows((1, "a"), (2, "x"), (2, "y"), (3, None), (4, "É"), (5, "e"))
    second = pour(sink, write(WriteMode.UPSERT, run="run-2"), [chunk])
    assert (second.inserted, second.updated, second.unchanged, second.merged) == (1, 2, 2, 1)
    assert query(path, "SELECT * FROM t ORDER BY id") == [(1, "a"), (2, "y"), (3, None), (4, "É"), (5, "e")]
    again = pour(sink, write(WriteMode.UPSERT, run="run-3"), [chunk])
    assert (again.inserted, again.updated, again.unchanged, again.merged) == (0, 0, 5, 1)


@pytest.mark.parametrize("deletes", [Deletes.HARD, Deletes.SOFT])
def test_rows_that_vanished_are_deleted(sink: Sink, path: Path, deletes: Deletes) -> None:
    pour(sink, write(WriteMode.UPSERT, deletes=deletes), [rows((1, "a"), (2, "b"))])
    counts = pour(sink, write(WriteMode.UPSERT, deletes=deletes, run="run-2"), [rows((2, "b"), (3, "c"))])
    assert (counts.inserted, counts.unchanged, counts.deleted) == (1, 1, 1)
    if deletes is Deletes.HARD:
        assert query(path, "SELECT id FROM t ORDER BY 1") == [(2,), (3,)]
        return
    assert query(path, "SELECT id, CAST(_deleted_at AS DATE)::VARCHAR FROM t ORDER BY id") == [
        (1, "2024-05-01"),
        (2, None),
        (3, None),
    ]
    back = pour(sink, write(WriteMode.UPSERT, deletes=deletes, run="run-3"), [rows((1, "a"), (2, "b"), (3, "c"))])
    assert (back.updated, back.unchanged, back.deleted) == (1, 2, 0)
    assert query(path, "SELECT count(*) FROM t WHERE _deleted_at IS NULL") == [(3,)]


def test_history_keeps_every_version(sink: Sink, path: Path) -> None:
    pour(sink, write(WriteMode.HISTORY, deletes=Deletes.HARD), [rows((1, "a"), (2, "b"), (3, "c"))])
    later = write(WriteMode.HISTORY, deletes=Deletes.HARD, run="run-2", started_at="2024-05-02T08:00:00+08:00")
    counts = pour(sink, later, [rows((1, "a"), (2, "B"), (4, "d"))])
    assert (counts.inserted, counts.updated, counts.unchanged, counts.deleted) == (1, 1, 1, 1)
    first, second = "2024-05-01 00:00:00+00", "2024-05-02 00:00:00+00"
    versions = "SELECT id, v, _valid_from::VARCHAR, _valid_to::VARCHAR, _current::INT FROM t ORDER BY id, _valid_from"
    assert query(path, versions) == [
        (1, "a", first, None, 1), (2, "b", first, second, 0), (2, "B", second, None, 1), (3, "c", first, second, 0),
        (4, "d", second, None, 1),
    ]  # fmt: skip


def test_history_takes_two_versions_of_one_run_as_one(sink: Sink, path: Path) -> None:
    changes = [rows((1, "a")), rows((1, "b")), rows((1, "b"))]
    counts = pour(sink, write(WriteMode.HISTORY, incremental=True), changes)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, 1)
    assert query(path, "SELECT v, _current FROM t") == [("b", True)]


def test_replace_swaps_and_keeps_keys_indexes_defaults_comments_and_the_old_rows(sink: Sink, path: Path) -> None:
    for statement in (
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR UNIQUE, n INT DEFAULT 7 CHECK (n < 9), "
        "up VARCHAR AS (upper(v)))",
        "INSERT INTO t (id, v) VALUES (1, 'old')",
        "CREATE INDEX t_n ON t (n)",
        "CREATE VIEW shown AS SELECT id, up FROM t",
        "COMMENT ON COLUMN t.v IS '批号'",
    ):
        query(path, statement)
    for attempt in (1, 2):
        counts = pour(sink, write(WriteMode.REPLACE, run=f"run-{attempt}"), [rows((1, "new")), rows((2, None))])
        assert counts.inserted == 2
    assert query(path, "SELECT id, v, n, up FROM t ORDER BY id") == [(1, "new", 7, "NEW"), (2, None, 7, None)]
    assert query(path, "SELECT * FROM shown ORDER BY 1") == [(1, "NEW"), (2, None)]
    assert query(path, "SELECT index_name, is_unique FROM duckdb_indexes() WHERE table_name = 't' ORDER BY 1") == [
        ("t_n", False), ("t_unique_0", True),
    ]  # fmt: skip
    assert query(path, "SELECT comment FROM duckdb_columns() WHERE table_name = 't' AND column_name = 'v'") == [
        ("批号",)
    ]
    with pytest.raises(RefusedRowsError):
        query(path, "INSERT INTO t (id) VALUES (1)")
    with pytest.raises(RefusedRowsError):
        query(path, "INSERT INTO t (id, n) VALUES (5, 10)")
    (previous,) = query(path, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%previous%'")
    assert query(path, f'SELECT v FROM "{previous[0]}" ORDER BY id') == [("new",), (None,)]
    assert query(path, "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE '%stage%'") == [(0,)]


def test_replace_refills_a_table_that_others_refer_to(sink: Sink, path: Path) -> None:
    query(path, "CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR)")
    query(path, "CREATE TABLE child (id BIGINT REFERENCES t (id))")
    query(path, "INSERT INTO t VALUES (1, 'old'), (2, 'gone'), (3, 'same')")
    query(path, "INSERT INTO child VALUES (1)")
    counts = pour(sink, write(WriteMode.REPLACE), [rows((1, "new"), (3, "same"), (4, "more"))])
    assert (counts.inserted, counts.updated, counts.unchanged, counts.deleted) == (1, 1, 1, 1)
    assert query(path, "SELECT * FROM t ORDER BY 1") == [(1, "new"), (3, "same"), (4, "more")]
    assert query(path, "SELECT t.v FROM child JOIN t USING (id)") == [("new",)]


def test_replace_refuses_rows_that_repeat_their_key(sink: Sink, path: Path) -> None:
    pour(sink, write(WriteMode.REPLACE), [rows((1, "a"))])
    with pytest.raises(DataError, match="repeat a value that must be unique"):
        pour(sink, write(WriteMode.REPLACE, run="run-2"), [rows((2, "a"), (2, "b"))])
    assert query(path, "SELECT * FROM t") == [(1, "a")]


def test_a_key_updated_and_vanished_rows_stay_valid_in_one_transaction(sink: Sink, path: Path) -> None:
    """DuckDB checks unique indexes eagerly: an update of a list column is a delete and an insert of the same key."""
    schema = SCHEMA.append(pa.field("tags", pa.list_(pa.string())))
    asked = write(WriteMode.UPSERT, schema, deletes=Deletes.HARD)

    def tagged(*values: tuple[int, list[str]]) -> pa.Table:
        return pa.Table.from_pylist([{"id": id, "v": "x", "tags": tags} for id, tags in values], schema=schema)

    pour(sink, asked, [tagged((1, ["a"]), (2, ["b"]))])
    counts = pour(sink, replace(asked, run="run-2"), [tagged((1, ["c"])), tagged((1, ["d"]), (3, []))])
    assert (counts.inserted, counts.updated, counts.deleted, counts.merged) == (1, 1, 1, 1)
    assert query(path, "SELECT id, tags FROM t ORDER BY id") == [(1, ["d"]), (3, [])]


def test_the_schema_grows(sink: Sink, path: Path) -> None:
    pour(sink, write(WriteMode.UPSERT), [rows((1, "a"))])
    wider = SCHEMA.append(pa.field("weight", pa.decimal128(12, 3)))
    arriving = pa.table({"id": [1, 2], "v": ["a", "b"], "weight": [Decimal("1.500"), None]}, schema=wider)
    counts = pour(sink, write(WriteMode.UPSERT, wider, run="run-2"), [arriving])
    assert (counts.inserted, counts.updated) == (1, 1)
    assert read_back(path).to_pylist()[0] == {"id": 1, "v": "a", "weight": Decimal("1.500")}


def test_a_staged_append_appears_at_the_end(sink: Sink, path: Path) -> None:
    asked = write(WriteMode.APPEND, resumable=False)
    started = sink.start(asked.sync, asked.run, False)
    sink.open(asked)
    split = Split("0", "t")
    sink.begin(asked, [split])
    session = sink.session(asked, split)
    counts = Counts()
    put(session, rows((1, "a")), counts)
    session.commit(Checkpoint(split, {"n": 1}, counts, done=True))
    session.close()
    assert query(path, "SELECT count(*) FROM t") == [(0,)]
    assert sink.finish(asked, counts, None).inserted == 1
    sink.end(asked.sync, started.run, [asked])
    assert query(path, "SELECT * FROM t") == [(1, "a")]


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_run_that_stopped_goes_on_where_it_was(path: Path, mode: WriteMode, stop: int) -> None:
    chunks = [rows((1, "a"), (2, "b")), rows((3, "c")), rows((4, "d"), (5, "e"))]

    def breaking() -> Iterator[pa.Table]:
        yield from chunks[:stop]
        raise ConnectionError("the source went away")

    first = new_sink(path)
    with pytest.raises(ConnectionError):
        pour(first, write(mode), breaking())
    first.close()
    second = new_sink(path)
    counts = pour(second, write(mode, run="run-2"), chunks)
    second.close()
    assert counts.inserted == 5
    assert query(path, "SELECT id, v FROM t ORDER BY id") == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
    assert query(path, "SELECT DISTINCT run, attempt FROM _tongqu_checkpoint WHERE stream = ''") == [("run-1", 2)]


def test_an_aborted_chunk_leaves_nothing_and_can_be_written_again(sink: Sink, path: Path) -> None:
    asked = write(WriteMode.UPSERT)
    sink.start(asked.sync, asked.run, False)
    sink.open(asked)
    split = Split("0", "t")
    sink.begin(asked, [split])
    session = sink.session(asked, split)
    put(session, rows((1, "a")), Counts())
    session.abort()
    assert query(path, "SELECT count(*) FROM t") == [(0,)]
    counts = Counts()
    put(session, rows((1, "a")), counts)
    bad = BadRow("read", "data.cast", "v", "x", "{}", "no")
    session.commit(Checkpoint(split, {"n": 1}, counts, quarantine=[bad]))
    session.close()
    assert query(path, "SELECT count(*) FROM t") == [(1,)]
    assert [row["field"] for row in sink.quarantined()] == ["v"]


def test_whoever_opens_a_stream_later_fences_the_earlier_one(sink: Sink, path: Path) -> None:
    asked = write(WriteMode.UPSERT)
    sink.start(asked.sync, asked.run, False)
    sink.open(asked)
    split = Split("0", "t")
    sink.begin(asked, [split])
    session = sink.session(asked, split)
    other = new_sink(path)
    other.start(asked.sync, asked.run, False)
    assert other.open(asked).fence == 2
    other.begin(asked, [split])
    put(session, rows((1, "a")), Counts())
    with pytest.raises(FencedError):
        session.commit(Checkpoint(split, {"n": 1}, Counts()))
    session.abort()
    with pytest.raises(FencedError):
        sink.finish(asked, Counts(), None)
    other.close()
    assert query(path, "SELECT count(*) FROM t") == [(0,)]


def test_splits_take_turns_on_the_one_connection(sink: Sink, path: Path) -> None:
    from threading import Thread

    asked = write(WriteMode.UPSERT)
    sink.start(asked.sync, asked.run, False)
    sink.open(asked)
    splits = [Split(str(number), "t") for number in range(4)]
    sink.begin(asked, splits)

    def move(number: int) -> None:
        session = sink.session(asked, splits[number])
        for chunk in range(5):
            counts = Counts()
            put(session, rows((number * 100 + chunk, "x")), counts)
            session.commit(Checkpoint(splits[number], {"n": chunk}, counts, done=chunk == 4))
        session.close()

    threads = [Thread(target=move, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert query(path, "SELECT count(*) FROM t") == [(20,)]
    session, second = sink.session(asked, splits[0]), sink.session(asked, splits[1])
    put(session, rows((999, "x")), Counts())
    with pytest.raises(BusyError, match="one writer"):
        put(second, rows((998, "x")), Counts())
    session.close()
