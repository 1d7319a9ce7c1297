"""Arrow rows as a workbook (.xlsx): typed cells, a frozen header, never a formula."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.drivers import driver
from tongqu.kit.formats.text import as_text

MOST_ROWS = 1_048_576
MOST_COLUMNS = 16_384
MOST_CHARACTERS = 32_767
_FORBIDDEN = re.compile(r"[\[\]:*?/\\]")
_DIGITS = 15


def headings(schema: pa.Schema, by: str) -> list[str]:
    """The header's texts: the fields' names, or their titles where they have one (`by="title"`)."""
    titles = [(f.metadata or {}).get(Meta.TITLE.value.encode(), b"").decode() if by == "title" else "" for f in schema]
    return [title or field.name for title, field in zip(titles, schema, strict=True)]


class WorkbookWriter:
    """One workbook being written to an open file; rows go to disk as they come, complete after `close`.

    Numbers are numbers with as many decimals shown as the type has; those that need more than the 15 digits a
    workbook keeps are texts, as are dates before 1900, instants with a zone (ISO 8601, UTC), binary (base64) and
    nested values (JSON). Texts stay texts, also those that look like a formula. Beyond 1,048,576 rows follows
    another sheet.
    """

    def __init__(self, file: Any, schema: pa.Schema, sheet: str, by: str):
        if len(schema) > MOST_COLUMNS:
            raise SchemaError(f"{len(schema)} columns; a sheet holds {MOST_COLUMNS:,}", hint="select fewer, or parquet")
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self._book = driver("xlsxwriter", "excel").Workbook(file, options)
        self._schema = schema
        self._titles = headings(schema, by)
        self._name = _FORBIDDEN.sub("_", sheet)[:25].strip("'") or "Sheet1"
        self._bold = self._book.add_format({"bold": True, "bottom": 1})
        self._formats = [
            self._book.add_format({"num_format": form}) if (form := _shown(f.type)) else None for f in schema
        ]
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._count += 1
        self._sheet = self._book.add_worksheet(self._name if self._count == 1 else f"{self._name} ({self._count})")
        self._sheet.freeze_panes(1, 0)
        for column, (field, title) in enumerate(zip(self._schema, self._titles, strict=True)):
            wide = sum(2 if ord(c) > 0x2E7F else 1 for c in title) + 2
            self._sheet.set_column(column, column, min(max(wide, _width(field.type)), 60))
        for column, title in enumerate(self._titles):
            self._sheet.write_string(0, column, title, self._bold)
        self._row = 1

    def write_batch(self, rows: pa.RecordBatch) -> None:
        """The rows, after those before."""
        columns = [self._cells(rows.column(number), field) for number, field in enumerate(rows.schema)]
        for cells in zip(*columns, strict=True):
            if self._row >= MOST_ROWS:
                self._begin()
            for column, cell in enumerate(cells):
                if cell is not None:
                    self._write(column, cell)
            self._row += 1

    def _write(self, column: int, cell: Any) -> None:
        form = self._formats[column]
        if isinstance(cell, str):
            self._sheet.write_string(self._row, column, cell)
        elif isinstance(cell, bool):
            self._sheet.write_boolean(self._row, column, cell)
        else:
            self._sheet.write_number(self._row, column, cell, form)

    @staticmethod
    def _cells(column: Any, field: pa.Field[Any]) -> list[Any]:
        """The cells of a column: numbers (dates and times as serial numbers), truth values, texts."""
        kind = field.type
        if pa.types.is_boolean(kind):
            return list(column.to_pylist())
        texts = as_text(column)
        serial = _serial(column, kind)
        if serial is None:
            return list(texts.to_pylist())
        numbers, exact = serial
        keep = pc.fill_null(exact, False)
        if pc.all(pc.or_(keep, pc.is_null(texts))).as_py() is not False:
            return list(numbers.to_pylist())
        pairs = zip(numbers.to_pylist(), texts.to_pylist(), keep.to_pylist(), strict=True)
        return [number if good else text for number, text, good in pairs]

    def close(self) -> None:
        """Write the workbook's directory."""
        self._book.close()


def _serial(column: Any, kind: pa.DataType) -> tuple[Any, Any] | None:
    """Values as a workbook's numbers, and which of them lose nothing by it; None for types that are texts."""
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        digits = pc.utf8_ltrim(pc.replace_substring_regex(as_text(column), r"[^0-9]", ""), "0")
        return pc.cast(column, pa.float64(), safe=False), pc.less_equal(pc.utf8_length(digits), _DIGITS)
    if pa.types.is_floating(kind):
        return pc.cast(column, pa.float64()), pc.is_finite(column)
    if pa.types.is_date32(kind):
        days = pc.add(pc.cast(pc.cast(column, pa.int32()), pa.float64()), 25569.0)
        return days, pc.greater(days, 60.0)
    if pa.types.is_timestamp(kind) and kind.tz is None:
        micros = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
        days = pc.add(pc.divide(pc.cast(micros, pa.float64(), safe=False), 86_400e6), 25569.0)
        return days, pc.greater_equal(days, 61.0)
    if pa.types.is_time(kind):
        micros = pc.cast(pc.cast(column, pa.time64("us"), safe=False), pa.int64())
        return pc.divide(pc.cast(micros, pa.float64()), 86_400e6), pc.is_valid(column)
    return None


def _shown(kind: pa.DataType) -> str:
    if isinstance(kind, pa.Decimal128Type | pa.Decimal256Type):
        return "0." + "0" * kind.scale if kind.scale > 0 else "0"
    if pa.types.is_integer(kind):
        return "0"
    if pa.types.is_date(kind):
        return "yyyy-mm-dd"
    if pa.types.is_timestamp(kind):
        return "yyyy-mm-dd hh:mm:ss.000"
    return "hh:mm:ss" if pa.types.is_time(kind) else ""


def _width(kind: pa.DataType) -> int:
    return 24 if pa.types.is_timestamp(kind) else 18 if pa.types.is_string(kind) else 12


def too_long(rows: pa.RecordBatch) -> dict[int, str]:
    """Rows (index, message) with a text that a cell cannot hold."""
    causes: dict[int, str] = {}
    for field in rows.schema:
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_temporal(field.type):
            continue
        lengths = pc.utf8_length(as_text(rows.column(field.name)))
        for row in pc.indices_nonzero(pc.fill_null(pc.greater(lengths, MOST_CHARACTERS), False)).to_pylist():
            causes.setdefault(row, f"{field.name}: a cell holds {MOST_CHARACTERS:,} characters")
    return causes
