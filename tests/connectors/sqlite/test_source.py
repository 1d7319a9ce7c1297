"""Reading SQLite files: types, dirty values, ranges, snapshots, increments."""

# ruff: noqa: DTZ001  # local times without zone are data here
from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.sqlite import connector
from tongqu.connectors.sqlite.settings import from_url
from tongqu.core.connector import Source
from tongqu.core.data import Meta, Mode, Read, Split
from tongqu.core.errors import InvalidSettingsError, LostPositionError, NotFoundError, ReadError, SchemaError
from tongqu.testing.pour import batches, table

Script = Callable[[str], Source]


@pytest.fixture
def script(tmp_path: Path) -> Any:
    """Run SQL against a fresh file and open it as a source."""
    opened: list[Source] = []
    path = tmp_path / "plant.db"

    def run(sql: str) -> Source:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(sql)
        assert connector.source is not None
        opened.append(connector.source(from_url(f"sqlite:{path}")))
        return opened[-1]

    yield run
    for source in opened:
        source.close()


def test_declared_types_become_arrow_types_and_values_stay_exact(script: Script) -> None:
    source = script("""
        CREATE TABLE lots (id INTEGER PRIMARY KEY, big BIGINT, ok BOOLEAN, price DECIMAL(10,2),
          exact DECIMAL_TEXT(38,10),
          loose NUMERIC, ratio DOUBLE, small FLOAT4, name VARCHAR(20) NOT NULL, raw BLOB, day DATE, at DATETIME,
          instant TIMESTAMPTZ, clock TIME, doc JSON, code UUID, huge UNSIGNED64_TEXT);
        INSERT INTO lots VALUES (1, 9223372036854775807, 1, 1.10, '1234567890123456789012345678.0123456789', '0.10',
          1e300, 0.5, '批号🏭', x'00ff', '2024-02-29', '2024-02-29 23:59:59.999999', '2024-02-29T23:59:59+08:00',
          '23:59:59.5', 5, '00112233-4455-6677-8899-aabbccddeeff', '18446744073709551615');
        INSERT INTO lots (id, big, name) VALUES (2, -9223372036854775808, '');
    """)
    rows = table(source, "lots")
    first, second = rows.to_pylist()
    assert first == {
        "id": 1, "big": 2**63 - 1, "ok": True, "price": Decimal("1.10"),
        "exact": Decimal("1234567890123456789012345678.0123456789"), "loose": "0.1", "ratio": 1e300, "small": 0.5,
        "name": "批号🏭", "raw": b"\x00\xff", "day": date(2024, 2, 29), "at": datetime(2024, 2, 29, 23, 59, 59, 999999),
        "instant": datetime(2024, 2, 29, 15, 59, 59, tzinfo=UTC), "clock": time(23, 59, 59, 500000), "doc": "5",
        "code": "00112233-4455-6677-8899-aabbccddeeff", "huge": 2**64 - 1,
    }  # fmt: skip
    assert second["big"] == -(2**63)
    assert second["name"] == ""
    assert second["price"] is None
    assert not rows.schema.field("name").nullable
    assert (rows.schema.field("doc").metadata or {})[Meta.LOGICAL.encode()] == b"json"


def test_a_value_that_contradicts_its_declaration_makes_one_bad_row(script: Script) -> None:
    source = script("""
        CREATE TABLE lots (id INTEGER PRIMARY KEY, qty INTEGER, ok BOOLEAN, price DECIMAL(6,2), day DATE, name TEXT);
        INSERT INTO lots VALUES (1, 5, 1, 9.99, '2024-01-01', 'a'), (2, 'five', 1, 1, '2024-01-01', 'b'),
          (3, 5, 7, 1, '2024-01-01', 'c'), (4, 5, 1, 1.005, '2024-01-01', 'd'), (5, 5, 1, 99999.99, '2024-01-01', 'e'),
          (6, 5, 1, 1, '2024-02-30', 'f'), (7, 5, 1, 1, 20240101, 'g'), (8, 5, 1, 1, '2024-01-01', x'6161'),
          (9, 5, 1, 1, '2024-01-01', CAST(x'ff' AS TEXT)), (10, 6, 0, -1, '2024-01-02', 'z');
    """)
    dataset = source.datasets(["lots"])[0]
    batch, _ = batches(source, dataset)
    assert batch.rows.column("id").to_pylist() == [1, 10]
    assert [(row.field, row.value) for row in batch.bad] == [
        ("qty", "five"), ("ok", "7"), ("price", "1.005"), ("price", "99999.99"), ("day", "2024-02-30"),
        ("day", "20240101"), ("name", "\\x6161"), ("name", "\\xff"),
    ]  # fmt: skip
    assert batch.bad[0].original == ('{"id": 2, "qty": "five", "ok": 1, "price": 1, "day": "2024-01-01", "name": "b"}')
    assert batch.bad[0].message == "qty is declared INTEGER and holds the text 'five'"
    assert batch.bad[0].code == "data.cast"


