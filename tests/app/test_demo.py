"""`tongqu demo` tells a story a person understands, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tongqu as package
from tongqu.app.demo import acts as acts_of
from tongqu.app.demo.factory import INSPECTIONS, MATERIALS, NEW_INSPECTIONS, SHORT, build
from tongqu.testing.command_line import inside, query, tongqu

EXAMPLE = Path(__file__).parents[2] / "examples" / "factory" / "tongqu.yaml"


def test_the_factory_is_moved_mended_compared_changed_and_told(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "demo", "--dir", "factory", "--lang", "zh")
    assert done.code == 3, done.err
    for word in (
        "冲压一线",
        "停机",
        "隔离",
        "批号 (lot_no) 格式不符合约定",
        "tongqu quarantine list --project factory",
    ):
        assert word in done.out
    numbered = [line.split(".")[0].strip() for line in done.out.splitlines() if line.startswith("  ") and "（" in line]
    assert numbered[:2] == ["1", "2"]
    assert "{" not in done.out
    assert "Traceback" not in done.err

    again = inside(tmp_path, "demo", "--dir", "factory", "--json")
    assert again.code == 3, again.err
    streams = {stream["name"]: stream for stream in again.document["streams"]}
    assert (streams["inspections"]["read"], streams["materials"]["read"]) == (INSPECTIONS, MATERIALS)
    assert streams["materials"]["quarantined"] == 2
    for stream in streams.values():
        assert stream["read"] + stream["generated"] == (
            stream["written"] + stream["filtered"] + stream["deduplicated"] + stream["quarantined"]
        )
    held_to_its_word(again.document["acts"], tmp_path / "factory")
    rows = inside(tmp_path, "quarantine", "list", "--project", "factory", "--state", "new", "--json").document["rows"]
    assert {row["code"] for row in rows} == {"check.pattern", "check.required", "cast.invalid", "clean.number"}


def held_to_its_word(told: list[dict[str, Any]], factory: Path) -> None:
    """What the acts tell is so in the systems."""
    acts = {act["act"]: act for act in told}
    assert list(acts) == ["apply", "move", "excel", "mend", "compare", "schema", "undo", "versions"]
    assert acts["apply"] == {"act": "apply", "changes": 0, "version": 3}  # the demo before left the project so
    assert (acts["excel"]["read"], acts["excel"]["repaired"]) == (168, 5)
    assert [(rule["fixed"], rule["refused"]) for rule in acts["mend"]["rules"]] == [(5, 5), (5, 0)]
    assert (acts["mend"]["replayed"], acts["mend"]["written"]) == (10, 10)
    assert acts["compare"]["ok"]
    assert [acts["compare"][name] for name in ("missing", "extra", "different")] == [11, 1, 3]
    lots = query(factory / "data" / "bi.db", "SELECT count(*) FROM inspection WHERE lot_no = 'L99999999'")
    assert lots == [(0,)]
    assert [(change["column"], change["change"]) for change in acts["schema"]["changes"]] == [
        ("shift", "new"),
        ("parts_a_day", "widened"),
    ]
    assert acts["schema"]["inserted"] == NEW_INSPECTIONS
    assert (acts["undo"]["short"], acts["undo"]["rows"]) == (SHORT, MATERIALS - 2)
    assert acts["versions"]["breaking"]
    assert "pipelines.yield_by_line" in acts["versions"]["affects"]
    assert (acts["versions"]["version"], acts["versions"]["undone_by"]) == (4, 5)
    assert (factory / "tongqu.yaml").read_text(encoding="utf-8") == EXAMPLE.read_text(encoding="utf-8")


def test_without_the_extra_the_workbook_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts_of, "has_excel", lambda: False)
    monkeypatch.setattr(acts_of, "ACTS", acts_of.ACTS[:3])
    done = inside(tmp_path, "demo", "--dir", "factory", "--lang", "en")
    assert done.code == 3, done.err
    assert "pip install 'tongqu[excel]'" in done.out
    assert "patrols" not in done.out


def test_the_data_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build(tmp_path / name)
    totals = "SELECT count(*), sum(WGT_G), sum(passed) FROM inspection_result"
    assert query(tmp_path / "one" / "data" / "qms.db", totals) == query(tmp_path / "two" / "data" / "qms.db", totals)
    text = (tmp_path / "one" / "data" / "erp" / "materials.csv").read_bytes()
    assert "物料编码" in text.decode("gb18030")


def test_the_example_is_the_demos_project() -> None:
    built_in = Path(package.__file__).parent / "app" / "demo" / "factory.yaml"
    assert EXAMPLE.read_text(encoding="utf-8") == built_in.read_text(encoding="utf-8")
