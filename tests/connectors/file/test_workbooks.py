"""Workbooks made by another library are read as people see them, and written so that others read them."""

from __future__ import annotations

import sys
import zipfile
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from openpyxl.styles import Font
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from openpyxl.worksheet.worksheet import Worksheet

from tongqu.core.data import Meta, Read, Split, WriteMode
from tongqu.core.errors import (
    AuthError,
    InvalidPlanError,
    InvalidSettingsError,
    MissingDriverError,
    NotFoundError,
    ReadError,
    SchemaError,
)
from tongqu.kit.formats import workbook, workbook_output

at = datetime.fromisoformat


def book(path: Path, **sheets: list[list[Any]]) -> openpyxl.Workbook:
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return made


def sheet_of(made: openpyxl.Workbook, name: str) -> Worksheet:
    found = made[name]
    assert isinstance(found, Worksheet)
    return found


# ---- reading


def test_cells_have_the_types_of_the_workbook(desk: Any, tmp_path: Path) -> None:
    book(
        tmp_path / "x.xlsx",
        检验=[
            ["编号", "数量", "重量", "合格", "日期", "时刻", "点", "时长", "混合"],
            ["00123", 5, 0.35, True, date(2024, 2, 29), at("2024-01-01 08:30:15"), time(8, 5), timedelta(hours=30),
             1],
            ["7", -2, 12, False, date(1900, 3, 1), date(2024, 1, 2), None, None, "x"],
        ],
    )  # fmt: skip
    assert desk.rows(tmp_path / "x.xlsx") == [
        {"编号": "00123", "数量": 5, "重量": 0.35, "合格": True, "日期": date(2024, 2, 29),
         "时刻": at("2024-01-01 08:30:15"), "点": time(8, 5), "时长": "30:00:00", "混合": "1"},
        {"编号": "7", "数量": -2, "重量": 12.0, "合格": False, "日期": date(1900, 3, 1),
         "时刻": at("2024-01-02 00:00:00"), "点": None, "时长": None, "混合": "x"},
    ]  # fmt: skip


def test_dates_of_the_1904_system(desk: Any, tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.epoch = CALENDAR_MAC_1904
    sheet = made.worksheets[0]
    for row in (["d", "n"], [date(2024, 1, 2), 1], [date(1999, 12, 31), 2]):
        sheet.append(row)
    made.save(tmp_path / "x.xlsx")
    assert [row["d"] for row in desk.rows(tmp_path / "x.xlsx")] == [date(2024, 1, 2), date(1999, 12, 31)]


def test_sheets_are_datasets(desk: Any, tmp_path: Path) -> None:
    made = book(tmp_path / "x.xlsx", 一月=[["a"], ["x"]], 二月=[["a"], ["y"]], 隐藏=[["a"], ["z"]], 空=[])
    made["隐藏"].sheet_state = "hidden"
    made.save(tmp_path / "x.xlsx")
    assert [d.name for d in desk.source(tmp_path / "x.xlsx").datasets()] == ["x.一月", "x.二月"]
    assert desk.rows(tmp_path / "x.xlsx", "?sheet=隐藏") == [{"a": "z"}]
    with pytest.raises(NotFoundError) as caught:
        desk.source(tmp_path / "x.xlsx", "?sheet=三月").datasets()
    assert caught.value.hint == "sheets: 一月, 二月, 隐藏, 空"


def test_workbooks_of_a_folder_are_one_dataset(desk: Any, tmp_path: Path) -> None:
    for month in ("01", "02"):
        book(tmp_path / f"{month}.xlsx", Sheet1=[["month"], [month]])
    (tmp_path / "~$01.xlsx").write_bytes(b"lock")
    assert desk.rows(tmp_path / "*.xlsx") == [{"month": "01"}, {"month": "02"}]


def messy(path: Path) -> None:
    made = book(
        path,
        检验=[
            ["五月检验报表"],
            [],
            ["批号", "尺寸", None, "检验员\n(签名)", None],
            [None, "长", "宽", None, None],
            ["L1", 1, 2.5, "张三", None],
            [None, 2, 3, "李四", None],
            [],
            ["L2", 4, 5, None, None],
        ],
    )
    sheet = sheet_of(made, "检验")
    for area in ("A1:E1", "A3:A4", "B3:C3", "D3:D4", "A5:A6"):
        sheet.merge_cells(area)
    sheet["E40"].font = Font(bold=True)  # formatted and empty
    made.save(path)


def test_the_header_is_found_and_joined_and_merged_values_repeat(desk: Any, tmp_path: Path) -> None:
    messy(tmp_path / "x.xlsx")
    assert desk.rows(tmp_path / "x.xlsx") == [
        {"批号": "L1", "尺寸_长": 1, "尺寸_宽": 2.5, "检验员 (签名)": "张三"},
        {"批号": "L1", "尺寸_长": 2, "尺寸_宽": 3.0, "检验员 (签名)": "李四"},
        {"批号": "L2", "尺寸_长": 4, "尺寸_宽": 5.0, "检验员 (签名)": None},
    ]
    assert list(desk.source(tmp_path / "x.xlsx").check()) == ["path", "x.xlsx (xlsx, sheet '检验', rows from 5)"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("?header=4", ["column_1", "长", "宽", "column_4"]),
        ("?header=3-4", ["批号", "尺寸_长", "尺寸_宽", "检验员 (签名)"]),
        ("?header=false&skip_rows=4", ["column_1", "column_2", "column_3", "column_4"]),
    ],
)
def test_the_header_as_told(desk: Any, tmp_path: Path, options: str, names: list[str]) -> None:
    messy(tmp_path / "x.xlsx")
    if options == "?header=4":  # the merged heading covers row 4 as well
        names = ["批号", "长", "宽", "检验员 (签名)"]
    assert list(desk.types(tmp_path / "x.xlsx", options)) == names


