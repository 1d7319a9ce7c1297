"""`lookup` in a pipeline: the rows it follows may be changes, what it looks up is read whole."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from tongqu.testing.command_line import Done, make, query, tongqu

PROJECT = """\
project: workshop
connections:
  mes: {type: sqlite, path: mes.db}
  erp: {type: sqlite, path: erp.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  named:
    sources:
      orders: {connection: mes, dataset: orders, mode: incremental, cursor: id}
      materials: {connection: erp, dataset: materialsSIDE}
    steps:
      - {id: good, from: materials, CHECK}
      - from: orders
        lookup: {in: good, on: {material: code}, fields: {name: name}, missing: quarantine}
      - derive: {label: "name || '!'"}
    sinks: {table: {connection: lake, dataset: named, write: upsert, key: [id]}}
"""


def run(folder: Path, *more: str, check: str = 'filter: "active = 1"', side: str = "") -> Done:
    text = PROJECT.replace("CHECK", check).replace("SIDE", side)
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    return tongqu(folder, "run", "named", "--json", *more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "mes.db", "orders", "id INTEGER PRIMARY KEY, material TEXT", [(1, "A"), (2, "B"), (3, "X")])
    rows = [("A", "阀体", 1), ("B", "阀盖", 1), ("C", "螺栓", 1), ("X", "旧件", 0)]
    make(tmp_path / "erp.db", "materials", "code TEXT, name TEXT, active INTEGER", rows)
    return tmp_path


def test_changes_look_up_the_whole_dataset(folder: Path) -> None:
    first = run(folder)
    (stream,) = first.document["streams"]
    assert (stream["read"], stream["written"], stream["quarantined"]) == (3, 2, 1)
    assert query(folder / "lake.db", "SELECT id, label FROM named ORDER BY id") == [(1, "阀体!"), (2, "阀盖!")]
    with sqlite3.connect(folder / "mes.db") as mes, sqlite3.connect(folder / "erp.db") as erp:
        mes.execute("INSERT INTO orders VALUES (4, 'A'), (5, 'C')")
        erp.execute("UPDATE materials SET name = '阀体二型' WHERE code = 'A'")
    second = run(folder)
    (stream,) = second.document["streams"]
    assert stream["read"] - stream["quarantined"] <= 3 and stream["mode"] == "incremental"
    found = query(folder / "lake.db", "SELECT id, label FROM named ORDER BY id")
    assert found == [(1, "阀体!"), (2, "阀盖!"), (4, "阀体二型!"), (5, "螺栓!")]


def test_full_and_incremental_give_the_same_rows(folder: Path) -> None:
    assert run(folder, "--full").code == 3
    assert query(folder / "lake.db", "SELECT id, label FROM named ORDER BY id") == [(1, "阀体!"), (2, "阀盖!")]


def test_dataset_that_gives_only_changes_is_not_looked_up(folder: Path) -> None:
    done = run(folder, side=", mode: incremental, cursor: code")
    assert done.code == 2
    (problem,) = done.document["problems"]
    assert "lookup looks up all rows" in problem["message"] and "steps[1].lookup" in problem["path"]


def test_refused_row_of_what_is_looked_up_stops_the_run(folder: Path) -> None:
    done = run(folder, check="check: {active: {min: 1}}")
    assert done.code == 1
    (problem,) = done.document["problems"]
    assert problem["code"] == "data.quality" and "'good' is looked up" in problem["message"]


SPLIT = """\
project: workshop
connections:
  mes: {type: postgres, url: "${env:PG}"}
  erp: {type: sqlite, path: erp.db}
pipelines:
  named:
    sources: {orders: {connection: mes, dataset: orders}, materials: {connection: erp, dataset: materials}}
    steps: [{from: orders, lookup: {in: materials, on: {material: code}, fields: {name: name}}}]
    sinks: {table: {connection: mes, dataset: named}}
    limit: {splits: 4, chunk_rows: 2000}
"""


def test_splits_side_by_side_share_what_is_looked_up(folder: Path, pg_url: str) -> None:
    (folder / "tongqu.yaml").write_text(SPLIT, encoding="utf-8")
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, material text)")
        connection.execute("INSERT INTO orders SELECT n, substr('ABCZ', n % 4 + 1, 1) FROM generate_series(1, 20000) n")
        done = tongqu(folder, "run", "named", "--json", PG=pg_url)
        assert done.code == 0, done.err
        found = connection.execute(
            'SELECT name, count(*) FROM named GROUP BY name ORDER BY name COLLATE "C"'
        ).fetchall()
        assert found == [("螺栓", 5000), ("阀体", 5000), ("阀盖", 5000), (None, 5000)]
        (stream,) = done.document["streams"]
        assert (stream["read"], stream["written"]) == (20000, 20000)
