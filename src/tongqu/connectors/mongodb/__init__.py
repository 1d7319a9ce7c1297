"""MongoDB: collections as tables, documents written by key, rows and position in one transaction."""

from __future__ import annotations

from tongqu.connectors.mongodb.settings import MongodbSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: MongodbSettings) -> Source:
    from tongqu.connectors.mongodb.source import MongodbSource

    return MongodbSource(settings)


def _sink(settings: MongodbSettings) -> Sink:
    from tongqu.connectors.mongodb.sink import MongodbSink

    return MongodbSink(settings)


connector = Connector(
    name="mongodb",
    title={"zh": "MongoDB 数据库", "en": "MongoDB"},
    settings=MongodbSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.SPLITS
    | Can.INCREMENTAL
    | Can.CDC
    | Can.APPEND
    | Can.UPSERT
    | Can.REPLACE
    | Can.TRANSACTIONS
    | Can.EVOLVES,
    schemes=("mongodb", "mongodb+srv"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="compatible",
    extra="mongodb",
    guarantee={
        "zh": "副本集: 恰好一次 (数据、隔离行、计数与位点在同一事务中提交); 单机服务器或 transactions: never: "
        "按 _id 幂等, 重做的块写成同样的文档, 计数可能偏差",
        "en": "replica set: exactly-once effect (data, quarantine, counts and checkpoint commit in one transaction); "
        "standalone server or transactions: never: idempotent by _id, a chunk that is done again writes the same "
        "documents, and what it did may be counted otherwise",
    },
    systems=("SecantusDB 0.7, which speaks MongoDB 8.2 (compatible)", "MongoDB 4.2 and newer (not run here)"),
)
