"""`trace` and `lineage` through `lookup`: the row that was looked up is found beside the row it was brought to."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import make, tongqu

PROJECT = """\
project: plant
connections:
  mes: {type: sqlite, path: mes.db}
  erp: {type: sqlite, path: erp.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  named:
    sources:
      orders: {connection: mes, dataset: orders, mode: incremental, cursor: no}
      materials: {connection: erp, dataset: materials}
    steps:
      - {id: good, from: materials, filter: "active = 1"}
      - {from: orders, rename: {no: id}}
      - {from: rename, lookup: {in: good, on: {material: code}, fields: {name: title}}}
      - derive: {label: "upper(name)"}
    sinks: {table: {connection: lake, dataset: named, write: upsert, key: [id]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two orders that look up their material, run once."""
    make(tmp_path / "mes.db", "orders", "no INTEGER PRIMARY KEY, material TEXT", [(1, "A"), (2, "B'--"), (3, None)])
    rows = [("A", "阀体", 1), ("B'--", "阀盖", 1), ("C", "螺栓", 1), ("A", "旧件", 0)]
    make(tmp_path / "erp.db", "materials", "code TEXT, title TEXT, active INTEGER", rows)
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    ran = tongqu(tmp_path, "run", "named", "--json")
    assert ran.code == 0, ran.err
    return tmp_path


def traced(folder: Path, where: str) -> dict[str, dict[str, Any]]:
    done = tongqu(folder, "trace", "lake", "named", where, "--json")
    assert done.code == 0, done.err
    (flow,) = done.document["flows"]
    assert flow["steps"] == ["good:filter", "rename:rename", "lookup:lookup", "derive:derive"]
    return {source["dataset"]: source for source in flow["sources"]}


def test_the_row_that_was_looked_up_is_found(folder: Path) -> None:
    found = traced(folder, "id=2")
    assert [(row["no"], row["material"]) for row in found["orders"]["rows"]] == [(2, "B'--")]
    assert [(row["code"], row["title"]) for row in found["materials"]["rows"]] == [("B'--", "阀盖")]


def test_a_row_without_a_match_has_none(folder: Path) -> None:
    """A null key meets nothing, not even a null key."""
    with sqlite3.connect(folder / "erp.db") as erp:
        erp.execute("INSERT INTO materials VALUES (NULL, '无码', 1)")
    found = traced(folder, "id=3")
    assert [row["no"] for row in found["orders"]["rows"]] == [3]
    assert found["materials"]["rows"] == []


def test_a_field_that_was_looked_up_comes_from_the_side(folder: Path) -> None:
    done = tongqu(folder, "lineage", "lake.named.label", "--json")
    assert done.code == 0, done.err
    text = done.out
    assert '"title"' in text and '"materials"' in text and '"erp"' in text


def test_a_looked_up_row_is_found_by_its_key_though_it_changed_since(folder: Path) -> None:
    """It is named otherwise now, and another row has its old name."""
    with sqlite3.connect(folder / "erp.db") as erp:
        erp.execute("UPDATE materials SET title = '阀盖二型' WHERE code = 'B''--'")
        erp.execute("UPDATE materials SET title = '阀盖' WHERE code = 'C'")
    found = traced(folder, "id=2")
    assert [(row["code"], row["title"]) for row in found["materials"]["rows"]] == [("B'--", "阀盖二型")]
