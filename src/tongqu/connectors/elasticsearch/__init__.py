"""Elasticsearch and OpenSearch over their HTTP API: indices are datasets, read page by page and written in bulk."""

from __future__ import annotations

from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: ElasticsearchSettings) -> Source:
    from tongqu.connectors.elasticsearch.source import ElasticsearchSource

    return ElasticsearchSource(settings)


def _sink(settings: ElasticsearchSettings) -> Sink:
    from tongqu.connectors.elasticsearch.sink import ElasticsearchSink

    return ElasticsearchSink(settings)


connector = Connector(
    name="elasticsearch",
    title={"zh": "Elasticsearch / OpenSearch 搜索引擎", "en": "Elasticsearch and OpenSearch"},
    settings=ElasticsearchSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.SPLITS
    | Can.INCREMENTAL
    | Can.CURSORS
    | Can.APPEND
    | Can.UPSERT
    | Can.REPLACE
    | Can.EVOLVES,
    schemes=("elasticsearch+https", "elasticsearch+http", "opensearch+https", "opensearch+http"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="compatible",
    guarantee={
        "zh": "读取在任意页之后可续传, 整次读取 (含各分片) 看到同一时刻 (时间点 PIT); 写入至少一次送达, 文档 _id 由键或"
        "幂等键确定, 效果只有一次; 替换写入新索引, 别名一步切换, 旧索引保留供撤销; 他人建立的索引逐条替换",
        "en": "reads resume after any page and see one instant in all their parts (point in time); writes are "
        "delivered at least once, with one effect, since the _id follows from the key or the row's idempotency key; a "
        "replace fills an index of its own and moves an alias to it in one step, keeping the one before for undo; an "
        "index that others made is replaced document by document",
    },
    systems=(
        "noida-db 0.2, which speaks Elasticsearch 8.15 (compatible)",
        "Elasticsearch 7.12 and newer (not run here)",
        "OpenSearch (not run here)",
    ),
)
