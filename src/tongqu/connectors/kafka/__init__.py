"""Kafka: topics as datasets and as logs that are followed, rows written as messages in transactions."""

from __future__ import annotations

from tongqu.connectors.kafka.settings import KafkaSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: KafkaSettings) -> Source:
    from tongqu.connectors.kafka.queued.source import QueuedSource
    from tongqu.connectors.kafka.source import KafkaSource

    if settings.queue:
        return QueuedSource(settings)
    return KafkaSource(settings)


def _sink(settings: KafkaSettings) -> Sink:
    from tongqu.connectors.kafka.queued.sink import QueuedSink
    from tongqu.connectors.kafka.sink import KafkaSink

    if settings.queue:
        return QueuedSink(settings)
    return KafkaSink(settings)


connector = Connector(
    name="kafka",
    title={"zh": "Kafka 消息", "en": "Kafka"},
    settings=KafkaSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.SPLITS
    | Can.CDC
    | Can.STREAM
    | Can.APPEND
    | Can.REPLACE
    | Can.TRANSACTIONS,
    schemes=("kafka",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="compatible",
    extra="kafka",
    guarantee={
        "zh": "读取按自有位点续传 (不依赖消费组); 写入恰好一次: 消息、隔离行、计数与位点在同一 Kafka "
        "事务中提交, 读取方须用 read_committed; 无事务的服务器或 transactions: never: 至少一次, 带键; "
        "替换先写新后删旧, 读者会看到中间状态",
        "en": "reads resume from our own positions, never the group's; writes are exactly-once: messages, quarantine, "
        "counts and checkpoint commit in one Kafka transaction, for readers that read committed; servers without "
        "transactions, or transactions: never: at least once, keyed; a replace writes the new and then deletes the "
        "old messages, so readers see it half done",
    },
    systems=(
        "noida-db 0.2, which speaks Kafka's protocol (compatible)",
        "Apache Kafka 2.5 and newer, Redpanda, Confluent (not run here)",
    ),
)
