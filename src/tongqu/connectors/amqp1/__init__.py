"""AMQP 1.0 (ActiveMQ, Artemis, RabbitMQ): messages are accepted once they are durable; writes are settled."""

from __future__ import annotations

from tongqu.connectors.amqp1.settings import Amqp1Settings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: Amqp1Settings) -> Source:
    from tongqu.connectors.amqp1.wire import Wire
    from tongqu.kit.handed.source import HandedSource

    return HandedSource(settings, lambda: Wire(settings))


def _sink(settings: Amqp1Settings) -> Sink:
    from tongqu.connectors.amqp1.wire import Wire
    from tongqu.kit.handed.sink import HandedSink

    return HandedSink(settings, lambda: Wire(settings))


connector = Connector(
    name="amqp1",
    title={"zh": "AMQP 1.0 消息", "en": "AMQP 1.0"},
    settings=Amqp1Settings,
    can=Can.WRITE | Can.STREAM | Can.APPEND,
    schemes=("amqp1", "amqp1s"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    guarantee={
        "zh": "目标落盘后才确认, 至少一次, 以 _message_id 或业务键 upsert 则效果恰好一次; 写入: 持久消息, "
        "逐条由服务器结算, 带固定标识, 至少一次",
        "en": "messages are accepted once rows are durable in the sink: at least once, and once in effect where rows "
        "are upserted by _message_id or a key of their own; writes: durable messages, each settled by the server, with "
        "a fixed id, at least once",
    },
    systems=(
        "RabbitMQ 3.10 with rabbitmq_amqp1_0 (real)",
        "ActiveMQ, Artemis, Qpid, Azure Service Bus, RabbitMQ 4 (not run here)",
    ),
)  # fmt: skip
