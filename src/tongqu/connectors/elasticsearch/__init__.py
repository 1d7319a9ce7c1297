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
        "zh": "读取在任意页之后可续传, 整次读取看到同一时刻 (时间点 PIT); 写入至少一次送达, 文档 _id 由键或幂等键确定, "
        "效果只有一次; 替换逐条进行, 读者会看到中间状态",
        "en": "reads resume after any page and see one instant (point in time); writes are delivered at least once, "
        "with one effect, since the _id follows from the key or the row's idempotency key; a replace goes document by "
        "document, so readers see it half done",
    },
    systems=(
        "noida-db 0.2, which speaks Elasticsearch 8.15 (compatible)",
        "Elasticsearch 7.12 and newer (not run here)",
        "OpenSearch (not run here)",
    ),
)
