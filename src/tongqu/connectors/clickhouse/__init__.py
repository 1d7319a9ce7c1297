"""ClickHouse, read in columns, written by inserts that can be repeated: append, and replace by exchange of tables."""

from __future__ import annotations

from tongqu.connectors.clickhouse.settings import ClickhouseSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types


def _source(settings: ClickhouseSettings) -> Source:
    from tongqu.connectors.clickhouse.reach import ClickhouseReach
    from tongqu.kit.tables.source import TableSource

    return TableSource(ClickhouseReach(settings))


def _sink(settings: ClickhouseSettings) -> Sink:
    from tongqu.connectors.clickhouse.sink import ClickhouseSink

    return ClickhouseSink(settings)


def _types() -> Types:
    from tongqu.connectors.clickhouse.table import types

    return types


connector = Connector(
    name="clickhouse",
    title={"zh": "ClickHouse 数据库", "en": "ClickHouse"},
    settings=ClickhouseSettings,
    can=Can.READ | Can.WRITE | Can.INCREMENTAL | Can.APPEND | Can.REPLACE | Can.EVOLVES,
    schemes=("clickhouse",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    types=_types,
    label="real",
    extra="clickhouse",
    guarantee={
        "zh": "追加为至少一次 (22 版起对重复块去重); 替换为恰好一次: 新一代表整体交换; 位点与隔离行保存在项目目录中",
        "en": "append is at-least-once (from version 22 on a repeated block is recognised and left out); replace is "
        "exactly-once effect by exchange of whole tables; positions and quarantine are kept in the project's home",
    },
    systems=(
        "ClickHouse 18.16 (real)",
        "ClickHouse 22 and newer (compatible: chDB 26.9, protocol not tried)",
    ),
)
