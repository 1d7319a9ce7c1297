"""The example of two-way sync: from shadow over one way to two ways, and what each system holds in the end."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside

EXAMPLE = Path(__file__).parents[2] / "examples" / "two_way"
SIDES = {"erp": "parameter", "mes": "parameters", "qms": "parameter"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example with its databases."""
    there = tmp_path / "plant"
    shutil.copytree(EXAMPLE, there, ignore=shutil.ignore_patterns(".tongqu", "data"))
    (there / "data").mkdir()
    for side in SIDES:
        sql(there, side, (EXAMPLE / f"{side}.sql").read_text(encoding="utf-8"))
    return there


def sql(folder: Path, side: str, script: str) -> None:
    with closing(sqlite3.connect(folder / "data" / f"{side}.db")) as database:
        database.executescript(script)


def held(folder: Path, side: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "data" / f"{side}.db")) as database:
        return database.execute(f"SELECT * FROM {SIDES[side]} ORDER BY 1").fetchall()


def call(folder: Path, *words: str) -> tuple[int, Any]:
    done = inside(folder, "twoway", *words, "--json")
    return done.code, done.document


def test_the_example_runs(folder: Path) -> None:
    code, shadow = call(folder, "run", "parameters")
    assert (code, shadow["stage"], shadow["would"], held(folder, "mes")) == (3, "shadow", {"mes": 2, "qms": 2}, [])
    assert call(folder, "advance", "parameters")[0] == 2
    call(folder, "advance", "parameters", "--force", "--reason", "first load")
    assert call(folder, "run", "parameters")[1]["written"] == 4
    assert call(folder, "advance", "parameters")[1]["stage"] == "two_way"

    sql(folder, "mes", "UPDATE parameters SET SETPOINT = 185, revision = 2 WHERE PARAM_NO = 'P-100'")
    sql(folder, "qms", "UPDATE parameter SET tolerance = 3, revision = 3 WHERE number = 'P-100'")
    sql(folder, "erp", "UPDATE parameter SET tolerance = 4, revision = 2 WHERE number = 'P-100'")
    sql(folder, "qms", "UPDATE parameter SET setpoint = 1, status = 'draft', revision = 2 WHERE number = 'P-200'")
    code, done = call(folder, "run", "parameters")
    assert (code, done["held"], done["overruled"]) == (0, 2, 2)
    agreed = ("P-100", 185, 3, "released", 3)
    assert [held(folder, side)[0][:5] for side in SIDES] == [agreed] * 3
    assert [held(folder, side)[1][1] for side in SIDES] == [95, 95, 1]
    assert held(folder, "erp")[0][5] == "4711"
    _, read = call(folder, "read", "parameters")
    assert [(one["row"]["number"], one["row"]["setpoint"], one["row"]["status"]) for one in read["records"]] == [
        ("P-100", "185", "released"), ("P-200", "95", "released"),
    ]  # fmt: skip
