"""MariaDB and MySQL's part of the table of types: one of each type, and what arriving fields become."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql.types import column_type, field_of
from tongqu.core.connector import Types


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = column_type(field, key=False, exact="utf8mb4_bin")
    return native, field_of("v", native)


types = Types(
    natives=(
        "tinyint(1)",
        "tinyint",
        "smallint",
        "mediumint",
        "int",
        "bigint",
        "tinyint unsigned",
        "smallint unsigned",
        "int unsigned",
        "bigint unsigned",
        "decimal(12,3)",
        "decimal(65,30)",
        "float",
        "double",
        "varchar(32)",
        "char(8)",
        "text",
        "longtext",
        "varbinary(16)",
        "longblob",
        "date",
        "time(6)",
        "datetime",
        "datetime(6)",
        "timestamp(6)",
        "year",
        "bit(1)",
        "bit(8)",
        "enum('a')",
        "json",
        "uuid",
    ),
    field=lambda native: field_of("v", native),
    becomes=_becomes,
)
