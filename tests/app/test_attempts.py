"""A run that died goes on: its counts, each step's too, are totals over all attempts; other steps are another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.core.data import Counts
from tongqu.testing.command_line import Done, make, query, tongqu

PROJECT = """\
connections:
  q: {type: sqlite, path: q.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  chunks:
    source: {connection: q, dataset: t}
    steps:
      - filter: "id % 3 <> 0"
      - derive: {v: "g + 1"}
      - check: {g: {min: 0}}
    sink: {connection: lake, dataset: chunks, write: upsert, key: [id]}
    limit: {chunk_rows: 100}
  whole:
    source: {connection: q, dataset: t}
    steps: [{aggregate: {by: [line], n: "count(*)"}}]
    sink: {connection: lake, dataset: whole}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1,000 rows; every 50th has a bad g."""
    rows = [(n, n if n % 50 else -1, "AB"[n % 2]) for n in range(1, 1001)]
    make(tmp_path / "q.db", "t", "id INTEGER PRIMARY KEY, g INTEGER, line TEXT", rows)
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def rewrite(folder: Path, old: str, new: str) -> None:
    file = folder / "tongqu.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def died(folder: Path, pipeline: str, point: str) -> Done:
    done = tongqu(folder, "run", pipeline, "--json", TONGQU_CRASH_AT=point)
    assert done.code < 0
    return done


@pytest.mark.parametrize("commit", [1, 4])
def test_counts_of_steps_are_totals_over_all_attempts(folder: Path, commit: int) -> None:
    died(folder, "chunks", f"after_commit:{commit}")
    died(folder, "chunks", f"after_commit:{commit}")
    done = tongqu(folder, "run", "chunks", "--json")
    assert (done.code, done.document["attempts"]) == (3, 3), done.err
    [stream] = done.document["streams"]
    assert (stream["read"], stream["inserted"], stream["filtered"], stream["quarantined"]) == (1000, 653, 333, 14)
    assert [(s["id"], s["in"], s["out"], s["filtered"], s["quarantined"]) for s in stream["steps"]] == [
        ("filter", 1000, 667, 333, 0),
        ("derive", 667, 667, 0, 0),
        ("check", 667, 653, 0, 14),
    ]


def test_counts_of_steps_survive_a_death_after_the_last_row(folder: Path) -> None:
    died(folder, "whole", "after_finish")
    [stream] = tongqu(folder, "run", "whole", "--json").document["streams"]
    assert [(step["id"], step["in"], step["out"]) for step in stream["steps"]] == [("aggregate", 1000, 2)]


def test_counts_of_an_older_version_have_no_steps() -> None:
    assert Counts.from_json({"read": 3, "inserted": 3}) == Counts(read=3, inserted=3)
    assert "steps" not in Counts(read=3).to_json()


def test_a_staged_run_begins_anew_when_its_steps_changed(folder: Path) -> None:
    died(folder, "whole", "before_finish")
    rewrite(folder, "count(*)", "count(*) + 5")
    assert tongqu(folder, "run", "whole", "--json").code == 0
    assert sorted(query(folder / "lake.db", "SELECT line, n FROM whole")) == [("A", 505), ("B", 505)]


def test_an_upsert_begins_anew_when_its_steps_changed(folder: Path) -> None:
    died(folder, "chunks", "after_commit:3")
    rewrite(folder, "g + 1", "g + 1000")
    assert tongqu(folder, "run", "chunks", "--json").code == 3
    assert query(folder / "lake.db", "SELECT count(*), sum(v = g + 1000) FROM chunks") == [(653, 653)]
    assert query(folder / "lake.db", "SELECT count(*), count(DISTINCT original) FROM _tongqu_quarantine") == [(14, 14)]


def test_an_append_is_refused_when_its_steps_changed(folder: Path) -> None:
    rewrite(folder, "write: upsert", "write: append")
    died(folder, "chunks", "after_commit:3")
    rewrite(folder, "g + 1", "g + 1000")
    done = tongqu(folder, "run", "chunks", "--json")
    assert (done.code, done.document["problems"][0]["code"]) == (1, "config.invalid_plan")
    assert "put the old steps back" in done.document["problems"][0]["hint"]
    rewrite(folder, "g + 1000", "g + 1")
    assert tongqu(folder, "run", "chunks", "--json").document["streams"][0]["inserted"] == 653
