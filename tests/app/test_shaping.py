"""Steps that shape rows, run by the command line: what the run document tells about them."""

from __future__ import annotations

from pathlib import Path

from tongqu.testing.command_line import make, query, tongqu

PROJECT = """\
project: workshop
connections:
  a: {type: sqlite, path: a.db}
  b: {type: sqlite, path: b.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  changed:
    sources: {old: {connection: a, dataset: t}, new: {connection: b, dataset: t}}
    steps:
      - {id: found, compare: {old: old, new: new, key: id}}
      - {id: some, filter: "_change <> 'same'"}
    sinks: {out: {from: some, connection: lake, dataset: changes}}
  wide:
    sources: {old: {connection: a, dataset: t}, new: {connection: b, dataset: t}}
    steps:
      - {id: both, union: {inputs: [old, new], mark: day}}
      - {id: wide, pivot: {by: [id], column: day, value: v, values: [new]}}
    sinks: {out: {from: wide, connection: lake, dataset: wide}}
  growing:
    source: {connection: a, dataset: t, mode: incremental, cursor: id}
    steps: [{sort: "-id"}]
    sink: {connection: lake, dataset: growing}
"""


def folder(tmp_path: Path) -> Path:
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY, v TEXT", [(1, "x"), (2, "y"), (3, "z")])
    make(tmp_path / "b.db", "t", "id INTEGER PRIMARY KEY, v TEXT", [(1, "x"), (2, "Y"), (4, "w")])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def test_marks_of_a_comparison_are_counted(tmp_path: Path) -> None:
    done = tongqu(folder(tmp_path), "run", "changed", "--json")
    (stream,) = done.document["streams"]
    found, some = stream["steps"]
    assert found["marks"] == {"same": 1, "changed": 1, "deleted": 1, "new": 1}
    assert (found["in"], found["out"], found["generated"], some["filtered"]) == (6, 4, -2, 1)
    assert query(tmp_path / "lake.db", "SELECT id, v, _change FROM changes ORDER BY id") == [
        (2, "Y", "changed"),
        (3, "z", "deleted"),
        (4, "w", "new"),
    ]


def test_undeclared_values_are_kept_in_quarantine(tmp_path: Path) -> None:
    done = tongqu(folder(tmp_path), "run", "wide", "--json")
    (stream,) = done.document["streams"]
    assert done.code == 3 and (stream["read"], stream["written"], stream["quarantined"]) == (6, 3, 3)
    assert query(tmp_path / "lake.db", "SELECT * FROM wide ORDER BY id") == [(1, "x"), (2, "Y"), (4, "w")]
    assert query(tmp_path / "lake.db", "SELECT DISTINCT code FROM _tongqu_quarantine") == [("pivot.undeclared",)]


def test_step_that_needs_all_rows_of_changes_is_refused_before_any_connection(tmp_path: Path) -> None:
    done = tongqu(folder(tmp_path), "run", "growing", "--json")
    (problem,) = done.document["problems"]
    assert done.code == 2 and problem["code"] == "config.invalid_plan"
    assert "step 'sort': sort needs all rows" in problem["message"] and "mode: full" in problem["hint"]
    assert problem["path"].startswith("tongqu.yaml:") and problem["path"].endswith("pipelines.growing.steps[0].sort")