def test_settings_of_single_sheets(tmp_path: Path) -> None:
    from tongqu.connectors.file import connector

    book(tmp_path / "x.xlsx", a=[["t"], ["1", "2"], ["x", "y"]], b=[["n"], [1]])
    path = str(tmp_path / "x.xlsx")
    settings = connector.settings.parse({"path": path, "datasets": {"x.a": {"header": "2"}}})
    made = connector.source
    assert made is not None
    found = {d.name: d.columns for d in made(settings).datasets()}
    assert found == {"x.a": ("1", "2"), "x.b": ("n",)}


def test_error_cells_and_values_of_another_type_make_bad_rows(desk: Any, tmp_path: Path) -> None:
    made = book(tmp_path / "x.xlsx", s=[["a", "n"], ["x", 1], ["y", 2], ["z", "none"]])
    sheet_of(made, "s")["B3"].value = "#DIV/0!"
    made.save(tmp_path / "x.xlsx")
    assert desk.rows(tmp_path / "x.xlsx", "?types=n:int64") == [{"a": "x", "n": 1}]
    found = {bad.value: (bad.code, bad.field, bad.message) for bad in desk.bad(tmp_path / "x.xlsx", "?types=n:int64")}
    assert found == {
        "#DIV/0!": ("data.schema", "n", "cell B3 of sheet 's': n: the formula gives the error #DIV/0!"),
        "none": (
            "data.cast", "n", "cell B4 of sheet 's': n: 'none' is not a value of type int64 (set types=)"
        ),
    }  # fmt: skip


def test_texts_that_mean_null(desk: Any, tmp_path: Path) -> None:
    book(tmp_path / "x.xlsx", s=[["a", "n"], ["x", 1], ["y", "N/A"], ["z", 2.5]])
    assert [row["n"] for row in desk.rows(tmp_path / "x.xlsx", "?null=N/A")] == [1.0, None, 2.5]


