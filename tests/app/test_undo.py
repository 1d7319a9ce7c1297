"""`tongqu undo`: the generation before the last replace comes back, whole or not at all, and a second undo is redo."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tongqu.testing.command_line import Done, make, query, tongqu

OLD, NEW = [(1, "old"), (2, "old")], [(2, "new"), (3, "new"), (4, "new")]


def in_sqlite(folder: Path) -> list[Any]:
    return query(folder / "b.db", "SELECT id, name FROM orders ORDER BY id")


def in_duckdb(folder: Path) -> list[Any]:
    with duckdb.connect(str(folder / "b.duckdb")) as database:
        return database.execute("SELECT id, name FROM orders ORDER BY id").fetchall()


def in_parquet(folder: Path) -> list[Any]:
    return [(row["id"], row["name"]) for row in pq.read_table(folder / "out/orders.parquet").to_pylist()]


def in_csv(folder: Path) -> list[Any]:
    lines = (folder / "orders.csv").read_text().split()[1:]
    return [(int(id), name) for id, name in (line.split(",")[:2] for line in lines)]


def in_partitions(folder: Path) -> list[Any]:
    table = pq.read_table(folder / "parts/orders", partitioning="hive").to_pylist()
    return sorted((row["id"], row["name"]) for row in table)


SINKS: dict[str, Callable[[Path], list[Any]]] = {
    "sqlite:b.db": in_sqlite,
    "duckdb:b.duckdb": in_duckdb,
    "file:out/": in_parquet,
    "file:orders.csv": in_csv,
    "file:parts/?partition=name": in_partitions,
}
each_sink = pytest.mark.parametrize("sink", SINKS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files of orders, an old one and a new one with another column."""
    make(tmp_path / "old.db", "orders", "id INTEGER PRIMARY KEY, name TEXT, more INT", [(*row, 1) for row in OLD])
    columns = "id INTEGER PRIMARY KEY, name TEXT, more INT, added TEXT"
    make(tmp_path / "new.db", "orders", columns, [(*row, 1, "a") for row in NEW])
    return tmp_path


def replaced(folder: Path, sink: str) -> None:
    """Replace the sink's table by the old file's and then by the new file's."""
    for source in ("sqlite:old.db", "sqlite:new.db"):
        done = tongqu(folder, "sync", source, sink, "--write", "replace", "--json")
        assert done.code == 0, done.err
    assert SINKS[sink](folder) == NEW


def undo(folder: Path, sink: str, **environ: str) -> Done:
    return tongqu(folder, "undo", sink, "--table", "orders", "--json", **environ)


def refused(done: Done) -> tuple[int, str]:
    return done.code, done.document["problems"][0]["code"]


@pytest.fixture(scope="module")
def _made() -> dict[str, Path]:
    """Folders that were made before, by sink."""
    return {}


