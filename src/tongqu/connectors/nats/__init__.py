"""NATS JetStream: streams as datasets and as logs that are followed by sequence, rows written once by message id."""

from __future__ import annotations

from tongqu.connectors.nats.settings import NatsSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: NatsSettings) -> Source:
    from tongqu.connectors.nats.source import NatsSource

    return NatsSource(settings)


def _sink(settings: NatsSettings) -> Sink:
    from tongqu.connectors.nats.sink import NatsSink

    return NatsSink(settings)


connector = Connector(
    name="nats",
    title={"zh": "NATS JetStream 消息", "en": "NATS JetStream"},
    settings=NatsSettings,
    can=Can.READ | Can.WRITE | Can.RESUME | Can.STREAM | Can.APPEND,
    schemes=("nats", "tls"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    guarantee={
        "zh": "读取按自有流序号续传, 保留策略越过位点即停止并说明; 写入: 每条消息带固定 Nats-Msg-Id, "
        "在流的去重窗口内恰好一次, 超出窗口后未知结果的消息至少一次",
        "en": "reads resume from our own stream sequence and stop, saying so, where retention has overtaken it; "
        "writes: each message has a fixed Nats-Msg-Id, so it is there exactly once within the stream's window of "
        "duplicates; one whose outcome stays unknown for longer comes at least once",
    },
    systems=("NATS 2.9 with JetStream (real)", "NATS 2.10 and newer, clusters, leaf nodes (not run here)"),
)
