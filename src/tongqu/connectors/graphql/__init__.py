"""GraphQL APIs: lists of records by queries made from the schema, written back by mutations."""

from __future__ import annotations

from tongqu.connectors.graphql.settings import GraphqlSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: GraphqlSettings) -> Source:
    from tongqu.kit.drivers import driver

    driver("graphql", "graphql")
    from tongqu.connectors.graphql.source import GraphqlSource

    return GraphqlSource(settings)


def _sink(settings: GraphqlSettings) -> Sink:
    from tongqu.kit.drivers import driver

    driver("graphql", "graphql")
    from tongqu.connectors.graphql.sink import GraphqlSink

    return GraphqlSink(settings)


connector = Connector(
    name="graphql",
    title={"zh": "GraphQL 接口", "en": "GraphQL API"},
    settings=GraphqlSettings,
    can=Can.READ | Can.WRITE | Can.RESUME | Can.INCREMENTAL | Can.CURSORS | Can.APPEND | Can.UPSERT | Can.REPLACE,
    schemes=("graphql+https", "graphql+http"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="mock",
    guarantee={
        "zh": "读取在任意页之后可续传; 应答带 errors 即停, 不会把缺失当作空; 写入至少一次送达, "
        "接口认幂等键或可回读时效果只有一次",
        "en": "reads resume after any page; an answer with errors stops the run and is never taken for an empty one; "
        "writes are delivered at least once, with one effect where the API honours keys or can be read back",
    },
    extra="graphql",
    systems=("GraphQL (mock)",),
)
