"""Names that DuckDB could take for something else: schemas called like the file, or like DuckDB's own catalogues."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tongqu.connectors.duckdb import connector
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.core.data import Dataset, Read, Write, WriteMode
from tongqu.testing.pour import pour


@pytest.mark.parametrize("name", ["odd.w", "ODD.w", "memory.w", "temp.w", "system.w", ".hidden", "w"])
@pytest.mark.parametrize("mode", [WriteMode.REPLACE, WriteMode.UPSERT])
def test_a_schema_may_be_called_like_the_file(tmp_path: Path, name: str, mode: WriteMode) -> None:
    settings = DuckdbSettings(path=str(tmp_path / "odd.duckdb"))
    rows = pa.table({"id": [1, 2], "v": ["a", "b"]})
    for run in ("first", "second"):
        write = Write(name, Dataset(name, rows.schema, ("id",)), mode, "sync", run, ("id",),
                      started_at="2024-05-01T00:00:00+00:00")  # fmt: skip
        assert connector.sink is not None
        sink = connector.sink(settings)
        pour(sink, write, [rows])
        sink.close()
    assert connector.source is not None
    source = connector.source(settings)
    [dataset] = source.datasets()
    [split] = source.splits(dataset, 1)
    found = [row for batch in source.read(Read(dataset, split)) for row in batch.rows.to_pylist()]
    assert (dataset.name, found) == (name, rows.to_pylist())


def test_views_and_indexes_stay_as_the_file_has_them(tmp_path: Path) -> None:
    path = tmp_path / "odd.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.t (id INTEGER PRIMARY KEY, v INTEGER)")
        connection.execute("CREATE INDEX i ON s.t (v); CREATE VIEW seen AS SELECT id FROM odd.s.t")
    rows = pa.table({"id": pa.array([7], pa.int32()), "v": pa.array([1], pa.int32())})
    assert connector.sink is not None
    sink = connector.sink(DuckdbSettings(path=str(path)))
    pour(sink, Write("s.t", Dataset("s.t", rows.schema, ("id",)), WriteMode.REPLACE, "sync", "r", ("id",)), [rows])
    sink.close()
    with duckdb.connect(path) as connection:
        assert connection.execute("SELECT * FROM seen").fetchall() == [(7,)]
        assert connection.execute("SELECT index_name FROM duckdb_indexes()").fetchall() == [("i",)]
