"""A sheet as a table: where its header is, what its columns are called and typed, and its rows as Arrow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.core.data import BadRow, Position
from tongqu.core.errors import CastError, InvalidSettingsError, SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.formats.dialect import column_names
from tongqu.kit.formats.piece import STEP, Piece
from tongqu.kit.formats.types import convert
from tongqu.kit.formats.workbook import Cell, Sheet, Workbook, column_letters

_LOOK = 50
_BLOCK = 4096
_EXACT = float(1 << 53)
_RANGE = re.compile(r"([1-9]\d*)(?:-([1-9]\d*))?")
_KINDS = {
    str: "text", float: "number", int: "number", bool: "bool", date: "date", datetime: "stamp", time: "time",
    timedelta: "duration",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Where a sheet's columns stand: their names, their places (from 0), and the first row of data (from 0)."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    first: int


def sheet_headings(path: Path) -> list[str]:
    """The first row of a workbook's first sheet, as texts."""
    book = Workbook(path)
    book.check()
    names = book.sheets(hidden=True)
    _, _, filled = next(book.sheet(names[0]).rows(), (0, [], []))
    return [as_cell_text(cell) if cell is not None else "" for cell in filled]


def header_rows(text: str) -> tuple[int, int]:
    """`3` or `2-3` as first and last row from 0; raises InvalidSettingsError."""
    match = _RANGE.fullmatch(text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise InvalidSettingsError(
            f"header: {text!r} names no rows", path="header", hint="a row (3), rows (2-3), true or false"
        )
    return int(match[1]) - 1, int(match[2] or match[1]) - 1


def find_table(
    sheet: Sheet, header: bool | str | None, skip: int, null: Sequence[str] = ("",)
) -> tuple[Table, dict[int, set[str]]]:
    """The table of a sheet and, by place, the kinds of value in each column.

    `header`: rows (`3`, `2-3`), True (the first row that is not empty), False (none), or None to find it: the first of
    50 rows with at least two different cells, all texts, which cover at least half of the widest row. It goes on below
    a cell that is merged over several columns and to the end of one merged over several rows. Headings over each other
    are joined by `_`.
    """
    rows = sheet.rows()
    top: list[tuple[int, list[Cell], list[Cell]]] = []
    wanted = max(_LOOK, skip + _LOOK, header_rows(header)[1] + 1 if isinstance(header, str) else 0)
    for row in rows:
        top.append(row)
        if len(top) >= wanted:
            break
    span = _header(top, sheet, header, skip)
    first = span[1] + 1 if span else skip
    kinds: dict[int, set[str]] = {}
    for number, cells, filled in top:
        if number >= first:
            _look_at(cells, filled, kinds, null)
    for _, cells, filled in rows:
        _look_at(cells, filled, kinds, null)
    titles = [filled for number, _, filled in top if span and span[0] <= number <= span[1]]
    headings = _headings(titles)
    width = max([len(headings), *(place + 1 for place in kinds)], default=0)
    headings += [""] * (width - len(headings))
    places = tuple(place for place in range(width) if headings[place] or place in kinds)
    names = column_names(headings, span is not None)
    return Table(tuple(names[place] for place in places), places, first), kinds


def _header(
    top: Sequence[tuple[int, list[Cell], list[Cell]]], sheet: Sheet, header: bool | str | None, skip: int
) -> tuple[int, int] | None:
    if header is False:
        return None
    if isinstance(header, str):
        return header_rows(header)
    below = [(number, cells, filled) for number, cells, filled in top if number >= skip]
    found = next((number for number, cells, filled in below if _is_header(filled, below)), None)
    if header is True:
        found = next((number for number, cells, _ in below if any(cell is not None for cell in cells)), None)
    if found is None:
        return None
    return found, _below(sheet, found)


def _is_header(filled: list[Cell], rows: Sequence[tuple[int, list[Cell], list[Cell]]]) -> bool:
    widest = max(sum(cell is not None for cell in row) for _, _, row in rows)
    values = [cell for cell in filled if cell is not None]
    return (
        len(values) * 2 >= widest
        and all(isinstance(cell, str) for cell in values)
        and len(set(values)) >= min(2, widest)
        and len(values) > 0
    )


def _below(sheet: Sheet, row: int) -> int:
    """The last row of a header that begins in `row`."""
    last = row
    for (first, left), (bottom, right) in sorted(sheet.areas):
        if row <= first <= last:
            last = max(last, bottom + 1 if right > left and first == bottom else bottom)
    return last


def _headings(rows: Sequence[list[Cell]]) -> list[str]:
    headings = []
    for place in range(max((len(row) for row in rows), default=0)):
        parts: list[str] = []
        for row in rows:
            cell = row[place] if place < len(row) else None
            text = " ".join(as_cell_text(cell).split()) if cell is not None else ""
            if text and (not parts or parts[-1] != text):
                parts.append(text)
        headings.append("_".join(parts))
    return headings


def _look_at(cells: list[Cell], filled: list[Cell], kinds: dict[int, set[str]], null: Sequence[str]) -> None:
    if not any(cell is not None for cell in cells):
        return
    for place, cell in enumerate(filled):
        if cell is None or (type(cell) is str and cell in null):
            continue
        kind = _KINDS.get(type(cell), "text")
        if kind == "number":
            kind = "whole" if abs(cell) < _EXACT and cell == int(cell) else "fraction"
        kinds.setdefault(place, set()).add(kind)


def type_of(kinds: set[str]) -> pa.DataType:
    """The type of a column with these kinds of value; text where they do not fit together."""
    if not kinds:
        return pa.string()
    if kinds <= {"whole", "fraction"}:
        return pa.int64() if kinds == {"whole"} else pa.float64()
    if kinds <= {"date", "stamp"}:
        return pa.date32() if kinds == {"date"} else pa.timestamp("us")
    alone: dict[str, pa.DataType] = {"bool": pa.bool_(), "time": pa.time64("us")}
    return alone.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def as_cell_text(cell: Cell) -> str:
    """A cell as text: numbers with the 15 digits a workbook has, dates ISO 8601, durations `30:00:00`."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float | int):
        whole = abs(cell) < _EXACT and cell == int(cell)
        return str(int(cell)) if whole else f"{cell:.15g}"
    if isinstance(cell, timedelta):
        seconds = round(cell.total_seconds())
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return cell.isoformat(" ") if isinstance(cell, datetime) else str(cell.isoformat())


@dataclass(frozen=True)
class SheetFile:
    """One sheet of a workbook, read as a table."""

    path: Path
    sheet: str
    table: Table
    null: tuple[str, ...] = ("",)

    def read(self, schema: pa.Schema, after: Position | None, until: Position | None, want: int) -> Iterator[Piece]:
        """Rows of the schema's columns; the position is the number of rows of the sheet that are done. Resuming loads
        the sheet again and skips them."""
        done = max((after or {"row": 0})["row"], self.table.first)
        last = None if until is None else until["row"]
        sheet = Workbook(self.path).sheet(self.sheet)
        block: list[tuple[int, list[Cell]]] = []
        for number, cells, filled in sheet.rows():
            if number < done or not any(cell is not None for cell in cells):
                if number in sheet.errors and number >= done:
                    block.append((number, filled))
                continue
            if last is not None and number >= last:
                break
            block.append((number, filled))
            if len(block) >= min(want, _BLOCK):
                yield self._piece(sheet, block, schema)
                block = []
        if block:
            yield self._piece(sheet, block, schema)

    def _piece(self, sheet: Sheet, block: list[tuple[int, list[Cell]]], schema: pa.Schema) -> Piece:
        bad = [self._error(sheet, number, cells) for number, cells in block if self._is_bad(sheet, number)]
        good = [(number, cells) for number, cells in block if not self._is_bad(sheet, number)]
        columns = list(zip(*(cells for _, cells in good), strict=True))
        found = []
        causes: dict[int, tuple[str, str]] = {}
        for field in schema:
            place = self.table.places[self.table.names.index(field.name)]
            values = columns[place] if place < len(columns) else (None,) * len(good)
            array, refused = self._array(values, field.type)
            found.append(array)
            for row in [] if refused is None else pc.indices_nonzero(pc.fill_null(refused, False)).to_pylist():
                causes.setdefault(row, (field.name, f"not a value of type {field.type} (set types=)"))
        if causes:
            keep = pa.array([row not in causes for row in range(len(good))])
            found = [array.filter(keep) for array in found]
            bad += [self._refused(*good[row], *cause) for row, cause in sorted(causes.items())]
        rows = pa.RecordBatch.from_arrays(found, schema=schema)
        return Piece(rows, tuple(bad), {"row": block[-1][0] + 1})

    def _is_bad(self, sheet: Sheet, number: int) -> bool:
        return any(place in self.table.places for place in sheet.errors.get(number, ()))

    def _array(self, values: Sequence[Cell], wanted: pa.DataType) -> tuple[Any, Any]:
        kinds = set(map(type, values)) - {type(None)}
        if str in kinds and any(text for text in self.null):
            values = [None if isinstance(value, str) and value in self.null else value for value in values]
            kinds = set(map(type, values)) - {type(None)}
        if kinds <= _NATIVE.get(wanted, set()):
            try:
                if pa.types.is_integer(wanted):
                    return pa.array(values, pa.float64(), from_pandas=False).cast(wanted), None
                return pa.array(values, wanted), None
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                pass  # a value does not fit: found one by one below
        texts = pa.array([None if value is None else as_cell_text(value) for value in values], pa.string())
        return convert(texts, wanted)

    def _original(self, cells: list[Cell]) -> dict[str, Any]:
        pairs = zip(self.table.names, self.table.places, strict=True)
        return {
            name: None if place >= len(cells) or cells[place] is None else as_cell_text(cells[place])
            for name, place in pairs
        }

    def _error(self, sheet: Sheet, number: int, cells: list[Cell]) -> BadRow:
        named = dict(zip(self.table.places, self.table.names, strict=True))
        original = self._original(cells)
        errors = {named[place]: text for place, text in sheet.errors[number].items() if place in named}
        original |= errors
        name, text = next(iter(errors.items()))
        place = column_letters(next(place for place in sheet.errors[number] if named.get(place) == name))
        message = f"cell {place}{number + 1} of sheet {self.sheet!r}: {name}: the formula gives the error {text}"
        return BadRow(STEP, SchemaError.code, name, text, json.dumps(original, ensure_ascii=False), message)

    def _refused(self, number: int, cells: list[Cell], name: str, cause: str) -> BadRow:
        original = self._original(cells)
        value = original[name]
        place = column_letters(self.table.places[self.table.names.index(name)])
        message = f"cell {place}{number + 1} of sheet {self.sheet!r}: {name}: {value!r} is {cause}"
        return BadRow(STEP, CastError.code, name, value, json.dumps(original, ensure_ascii=False), message)


_NATIVE: dict[Any, set[type]] = {
    pa.string(): {str},
    pa.int64(): {float, int},
    pa.int32(): {float, int},
    pa.int16(): {float, int},
    pa.float64(): {float, int},
    pa.bool_(): {bool},
    pa.date32(): {date},
    pa.timestamp("us"): {date, datetime},
    pa.time64("us"): {time},
}
