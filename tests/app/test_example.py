"""The example project of the design page: it runs on PostgreSQL, a CSV folder and DuckDB, and goes on by cursor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from tongqu.testing.command_line import tongqu

EXAMPLE = Path(__file__).parents[2] / "examples" / "plant-quality"


@pytest.fixture
def folder(tmp_path: Path, pg_url: str) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "plant", ignore=shutil.ignore_patterns(".tongqu"))
    (tmp_path / "plant" / "data").mkdir(exist_ok=True)
    with psycopg.connect(pg_url) as connection:
        connection.execute((EXAMPLE / "qms.sql").read_bytes())
    return tmp_path / "plant"


def lake(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "data" / "lake.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_the_example_of_the_design_runs(folder: Path, pg_url: str) -> None:
    checked = tongqu(folder, "check", "--json", QMS_URL=pg_url)
    assert (checked.code, checked.document["ok"]) == (0, True), checked.err
    not_run = [problem["path"].split(":", 2)[2] for problem in checked.document["problems"]]
    kept = ["pipelines.inspection_to_lake.steps[2]"]  # by its pattern `whole_erp` may write the same target
    published = ["apis.inspections.source"]  # its table is made by the first run
    assert not_run == [*published, "alerts", "targets", *kept]

    done = tongqu(folder, "run", "inspection_to_lake", "whole_erp", "yield_by_line", "--json", QMS_URL=pg_url)
    assert done.code == 3, done.err
    inspections = done.document["streams"][0]
    told = {name: inspections[name] for name in ("mode", "read", "written", "filtered", "quarantined")}
    assert told == {"mode": "incremental", "read": 5, "written": 3, "filtered": 1, "quarantined": 1}
    assert [stream["name"] for stream in done.document["streams"]] == [
        "inspection_to_lake",
        "whole_erp.inspection_result",
        "whole_erp.parameter",
        "yield_by_line",
    ]
    rows = lake(folder, "SELECT lot_no, weight::text FROM inspection ORDER BY 1")
    assert rows == [("L00000001", "1.2505"), ("L00000002", "1.2490"), ("L00000003", "0.5000")]
    assert lake(folder, "SELECT line_id, rate FROM yield_daily ORDER BY 1") == [("A1", 0.5), ("A2", 1.0)]
    [bad] = tongqu(folder, "quarantine", "list", "--json", QMS_URL=pg_url).document["rows"]
    assert (bad["stream"], bad["code"], bad["field"], bad["value"]) == (
        "inspection_to_lake",
        "check.pattern",
        "lot_no",
        "X3",
    )


def test_the_second_run_reads_only_what_changed(folder: Path, pg_url: str) -> None:
    tongqu(folder, "run", "inspection_to_lake", QMS_URL=pg_url)
    with psycopg.connect(pg_url) as connection:
        connection.execute(
            """UPDATE inspection_result SET "WGT_G" = 1000, updated_at = '2026-02-01' WHERE "LOT" = 'L00000001'"""
        )
    done = tongqu(folder, "run", "inspection_to_lake", "--json", QMS_URL=pg_url)
    [stream] = done.document["streams"]
    assert (stream["updated"], stream["inserted"]) == (1, 0)
    assert lake(folder, "SELECT weight::text FROM inspection WHERE lot_no = 'L00000001'") == [("1.0000",)]
