"""`trace`: from a row of the target to the rows it was made of, with run and version."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.testing.command_line import Done, make, tongqu

PROJECT = """\
project: plant
connections:
  erp: {type: sqlite, path: erp.db}
  lake: {type: postgres, url: "${env:LAKE}"}
pipelines:
  load:
    source: {connection: erp, dataset: orders}
    steps:
      - rename: {no: id, grams: kg}
      - convert: {kg: {from: g, to: kg}}
    sink: {connection: lake, dataset: orders}
  by_line:
    sources: {o: {connection: lake, dataset: orders}, l: {connection: erp, dataset: lines}}
    steps:
      - {id: joined, join: {left: o, right: l, on: line}}
      - {id: summed, from: joined, aggregate: {by: [label], total: "sum(kg)"}}
    sink: {connection: lake, dataset: by_line, write: upsert, key: [label]}
"""

CLASSED = "datasets: {orders: {fields: {kg: {class: personal}}}}\npipelines:"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project from SQLite into PostgreSQL, with a name that is hostile to SQL."""
    orders = [(1, 1500, "A'--"), (2, 700, "B"), (3, 9, "A'--"), (4, 5, None)]
    make(tmp_path / "erp.db", "orders", "no INTEGER PRIMARY KEY, grams INTEGER, line TEXT", orders)
    make(tmp_path / "erp.db", "lines", "line TEXT PRIMARY KEY, label TEXT", [("A'--", "一线"), ("B", "二线")])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def call(folder: Path, url: str, *arguments: str) -> Done:
    return tongqu(folder, *arguments, "--json", LAKE=url)


def sources(flow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {source["dataset"]: source for source in flow["sources"]}


def test_a_total_is_followed_to_the_orders_it_sums(folder: Path, pg_url: str) -> None:
    """Through an aggregate and a join into the lake's table, and from there through two steps to the ERP."""
    call(folder, pg_url, "apply")
    ran = call(folder, pg_url, "run", "load", "by_line")
    assert ran.code == 0, ran.err

    done = call(folder, pg_url, "trace", "lake", "by_line", "label=一线")

    assert done.code == 0, done.err
    document = done.document
    assert document["target"]["rows"] == [{"label": "一线", "total": "1.509"}]
    (flow,) = document["flows"]
    assert (flow["pipeline"], flow["version"]) == ("by_line", 1)
    assert flow["run"] in ran.document["runs"]
    orders = sources(flow)["orders"]
    assert sorted(row["id"] for row in orders["rows"]) == [1, 3]
    assert [row["line"] for row in sources(flow)["lines"]["rows"]] == ["A'--"]
    (load,) = orders["flows"]
    assert sorted(row["no"] for row in sources(load)["orders"]["rows"]) == [1, 3]
    assert load["steps"] == ["rename:rename", "convert:convert"]


def test_a_row_that_is_gone_at_the_source_is_told(folder: Path, pg_url: str) -> None:
    """The target still has it, the source has it no more: no row, and no error."""
    call(folder, pg_url, "run", "load")
    with sqlite3.connect(folder / "erp.db") as database:
        database.execute("DELETE FROM orders WHERE no = 2")

    done = call(folder, pg_url, "trace", "lake", "orders", "id=2")

    (source,) = done.document["flows"][0]["sources"]
    assert (done.document["target"]["count"], source["count"], source["rows"]) == (1, 0, [])


def test_rows_are_counted_and_only_some_shown(folder: Path, pg_url: str) -> None:
    """A group of 5,000 rows: the count is whole, the rows are as many as were asked for."""
    with psycopg.connect(pg_url) as db:
        db.execute("CREATE TABLE many AS SELECT n AS id, 'x' AS kind FROM generate_series(1, 5000) n")
        db.execute("ALTER TABLE many ADD PRIMARY KEY (id)")
    tongqu(folder, "sync", pg_url, "sqlite:copy.db", "--table", "many")

    done = tongqu(folder, "trace", "sqlite:copy.db", "many", "kind=x", "--limit", "3", "--json")

    target = done.document["target"]
    assert (target["count"], len(target["rows"])) == (5000, 3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("lake", "orders", "id=99"), "connector.not_found"),
        (("lake", "nix", "id=1"), "connector.not_found"),
        (("lake", "orders", "nix=1"), "config.unknown_name"),
        (("lake", "orders", "id=one"), "config.invalid_settings"),
        (("lake", "orders", "id"), "config.invalid_settings"),
        (("lake", "orders", "line=' OR 1=1 --"), "connector.not_found"),
    ],
)
def test_what_cannot_be_traced_is_told(folder: Path, pg_url: str, arguments: tuple[str, ...], code: str) -> None:
    """Rows, tables and columns that are not there, values of a wrong type, and values that try to be SQL."""
    call(folder, pg_url, "run", "load")

    done = call(folder, pg_url, "trace", *arguments)

    assert done.document["problems"][0]["code"] == code
    assert "Traceback" not in done.err


def test_personal_values_are_hidden_along_the_whole_way(folder: Path, pg_url: str) -> None:
    """A field of class personal is `***` in the target and, under its other name, at the source, unless asked for."""
    file = folder / "tongqu.yaml"
    text = file.read_text(encoding="utf-8").replace("pipelines:", CLASSED, 1)
    file.write_text(text, encoding="utf-8")
    call(folder, pg_url, "run", "load")

    hidden = call(folder, pg_url, "trace", "lake", "orders", "id=1")
    shown = call(folder, pg_url, "trace", "lake", "orders", "id=1", "--show-personal")

    (source,) = hidden.document["flows"][0]["sources"]
    assert hidden.document["target"]["rows"][0]["kg"] == "***"
    assert source["rows"][0]["grams"] == "***"
    assert "1500" not in hidden.out
    assert "1500" in shown.out
