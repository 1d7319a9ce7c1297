"""Repaired cells: their rows arrive, their originals are kept, and keys of encrypted columns stay out of everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import Done, make, query, tongqu

PROJECT = """
project: repairs
connections:
  mes: {{type: sqlite, path: mes.db}}
  lake: {{type: {sink}}}
pipelines:
  weights:
    source: {{connection: mes, dataset: weights}}
    steps:
      - {step}
    sink: {{connection: lake, dataset: weights}}
"""
CLAMP = "clean: {w: {outliers: {min: 0, max: 500, then: clamp}}, name: [trim]}"
MEDIAN = "clean: {w: {outliers: {iqr: 3, then: median}}, name: [trim]}"
ENCRYPT = 'encrypt: {columns: [name], key: "${env:HR_KEY}", key_id: "2026"}'
KEY = "5c" * 32


def project(folder: Path, sink: str, step: str) -> None:
    rows = [(n, 9999 if n % 100 == 0 else n % 50, f"n{n} " if n % 2 else f"n{n}") for n in range(1, 1001)]
    make(folder / "mes.db", "weights", "id INTEGER PRIMARY KEY, w INTEGER, name TEXT", rows)
    (folder / "tongqu.yaml").write_text(PROJECT.format(sink=sink, step=step), encoding="utf-8")


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = tongqu(folder, "quarantine", "list", *arguments, "--json")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = done.document["rows"]
    return rows


def ran(folder: Path, **environ: str) -> tuple[Done, dict[str, Any]]:
    done = tongqu(folder, "run", "weights", "--json", **environ)
    assert done.code == 0, done.out + done.err
    return done, done.document["streams"][0]


@pytest.mark.parametrize(("sink", "step", "new"), [
    ("sqlite, path: lake.db", CLAMP, 500),
    ("duckdb, path: lake.duckdb", CLAMP, 500),
    ("file, path: lake.csv", CLAMP, 500),
    ("sqlite, path: lake.db", MEDIAN, 25),
])  # fmt: skip
def test_repairs_are_counted_and_kept(tmp_path: Path, sink: str, step: str, new: int) -> None:
    project(tmp_path, sink, step)
    done, stream = ran(tmp_path)
    assert done.document["status"] == "succeeded"
    assert (stream["read"], stream["written"], stream["quarantined"], stream["repaired"]) == (1000, 1000, 0, 10)
    (clean,) = stream["steps"]
    assert (clean["in"], clean["out"], clean["repaired"], clean["cleaned"]) == (1000, 1000, 10, 500)
    assert listed(tmp_path) == []
    repaired = listed(tmp_path, "--state", "repaired")
    assert len(repaired) == 10
    assert {(row["code"], row["field"], row["value"], row["state"]) for row in repaired} == {
        ("clean.clamp" if step == CLAMP else "clean.median", "w", "9999", "repaired")
    }
    assert {json.loads(row["original"])["id"] for row in repaired} == set(range(100, 1001, 100))
    if sink.startswith("sqlite"):
        found = query(tmp_path / "lake.db", "SELECT count(*), max(w) FROM weights WHERE id % 100 = 0")
        assert found == [(10, new)]
        assert query(tmp_path / "lake.db", "SELECT count(*) FROM weights WHERE name LIKE '% '") == [(0,)]


def test_repairs_of_several_chunks_have_ids_of_their_own(tmp_path: Path) -> None:
    project(tmp_path, "sqlite, path: lake.db", CLAMP)
    text = (tmp_path / "tongqu.yaml").read_text(encoding="utf-8") + "    limit: {chunk_rows: 100}\n"
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    _, stream = ran(tmp_path)
    assert stream["repaired"] == 10
    found = query(tmp_path / "lake.db", "SELECT count(DISTINCT id), min(state), max(state) FROM _tongqu_quarantine")
    assert found == [(10, "repaired", "repaired")]


def test_a_killed_run_keeps_its_numbers(tmp_path: Path) -> None:
    project(tmp_path, "sqlite, path: lake.db", CLAMP)
    text = (tmp_path / "tongqu.yaml").read_text(encoding="utf-8") + "    limit: {chunk_rows: 100}\n"
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    killed = tongqu(tmp_path, "run", "weights", "--json", TONGQU_CRASH_AT="after_commit:4")
    assert killed.code not in (0, 1, 2, 3)
    done, stream = ran(tmp_path)
    assert (done.document["attempts"], stream["read"], stream["repaired"]) == (2, 1000, 10)
    assert query(tmp_path / "lake.db", "SELECT count(*) FROM _tongqu_quarantine") == [(10,)]


def test_a_key_stays_out_of_everything(tmp_path: Path) -> None:
    project(tmp_path, "sqlite, path: lake.db", ENCRYPT)
    done, stream = ran(tmp_path, HR_KEY=KEY)
    assert stream["written"] == 1000
    cells = [name for (name,) in query(tmp_path / "lake.db", "SELECT name FROM weights")]
    assert len(set(cells)) == 1000 and all(cell.startswith("tq1.aes-gcm.2026.") for cell in cells)
    told = done.out + done.err + "".join(tongqu(tmp_path, "runs", verb, "--json").out for verb in ("list",))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for form in (KEY, KEY.upper()):
        assert form not in told and form.encode() not in kept
    assert bytes.fromhex(KEY) not in kept


def test_a_key_that_is_missing_or_wrong(tmp_path: Path) -> None:
    project(tmp_path, "sqlite, path: lake.db", ENCRYPT)
    missing = tongqu(tmp_path, "run", "weights", "--json")
    assert missing.code == 2
    (problem,) = missing.document["problems"]
    assert problem["code"] == "config.secret" and "HR_KEY" in problem["message"]
    wrong = tongqu(tmp_path, "run", "weights", "--json", HR_KEY="hunter2hunter2")
    assert wrong.code == 2 and "hunter2" not in wrong.out + wrong.err
    assert "is not 16 or 24 or 32 bytes" in wrong.document["problems"][0]["message"]
