"""ClickHouse's part of the table of types: one of each type, and what arriving fields become on a current server."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.connectors.clickhouse.dialect import Clickhouse
from tongqu.core.connector import Types

_CURRENT = Clickhouse()
NATIVES = (
    "Bool", "Int8", "Int16", "Int32", "Int64", "Int128", "UInt8", "UInt16", "UInt32", "UInt64", "UInt256", "Float32",
    "Float64", "Decimal(12, 3)", "Decimal(38, 10)", "Decimal(76, 10)", "String", "FixedString(16)",
    "LowCardinality(String)", "Nullable(String)", "UUID", "Date", "Date32", "DateTime", "DateTime('Asia/Shanghai')",
    "DateTime64(3)", "DateTime64(6, 'UTC')", "DateTime64(9)", "Enum8('a' = 1)", "IPv4", "IPv6", "Array(Int64)",
    "Map(String, String)", "Tuple(a Int8, b String)", "JSON",
)  # fmt: skip


def _becomes(field: pa.Field[Any]) -> tuple[str, pa.Field[Any]]:
    native = _CURRENT.column_type(field, key=False)
    return native, _CURRENT.field("v", native)


types = Types(natives=NATIVES, field=lambda native: _CURRENT.field("v", native), becomes=_becomes)
