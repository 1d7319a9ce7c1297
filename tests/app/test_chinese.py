"""Where people asked for Chinese, what plans and lists of systems say is Chinese, too."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tongqu.app.cli.connectors import label_shown, system_shown
from tongqu.app.messages import use
from tongqu.core import registry
from tongqu.testing.command_line import inside, make

EXAMPLES = Path(__file__).parents[2] / "examples"
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("example", ["plant-quality", "factory", "shape", "two_way", "published"])
def test_every_note_of_a_plan_is_chinese(tmp_path: Path, example: str) -> None:
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLES / example, folder)
    said = inside(folder, "plan", "--all", "--lang", "zh").out
    notes = [line for line in said.splitlines() if line.lstrip().startswith("! ")]
    assert [line for line in notes if not _CHINESE.search(line)] == []


def test_what_a_change_means_to_pipelines_is_chinese(tmp_path: Path) -> None:
    make(tmp_path / "erp.db", "lots", "id INTEGER PRIMARY KEY, price INTEGER", [(1, 5)])
    text = """
project: plant
connections: {erp: {type: sqlite, path: erp.db}, lake: {type: sqlite, path: lake.db}}
datasets: {lots: {fields: {id: {type: int64}, price: {type: %s}%s}}}
pipelines: {lots: {source: {connection: erp, dataset: lots}, steps: [{filter: price > 1}], sink: {connection: lake}}}
"""
    (tmp_path / "tongqu.yaml").write_text(text % ("int64", ", old: {type: string}"), encoding="utf-8")
    assert inside(tmp_path, "apply", "--lang", "zh").code == 0
    (tmp_path / "tongqu.yaml").write_text(text % ("string", ""), encoding="utf-8")
    said = inside(tmp_path, "plan", "--lang", "zh").out
    lines = [line for line in said.splitlines() if line[:1] in "✗✓" or "←" in line]
    assert lines
    assert [line for line in lines if not _CHINESE.search(line)] == [], said


def test_systems_are_labelled_in_chinese() -> None:
    use("zh")
    try:
        for name in registry.names():
            connector = registry.connector(name)
            assert _CHINESE.search(label_shown(connector.label)), name
            assert all(_CHINESE.search(system_shown(system)) for system in connector.systems), name
        assert system_shown("SQL Server 2016 and newer (compile-only)") == "SQL Server 2016 及更新版本（仅编译）"
    finally:
        use("en")
    assert system_shown("SQL Server 2016 and newer (compile-only)") == "SQL Server 2016 and newer (compile-only)"
