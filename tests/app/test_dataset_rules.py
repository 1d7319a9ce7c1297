"""Freshness, volume and the limit of bad rows: a run that breaks them needs attention or fails, and says why."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tongqu.testing.command_line import Done, make, query, tongqu

PROJECT = """\
project: workshop
connections:
  qms: {type: sqlite, path: qms.db}
  lake: {type: sqlite, path: lake.db}
datasets:
  thing:
    fields: {id: {max: 900}}
    freshness: {field: at, within: 36 h, severity: FRESH}
    volume: {min: 5, change: 50%, last: 3, severity: VOLUME}
pipelines:
  clean:
    source: {connection: qms, dataset: t, as: thing}
    steps: [{check: thing}]
    sink: {connection: lake, dataset: thing}
    LIMIT
"""


def project(folder: Path, fresh: str = "warning", volume: str = "warning", limit: str = "") -> None:
    text = PROJECT.replace("FRESH", fresh).replace("VOLUME", volume).replace("LIMIT", limit)
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "qms.db", "t", "id INTEGER PRIMARY KEY, at TIMESTAMP", [(n, None) for n in range(1, 11)])
    return tmp_path


def change(folder: Path, *statements: str) -> None:
    database = sqlite3.connect(folder / "qms.db")
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()


def run(folder: Path) -> Done:
    return tongqu(folder, "run", "clean", "--json")


def test_old_rows_and_unusual_numbers_need_attention(folder: Path) -> None:
    project(folder)
    done = run(folder)
    assert (done.code, done.document["status"]) == (3, "attention")
    assert "ok" not in done.document
    assert [(one["code"], one["level"]) for one in done.document["problems"]] == [("check.freshness", "warning")]
    assert "there is no value at all" in done.err

    change(folder, "UPDATE t SET at = datetime('now', '-1 hour')")
    assert run(folder).code == 0
    change(folder, "DELETE FROM t WHERE id > 4")
    done = run(folder)
    assert done.code == 3
    assert [one["message"] for one in done.document["problems"]] == ["4 rows came, fewer than 5"]
    assert query(folder / "lake.db", "SELECT count(*) FROM thing") == [(4,)]
    change(folder, *(f"INSERT INTO t VALUES ({n}, datetime('now'))" for n in range(100, 200)))
    assert "the median of the last 3 runs is 10" in run(folder).document["problems"][0]["message"]


def test_an_error_keeps_the_rows_from_becoming_visible(folder: Path) -> None:
    change(folder, "UPDATE t SET at = datetime('now')")
    project(folder, fresh="error", volume="error")
    assert run(folder).code == 0
    change(folder, "DELETE FROM t WHERE id > 2")
    done = run(folder)
    assert (done.code, done.document["ok"], done.document["problems"][0]["code"]) == (1, False, "data.quality")
    assert query(folder / "lake.db", "SELECT count(*) FROM thing") == [(10,)]

    change(folder, *(f"INSERT INTO t VALUES ({n}, datetime('now'))" for n in range(3, 12)))  # the source was mended
    done = run(folder)
    assert done.code == 0, done.out
    assert query(folder / "lake.db", "SELECT count(*) FROM thing") == [(11,)]


@pytest.mark.parametrize("limit", ["2", "1%"])
def test_too_many_bad_rows_stop_the_run_and_the_document_says_how_many(folder: Path, limit: str) -> None:
    change(
        folder,
        "DELETE FROM t",
        *(f"INSERT INTO t VALUES ({n}, datetime('now'))" for n in range(851, 951)),
    )
    project(folder, limit=f"limit: {{quarantined: {limit}, chunk_rows: 10, splits: 1}}")
    done = run(folder)
    assert (done.code, done.document["status"]) == (1, "failed")
    [stream] = done.document["streams"]
    assert stream["read"] == stream["written"] + stream["quarantined"]
    assert stream["quarantined"] > 2
    [problem] = [one for one in done.document["problems"] if one["code"] == "data.quality"]
    assert problem["message"].startswith(f"{stream['quarantined']} of {stream['read']} rows were quarantined")
    kept = tongqu(folder, "quarantine", "list", "--json").document["rows"]
    assert len(kept) == stream["quarantined"]
    change(folder, "UPDATE t SET id = id - 100")
    assert run(folder).code == 0, "a mended source is read anew"
    assert query(folder / "lake.db", "SELECT count(*) FROM thing") == [(100,)]


def test_a_reference_to_a_connection_that_is_not_there_names_its_line(folder: Path) -> None:
    project(folder)
    text = (folder / "tongqu.yaml").read_text(encoding="utf-8")
    reference = "{max: 900, reference: {connection: mse, dataset: l, field: x}}"
    (folder / "tongqu.yaml").write_text(text.replace("{max: 900}", reference), encoding="utf-8")
    done = run(folder)
    assert done.code == 2
    [problem] = done.document["problems"]
    assert problem["path"] == "tongqu.yaml:7:datasets.thing.fields.id.reference.connection"
