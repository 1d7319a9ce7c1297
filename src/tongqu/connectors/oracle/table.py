"""Oracle's part of the table of types: one of each type, and what arriving fields become."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.core.connector import Types
from tongqu.kit.tables.dialects.oracle import dialect

NATIVES = (
    "NUMBER", "NUMBER(1,0)", "NUMBER(9,0)", "NUMBER(18,0)", "NUMBER(38,0)", "NUMBER(12,3)", "NUMBER(38,10)",
    "FLOAT(126)", "BINARY_FLOAT", "BINARY_DOUBLE", "CHAR(8 CHAR)", "VARCHAR2(32 CHAR)", "VARCHAR2(32 BYTE)",
    "NCHAR(8)", "NVARCHAR2(32)", "CLOB", "NCLOB", "RAW(16)", "BLOB", "DATE", "TIMESTAMP(6)", "TIMESTAMP(9)",
    "TIMESTAMP(6) WITH TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE", "INTERVAL DAY(2) TO SECOND(6)", "ROWID",
    "XMLTYPE", "JSON", "BOOLEAN",
)  # fmt: skip


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = dialect.column_type(field, key=False)
    return native, dialect.field("v", native)


types = Types(natives=NATIVES, field=lambda native: dialect.field("v", native), becomes=_becomes)
