"""Any database with a JDBC driver, in a Java machine inside this process; a driver's jar must be given."""

from __future__ import annotations

from tongqu.connectors.jdbc.settings import JdbcSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: JdbcSettings) -> Source:
    from tongqu.connectors.jdbc.ends import JdbcSource

    return JdbcSource(settings)


def _sink(settings: JdbcSettings) -> Sink:
    from tongqu.connectors.jdbc.ends import JdbcSink

    return JdbcSink(settings)


connector = Connector(
    name="jdbc",
    title={"zh": "JDBC 数据源", "en": "JDBC data source"},
    settings=JdbcSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.INCREMENTAL | Can.HORIZON | Can.APPEND | Can.UPSERT
        | Can.REPLACE | Can.HISTORY | Can.TRANSACTIONS | Can.EVOLVES
    ),
    schemes=("jdbc",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="real",
    extra="jdbc",
    guarantee={
        "zh": "方言已知时恰好一次: 数据、隔离行、计数与位点在目标库同一事务中提交; 方言未知的系统只读; 出口策略不受控",
        "en": "exactly-once effect where the dialect is known: data, quarantine, counts and checkpoint commit in one "
        "transaction of the target; a system whose dialect is not known is read only; egress: not enforced",
    },
    systems=(
        "PostgreSQL 15 by pgJDBC (real)", "MariaDB 10.11 by MariaDB Connector/J (real)", "MySQL (compile-only)",
        "KingbaseES 人大金仓 (compile-only)",
        "DM 达梦 8 (compile-only)", "Db2 (compile-only)", "SQL Server (compile-only)", "Oracle (compile-only)",
    ),
)  # fmt: skip
