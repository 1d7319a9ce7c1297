"""A mapping sheet goes to Excel or CSV and comes back, and stands for steps."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from tongqu.catalog.mapping_sheet import HEADINGS, Line, MappingSheet, read_sheet, write_sheet
from tongqu.core.errors import InvalidSettingsError, NotFoundError

SHEET = MappingSheet(
    lines=(
        Line("LOT", "lot_no", "批号", rule="required; pattern=^L[0-9]{8}$", owner="quality"),
        Line("WGT_G", "weight", unit_from="g", unit_to="kg", rule="type=decimal(12,3); min=0; max=500"),
        Line("状态", "status", codes="1=open; 2=closed; *=other", rule="取值=open|closed|other"),
        Line("厂", "plant", codes="厂区"),
        Line("REMARK", note="not needed"),
    ),
    options={"sheet": "检验", "header": "2-3"},
    lists={"厂区": {"SH": "上海", "SZ": "苏州"}},
)
STEPS = [
    {"select": ["LOT", "WGT_G", "状态", "厂"]},
    {"rename": {"LOT": "lot_no", "WGT_G": "weight", "状态": "status", "厂": "plant"}},
    {
        "code_map": {
            "status": {"map": {"1": "open", "2": "closed"}, "default": "other"},
            "plant": {"map": {"SH": "上海", "SZ": "苏州"}},
        }
    },
    {"cast": {"weight": "decimal(12,3)"}},
    {"convert": {"weight": {"from": "g", "to": "kg"}}},
    {
        "check": {
            "lot_no": {"required": True, "pattern": "^L[0-9]{8}$"},
            "weight": {"min": 0, "max": 500},
            "status": {"enum": ["open", "closed", "other"]},
        }
    },
]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_it_comes_back_from_excel(tmp_path: Path, language: str) -> None:
    write_sheet(SHEET, tmp_path / "m.xlsx", language)
    found = read_sheet(tmp_path / "m.xlsx")
    assert (found.steps(), found.options, found.lists) == (STEPS, SHEET.options, SHEET.lists)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_it_comes_back_from_csv(tmp_path: Path, encoding: str) -> None:
    write_sheet(MappingSheet(SHEET.lines[:3]), tmp_path / "m.csv", "zh")
    text = (tmp_path / "m.csv").read_bytes().decode("utf-8-sig")
    (tmp_path / "m.csv").write_bytes(text.encode(encoding))
    assert read_sheet(tmp_path / "m.csv").steps()[0] == {"select": ["LOT", "WGT_G", "状态"]}


def sheet(path: Path, *rows: list[str], merge: str = "") -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    if merge:
        book.worksheets[0].merge_cells(merge)
    book.save(path)
    return path


HEAD = ["源字段", "标准字段", "规则", "代码对照", "源单位", "标准单位"]


def test_a_title_above_and_remarks_beside_are_passed_over(tmp_path: Path) -> None:
    path = sheet(tmp_path / "m.xlsx", ["对照表 2026"], [], [*HEAD, "#谁"], ["A", "a", "", "", "", "", "me"], [], ["B"])
    assert read_sheet(path).steps() == [{"select": ["A"]}, {"rename": {"A": "a"}}]


@pytest.mark.parametrize(
    ("rows", "merge", "message", "place"),
    [
        ([HEAD, ["A", "a", "必填"], ["B", "b"]], "C2:C3", "C2:C3 of sheet 'Sheet' are merged", "m.xlsx:C2:C3"),
        ([[*HEAD, "规责"], ["A", "a"]], "", "unknown heading '规责'", "m.xlsx:G1"),
        ([["A", "a"]], "", "no headings", "m.xlsx"),
        ([HEAD, ["A", "a"], ["A", "b"]], "", "'A' comes twice: in the rows 2 and 3", "m.xlsx:3"),
        ([HEAD, ["A", "a"], ["B", "a"]], "", "'a' comes twice", "m.xlsx:3"),
        ([HEAD, ["", "a"]], "", "names no source field", "m.xlsx:2"),
        ([HEAD, ["A", "a", "musthave"]], "", "rule of 'A': unknown rule 'musthave'", "m.xlsx:2"),
        ([HEAD, ["A", "a", "min"]], "", "min needs a value", "m.xlsx:2"),
        ([HEAD, ["A", "a", "", "1=x;1=y"]], "", "the code '1' comes twice", "m.xlsx:2"),
        ([HEAD, ["A", "a", "", "what is this"]], "", "neither a map", "m.xlsx:2"),
        ([HEAD, ["A", "a", "", "", "kg", "m"]], "", "unit from of 'A': ", "m.xlsx:2"),
        ([HEAD, ["A", "a", "", "", "斛斗", "kg"]], "", "unit from of 'A': ", "m.xlsx:2"),
        ([HEAD, ["A", "a", "", "", "kg", ""]], "", "converted to no unit", "m.xlsx:2"),
        ([HEAD, ["A"]], "", "no line has a standard field", "m.xlsx"),
    ],
)
def test_what_is_wrong_is_named_with_its_cell(
    tmp_path: Path, rows: list[list[str]], merge: str, message: str, place: str
) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        read_sheet(sheet(tmp_path / "m.xlsx", *rows, merge=merge)).steps()
    assert message in caught.value.message
    assert caught.value.path == place


def test_a_sheet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_sheet(tmp_path / "none.xlsx")


def test_headings_of_both_languages_are_unique() -> None:
    texts = [text for pair in HEADINGS.values() for text in pair]
    assert len(texts) == len(set(texts))
