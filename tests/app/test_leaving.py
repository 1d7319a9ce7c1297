"""What `check` and `plan` tell about rows that leave a filter over changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside, make, query
from tongqu.testing.psql import execute, rows

PROJECT = """\
project: workshop
connections:
  mes: {type: sqlite, path: mes.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  part:
    source: {connection: mes, dataset: t, mode: incremental, cursor: at}
    steps: STEPS
    sink: {connection: lake, dataset: part, write: upsert, key: [id]MORE}
"""
OTHER = """\
  other:
    source: {connection: mes, dataset: t}
    steps: [{filter: "v = 2"}]
    sink: {connection: lake, dataset: part, write: upsert, key: [id]}
"""


def folder(tmp_path: Path, steps: str, more: str = "", other: str = "") -> Path:
    make(tmp_path / "mes.db", "t", "id INTEGER PRIMARY KEY, v INTEGER, at INTEGER NOT NULL", [(1, 1, 1), (2, 1, 2)])
    text = PROJECT.replace("STEPS", steps).replace("MORE", more) + other
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def notes(folder: Path) -> list[str]:
    """What `check` notes."""
    problems = inside(folder, "check", "--json").document["problems"]
    return [problem["message"] for problem in problems if problem["code"] == "project.filter_keeps"]


def planned(folder: Path) -> Any:
    """What `plan` notes about the target of the first pipeline."""
    return inside(folder, "plan", "--json").document["targets"][0]["notes"]


def change(folder: Path, sql: str) -> None:
    """Change the source."""
    with closing(sqlite3.connect(folder / "mes.db")) as db, db:
        db.execute(sql)


def leave(folder: Path) -> list[tuple[Any, ...]]:
    """The target after a row has left the filter."""
    assert inside(folder, "run", "part", "--json").code == 0
    change(folder, "UPDATE t SET v = 2, at = 3 WHERE id = 1")
    assert inside(folder, "run", "part", "--json").code == 0
    return query(folder / "lake.db", "SELECT id, v FROM part ORDER BY id")


def test_rows_that_leave_are_deleted_and_plan_says_what_it_costs(tmp_path: Path) -> None:
    place = folder(tmp_path, '[{filter: "v = 1"}]')
    assert notes(place) == []
    lane = "a row that 'filter' leaves out is deleted in the target by its key, so rows travel in the columnar lane"
    assert planned(place) == [lane]
    assert leave(place) == [(2, 1)]


def test_a_key_that_a_step_makes_keeps_its_rows(tmp_path: Path) -> None:
    place = folder(tmp_path, '[{derive: {id: "id * 10"}}, {filter: "v = 1"}]')
    (note,) = notes(place)
    assert note.endswith("stays in the target as it was: its key column 'id' is made by 'derive'")
    (told,) = planned(place)
    assert "the key column 'id' is no plain copy of a column of the source; take a key that" in told
    assert leave(place) == [(10, 1), (20, 1)]


@pytest.mark.parametrize(
    ("steps", "made"),
    [
        ('[{rename: {id: x}}, {rename: {x: id}}, {check: {v: {min: 0}}}, {filter: "v = 1"}]', []),
        ('[{rename: {v: id, id: v}}, {cast: {v: varchar}}, {filter: "v = 1"}]', []),
        ('[{rename: {v: id, id: v}}, {cast: {id: varchar}}, {filter: "v = 1"}]', ["cast"]),
        ('[{filter: "v = 1"}, {mask: {id: {with: hash, key: "${file:mask.key}"}}}]', ["mask"]),
    ],
)
def test_check_follows_the_key_through_the_files(tmp_path: Path, steps: str, made: list[str]) -> None:
    (tmp_path / "mask.key").write_text("ab" * 16, encoding="utf-8")
    found = notes(folder(tmp_path, steps))
    assert [note.rpartition(" ")[2].strip("'") for note in found] == made


def test_a_target_that_another_pipeline_writes_keeps_its_rows(tmp_path: Path) -> None:
    place = folder(tmp_path, '[{filter: "v = 1"}]', other=OTHER)
    (note,) = notes(place)
    assert "'other' writes the same target" in note
    assert "rows that leave a filter stay as they were: 'other' writes the same target" in planned(place)
    assert leave(place) == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("mine", "theirs", "keeps"),
    [
        ("dataset: t", "datasets: [t]", True),
        ("dataset: t", 'datasets: ["*"]', True),
        ("dataset: t", 'datasets: ["u*", "!t"]', False),
        ("datasets: [t]", "datasets: [t]", True),
    ],
)
def test_targets_may_be_named_by_patterns(tmp_path: Path, mine: str, theirs: str, keeps: bool) -> None:
    place = folder(tmp_path, '[{filter: "v = 1"}]')
    text = (place / "tongqu.yaml").read_text(encoding="utf-8")
    text = text.replace("dataset: t, mode", f"{mine}, mode").replace(" dataset: part,", "")
    other = OTHER.replace("dataset: t", theirs).replace(" dataset: part,", "")
    (place / "tongqu.yaml").write_text(text + other, encoding="utf-8")
    assert bool(notes(place)) is keeps


def test_a_sink_may_keep_them_on_purpose(tmp_path: Path) -> None:
    place = folder(tmp_path, '[{filter: "v = 1"}]', more=", leaving: keep")
    assert notes(place) == []
    assert planned(place) == []
    assert leave(place) == [(1, 1), (2, 1)]


def test_soft_deletes_mark_them(tmp_path: Path) -> None:
    place = folder(tmp_path, '[{filter: "v = 1"}]', more=", deletes: soft")
    assert leave(place) == [(1, 1), (2, 1)]
    assert query(place / "lake.db", "SELECT id FROM part WHERE _deleted_at IS NULL") == [(2,)]


def test_a_row_that_others_refer_to_stops_the_run_and_nothing_is_lost(tmp_path: Path, pg_url: str) -> None:
    place = folder(tmp_path, '[{filter: "v = 1"}]')
    text = (place / "tongqu.yaml").read_text(encoding="utf-8")
    text = text.replace("{type: sqlite, path: lake.db}", '{type: postgres, url: "${env:LAKE}"}')
    (place / "tongqu.yaml").write_text(text, encoding="utf-8")
    assert inside(place, "run", "part", "--json", LAKE=pg_url).code == 0
    execute(pg_url, "CREATE TABLE child (part bigint REFERENCES part); INSERT INTO child VALUES (1)")
    change(place, "UPDATE t SET v = 2, at = 3")
    done = inside(place, "run", "part", "--json", LAKE=pg_url)
    (problem,) = done.document["problems"]
    assert (done.code, problem["path"]) == (1, "part")
    assert problem["message"].startswith("rows that left a filter cannot be deleted in 'part': ")
    assert "leaving: keep" in problem["hint"]
    assert sorted(rows(pg_url, "SELECT id FROM part")) == [(1,), (2,)]

    execute(pg_url, "DELETE FROM child")
    again = inside(place, "run", "part", "--json", LAKE=pg_url)
    assert (again.code, again.document["streams"][0]["deleted"]) == (0, 2)
    assert rows(pg_url, "SELECT id FROM part") == []
