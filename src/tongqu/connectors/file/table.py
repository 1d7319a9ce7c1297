"""The files' part of the table of types: Parquet and Arrow keep every type; text files are read as the types named."""

from __future__ import annotations

from tongqu.core.connector import Types
from tongqu.kit.formats.types import named

types = Types(
    natives=("bool", "int16", "int32", "int64", "decimal(12,3)", "float32", "float64", "string", "binary", "date",
             "time", "timestamp", "timestamptz", "json", "uuid"),
    field=lambda native: named("v", native),
    becomes=lambda field: (str(field.type), field),
)  # fmt: skip
