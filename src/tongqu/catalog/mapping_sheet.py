"""Mapping sheets: which source field becomes which standard field, agreed in Excel or CSV, applied as steps.

A sheet has one line a source field under the headings of `HEADINGS` (English or Chinese, any order; a heading that
begins with `#` is a remark). A line without a standard field is not taken over. A workbook may have a second sheet
(`options`, 选项) with settings of the source, and further ones with code lists.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tongqu.catalog.mapping_cells import codes_of, rules_of
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, NotFoundError
from tongqu.kit import files
from tongqu.kit.drivers import driver
from tongqu.kit.formats.sheet_table import as_cell_text
from tongqu.kit.formats.text_stream import TextStream
from tongqu.kit.formats.workbook import Workbook, column_letters
from tongqu.meaning.units import conversion

HEADINGS: Mapping[str, tuple[str, str]] = {
    "source": ("source field", "源字段"),
    "about": ("source title", "源名称"),
    "standard": ("standard field", "标准字段"),
    "title": ("standard title", "标准名称"),
    "unit_from": ("unit from", "源单位"),
    "unit_to": ("unit to", "标准单位"),
    "rule": ("rule", "规则"),
    "codes": ("code map", "代码对照"),
    "owner": ("owner", "负责人"),
    "note": ("note", "备注"),
    "confidence": ("confidence", "置信度"),
}
"""Column of a sheet: its heading in English and Chinese. `source` and `standard` must be there."""
OPTIONS = ("options", "选项")
_MAIN = ("mapping", "映射")
_LOOK = 20
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Line:
    """One source field and what becomes of it. `place` is the row in the sheet, for messages."""

    source: str
    standard: str = ""
    about: str = ""
    title: str = ""
    unit_from: str = ""
    unit_to: str = ""
    rule: str = ""
    codes: str = ""
    owner: str = ""
    note: str = ""
    confidence: str = ""
    place: str = ""


@dataclass(frozen=True)
class MappingSheet:
    """A mapping that has been read or suggested."""

    lines: tuple[Line, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings of the source that belong to the mapping: `sheet`, `header`, `skip_rows` …"""
    lists: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Code lists by the name of their sheet."""
    name: str = ""

    def steps(self) -> list[dict[str, Any]]:
        """The steps of a pipeline that do what the sheet says: select, rename, code_map, cast, convert, check; those
        with nothing to do are left out. Raises InvalidSettingsError naming the line."""
        taken = [line for line in self.lines if line.standard]
        if not taken:
            raise InvalidSettingsError(
                "no line has a standard field", path=self.name, hint="fill in the column `standard field`"
            )
        rules = {line.standard: self._told(line, "rule", rules_of, line.rule) for line in taken if line.rule}
        codes = {line.standard: self._told(line, "codes", self._codes, line.codes) for line in taken if line.codes}
        converted = {line.standard: self._units(line) for line in taken if line.unit_from != line.unit_to}
        types = {name: rule["type"] for name, rule in rules.items() if "type" in rule}
        checks = {name: {k: v for k, v in rule.items() if k != "type"} for name, rule in rules.items()}
        renamed = {line.source: line.standard for line in taken if line.source != line.standard}
        steps: list[dict[str, Any]] = [{"select": [line.source for line in taken]}]
        steps += [{"rename": renamed}] if renamed else []
        steps += [{"code_map": codes}] if codes else []
        steps += [{"cast": types}] if types else []
        steps += [{"convert": converted}] if converted else []
        kept = {name: rule for name, rule in checks.items() if rule}
        return steps + ([{"check": kept}] if kept else [])

    def _told(self, line: Line, column: str, read: Any, text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise self._wrong(line, column, str(error)) from error

    def _codes(self, text: str) -> dict[str, Any]:
        return codes_of(text, self.lists)

    def _units(self, line: Line) -> dict[str, str]:
        if not line.unit_to:
            raise self._wrong(line, "unit_to", f"{line.unit_from!r} is converted to no unit")
        try:
            if line.unit_from:
                conversion(line.unit_from, line.unit_to)
        except InvalidPlanError as error:
            raise self._wrong(line, "unit_from", error.message) from error
        return {"from": line.unit_from, "to": line.unit_to} if line.unit_from else {"to": line.unit_to}

    def _wrong(self, line: Line, column: str, message: str) -> InvalidSettingsError:
        heading = HEADINGS[column][0]
        return InvalidSettingsError(f"{heading} of {line.source!r}: {message}", path=f"{self.name}:{line.place}")


def read_sheet(path: Path) -> MappingSheet:
    """Read a mapping from `.xlsx` or `.csv`. Raises InvalidSettingsError naming the cell for a merged cell, an unknown
    or missing heading, a field that comes twice; NotFoundError if there is no such file."""
    if not path.is_file():
        raise NotFoundError(f"no such mapping sheet: {path}", path=str(path))
    name = path.name
    if files.kind(path)[0] == "csv":
        return replace(_read(_csv_rows(path), name), name=name)
    if path.suffix.lower() != ".xlsx":
        raise InvalidSettingsError(f"{name}: a mapping sheet is .xlsx or .csv", path=str(path))
    book = Workbook(path)
    book.check()
    sheets = book.sheets(hidden=True)
    if not sheets:
        raise InvalidSettingsError(f"{name} has no sheet", path=name)
    main = next((sheet for sheet in sheets if sheet.lower() in _MAIN), sheets[0])
    found = book.sheet(main)
    for (top, left), (bottom, right) in found.areas:
        area = f"{column_letters(left)}{top + 1}:{column_letters(right)}{bottom + 1}"
        raise InvalidSettingsError(
            f"the cells {area} of sheet {main!r} are merged: which lines its value is meant for is not clear",
            path=f"{name}:{area}",
            hint="unmerge them and write the value into each cell",
        )
    rows = ([_text(cell) for cell in cells] for _, cells, _ in found.rows())
    options: dict[str, str] = {}
    lists: dict[str, dict[str, str]] = {}
    for sheet in sheets:
        if sheet == main:
            continue
        pairs = [[_text(cell) for cell in cells] for _, cells, _ in book.sheet(sheet).rows()]
        filled = {row[0]: row[1] for row in pairs if len(row) > 1 and row[0]}
        if sheet.lower() in OPTIONS:
            options = {key: value for key, value in filled.items() if key not in ("option", "选项")}
        else:
            lists[sheet] = dict(list(filled.items())[1:])  # under a heading line
    return replace(_read(rows, name), options=options, lists=lists, name=name)


def _csv_rows(path: Path) -> Iterator[list[str]]:
    text = b"".join(TextStream.detect(path, files.kind(path)[1], None).blocks()).decode("utf-8", "replace")
    dialect = "excel-tab" if "\t" in text.partition("\n")[0] else "excel"
    try:
        yield from ([_unguarded(cell.strip()) for cell in row] for row in csv.reader(io.StringIO(text), dialect))
    except csv.Error as error:
        raise InvalidSettingsError(f"{path.name} is no mapping sheet: {error}", path=path.name) from None


def _guarded(text: str) -> str:
    """A cell that a spreadsheet would take for a formula, led by `'`: names and comments come from foreign systems."""
    return f"'{text}" if text[:1] in _FORMULA else text


def _unguarded(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def _text(cell: Any) -> str:
    return "" if cell is None else as_cell_text(cell).strip()


def _read(rows: Iterator[list[str]], name: str) -> MappingSheet:
    known = {text: column for column, texts in HEADINGS.items() for text in texts}
    places: dict[int, str] = {}
    lines: list[Line] = []
    sources: dict[str, str] = {}
    standards: dict[str, str] = {}
    for number, cells in enumerate(rows, 1):
        if not places:
            found = {at: known[cell.lower()] for at, cell in enumerate(cells) if cell.lower() in known}
            if "source" in found.values() and "standard" in found.values():
                _check_headings(cells, found, number, name)
                places = found
            elif number >= _LOOK:
                break
            continue
        values = {places[at]: cell for at, cell in enumerate(cells) if at in places and cell}
        if not values:
            continue
        line = Line(**{"source": "", **values}, place=str(number))
        if not line.source:
            raise InvalidSettingsError("a line names no source field", path=f"{name}:{number}")
        for held, value in ((sources, line.source), (standards, line.standard)):
            if value and value in held:
                raise InvalidSettingsError(
                    f"{value!r} comes twice: in the rows {held[value]} and {number}", path=f"{name}:{number}"
                )
            held[value] = str(number)
        lines.append(line)
    if not places:
        raise InvalidSettingsError(
            f"{name} has no headings of a mapping sheet in its first {_LOOK} rows",
            path=name,
            hint=f"headings: {', '.join(' / '.join(texts) for texts in HEADINGS.values())}",
        )
    return MappingSheet(tuple(lines))


def _check_headings(cells: Sequence[str], found: Mapping[int, str], row: int, name: str) -> None:
    for at, cell in enumerate(cells):
        place = f"{name}:{column_letters(at)}{row}"
        if at not in found and cell and not cell.startswith("#"):
            raise InvalidSettingsError(
                f"unknown heading {cell!r}",
                path=place,
                hint=f"headings: {', '.join(texts[0] for texts in HEADINGS.values())}; remarks begin with #",
            )
        if at in found and list(found.values()).count(found[at]) > 1:
            raise InvalidSettingsError(f"the heading {cell!r} comes twice", path=place)


def write_sheet(sheet: MappingSheet, path: Path, language: str) -> None:
    """Write a mapping as `.xlsx` or `.csv` with headings in `zh` or `en`; raises ConfigError for another ending."""
    at = 1 if language == "zh" else 0
    headings = [texts[at] for texts in HEADINGS.values()]
    rows = [[getattr(line, column) for column in HEADINGS] for line in sheet.lines]
    if path.suffix.lower() == ".csv":
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows([headings, *([_guarded(cell) for cell in row] for row in rows)])
        files.write_atomically(path, buffer.getvalue().encode("utf-8-sig"))
        return
    if path.suffix.lower() != ".xlsx":
        raise ConfigError(f"{path}: a mapping sheet is .xlsx or .csv", path="--out")
    held = io.BytesIO()
    options = {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}
    book = driver("xlsxwriter", "excel").Workbook(held, options)
    bold = book.add_format({"bold": True, "bottom": 1})
    _write(book.add_worksheet(_MAIN[at]), headings, rows, bold)
    if sheet.options:
        words = ("选项", "值") if at else ("option", "value")
        _write(book.add_worksheet(OPTIONS[at]), words, [list(pair) for pair in sheet.options.items()], bold)
    for name, codes in sheet.lists.items():
        words = ("源代码", "标准代码") if at else ("source code", "standard code")
        _write(book.add_worksheet(name[:31]), words, [list(pair) for pair in codes.items()], bold)
    book.close()
    files.write_atomically(path, held.getvalue())


def _write(sheet: Any, headings: Sequence[str], rows: Sequence[Sequence[str]], bold: Any) -> None:
    sheet.freeze_panes(1, 0)
    for column, heading in enumerate(headings):
        longest = max([len(heading) * 2, *(len(row[column]) + 2 for row in rows)])
        sheet.set_column(column, column, min(max(longest, 10), 40))
        sheet.write_string(0, column, heading, bold)
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row):
            if cell:
                sheet.write_string(number, column, cell)
