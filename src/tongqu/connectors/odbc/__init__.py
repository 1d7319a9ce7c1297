"""Any database with an ODBC driver: 达梦, 人大金仓, Db2 and many others, in the dialect that the server speaks."""

from __future__ import annotations

from tongqu.connectors.odbc.settings import OdbcSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: OdbcSettings) -> Source:
    from tongqu.connectors.odbc.reach import OdbcReach
    from tongqu.kit.tables.source import TableSource

    return TableSource(OdbcReach(settings))


def _sink(settings: OdbcSettings) -> Sink:
    from tongqu.connectors.odbc.reach import OdbcReach
    from tongqu.kit.tables.sink import TableSink

    return TableSink(OdbcReach(settings))


connector = Connector(
    name="odbc",
    title={"zh": "ODBC 数据源", "en": "ODBC data source"},
    settings=OdbcSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.INCREMENTAL | Can.HORIZON | Can.APPEND | Can.UPSERT
        | Can.REPLACE | Can.HISTORY | Can.TRANSACTIONS | Can.EVOLVES
    ),
    schemes=("odbc",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="real",
    extra="odbc",
    guarantee={
        "zh": "方言已知时恰好一次: 数据、隔离行、计数与位点在目标库同一事务中提交; 方言未知的系统只读",
        "en": "exactly-once effect where the dialect is known: data, quarantine, counts and checkpoint commit in one "
        "transaction of the target; a system whose dialect is not known is read only",
    },
    systems=(
        "PostgreSQL 15 by psqlODBC (real)", "MariaDB 10.11 by MariaDB Connector/ODBC (real)",
        "SQLite 3 by SQLite ODBC, read only (real)", "KingbaseES 人大金仓 (compile-only)", "DM 达梦 8 (compile-only)",
        "Db2 (compile-only)", "SQL Server (compile-only)", "Oracle (compile-only)",
    ),
)  # fmt: skip
