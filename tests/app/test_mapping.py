"""`tongqu mapping`: from a messy workbook to standard fields, agreed in a sheet; and names held to rules."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import openpyxl
import pytest

from tongqu.app.project.load import load
from tongqu.app.project.places import ProblemsError
from tongqu.testing.command_line import query, tongqu

PROJECT = """\
project: plant
connections:
  report: {type: file, path: report.xlsx, choices: mapping.xlsx}
  lake: {type: sqlite, path: lake.db}
datasets:
  inspection:
    owner: quality
    fields:
      lot_no: {type: string, title: {zh: 批号}, required: true, pattern: "^L[0-9]{3}$"}
      weight: {type: "decimal(12,3)", title: {zh: 重量}, unit: kg, min: 0}
      inspector: {type: string, title: {zh: 检验员}}
      inspected_at: {type: date, title: {zh: 检验日期}}
      grade: {type: string, enum: [A, B, C]}
      supplier: {type: string, title: {zh: 供应商}}
pipelines:
  load:
    source: {connection: report, dataset: report}
    steps: [{mapping: mapping.xlsx}]
    sink: {connection: lake, dataset: inspection}
"""


def report(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "检验"
    for row in (
        ["检验日报"], ["pihao", "重量(g)", "jyy", "检验 日期", "判定"],
        ["L001", 1500, "张三", date(2026, 1, 2), "A"], ["L002", 250, "李四", date(2026, 1, 3), "B"],
        ["X", 1, "王五", date(2026, 1, 4), "C"],
    ):  # fmt: skip
        sheet.append(row)
    sheet.merge_cells("A1:E1")
    book.create_sheet("说明")["A1"] = "text"
    book.save(path)


def test_from_a_messy_workbook_to_standard_fields(tmp_path: Path) -> None:
    report(tmp_path / "report.xlsx")
    text = PROJECT.partition("pipelines:")[0].replace(", choices: mapping.xlsx", "")
    (tmp_path / "tongqu.yaml").write_text(text)
    done = tongqu(
        tmp_path,
        "mapping",
        "suggest",
        "file:report.xlsx?sheet=检验",
        "--dataset",
        "inspection",
        "--json",
        "--lang",
        "zh",
    )
    assert done.code == 3, done.err
    assert {m["source"]: m["standard"] for m in done.document["mapping"]} == {
        "pihao": "lot_no", "重量(g)": "weight", "jyy": "inspector", "检验 日期": "inspected_at", "判定": "grade",
    }  # fmt: skip
    assert (done.document["unmapped"], done.document["missing"]) == ([], ["supplier"])
    sheet = openpyxl.load_workbook(tmp_path / "mapping.xlsx")["映射"]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows[0][:3] == ["源字段", "源名称", "标准字段"]
    assert rows[2][:7] == ["重量(g)", None, "weight", "重量", "g", "kg", "type=decimal(12,3); min=0"]

    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    shown = tongqu(tmp_path, "mapping", "apply", "mapping.xlsx")
    assert (shown.code, "convert:" in shown.out, "sheet: 检验" in shown.out) == (0, True, True), shown.err
    ran = tongqu(tmp_path, "run", "load", "--json")
    (stream,) = ran.document["streams"]
    assert (ran.code, stream["read"], stream["written"], stream["quarantined"]) == (3, 3, 2, 1), ran.err
    found = query(tmp_path / "lake.db", "SELECT lot_no, weight, inspector, grade FROM inspection ORDER BY lot_no")
    assert [(lot, float(weight), who, grade) for lot, weight, who, grade in found] == [
        ("L001", 1.5, "张三", "A"), ("L002", 0.25, "李四", "B"),
    ]  # fmt: skip


def test_a_source_with_several_datasets_needs_one_named(tmp_path: Path) -> None:
    report(tmp_path / "report.xlsx")
    (tmp_path / "tongqu.yaml").write_text(PROJECT.partition("pipelines:")[0].replace(", choices: mapping.xlsx", ""))
    done = tongqu(tmp_path, "mapping", "suggest", "report", "--dataset", "inspection")
    assert "report.检验" in done.err
    assert done.code in (1, 2)
    done = tongqu(tmp_path, "mapping", "suggest", "report", "--dataset", "inspectoin")
    assert (done.code, "did you mean 'inspection'" in done.err) == (2, True)


def test_mistakes_in_a_sheet_are_problems_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    (tmp_path / "mapping.xlsx").write_bytes(b"")
    done = tongqu(tmp_path, "plan", "--json")
    assert done.code != 0
    book = openpyxl.Workbook()
    for row in (["source field", "standard field", "rule"], ["A", "a", "nope"]):
        book.worksheets[0].append(row)
    book.save(tmp_path / "mapping.xlsx")
    with pytest.raises(ProblemsError) as caught:
        load(tmp_path)
    assert (caught.value.problems[0].path, caught.value.problems[0].message) == (
        "mapping.xlsx:2", "rule of 'A': unknown rule 'nope'; rules: required, unique, type, min, max, pattern, enum",
    )  # fmt: skip


def test_a_mapping_step_has_a_name_and_an_input(tmp_path: Path) -> None:
    text = PROJECT.replace(
        "[{mapping: mapping.xlsx}]", "[{id: std, from: source, mapping: m.csv}, {id: x, from: std, drop: [b]}]"
    )
    (tmp_path / "tongqu.yaml").write_text(text)
    (tmp_path / "m.csv").write_text("source field,standard field\nA,a\nB,b\n")
    from tongqu.app.project.pipelines import steps_of

    project = load(tmp_path)
    steps = steps_of(project.pipeline("load"), "load", project.entries, project.places)
    assert [(step.id, step.verb, step.inputs) for step in steps] == [
        ("std_select", "select", ("source",)), ("std", "rename", ()), ("x", "drop", ("std",)),
    ]  # fmt: skip


NAMES = """\
naming:
  datasets: "^[a-z][a-z0-9_]*$"
  fields: "^[a-z][a-z0-9_]*$"
  forbidden: [tmp]
  abbreviations: {quantity: qty}
  severity: SEVERITY
datasets:
  Inspection: {fields: {lotNo: {}, order_quantity: {}, tmp_x: {}}}
"""


def test_names_that_break_the_rules_are_warnings_or_errors(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(NAMES.replace("SEVERITY", "warning"))
    notes = [note for note in load(tmp_path).notes if note["level"] == "warning"]
    assert [(note["path"].rpartition(":")[2], note["code"]) for note in notes] == [
        (f"datasets.{name}", "config.naming")
        for name in (
            "Inspection", "Inspection.fields.lotNo", "Inspection.fields.order_quantity", "Inspection.fields.tmp_x"
        )
    ]  # fmt: skip
    assert (notes[2]["hint"], "'tmp'" in notes[3]["message"]) == ("write 'qty'", True)
    done = tongqu(tmp_path, "check", "--json", "--lang", "zh")
    assert (done.code, done.document["ok"], len(done.document["problems"])) == (0, True, 4)
    (tmp_path / "tongqu.yaml").write_text(NAMES.replace("SEVERITY", "error"))
    with pytest.raises(ProblemsError) as caught:
        load(tmp_path)
    assert len(caught.value.problems) == 4


def test_a_naming_pattern_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text('naming: {datasets: "["}\n')
    with pytest.raises(ProblemsError, match="no regular expression"):
        load(tmp_path)
