"""DuckDB's part of the table of types: one of each type, and what arriving fields become."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.connectors.duckdb.types import declaration, field_of
from tongqu.core.connector import Types


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = declaration(field)
    return native, field_of("v", native)


types = Types(
    natives=(
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "HUGEINT",
        "DECIMAL(12,3)",
        "FLOAT",
        "DOUBLE",
        "VARCHAR",
        "BLOB",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMP_NS",
        "TIMESTAMP WITH TIME ZONE",
        "UUID",
        "JSON",
        "INTERVAL",
        "INTEGER[]",
        "STRUCT(a INTEGER)",
    ),
    field=lambda native: field_of("v", native),
    becomes=_becomes,
)
