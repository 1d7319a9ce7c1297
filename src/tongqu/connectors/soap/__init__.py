"""SOAP services by their WSDL: operations that give lists are datasets, operations that take records write them."""

from __future__ import annotations

from tongqu.connectors.soap.settings import SoapSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: SoapSettings) -> Source:
    from tongqu.kit.drivers import driver

    driver("zeep", "soap")
    from tongqu.connectors.soap.source import SoapSource

    return SoapSource(settings)


def _sink(settings: SoapSettings) -> Sink:
    from tongqu.kit.drivers import driver

    driver("zeep", "soap")
    from tongqu.connectors.soap.sink import SoapSink

    return SoapSink(settings)


connector = Connector(
    name="soap",
    title={"zh": "SOAP 服务", "en": "SOAP service"},
    settings=SoapSettings,
    can=Can.READ | Can.WRITE | Can.RESUME | Can.INCREMENTAL | Can.CURSORS | Can.APPEND | Can.UPSERT | Can.REPLACE,
    schemes=("soap+https", "soap+http"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="mock",
    guarantee={
        "zh": "读取在任意页之后可续传; SOAP Fault 即停, 不会当作空; 写入至少一次送达, "
        "服务认调用号或可回读时效果只有一次",
        "en": "reads resume after any page; a SOAP fault stops the run and is never taken for an empty list; writes "
        "are delivered at least once, with one effect where the service knows a call again or can be read back",
    },
    extra="soap",
    systems=("SOAP 1.1 (mock)", "SOAP 1.2 (mock)"),
)
