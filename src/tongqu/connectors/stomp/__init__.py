"""STOMP 1.2 (ActiveMQ, RabbitMQ): messages are acknowledged once they are durable, and written with receipts."""

from __future__ import annotations

from tongqu.connectors.stomp.settings import StompSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: StompSettings) -> Source:
    from tongqu.connectors.stomp.wire import Wire
    from tongqu.kit.handed.source import HandedSource

    return HandedSource(settings, lambda: Wire(settings))


def _sink(settings: StompSettings) -> Sink:
    from tongqu.connectors.stomp.wire import Wire
    from tongqu.kit.handed.sink import HandedSink

    return HandedSink(settings, lambda: Wire(settings))


connector = Connector(
    name="stomp",
    title={"zh": "STOMP 消息 (ActiveMQ)", "en": "STOMP (ActiveMQ)"},
    settings=StompSettings,
    can=Can.WRITE | Can.STREAM | Can.APPEND,
    schemes=("stomp", "stomps"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    guarantee={
        "zh": "目标落盘后才确认, 至少一次, 以 _message_id 或业务键 upsert 则效果恰好一次; 写入: 持久消息, 逐条回执, "
        "带固定标识, 至少一次",
        "en": "messages are acknowledged once rows are durable in the sink: at least once, and once in effect where "
        "rows are upserted by _message_id or a key of their own; writes: durable messages, a receipt and a fixed id "
        "for each, at least once",
    },
    systems=(
        "ActiveMQ 5.17 (real)", "RabbitMQ 3.10 with rabbitmq_stomp (real)",
        "ActiveMQ Artemis and other brokers of STOMP 1.2 (not run here)",
    ),
)  # fmt: skip
