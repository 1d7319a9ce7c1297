"""RabbitMQ: queues whose messages are acknowledged once they are durable, stream queues as logs, confirmed writes."""

from __future__ import annotations

from tongqu.connectors.rabbitmq.settings import RabbitmqSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: RabbitmqSettings) -> Source:
    from tongqu.connectors.rabbitmq.source import RabbitmqSource

    return RabbitmqSource(settings)


def _sink(settings: RabbitmqSettings) -> Sink:
    from tongqu.connectors.rabbitmq.sink import RabbitmqSink

    return RabbitmqSink(settings)


connector = Connector(
    name="rabbitmq",
    title={"zh": "RabbitMQ 消息", "en": "RabbitMQ"},
    settings=RabbitmqSettings,
    can=Can.READ | Can.WRITE | Can.RESUME | Can.STREAM | Can.APPEND,
    schemes=("amqp", "amqps"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    extra="rabbitmq",
    guarantee={
        "zh": "流队列按自有偏移续传; 普通与仲裁队列: 目标落盘后才确认, 至少一次, 以 _message_id 或业务键 upsert "
        "则效果恰好一次; 写入: 发布确认 + mandatory, 消息带固定 message_id, 至少一次",
        "en": "stream queues resume from our own offsets; classic and quorum queues are acknowledged once rows are "
        "durable in the sink: at least once, and once in effect where rows are upserted by _message_id or a key of "
        "their own; writes: publisher confirms and mandatory, a fixed message_id for each message, at least once",
    },
    systems=("RabbitMQ 3.10: classic, quorum and stream queues (real)", "RabbitMQ 3.9 to 4 (not run here)"),
)
