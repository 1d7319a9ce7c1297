"""OData services, versions 2 and 4, as SAP and Microsoft have them: entity sets typed by their metadata, both ways."""

from __future__ import annotations

from tongqu.connectors.odata.settings import ODataSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: ODataSettings) -> Source:
    from tongqu.connectors.odata.delta import DeltaSource
    from tongqu.connectors.odata.source import ODataSource

    return DeltaSource(settings) if settings.delta else ODataSource(settings)


def _sink(settings: ODataSettings) -> Sink:
    from tongqu.connectors.odata.sink import ODataSink

    return ODataSink(settings)


connector = Connector(
    name="odata",
    title={"zh": "OData 服务", "en": "OData service"},
    settings=ODataSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.INCREMENTAL
    | Can.CURSORS
    | Can.APPEND
    | Can.UPSERT
    | Can.REPLACE
    | Can.TRACKS,
    schemes=("odata+https", "odata+http"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="mock",
    guarantee={
        "zh": "读取在任意页之后可续传; 金额与日期按元数据精确取值; 写入至少一次送达, 按键回读后效果只有一次; "
        "带 ETag 的记录被他人改动时不会覆盖",
        "en": "reads resume after any page; amounts and dates are exact, as the metadata types them; writes are "
        "delivered at least once, with one effect since records are read back by key; a record with an ETag that "
        "somebody else changed meanwhile is never overwritten",
    },
    systems=("SAP OData 2.0 (mock)", "SAP OData 4.0 (mock)", "OData 4.01 (mock)"),
)
