"""A source that is altered while it is read, between chunks or attempts: no wrong column, no row less."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.connector import Source
from tongqu.core.data import Dataset, Mode, Read
from tongqu.core.errors import SchemaError, TongquError
from tongqu.core.select import Column, Select

Statement = Callable[[str], None]

ALTERATIONS = {
    "retyped": "ALTER TABLE b {alter} v {type} BIGINT",
    "renamed": "ALTER TABLE b RENAME COLUMN v TO w",
    "dropped": "ALTER TABLE b DROP COLUMN v",
    "another column under the name": "ALTER TABLE b RENAME COLUMN v TO w; ALTER TABLE b ADD COLUMN v INTEGER",
    "truncated": "TRUNCATE TABLE b",
}
WORDS = {"postgres": {"alter": "ALTER COLUMN", "type": "TYPE"}, "mysql": {"alter": "MODIFY", "type": ""}}


@pytest.fixture(params=["postgres", "mysql"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, Source, Statement]]:
    """Two tables `(id, v)` of 50 rows, a source over them, and somebody else's connection."""
    name = str(request.param)
    url = request.getfixturevalue({"postgres": "pg_url", "mysql": "mysql_url"}[name])
    service = request.getfixturevalue({"postgres": "postgres", "mysql": "mariadb"}[name])
    del service
    connector = registry.connector(name)
    assert connector.source is not None
    assert connector.sink is not None
    settings: Any = connector.from_url(url)
    sink: Any = connector.sink(settings)
    other: Any = sink.connect()

    def run(sql: str) -> None:
        for statement in sql.split(";"):
            other.run(statement)
        with suppress(TongquError):
            other.commit()

    for table in "ab":
        run(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v INTEGER)")
        run(f"INSERT INTO {table} VALUES " + ", ".join(f"({n}, {n})" for n in range(50)))
    source = connector.source(settings)
    yield name, source, run
    source.close()
    other.close()
    sink.close()


def ways(source: Source, dataset: Dataset) -> dict[str, Iterator[Any]]:
    """Each way to read a dataset, in chunks of 10 rows; nothing is asked of the server before the first `next`."""
    split = source.splits(dataset, 1)[0]
    read = Read(dataset, split, batch_rows=10, chunk_rows=10, mode=Mode.FULL)
    select = Select(tuple(Column(name) for name in dataset.columns))
    return {"read": source.read(read), "bytes": source.copy_out(read, select, source.formats[0])}


def drained(way: str, pieces: Iterator[Any]) -> int:
    """The rows of what is left, as the engine takes them."""
    if way == "read":
        return sum(batch.rows.num_rows for batch in pieces)
    total = 0
    for piece in pieces:
        for _ in piece.chunks:
            pass
        total += piece.rows()
    return total


@pytest.mark.parametrize("way", ["read", "bytes"])
@pytest.mark.parametrize("what", ALTERATIONS)
def test_a_table_altered_before_its_turn(place: tuple[str, Source, Statement], what: str, way: str) -> None:
    name, source, run = place
    first, second = source.datasets(["a", "b"])
    with closing(ways(source, first)[way]) as pieces:  # type: ignore[type-var]  # these iterators are generators
        next(pieces)  # the snapshot is taken
    later = ways(source, second)[way]
    run(ALTERATIONS[what].format(**WORDS[name]))
    if what == "truncated" and name == "mysql":
        assert drained(way, later) == 0  # each table has its own snapshot, taken now
        return
    with pytest.raises(SchemaError, match="altered while it was being read"):
        drained(way, later)


@pytest.mark.parametrize("way", ["read", "bytes"])
def test_a_new_column_waits_for_the_next_run(place: tuple[str, Source, Statement], way: str) -> None:
    _, source, run = place
    (dataset,) = source.datasets(["b"])
    pieces = ways(source, dataset)[way]
    run("ALTER TABLE b ADD COLUMN w INTEGER")
    assert drained(way, pieces) == 50
    (again,) = source.datasets(["b"])
    assert again.columns == ("id", "v", "w")


def test_a_sqlite_table_altered_between_batches(tmp_path: Path) -> None:
    connector = registry.connector("sqlite")
    assert connector.source is not None
    path = tmp_path / "s.db"
    with (
        closing(sqlite3.connect(path)) as db,
        closing(connector.source(connector.from_url(f"sqlite:{path}"))) as source,
    ):
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, v INTEGER)")
        db.executemany("INSERT INTO b VALUES (?, ?)", [(n, n) for n in range(50)])
        db.commit()
        (dataset,) = source.datasets(["b"])
        split = source.splits(dataset, 1)[0]
        batches = source.read(Read(dataset, split, batch_rows=10, chunk_rows=10, mode=Mode.FULL))
        first = next(batches)
        db.execute("ALTER TABLE b RENAME COLUMN v TO w")  # the read goes on in its snapshot
        rest = list(batches)
        assert sum(batch.rows.num_rows for batch in [first, *rest]) == 50
        assert all(batch.rows.schema.names == ["id", "v"] for batch in rest)
