"""Reading DuckDB files: types, infinite times, key ranges, snapshots, increments."""

# ruff: noqa: DTZ001  # local times without zone are data here
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.duckdb import connector
from tongqu.connectors.duckdb.db import open_sink
from tongqu.connectors.duckdb.settings import from_url
from tongqu.core.connector import Source
from tongqu.core.data import Index, Meta, Mode, Read, Split
from tongqu.core.errors import BusyError, InvalidSettingsError, NotFoundError, ReadError, SchemaError
from tongqu.testing.pour import batches, table

Script = Callable[[str], Source]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Run SQL against a fresh file and open it as a source."""

    def run(sql: str) -> Source:
        settings = from_url(f"duckdb:{tmp_path}/plant.duckdb")
        db = open_sink(settings)
        db.run(sql)
        db.close()
        assert connector.source is not None
        return connector.source(settings)

    return run


def test_types_become_arrow_types_and_values_stay_exact(script: Script) -> None:
    source = script("""
        CREATE TABLE lots (id INTEGER PRIMARY KEY, big BIGINT, huge HUGEINT, unsigned UBIGINT, price DECIMAL(38,10),
          name VARCHAR NOT NULL, raw BLOB, day DATE, moment TIMESTAMP, fine TIMESTAMP_NS, second TIMESTAMP_S,
          instant TIMESTAMPTZ, clock TIME, doc JSON, code UUID, grade ENUM('a', 'b'), span INTERVAL, ids UUID[],
          numbers INT[], box STRUCT(a INT, b VARCHAR), pairs MAP(VARCHAR, INT), bits BIT);
        INSERT INTO lots VALUES (1, 9223372036854775807, 170141183460469231731687303715884105727, 18446744073709551615,
          1234567890123456789012345678.0123456789, '批号🏭', '\\x00\\xFF'::BLOB, '2024-02-29',
          '2024-02-29 23:59:59.999999', '2024-02-29 23:59:59.999999', '2024-02-29 23:59:59', '2024-02-29 23:59:59+08',
          '23:59:59.5', '{"a": 1}', '00112233-4455-6677-8899-aabbccddeeff', 'b', INTERVAL 1 DAY,
          ['00112233-4455-6677-8899-aabbccddeeff'], [1, NULL], {'a': 1, 'b': 'x'}, MAP {'k': 1}, '101');
        COMMENT ON COLUMN lots.name IS '批号';
    """)
    rows = table(source, "lots")
    assert rows.to_pylist() == [{
        "id": 1, "big": 2**63 - 1, "huge": str(2**127 - 1), "unsigned": 2**64 - 1,
        "price": Decimal("1234567890123456789012345678.0123456789"), "name": "批号🏭", "raw": b"\x00\xff",
        "day": date(2024, 2, 29), "moment": datetime(2024, 2, 29, 23, 59, 59, 999999),
        "fine": datetime(2024, 2, 29, 23, 59, 59, 999999), "second": datetime(2024, 2, 29, 23, 59, 59),
        "instant": datetime(2024, 2, 29, 15, 59, 59, tzinfo=UTC), "clock": time(23, 59, 59, 500000),
        "doc": '{"a": 1}', "code": "00112233-4455-6677-8899-aabbccddeeff", "grade": "b", "span": "1 day",
        "ids": ["00112233-4455-6677-8899-aabbccddeeff"], "numbers": [1, None], "box": '{"a":1,"b":"x"}',
        "pairs": '{"k":1}', "bits": "101",
    }]  # fmt: skip
    logical = {f.name: (f.metadata or {}).get(Meta.LOGICAL.encode(), b"").decode() for f in rows.schema}
    assert {name: what for name, what in logical.items() if what} == {
        "huge": "decimal", "doc": "json", "code": "uuid", "grade": "enum", "span": "interval", "box": "json",
        "pairs": "json", "bits": "text",
    }  # fmt: skip
    assert (rows.schema.field("name").metadata or {})[Meta.TITLE.encode()].decode() == "批号"
    assert not rows.schema.field("name").nullable


def test_infinite_times_make_bad_rows(script: Script) -> None:
    source = script("""CREATE TABLE t (id INT PRIMARY KEY, moment TIMESTAMP, day DATE, instant TIMESTAMPTZ);
        INSERT INTO t VALUES (1, '2024-01-01', '2024-01-01', '2024-01-01'), (2, 'infinity', NULL, NULL),
        (3, NULL, '-infinity', NULL), (4, NULL, NULL, '-infinity')""")
    batch, _ = batches(source, source.datasets()[0])
    assert batch.rows.column("id").to_pylist() == [1]
    assert [(row.field, row.code) for row in batch.bad] == [
        ("moment", "data.cast"), ("day", "data.cast"), ("instant", "data.cast"),
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["id", "id, name", "name, id", "moment, id", "raw"])
def test_a_read_goes_on_after_any_position(script: Script, key: str) -> None:
    source = script(f"""CREATE TABLE t (id BIGINT, name VARCHAR, moment TIMESTAMP, raw BLOB, PRIMARY KEY ({key}));
        INSERT INTO t SELECT x, 'n' || x % 7, TIMESTAMP '2024-01-01' + x % 5 * INTERVAL 1 MICROSECOND, x::VARCHAR::BLOB
        FROM range(100) r(x)""")
    dataset = source.datasets()[0]
    assert source.can_resume(dataset)
    seen: list[Any] = []
    after = None
    for _ in range(50):
        part: list[Any] = []
        for batch in batches(source, dataset, after, 7):
            part += batch.rows.column("id").to_pylist()
            if batch.position is not None:
                after = batch.position
                break
        if not part:
            break
        assert len(part) == min(7, 100 - len(seen))
        seen += part
    assert sorted(seen) == list(range(100))


def test_a_read_is_one_snapshot_and_ends_where_it_began(script: Script) -> None:
    source = script("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR); INSERT INTO t SELECT x, 'old' FROM range(50) r(x)")
    dataset = source.datasets()[0]
    writer = open_sink(from_url(f"duckdb:{source._settings.path}"))  # type: ignore[attr-defined]  # its own file
    reading = batches(source, dataset, rows=10)
    seen = [next(reading)]
    writer.run("UPDATE t SET v = 'new'")
    writer.run("INSERT INTO t VALUES (51, 'new')")
    seen += reading
    writer.close()
    assert [value for batch in seen for value in batch.rows.column("v").to_pylist()] == ["old"] * 50
    resumed = source.read(Read(dataset, Split("0", "t", {"lower": None, "upper": ["49"]}), after={"key": ["39"]}))
    assert [id for batch in resumed for id in batch.rows.column("id").to_pylist()] == list(range(40, 50))


def test_a_table_without_key_is_read_in_one_go(script: Script) -> None:
    source = script("CREATE TABLE t (v INT); INSERT INTO t FROM range(10); CREATE VIEW w AS SELECT v * 2 AS x FROM t")
    for dataset in source.datasets():
        assert not source.can_resume(dataset)
        found = list(batches(source, dataset))
        assert [batch.position for batch in found] == [None, {"end": True}]
        assert found[0].rows.num_rows == 10


def test_discovery_finds_schemas_keys_indexes_and_foreign_keys(script: Script) -> None:
    source = script("""CREATE TABLE line (line_id INT PRIMARY KEY, name VARCHAR NOT NULL UNIQUE); CREATE SCHEMA erp;
        CREATE TABLE lot (lot VARCHAR, line_id INT REFERENCES line (line_id), twice INT AS (line_id * 2),
          PRIMARY KEY (lot));
        CREATE INDEX by_line ON lot (line_id); CREATE TABLE erp.orders (id INT); CREATE TABLE _tongqu_x (x INT);
        INSERT INTO line VALUES (1, 'a')""")
    orders, line, lot = source.datasets()
    assert (orders.name, line.name, line.key, line.rows, lot.key) == ("erp.orders", "line", ("line_id",), 1, ("lot",))
    assert line.indexes == (Index(("name",), True),)
    assert lot.indexes == (Index(("line_id",), False, "by_line"),)
    assert (lot.foreign_keys[0].target, lot.foreign_keys[0].columns) == ("line", ("line_id",))
    assert (lot.schema.field("twice").metadata or {})[Meta.GENERATED.encode()] == b"virtual"
    assert [d.name for d in source.datasets(["erp.*"])] == ["erp.orders"]


def test_an_increment_reads_ties_again_or_strictly_after(script: Script) -> None:
    source = script("""CREATE TABLE t (id INT PRIMARY KEY, moment TIMESTAMP NOT NULL);
        INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02 00:00:00.000001'), (3, '2024-01-02 00:00:00.000001')""")
    dataset = source.datasets()[0]
    first = source.horizon(dataset, "moment", None)
    assert first == {"cursor": "2024-01-02 00:00:00.000001"}
    source = script("INSERT INTO t VALUES (4, '2024-01-02 00:00:00.000001'), (5, '2024-01-03')")
    second = source.horizon(dataset, "moment", first)

    def ids(ties: bool, after: Any = None) -> list[Any]:
        split = Split("0", "t", {"after": first, "until": second})
        read = Read(dataset, split, after, mode=Mode.INCREMENTAL, cursor="moment", ties=ties, chunk_rows=2)
        return sorted(id for batch in source.read(read) for id in batch.rows.column("id").to_pylist())

    assert ids(ties=True) == [2, 3, 4, 5]
    assert ids(ties=False) == [5]
    assert ids(ties=True, after={"cursor": "2024-01-02 00:00:00.000001", "key": ["3"]}) == [4, 5]
    assert source.horizon(dataset, "moment", second, ties=False) is None
    assert source.horizon(dataset, "moment", second) == second
    script("INSERT INTO t VALUES (6, now()::TIMESTAMP)")
    assert source.horizon(dataset, "moment", second, ties=False) is None


