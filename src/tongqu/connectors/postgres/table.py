"""PostgreSQL's part of the table of types: one of each type, and what arriving fields become."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.connectors.postgres.types import field_of, native_type
from tongqu.core.connector import Types


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = native_type(field, {})
    return native, field_of("v", native)


types = Types(
    natives=(
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "numeric(12,3)",
        "numeric",
        "real",
        "double precision",
        "text",
        "character varying(32)",
        "character(8)",
        "bytea",
        "date",
        "time without time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "uuid",
        "jsonb",
        "interval",
        "xml",
        "money",
        "inet",
        "integer[]",
        "text[]",
    ),
    field=lambda native: field_of("v", native),
    becomes=_becomes,
)