def test_a_column_without_declared_type_is_what_most_values_are(script: Script) -> None:
    source = script("""
        CREATE TABLE t (a, b, c, d, e MONEY);
        INSERT INTO t VALUES (1, 1, 'x', NULL, 1.5), (2, 2.5, 'y', NULL, 2), (3, NULL, 3, NULL, NULL);
    """)
    dataset = source.datasets(["t"])[0]
    assert [str(field.type) for field in dataset.schema] == ["int64", "double", "string", "string", "double"]
    batch, _ = batches(source, dataset)
    assert batch.rows.num_rows == 2
    assert [(row.field, row.value) for row in batch.bad] == [("c", "3")]


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)",
        "CREATE TABLE t (id INT, v TEXT)",
        "CREATE TABLE t (id INT, v TEXT, PRIMARY KEY (v, id)) WITHOUT ROWID",
        "CREATE TABLE t (id BLOB PRIMARY KEY, v TEXT) WITHOUT ROWID",
        "CREATE TABLE t (rowid TEXT, id INT, v TEXT GENERATED ALWAYS AS ('n' || id))",
    ],
)
def test_a_read_goes_on_after_any_batch(script: Script, ddl: str) -> None:
    value = "CAST(x AS BLOB)" if "BLOB" in ddl else "x"
    names = "id" if "GENERATED" in ddl else "id, v"
    values = value if "GENERATED" in ddl else f"{value}, 'n' || x"
    source = script(f"""{ddl};
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100)
        INSERT INTO t ({names}) SELECT {values} FROM n;""")
    dataset = source.datasets(["t"])[0]
    assert source.can_resume(dataset)
    whole = [row for batch in batches(source, dataset) for row in batch.rows.to_pylist()]
    assert len(whole) == 100
    read: list[dict[str, Any]] = []
    after = None
    for _ in range(200):
        batch = next(batches(source, dataset, after, 7), None)
        if batch is None:
            break
        read += batch.rows.to_pylist()
        after = batch.position
    assert read == whole


def test_a_read_is_one_snapshot_and_ends_where_it_began(script: Script, tmp_path: Path) -> None:
    source = script("""PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50)
        INSERT INTO t SELECT x, 'old' FROM n;
    """)
    dataset = source.datasets()[0]
    reading = batches(source, dataset, rows=10)
    seen = [next(reading)]
    with closing(sqlite3.connect(tmp_path / "plant.db")) as other, other:
        other.execute("UPDATE t SET v = 'new'")
        other.execute("INSERT INTO t VALUES (51, 'new')")
    seen += reading
    assert [value for batch in seen for value in batch.rows.column("v").to_pylist()] == ["old"] * 50
    resumed = source.read(Read(dataset, Split("0", "t", {"lower": None, "upper": [50]}), after={"rowid": 40}))
    assert [id for batch in resumed for id in batch.rows.column("id").to_pylist()] == list(range(41, 51))


def test_row_numbers_that_vacuum_may_have_changed_are_not_trusted(script: Script) -> None:
    source = script("CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('a'), ('b'), ('c');")
    dataset = source.datasets()[0]
    position = next(batches(source, dataset, rows=1)).position
    source = script("DELETE FROM t WHERE v = 'a'; VACUUM;")
    with pytest.raises(LostPositionError, match="row numbers may have changed"):
        next(batches(source, dataset, position))


def test_a_view_is_read_in_one_go(script: Script) -> None:
    source = script("""CREATE TABLE t (id INTEGER PRIMARY KEY, g TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b');
        CREATE VIEW v AS SELECT id * 2 AS twice, g FROM t; CREATE VIEW broken AS SELECT * FROM gone;""")
    broken, dataset = source.datasets(["v", "broken"])
    assert "gone" in broken.unsupported[0]
    assert not source.can_resume(dataset)
    found = list(batches(source, dataset))
    assert [batch.position for batch in found] == [None, {"end": True}]
    assert found[0].rows.to_pylist() == [{"twice": 2, "g": "a"}, {"twice": 4, "g": "b"}]


def test_discovery_finds_keys_indexes_foreign_keys_and_hides_our_own_tables(script: Script) -> None:
    source = script("""
        CREATE TABLE line (line_id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
        CREATE TABLE lot (lot TEXT NOT NULL, item TEXT NOT NULL, line_id INT REFERENCES line,
          twice GENERATED ALWAYS AS (line_id * 2) STORED,
          PRIMARY KEY (item, lot));
        CREATE INDEX by_line ON lot (line_id); CREATE TABLE _tongqu_checkpoint (x);
    """)
    line, lot = source.datasets()
    assert (line.name, line.key, lot.name, lot.key) == ("line", ("line_id",), "lot", ("item", "lot"))
    assert (line.schema.field("line_id").metadata or {})[Meta.IDENTITY.encode()] == b"by default"
    assert (lot.schema.field("twice").metadata or {})[Meta.GENERATED.encode()] == b"stored"
    assert [(index.name, index.columns, index.unique) for index in lot.indexes] == [("by_line", ("line_id",), False)]
    assert [(key.columns, key.target, key.target_columns) for key in lot.foreign_keys] == [
        (("line_id",), "line", ("line_id",))
    ]
    assert [d.name for d in source.datasets(["*", "!lo*"])] == ["line"]


