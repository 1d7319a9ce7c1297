"""Reads what a target holds already, to write it again before the rows that are appended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.kit.formats.columnar import ArrowFile, ParquetFile
from tongqu.kit.formats.output import Form
from tongqu.kit.formats.sheet_table import SheetFile, Table
from tongqu.kit.formats.workbook import Workbook


def content(old: Path, form: Form, schema: pa.Schema) -> Any:
    """The reader of a file that was written in this form with this schema. Of a workbook the first sheet is read."""
    if form.format == "parquet":
        return ParquetFile(old)
    if form.format == "xlsx":
        places = tuple(range(len(schema)))
        return SheetFile(old, Workbook(old).sheets(hidden=True)[0], Table(tuple(schema.names), places, 1), ())
    return ArrowFile(old)


def as_held(form: Form, schema: pa.Schema) -> pa.Schema:
    """The schema with the types that the file itself holds: a workbook has no nested, binary or zoned values, only
    their texts."""
    if form.format != "xlsx":
        return schema
    return pa.schema([pa.field(f.name, f.type if _is_cell(f.type) else pa.string()) for f in schema])


def _is_cell(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.TimestampType):
        return kind.tz is None
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return numeric or pa.types.is_boolean(kind) or pa.types.is_date32(kind) or pa.types.is_time(kind)