def test_null_and_unknown_cursors_are_refused(script: Script) -> None:
    source = script("CREATE TABLE t (id INT, n INT); INSERT INTO t VALUES (1, 1), (2, NULL)")
    with pytest.raises(SchemaError, match="1 rows of 't' have no 'n'"):
        source.horizon(source.datasets()[0], "n", None)
    with pytest.raises(SchemaError, match="no column 'nope'"):
        source.horizon(source.datasets()[0], "nope", None)


def test_a_missing_file_is_not_created_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    assert connector.source is not None
    (tmp_path / "plant.duckdb").write_text("not a database " * 1000)
    with pytest.raises(NotFoundError, match=r"no DuckDB file .*plants\.duckdb") as found:
        connector.source(from_url(f"duckdb:{tmp_path}/plants.duckdb")).datasets()
    assert found.value.hint == "similar names: plant.duckdb"
    assert not (tmp_path / "plants.duckdb").exists()
    with pytest.raises(ReadError, match="is not a DuckDB database"):
        connector.source(from_url(f"duckdb:{tmp_path}/plant.duckdb")).datasets()


def test_a_read_under_way_keeps_a_sink_of_the_same_process_out(script: Script) -> None:
    source = script("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t FROM range(10)")
    reading = batches(source, source.datasets()[0], rows=2)
    next(reading)
    with pytest.raises(BusyError, match="is being read by this process"):
        script("SELECT 1")
    reading.close()  # type: ignore[attr-defined]  # a generator
    script("SELECT 1")


def test_a_source_reaches_no_other_file(script: Script, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(Exception, match="disabled by configuration"):
        script(f"CREATE VIEW v AS SELECT * FROM read_csv('{tmp_path}/secret.csv')")


@pytest.mark.parametrize("url", ["duckdb://x.duckdb", "duckdb:", "duckdb:x.duckdb?memory=lots", "duckdb:x?nope=1"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidSettingsError):
        from_url(url)