def test_an_increment_reads_ties_again_or_strictly_after(script: Script) -> None:
    source = script("""CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME NOT NULL);
        INSERT INTO t VALUES (1, '2024-01-01 00:00:00'), (2, '2024-01-02 00:00:00'), (3, '2024-01-02 00:00:00');""")
    dataset = source.datasets()[0]
    first = source.horizon(dataset, "at", None)
    assert first == {"cursor": "2024-01-02 00:00:00"}
    source = script("INSERT INTO t VALUES (4, '2024-01-02 00:00:00'), (5, '2024-01-03 00:00:00')")
    second = source.horizon(dataset, "at", first)

    def ids(ties: bool, after: Any = None, rows: int = 100) -> list[Any]:
        split = Split("0", "t", {"after": first, "until": second})
        read = Read(dataset, split, after, mode=Mode.INCREMENTAL, cursor="at", ties=ties, batch_rows=rows)
        found = source.read(read)
        return [id for batch in found for id in batch.rows.column("id").to_pylist()]

    assert ids(ties=True) == [2, 3, 4, 5]
    assert ids(ties=False) == [5]
    assert ids(ties=True, after={"cursor": "2024-01-02 00:00:00", "key": [3]}) == [4, 5]
    assert source.horizon(dataset, "at", second, ties=False) is None
    assert source.horizon(dataset, "at", second) == second


def test_the_current_second_waits_where_ties_are_not_read_again(script: Script) -> None:
    source = script("""CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
        INSERT INTO t VALUES (1, '2024-01-01 00:00:00'), (2, datetime('now'))""")
    dataset = source.datasets()[0]
    assert source.horizon(dataset, "at", None, ties=False) in (
        {"cursor": "2024-01-01 00:00:00"},
        source.horizon(dataset, "at", None),  # the clock went on
    )


def test_null_and_contradicting_cursors_are_refused(script: Script) -> None:
    source = script("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (2, NULL), (3, 'x');")
    with pytest.raises(SchemaError, match="2 rows of t have no usable value"):
        source.horizon(source.datasets()[0], "n", None)
    with pytest.raises(SchemaError, match="no column 'nope'"):
        source.horizon(source.datasets()[0], "nope", None)


def test_a_missing_file_is_not_created_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    assert connector.source is not None
    (tmp_path / "plant.db").write_text("this is a text file, long enough not to look like an empty database" * 20)
    with pytest.raises(NotFoundError, match=r"no SQLite file .*plants\.db") as found:
        connector.source(from_url(f"sqlite:{tmp_path}/plants.db")).datasets()
    assert found.value.hint == "similar names: plant.db"
    assert not (tmp_path / "plants.db").exists()
    with pytest.raises(ReadError, match="is not a SQLite database"):
        connector.source(from_url(f"sqlite:{tmp_path}/plant.db")).datasets()


def test_what_a_killed_writer_left_half_done_is_rolled_back(script: Script, tmp_path: Path) -> None:
    source = script("""CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000)
        INSERT INTO t SELECT x, 'old, and long enough to fill many pages of the file' FROM n;""")
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA cache_size = 2'); "
        "db.execute(\"UPDATE t SET v = 'new'\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "plant.db")], check=False)
    assert (tmp_path / "plant.db-journal").exists()
    assert set(table(source, "t").column("v").to_pylist()) == {"old, and long enough to fill many pages of the file"}


def test_a_missing_table_names_similar_ones(script: Script) -> None:
    source = script("CREATE TABLE inspection (id INT)")
    dataset = source.datasets()[0]
    script("ALTER TABLE inspection RENAME TO inspections")
    with pytest.raises(NotFoundError, match="inspection") as found:
        next(batches(source, dataset))
    assert found.value.hint == "similar names: inspections"


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:x.db", "x.db"), ("sqlite:a/x.db", "a/x.db"), ("sqlite:///t/x.db", "/t/x.db"),
     ("sqlite:////t/x.db", "/t/x.db"), ("sqlite:/t/x%20y.db", "/t/x y.db")],
)  # fmt: skip
def test_urls(url: str, path: str) -> None:
    assert from_url(url).path == path


@pytest.mark.parametrize("url", ["sqlite://x.db", "sqlite:", "sqlite:///", "sqlite:x.db?nope=1"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidSettingsError):
        from_url(url)
