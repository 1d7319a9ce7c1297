"""`tongqu demo` tells a story a person understands, the same every time."""

from __future__ import annotations

from pathlib import Path

import tongqu as package
from tongqu.app.demo import INSPECTIONS, MATERIALS, build
from tongqu.testing.command_line import query, tongqu

EXAMPLE = Path(__file__).parents[2] / "examples" / "factory" / "tongqu.yaml"


def test_the_factory_is_moved_joined_checked_and_told(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "demo", "--dir", "factory", "--lang", "zh")
    assert done.code == 3, done.err
    assert "冲压一线" in done.out
    assert "待定" in done.out
    assert "隔离" in done.out
    assert "批号 (lot_no) 格式不符合约定" in done.out
    assert "tongqu quarantine list --project factory" in done.out

    again = tongqu(tmp_path, "demo", "--dir", "factory", "--json")
    assert again.code == 3, again.err
    streams = {stream["name"]: stream for stream in again.document["streams"]}
    assert (streams["inspections"]["read"], streams["materials"]["read"]) == (INSPECTIONS, MATERIALS)
    assert streams["materials"]["quarantined"] == 2
    for stream in streams.values():
        assert stream["read"] + stream["generated"] == (
            stream["written"] + stream["filtered"] + stream["deduplicated"] + stream["quarantined"]
        )
    rows = tongqu(tmp_path, "quarantine", "list", "--project", "factory", "--json").document["rows"]
    assert {row["code"] for row in rows} == {"check.pattern", "check.required", "check.range", "cast.invalid"}


def test_the_data_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build(tmp_path / name)
    totals = "SELECT count(*), sum(WGT_G), sum(passed) FROM inspection_result"
    assert query(tmp_path / "one" / "data" / "qms.db", totals) == query(tmp_path / "two" / "data" / "qms.db", totals)
    text = (tmp_path / "one" / "data" / "erp" / "materials.csv").read_bytes()
    assert "物料编码" in text.decode("gb18030")


def test_the_example_is_the_demos_project() -> None:
    built_in = Path(package.__file__).parent / "app" / "factory.yaml"
    assert EXAMPLE.read_text(encoding="utf-8") == built_in.read_text(encoding="utf-8")
