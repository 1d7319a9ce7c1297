"""Gives rows of one file the columns that only other files of the dataset have."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.connectors.file.layout import Part
from tongqu.kit.formats.types import convert


def completed(rows: pa.RecordBatch, wanted: pa.Schema, part: Part) -> pa.RecordBatch:
    """The rows with the columns the file lacks: its folders' values, else null."""
    if rows.schema.names == wanted.names:
        return rows
    columns: list[Any] = []
    for field in wanted:
        if field.name in part.columns:
            columns.append(rows.column(field.name))
        else:
            value = pa.array([part.partitions.get(field.name)], pa.string())
            columns.append(pa.repeat(convert(value, field.type)[0][0], rows.num_rows))
    return pa.RecordBatch.from_arrays(columns, schema=wanted)