def test_a_sheet_resumes_after_any_batch(desk: Any, tmp_path: Path) -> None:
    rows = [[f"k{n}", n] for n in range(20)]
    made = book(tmp_path / "x.xlsx", s=[["k", "n"], *rows])
    sheet_of(made, "s").merge_cells("A5:A12")
    made.save(tmp_path / "x.xlsx")
    opened = desk.source(tmp_path / "x.xlsx")
    (dataset,) = opened.datasets()
    (split,) = opened.splits(dataset, 1)
    whole = [row for b in opened.read(Read(dataset, split)) for row in b.rows.to_pylist()]
    assert [row["k"] for row in whole[3:11]] == ["k3"] * 8
    seen = 0
    for batch in opened.read(Read(dataset, split, batch_rows=6)):
        seen += batch.rows.num_rows
        rest = opened.read(Read(dataset, split, after=batch.position))
        assert [row for b in rest for row in b.rows.to_pylist()] == whole[seen:]


def test_what_is_no_workbook_says_so(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "t.xls").write_text("<html><table>")
    with pytest.raises(ReadError, match="no workbook but text") as caught:
        desk.rows(tmp_path / "t.xls")
    assert "format=csv" in caught.value.hint
    (tmp_path / "p.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"))
    with pytest.raises(AuthError, match="password"):
        desk.rows(tmp_path / "p.xlsx")
    book(tmp_path / "d.xlsx", s=[["a"], [1]])
    data = (tmp_path / "d.xlsx").read_bytes()
    (tmp_path / "d.xlsx").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="damaged"):
        desk.rows(tmp_path / "d.xlsx")


def test_a_zip_bomb_is_refused_whatever_its_directory_says(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"\0" * (4 << 20))
    data = bytearray((tmp_path / "b.xlsx").read_bytes())
    real = (4 << 20).to_bytes(4, "little")
    while (at := data.find(real)) >= 0:  # the directory tells a small size
        data[at : at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "b.xlsx").write_bytes(bytes(data))
    with pytest.raises(ReadError, match="unpacks to more"):
        desk.rows(tmp_path / "b.xlsx")


