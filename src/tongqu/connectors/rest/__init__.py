"""REST APIs: lists of records page by page, described by hand, by an OpenAPI document or a Postman collection."""

from __future__ import annotations

from tongqu.connectors.rest.settings import RestSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: RestSettings) -> Source:
    from tongqu.connectors.rest.source import RestSource

    return RestSource(settings)


def _sink(settings: RestSettings) -> Sink:
    from tongqu.connectors.rest.sink import RestSink

    return RestSink(settings)


connector = Connector(
    name="rest",
    title={"zh": "REST 接口", "en": "REST API"},
    settings=RestSettings,
    can=Can.READ | Can.WRITE | Can.RESUME | Can.INCREMENTAL | Can.CURSORS | Can.APPEND | Can.UPSERT | Can.REPLACE,
    schemes=("https", "http"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="mock",
    guarantee={
        "zh": "读取在任意页之后可续传, 重复出现的记录按键去重, 接口原地打转或以错误页作答即停; 写回: 每次调用先记账, "
        "接口认幂等键、按键 PUT 或可回读时恰好生效一次, 否则结果未知的行进入隔离区",
        "en": "reads resume after any page, records that come twice are read once by key, an API that goes round in "
        "circles or answers with an error page stops the run; writes: each call is noted before it goes out, once-only "
        "effect where the API honours the key, takes PUT by key or can be read back, else unknown ones are quarantined",
    },
    extra="rest",
    systems=("REST with JSON, NDJSON, XML or CSV (mock)", "OpenAPI 3.0, 3.1, Swagger 2, Postman 2.1 (mock)"),
)
