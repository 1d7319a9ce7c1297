"""SQLite by its ODBC driver: read only, and the smallest database there is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tongqu.connectors.odbc import connector
from tongqu.connectors.odbc.db import connection_string
from tongqu.connectors.odbc.settings import from_url
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.testing.conformance.place import Place, full
from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.install import program

LIBRARY = "/usr/lib/x86_64-linux-gnu/odbc/libsqlite3odbc.so"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    try:
        program(LIBRARY, "libsqliteodbc")
    except ServiceMissingError as error:
        pytest.fail(f"{error}; {error.hint}", pytrace=False)
    with sqlite3.connect(tmp_path / "plant.db") as db:
        db.execute("create table lot (id integer primary key, name text not null, weight decimal(8,3), made date)")
        db.executemany(
            "insert into lot values (?, ?, ?, ?)", [(n, f"批{n}", n + 0.125, "2026-01-02") for n in range(20)]
        )
    db.close()
    return Place(connector, f"odbc://?driver=SQLite3&Database={tmp_path / 'plant.db'}")


def test_a_file_is_discovered_and_read_in_ranges(place: Place) -> None:
    with place.source() as source:
        (dataset,) = source.datasets(None)
        assert (dataset.name, dataset.key) == ("lot", ("id",))
        (split,) = source.splits(dataset, 2)
        batches = list(full(source, dataset, split))
    rows = [row for batch in batches for row in batch.rows.to_pylist()]
    assert sorted(row["id"] for row in rows) == list(range(20))
    assert {str(row["weight"]) for row in rows if row["id"] == 3} == {"3.125"}
    assert rows[0]["name"].startswith("批")
    assert sum(batch.position is not None for batch in batches) > 1


def test_it_is_not_written(place: Place) -> None:
    with place.sink() as sink, pytest.raises(InvalidPlanError, match="read only"):
        sink.start("sync", "run", False)


def test_special_characters_stand_in_braces() -> None:
    settings = from_url("odbc://u:p%3Bw%7Dd@db/plant?driver=Any&Trace=yes")
    assert connection_string(settings, "db", 5236) == (
        "Driver=Any;Server=db;Port=5236;Database=plant;UID=u;PWD={p;w}}d};Trace=yes"
    )


def test_a_url_names_a_driver_or_a_source() -> None:
    with pytest.raises(InvalidSettingsError, match="driver or a data source"):
        from_url("odbc://u@db/plant")
    assert "geheim" not in repr(from_url("odbc://?dsn=DM8&UID=etl&PWD=geheim"))
    assert from_url("odbc://?dsn=DM8").display() == "odbc:///?dsn=DM8"