def test_a_sheet_that_is_too_large_is_refused(desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book(tmp_path / "x.xlsx", s=[["a", "b"], *([n, n] for n in range(10))])
    monkeypatch.setattr(workbook, "MOST_CELLS", 20)
    with pytest.raises(ReadError, match="11 rows and 2 columns"):
        desk.rows(tmp_path / "x.xlsx")


# ---- writing


def titled(table: pa.Table, **titles: str) -> pa.Table:
    fields = [
        f.with_metadata({Meta.TITLE.value: titles[f.name]}) if f.name in titles else f for f in table.schema
    ]  # fmt: skip
    return table.cast(pa.schema(fields))


TABLE = pa.table({
    "lot": ["=HYPERLINK(\"http://x\")", "+1", "00123", None],
    "n": pa.array([1, -5, 12345678901234567, None], pa.int64()),
    "w": pa.array([Decimal("1.50"), None, Decimal("1234567890.25"), Decimal("-0.01")], pa.decimal128(18, 2)),
    "d": pa.array([date(2024, 2, 29), date(1899, 12, 31), None, date(1900, 3, 1)], pa.date32()),
    "at": pa.array([at("2024-01-02 03:04:05.250000"), None, at("1970-01-01 00:00:00"), None], pa.timestamp("us")),
    "t": pa.array([time(8, 5), None, time(23, 59, 59), None], pa.time64("us")),
    "ok": [True, False, None, True],
})  # fmt: skip


def test_a_written_workbook_is_read_by_others(desk: Any, tmp_path: Path) -> None:
    desk.put(tmp_path / "x.xlsx", titled(TABLE, lot="批号", w="重量"), "?headings=title&sheet=检验[1]")
    made = openpyxl.load_workbook(tmp_path / "x.xlsx")
    sheet = sheet_of(made, "检验_1_")
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows == [
        ["批号", "n", "重量", "d", "at", "t", "ok"],
        ['=HYPERLINK("http://x")', 1, 1.5, at("2024-02-29 00:00:00"), at("2024-01-02 03:04:05.250000"), time(8, 5),
         True],
        ["+1", -5, None, "1899-12-31", None, None, False],
        ["00123", "12345678901234567", 1234567890.25, None, at("1970-01-01 00:00:00"), time(23, 59, 59), None],
        [None, None, -0.01, at("1900-03-01 00:00:00"), None, None, True],
    ]  # fmt: skip
    assert sheet["A2"].data_type == "s"
    assert (sheet.freeze_panes, sheet["C2"].number_format, sheet["A1"].font.bold) == ("A2", "0.00", True)


def test_a_workbook_grows(desk: Any, tmp_path: Path) -> None:
    table = TABLE.select(["lot", "n", "w", "ok"])
    desk.put(tmp_path / "x.xlsx", table)
    desk.put(tmp_path / "x.xlsx", table, mode=WriteMode.APPEND, run="again")
    options = "?types=n:int64,w:decimal(18,2)"
    assert desk.rows(tmp_path / "x.xlsx", options) == [row for row in table.to_pylist() * 2 if any(row.values())]
    with pytest.raises(SchemaError, match="has the columns lot, n, w, ok"):
        desk.put(tmp_path / "x.xlsx", TABLE.select(["lot"]), mode=WriteMode.APPEND, run="third")


def test_a_sheet_is_called_as_the_file_or_the_dataset(desk: Any, tmp_path: Path) -> None:
    desk.put(tmp_path / "日报.xlsx", TABLE)
    assert openpyxl.load_workbook(tmp_path / "日报.xlsx").sheetnames == ["日报"]
    (tmp_path / "out").mkdir()
    desk.put(f"{tmp_path}/out/", TABLE, "?format=xlsx", run="r2")
    assert openpyxl.load_workbook(tmp_path / "out" / "orders.xlsx").sheetnames == ["orders"]


def test_more_rows_than_a_sheet_holds(desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_output, "MOST_ROWS", 4)
    desk.put(tmp_path / "x.xlsx", pa.table({"a": list(range(7))}), "?sheet=数据")
    assert [d.name for d in desk.source(tmp_path / "x.xlsx").datasets()] == ["x.数据", "x.数据 (2)", "x.数据 (3)"]


def test_only_xlsx_is_written(desk: Any, tmp_path: Path) -> None:
    opened = desk.sink(tmp_path / "x.xls")
    with pytest.raises(InvalidPlanError, match=r"only \.xlsx"):
        opened.identity("orders")


def test_texts_longer_than_a_cell_are_refused(desk: Any, tmp_path: Path) -> None:
    table = pa.table({"a": ["x" * 32_768, "y"]})
    opened, write = desk.sink(tmp_path / "x.xlsx"), desk.writing(table)
    opened.start(write.sync, write.run, False)
    opened.open(write)
    opened.begin(write, [Split("0", "orders")])
    session = opened.session(write, Split("0", "orders"))
    written = session.write(table)
    session.close()
    opened.close()
    assert (written.inserted, [bad.message for bad in written.refused]) == (1, ["a: a cell holds 32,767 characters"])


def test_a_missing_reader_names_the_extra(desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book(tmp_path / "x.xlsx", s=[["a"], [1]])
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingDriverError) as caught:
        desk.rows(tmp_path / "x.xlsx")
    assert caught.value.hint == "pip install 'tongqu[excel]'"


def test_header_rows_are_for_workbooks(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(InvalidSettingsError, match="rows of a workbook"):
        desk.rows(tmp_path / "x.csv", "?header=2-3")
    with pytest.raises(InvalidSettingsError, match="true, false, a row"):
        desk.rows(tmp_path / "x.xlsx", "?header=first")


def test_choices_are_kept_in_a_mapping_sheet(desk: Any, tmp_path: Path) -> None:
    book(
        tmp_path / "m.xlsx", 映射=[["源字段", "标准字段"]], 选项=[["选项", "值"], ["sheet", "检验"], ["header", "3-4"]]
    )
    messy(tmp_path / "x.xlsx")
    found = desk.rows(tmp_path / "x.xlsx", f"?choices={tmp_path / 'm.xlsx'}")
    assert [row["尺寸_长"] for row in found] == [1, 2, 4]
