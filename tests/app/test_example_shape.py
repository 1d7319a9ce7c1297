"""The example of what "Shape" brings: environments, naming, rules, cleaning, routing, masks, reconciling, tracing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tongqu.testing.command_line import Done, inside

EXAMPLE = Path(__file__).parents[2] / "examples" / "shape"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example with a home of its own."""
    there = tmp_path / "goods"
    shutil.copytree(EXAMPLE, there, ignore=shutil.ignore_patterns(".tongqu", "data"))
    (there / "data").mkdir()
    return there


def call(folder: Path, *arguments: str, actor: str = "wangwei") -> Done:
    return inside(folder, *arguments, "--env", "production", "--json", TONGQU_ACTOR=actor)


def lake(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "data" / "production.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_version_goes_from_test_to_production_by_a_second_person(folder: Path) -> None:
    checked = inside(folder, "check", "--json").document
    assert (checked["ok"], checked["problems"]) == (True, [])
    assert inside(folder, "apply", "--env", "test", "--json").document["state"] == "applied"
    refused = call(folder, "apply")
    assert (refused.code, refused.document["problems"][0]["hint"]) == (2, "tongqu promote test production")
    promoted = inside(folder, "promote", "test", "production", "--json", TONGQU_ACTOR="wangwei")
    assert promoted.document["state"] == "proposed"
    assert call(folder, "versions", "approve", "1").code != 0
    approved = call(folder, "versions", "approve", "1", actor="lina").document
    assert (approved["state"], approved["actor"], approved["approver"]) == ("applied", "wangwei", "lina")


def test_receipts_are_cleaned_checked_masked_routed_and_reconciled(folder: Path) -> None:
    done = call(folder, "run", "receipts", "bi_copy")
    assert done.code == 3, done.err
    normal = (
        "SELECT receipt_no, material_no, phone, quantity, state, received_on::text, material FROM receipt ORDER BY 1"
    )
    assert lake(folder, normal) == [
        ("R000001", "M00001", "138****5678", 1200, "waiting", "2026-01-05", "轴承座"),
        ("R000002", "M00002", "139****5678", 350, "checked", "2026-01-05", "法兰盘"),
        ("R000006", "M00002", "134****5678", 10_000, "waiting", "2026-01-08", "法兰盘"),
    ]
    assert lake(folder, "SELECT receipt_no, quantity FROM receipt_urgent") == [("R000003", 80)]
    dirty = call(folder, "quarantine", "list", "--stream", "receipts.normal", "--state", "all").document["rows"]
    assert {(row["code"], row["state"]) for row in dirty} == {
        ("check.reference", "new"),
        ("check.expression", "new"),
        ("code_map.unmatched", "new"),
        ("clean.clamp", "repaired"),
    }
    assert call(folder, "diff", "bi_copy").code == 0
    (source,) = call(folder, "trace", "bi", "receipt", "receipt_no=R000002").document["flows"][0]["sources"]
    origins = {found["dataset"]: found["rows"] for found in source["flows"][0]["sources"]}
    assert [row["到货日期"] for row in origins["receipts"]] == ["2026年1月5日"]
    assert origins["materials"] == [{"material_no": "M00002", "name": "法兰盘", "unit": "pcs"}]
