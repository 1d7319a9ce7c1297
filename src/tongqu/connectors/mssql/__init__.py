"""SQL Server and Azure SQL, both ways, by Microsoft's own driver."""

from __future__ import annotations

from tongqu.connectors.mssql.settings import MssqlSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types


def _source(settings: MssqlSettings) -> Source:
    from tongqu.connectors.mssql.reach import MssqlReach
    from tongqu.connectors.mssql.source import MssqlSource

    return MssqlSource(MssqlReach(settings))


def _sink(settings: MssqlSettings) -> Sink:
    from tongqu.connectors.mssql.reach import MssqlReach
    from tongqu.kit.tables.sink import TableSink

    return TableSink(MssqlReach(settings))


def _types() -> Types:
    from tongqu.connectors.mssql.table import types

    return types


connector = Connector(
    name="mssql",
    title={"zh": "SQL Server 数据库", "en": "SQL Server"},
    settings=MssqlSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.INCREMENTAL | Can.HORIZON | Can.APPEND | Can.UPSERT
        | Can.REPLACE | Can.HISTORY | Can.TRANSACTIONS | Can.EVOLVES | Can.CDC
    ),
    schemes=("mssql", "sqlserver"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    types=_types,
    label="compile-only",
    extra="mssql",
    guarantee={
        "zh": "设计为恰好一次: 数据、隔离行、计数与位点在同一事务中提交; 未在真实服务器上验证",
        "en": "meant as exactly-once effect: data, quarantine, counts and checkpoint commit in one transaction; "
        "not yet tried on a real server",
    },
    systems=("SQL Server 2016 and newer (compile-only)", "Azure SQL (compile-only)"),
)  # fmt: skip
