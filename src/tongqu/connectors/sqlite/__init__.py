"""SQLite: reads and writes database files with what Python brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.sqlite.settings import SqliteSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types

if TYPE_CHECKING:
    from tongqu.core.server import Server


def _source(settings: SqliteSettings) -> Source:
    from tongqu.connectors.sqlite.source import SqliteSource

    return SqliteSource(settings)


def _sink(settings: SqliteSettings) -> Sink:
    from tongqu.connectors.sqlite.sink import SqliteSink

    return SqliteSink(settings)


def _server(settings: SqliteSettings) -> Server:
    from tongqu.connectors.sqlite.serving.server import SqliteServer

    return SqliteServer(settings)


def _types() -> Types:
    from tongqu.connectors.sqlite.table import types

    return types


connector = Connector(
    name="sqlite",
    title={"zh": "SQLite 文件", "en": "SQLite file"},
    settings=SqliteSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.SNAPSHOT
    | Can.INCREMENTAL
    | Can.HORIZON
    | Can.APPEND
    | Can.UPSERT
    | Can.REPLACE
    | Can.HISTORY
    | Can.TRANSACTIONS
    | Can.EVOLVES
    | Can.ONE_WRITER
    | Can.SERVES,
    schemes=("sqlite",),
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
    systems=("SQLite 3.31 and newer (real)",),
)
