"""PostgreSQL 12 to 18, both ways, by COPY; also systems that speak its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.postgres.settings import PostgresSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types

if TYPE_CHECKING:
    from tongqu.core.server import Server


def _source(settings: PostgresSettings) -> Source:
    from tongqu.connectors.postgres.source import PostgresSource

    return PostgresSource(settings)


def _sink(settings: PostgresSettings) -> Sink:
    from tongqu.connectors.postgres.sink import PostgresSink

    return PostgresSink(settings)


def _server(settings: PostgresSettings) -> Server:
    from tongqu.connectors.postgres.serving.server import PostgresServer

    return PostgresServer(settings)


def _types() -> Types:
    from tongqu.connectors.postgres.table import types

    return types


connector = Connector(
    name="postgres",
    title={"zh": "PostgreSQL 数据库", "en": "PostgreSQL"},
    settings=PostgresSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.SNAPSHOT | Can.INCREMENTAL | Can.HORIZON | Can.COPY_OUT
        | Can.COPY_IN | Can.PUSH | Can.APPEND | Can.UPSERT | Can.REPLACE | Can.HISTORY | Can.TRANSACTIONS | Can.EVOLVES
        | Can.SERVES | Can.CDC
    ),
    schemes=("postgresql", "postgres", "kingbase", "opengauss", "gaussdb"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    server=_server,
    types=_types,
    label="real",
    extra="postgres",
    guarantee={
        "zh": "恰好一次: 数据、隔离行、计数与位点在同一事务中提交",
        "en": "exactly-once effect: data, quarantine, counts and checkpoint commit in one transaction",
    },
    systems=(
        "PostgreSQL 15 (real)", "PostgreSQL 18 (real)", "openGauss (compile-only)", "GaussDB (compile-only)",
        "KingbaseES (compile-only)",
    ),
)  # fmt: skip
