"""Oracle, both ways, by its thin driver."""

from __future__ import annotations

from tongqu.connectors.oracle.settings import OracleSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types


def _source(settings: OracleSettings) -> Source:
    from tongqu.connectors.oracle.reach import OracleReach
    from tongqu.connectors.oracle.source import OracleSource

    return OracleSource(OracleReach(settings))


def _sink(settings: OracleSettings) -> Sink:
    from tongqu.connectors.oracle.reach import OracleReach
    from tongqu.kit.tables.sink import TableSink

    return TableSink(OracleReach(settings))


def _types() -> Types:
    from tongqu.connectors.oracle.table import types

    return types


connector = Connector(
    name="oracle",
    title={"zh": "Oracle 数据库", "en": "Oracle"},
    settings=OracleSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.INCREMENTAL | Can.HORIZON | Can.APPEND | Can.UPSERT
        | Can.REPLACE | Can.HISTORY | Can.TRANSACTIONS | Can.EVOLVES | Can.CDC
    ),
    schemes=("oracle",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    types=_types,
    label="compile-only",
    extra="oracle",
    guarantee={
        "zh": "设计为恰好一次: 数据、隔离行、计数与位点在同一事务中提交; 空字符串即空值; 未在真实服务器上验证",
        "en": "meant as exactly-once effect: data, quarantine, counts and checkpoint commit in one transaction; an "
        "empty text is null; not yet tried on a real server",
    },
    systems=("Oracle 12.2 and newer (compile-only)",),
)  # fmt: skip
