"""SQLite's part of the table of types: one of each type, and what arriving fields become."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.connectors.sqlite.types import declaration, field_of
from tongqu.core.connector import Types


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = declaration(field)
    return native, field_of("v", native)


types = Types(
    natives=(
        "BOOLEAN",
        "INTEGER",
        "BIGINT",
        "UNSIGNED64_TEXT",
        "DECIMAL(12,3)",
        "DECIMAL_TEXT(20,4)",
        "FLOAT4",
        "REAL",
        "TEXT",
        "VARCHAR(32)",
        "BLOB",
        "DATE",
        "TIME",
        "DATETIME",
        "TIMESTAMPTZ",
        "UUID",
        "JSON",
    ),
    field=lambda native: field_of("v", native),
    becomes=_becomes,
)
