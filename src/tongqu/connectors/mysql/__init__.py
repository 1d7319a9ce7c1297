"""MariaDB and MySQL, both ways, by LOAD DATA; also systems that speak their protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.mysql.settings import MysqlSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types

if TYPE_CHECKING:
    from tongqu.core.server import Server


def _source(settings: MysqlSettings) -> Source:
    from tongqu.connectors.mysql.source import MysqlSource

    return MysqlSource(settings)


def _sink(settings: MysqlSettings) -> Sink:
    from tongqu.connectors.mysql.sink import MysqlSink

    return MysqlSink(settings)


def _server(settings: MysqlSettings) -> Server:
    from tongqu.connectors.mysql.serving.server import MysqlServer

    return MysqlServer(settings)


def _types() -> Types:
    from tongqu.connectors.mysql.table import types

    return types


connector = Connector(
    name="mysql",
    title={"zh": "MySQL / MariaDB 数据库", "en": "MySQL and MariaDB"},
    settings=MysqlSettings,
    can=(
        Can.READ | Can.WRITE | Can.RESUME | Can.SPLITS | Can.INCREMENTAL | Can.HORIZON | Can.COPY_OUT | Can.COPY_IN
        | Can.PUSH | Can.APPEND | Can.UPSERT | Can.REPLACE | Can.HISTORY | Can.TRANSACTIONS | Can.EVOLVES
        | Can.CDC | Can.SERVES
    ),
    schemes=("mysql", "mariadb"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    server=_server,
    types=_types,
    label="real",
    extra="mysql",
    guarantee={
        "zh": "恰好一次: 数据、隔离行、计数与位点在同一 InnoDB 事务中提交",
        "en": "exactly-once effect: data, quarantine, counts and checkpoint commit in one InnoDB transaction",
    },
    systems=(
        "MariaDB 10.11 (real)", "MySQL 8 (compile-only)", "MySQL 5.7 (compile-only)", "TiDB (compile-only)",
        "OceanBase (compile-only)", "Doris (compile-only)", "StarRocks (compile-only)",
    ),
)  # fmt: skip
