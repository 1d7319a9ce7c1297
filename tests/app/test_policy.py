"""`tongqu policy`: the effective view of a caller, and the leak suite over all APIs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tongqu.testing.command_line import inside

PROJECT = """\
project: plant
connections:
  lake: {type: duckdb, path: lake.duckdb}
datasets:
  inspection:
    key: [lot_no]
    fields:
      lot_no: {type: string, required: true}
      plant: {type: string}
      inspector: {type: string, class: personal, mask: name}
      salary: {type: int64, class: secret}
apis:
  inspections:
    source: {connection: lake, dataset: inspection}
    access: {roles: [quality], fields: {inspector: {roles: [hr], otherwise: mask}}, rows: "plant = actor.plant"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    with duckdb.connect(str(tmp_path / "lake.duckdb")) as database:
        columns = "lot_no VARCHAR PRIMARY KEY, plant VARCHAR, inspector VARCHAR, salary BIGINT"
        database.execute(f"CREATE TABLE inspection ({columns})")
    return tmp_path


def told(project: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """The document of a command."""
    done = inside(project, "policy", *words, "--files", "--json")
    assert done.code == code, done.err
    found: dict[str, Any] = done.document
    return found


def test_explain_says_what_is_seen_and_why(project: Path) -> None:
    document = told(project, "explain", "--as", "mes", "--roles", "quality", "--attribute", "plant=A", "inspections")
    read = document["actions"]["read"]
    assert (read["allowed"], read["rules"], list(read["rows"]["params"].values())) == (True, ["access.roles"], ["A"])
    assert read["rows"]["sql"].startswith('"plant" = $')
    assert {field["field"]: field["shown"] for field in document["fields"]} == {
        "lot_no": "plain", "plant": "plain", "inspector": "masked", "salary": "hidden",
    }  # fmt: skip
    assert "salary" not in document["query"]["sql"] and "A" in document["query"]["params"].values()
    assert document["conflicts"][0]["kind"] == "lifted"
    assert not document["actions"]["update"]["allowed"]


def test_explain_knows_registered_clients(project: Path) -> None:
    assert inside(project, "client", "add", "mes", "--role", "quality", "--attribute", "plant=B").code == 0
    document = told(project, "explain", "--as", "mes", "inspections")
    assert document["actor"]["roles"] == ["quality"] and document["actions"]["read"]["allowed"]
    assert told(project, "explain", "--as", "nobody", "inspections", code=2)["problems"][0]["path"] == "--as"
    assert not told(project, "explain", "--as", "anonymous", "inspections")["actions"]["read"]["allowed"]


def test_the_leak_suite_runs_over_all_apis(project: Path) -> None:
    (one,) = told(project, "test")["apis"]
    assert one["leaks"] == [] and one["questions"] > 100 and one["callers"] >= 4


def test_people_read_it_too(project: Path) -> None:
    done = inside(project, "policy", "explain", "--as", "x", "--roles", "quality", "inspections", "--files")
    assert "masked: name" in done.out and "hidden" in done.out and "SELECT" in done.out
    assert "泄露 0 处" in inside(project, "policy", "test", "--files", "--lang", "zh").out
    assert inside(project, "policy", "explain", "--as", "x", "--roles", "q", "inspection", "--files").code == 2
