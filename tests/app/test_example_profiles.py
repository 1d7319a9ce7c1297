"""The example of profiles runs against mocks of all its systems."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tongqu.testing.command_line import inside
from tongqu.testing.services.mock_vendor import MockVendor

EXAMPLE = Path(__file__).parents[2] / "examples" / "profiles"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns(".tongqu", "*.duckdb"))
    return tmp_path


def test_the_example_runs(folder: Path) -> None:
    def lake(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(folder / "example" / "lake.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    own = str(folder / "example" / "profiles" / "machines.yaml")
    with MockVendor("dingtalk") as dingtalk, MockVendor("qms") as qms, MockVendor(own) as machines:
        there = {
            "DINGTALK_URL": dingtalk.url, "DINGTALK_KEY": "dingsample", "DINGTALK_SECRET": "dingsample-secret-1",
            "QMS_URL": qms.url, "QMS_KEY": "qms-sample-key-1", "MACHINES_URL": machines.url, "MACHINES_KEY": "k-1",
        }  # fmt: skip
        checked = inside(folder, "check", "--project", "example", "--json", **there)
        assert (checked.code, checked.document["problems"]) == (0, []), checked.out
        pipelines = ("people", "attendance", "inspections", "hours")
        done = inside(folder, "run", *pipelines, "--project", "example", "--json", **there)
        again = inside(folder, "run", "inspections", "--project", "example", "--json", **there)
    assert done.code == 0, done.err
    assert lake("SELECT mobile FROM people WHERE userid = 'user0007'") == [("138****0002",)]
    assert lake('SELECT "userId", "timeResult" FROM abnormal_attendance ORDER BY id') == [
        ("manager4220", "Early"), ("user0007", "Late"),
    ]  # fmt: skip
    assert lake("SELECT count(*), count(*) FILTER (NOT passed) FROM inspections") == [(3, 1)]
    assert lake("SELECT sum(hours)::VARCHAR FROM hours") == [("36.75",)]
    assert [one["inserted"] for one in again.document["streams"]] == [0]
