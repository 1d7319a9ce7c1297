"""MQTT 5: topics that are followed in a session that the broker keeps, and rows as confirmed messages."""

from __future__ import annotations

from tongqu.connectors.mqtt.settings import MqttSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source


def _source(settings: MqttSettings) -> Source:
    from tongqu.connectors.mqtt.source import MqttSource

    return MqttSource(settings)


def _sink(settings: MqttSettings) -> Sink:
    from tongqu.connectors.mqtt.sink import MqttSink

    return MqttSink(settings)


connector = Connector(
    name="mqtt",
    title={"zh": "MQTT 5 消息", "en": "MQTT 5"},
    settings=MqttSettings,
    can=Can.WRITE | Can.STREAM | Can.APPEND,
    schemes=("mqtt", "mqtts"),
    from_url=from_url,
    source=_source,
    sink=_sink,
    label="real",
    guarantee={
        "zh": "消息在本机持久队列落盘后才确认, 之后恰好一次; 到队列为止: QoS 2 恰好一次, QoS 1 至少一次, "
        "QoS 0 至多一次; 离线期间由会话保留, 直到会话过期; 写入: 服务器确认后才提交, 带固定标识, 至少一次",
        "en": "messages are acknowledged once they are on our own disk, and take effect exactly once from there; up to "
        "there QoS 2 is exactly once, QoS 1 at least once, QoS 0 at most once, and the session keeps what is sent "
        "while we are away until it expires; writes are confirmed before they are committed, with a fixed id for each "
        "message, at least once",
    },
    systems=("Mosquitto 2.0 (real)", "EMQX, HiveMQ, VerneMQ and others of MQTT 5 (not run here)"),
)
