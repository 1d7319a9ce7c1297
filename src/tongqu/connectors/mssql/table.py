"""SQL Server's part of the table of types: one of each type, and what arriving fields become."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.core.connector import Types
from tongqu.kit.tables.dialects.tsql import dialect

NATIVES = (
    "bit", "tinyint", "smallint", "int", "bigint", "decimal(12,3)", "decimal(38,10)", "money", "smallmoney", "real",
    "float(53)", "char(8)", "varchar(32)", "varchar(max)", "nchar(8)", "nvarchar(32)", "nvarchar(max)", "ntext",
    "binary(16)", "varbinary(16)", "varbinary(max)", "date", "time(7)", "smalldatetime", "datetime", "datetime2(6)",
    "datetime2(7)", "datetimeoffset(7)", "timestamp", "uniqueidentifier", "xml", "sql_variant", "hierarchyid",
)  # fmt: skip


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = dialect.column_type(field, key=False)
    return native, dialect.field("v", native)


types = Types(natives=NATIVES, field=lambda native: dialect.field("v", native), becomes=_becomes)