@pytest.fixture
def twice(folder: Path, sink: str, _made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sink was replaced twice: made once a sink, copied for each test."""
    if sink not in _made:
        replaced(folder, sink)
        _made[sink] = shutil.copytree(folder, tmp_path_factory.mktemp("made") / "folder")
    return shutil.copytree(_made[sink], folder, dirs_exist_ok=True)


@each_sink
def test_undo_brings_the_old_generation_and_undo_again_the_new(twice: Path, sink: str) -> None:
    folder = twice
    for rows in (OLD, NEW, OLD):
        done = undo(folder, sink)
        assert done.code == 0, done.out + done.err
        assert done.document == {"ok": True, "tables": [{"name": "orders", "rows": len(rows)}]}
        assert SINKS[sink](folder) == rows
    # a replace now keeps the generation that is visible
    assert tongqu(folder, "sync", "sqlite:new.db", sink, "--write", "replace").code == 0
    assert SINKS[sink](folder) == NEW
    assert undo(folder, sink).code == 0
    assert SINKS[sink](folder) == OLD


@each_sink
def test_without_a_kept_generation_there_is_nothing_to_undo(folder: Path, sink: str) -> None:
    assert refused(undo(folder, sink)) == (1, "connector.not_found")
    assert sorted(path.name for path in folder.iterdir()) == ["home", "new.db", "old.db"]
    assert tongqu(folder, "sync", "sqlite:old.db", sink, "--write", "replace").code == 0
    done = undo(folder, sink)
    assert refused(done) == (1, "connector.not_found")
    assert "'orders'" in done.document["problems"][0]["message"]


@each_sink
def test_an_unfinished_run_keeps_its_table(twice: Path, sink: str) -> None:
    folder = twice
    command = ("sync", "sqlite:old.db", sink, "--write", "replace")
    assert tongqu(folder, *command, TONGQU_CRASH_AT="before_finish").code == -signal.SIGKILL
    assert refused(undo(folder, sink)) == (1, "connector.busy")
    assert tongqu(folder, *command).code == 0
    assert undo(folder, sink).code == 0
    assert SINKS[sink](folder) == NEW


@each_sink
def test_a_crash_leaves_the_one_generation_or_the_other(twice: Path, sink: str) -> None:
    folder = twice
    assert undo(folder, sink, TONGQU_CRASH_AT="in_undo").code == -signal.SIGKILL
    left = SINKS[sink](folder)
    assert left in (OLD, NEW)
    assert undo(folder, sink).code == 0
    assert SINKS[sink](folder) == (OLD if left == NEW else NEW)


def test_shape_indexes_triggers_and_views_of_sqlite(folder: Path) -> None:
    make(folder / "b.db", "orders", "id INTEGER PRIMARY KEY, name TEXT DEFAULT 'none', more INT", [])
    for statement in (
        "CREATE INDEX by_name ON orders (name)",
        "CREATE VIEW names AS SELECT name FROM orders",
        "CREATE TABLE log (id INT)",
        "CREATE TRIGGER noted AFTER INSERT ON orders BEGIN INSERT INTO log VALUES (new.id); END",
    ):
        _run(folder / "b.db", statement)
    replaced(folder, "sqlite:b.db")
    _run(folder / "b.db", "CREATE INDEX by_added ON orders (added)")
    assert undo(folder, "sqlite:b.db").code == 0
    assert query(folder / "b.db", "SELECT name FROM names") == [("old",), ("old",)]
    assert [name for (name,) in query(folder / "b.db", "SELECT name FROM pragma_table_info('orders')")] == [
        "id", "name", "more",
    ]  # fmt: skip
    attached = "SELECT name FROM sqlite_master WHERE tbl_name = 'orders' AND type <> 'table' ORDER BY name"
    assert query(folder / "b.db", attached) == [("by_name",), ("noted",)]
    _run(folder / "b.db", "INSERT INTO orders (id) VALUES (9)")
    assert query(folder / "b.db", "SELECT name FROM orders WHERE id = 9") == [("none",)]
    assert query(folder / "b.db", "SELECT id FROM log WHERE id = 9") == [(9,)]
    assert undo(folder, "sqlite:b.db").code == 0
    assert query(folder / "b.db", attached) == [("by_added",), ("by_name",), ("noted",)]


def test_key_indexes_and_defaults_of_duckdb(folder: Path) -> None:
    with duckdb.connect(str(folder / "b.duckdb")) as database:
        database.execute("CREATE TABLE orders (id BIGINT PRIMARY KEY, name VARCHAR DEFAULT 'none', more INT)")
        database.execute("CREATE UNIQUE INDEX by_name ON orders (name, id)")
    replaced(folder, "duckdb:b.duckdb")
    for columns in (3, 4):
        assert undo(folder, "duckdb:b.duckdb").code == 0
        with duckdb.connect(str(folder / "b.duckdb")) as database:
            database.execute("INSERT INTO orders (id) VALUES (9)")
            assert database.execute("SELECT name FROM orders WHERE id = 9").fetchall() == [("none",)]
            with pytest.raises(duckdb.ConstraintException):
                database.execute("INSERT INTO orders (id) VALUES (9)")
            database.execute("DELETE FROM orders WHERE id = 9")
            found = database.execute("SELECT index_name FROM duckdb_indexes() WHERE table_name = 'orders'").fetchall()
            assert found == [("by_name",)]
            assert len(database.execute("DESCRIBE orders").fetchall()) == columns


def test_a_duckdb_table_that_foreign_keys_refer_to_is_refilled(folder: Path) -> None:
    sink = "duckdb:b.duckdb"
    with duckdb.connect(str(folder / "b.duckdb")) as database:
        database.execute("CREATE TABLE orders (id BIGINT PRIMARY KEY, name VARCHAR, more INT)")
        database.execute("CREATE TABLE lines (id BIGINT REFERENCES orders (id))")
    replaced(folder, sink)
    for rows in (OLD, NEW, OLD):
        done = undo(folder, sink)
        assert done.code == 0, done.out
        assert in_duckdb(folder) == rows
    assert undo(folder, sink, TONGQU_CRASH_AT="in_undo").code == -signal.SIGKILL
    assert in_duckdb(folder) == OLD
    with duckdb.connect(str(folder / "b.duckdb")) as database:
        database.execute("INSERT INTO lines VALUES (1)")
    assert refused(undo(folder, sink)) == (1, "data")
    assert in_duckdb(folder) == OLD


def test_several_tables_are_undone_in_order_until_one_cannot(folder: Path) -> None:
    for _ in range(2):
        done = tongqu(folder, "sync", "sqlite:old.db", "sqlite:b.db", "--table", "orders=one", "--write", "replace")
        assert done.code == 0, done.err
    done = tongqu(folder, "undo", "sqlite:b.db", "--table", "one", "--table", "two", "--json")
    assert refused(done) == (1, "connector.not_found")
    assert "already put back: one" in done.document["problems"][0]["hint"]


def test_it_is_written_down_and_told_to_people(folder: Path) -> None:
    replaced(folder, "sqlite:b.db")
    done = tongqu(folder, "undo", "sqlite:b.db", "--table", "orders", "--lang", "zh")
    assert (done.code, done.out) == (0, "orders：已恢复最近一次 replace 之前的那一代，共 2 行\n")
    newest = tongqu(folder, "runs", "list", "--json").document["runs"][0]
    assert (newest["kind"], newest["status"]) == ("undo", "succeeded")
    assert tongqu(folder, "runs", "show", newest["run"]).code == 0


def _run(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()
