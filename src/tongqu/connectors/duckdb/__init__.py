"""DuckDB: reads and writes database files in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.duckdb.settings import DuckdbSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types

if TYPE_CHECKING:
    from tongqu.core.server import Server


def _source(settings: DuckdbSettings) -> Source:
    from tongqu.connectors.duckdb.source import DuckdbSource

    return DuckdbSource(settings)


def _sink(settings: DuckdbSettings) -> Sink:
    from tongqu.connectors.duckdb.sink import DuckdbSink

    return DuckdbSink(settings)


def _server(settings: DuckdbSettings) -> Server:
    from tongqu.connectors.duckdb.serving import DuckdbServer

    return DuckdbServer(settings)


def _types() -> Types:
    from tongqu.connectors.duckdb.table import types

    return types


connector = Connector(
    name="duckdb",
    title={"zh": "DuckDB 文件", "en": "DuckDB file"},
    settings=DuckdbSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.SNAPSHOT
    | Can.INCREMENTAL
    | Can.HORIZON
    | Can.COPY_IN
    | Can.APPEND
    | Can.UPSERT
    | Can.REPLACE
    | Can.HISTORY
    | Can.TRANSACTIONS
    | Can.EVOLVES
    | Can.ONE_WRITER
    | Can.SERVES,
    schemes=("duckdb",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    server=_server,
    types=_types,
    label="real",
    guarantee={
        "zh": "恰好一次: 数据、隔离行、计数与位点在同一事务中提交",
        "en": "exactly-once effect: data, quarantine, counts and checkpoint commit in one transaction",
    },
    systems=("DuckDB 2.0 (real)",),
)
