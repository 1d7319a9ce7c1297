"""Settings of a connection to an MQTT broker, and their URL form."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from pydantic import model_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import titled
from tongqu.kit.messages.broker import BrokerSettings
from tongqu.kit.messages.settings import MessageSettings
from tongqu.kit.messages.template import Placed
from tongqu.kit.remote.manner import Manner

Metadata = Literal["_topic", "_qos", "_retained", "_content_type", "_user_properties", "_message_id", "_received_at"]
Qos = Literal[0, 1, 2]


class TopicSettings(MessageSettings):
    """The messages of one topic filter, or of one topic that is written."""

    topic: str = titled("主题", "Topic", "", max_length=65_535)
    """Topic filter that is followed: `plant/+/orders`, `plant/#`, `$share/GROUP/plant/#`. Left out: the prefix and the
    dataset's name."""
    to: Placed = titled("写入主题", "Write to", "")
    """Topic that rows are written to, with places for columns: `plant/{site}/orders`. Left out: `topic`."""
    qos: Qos = titled("QoS", "QoS", 1)
    """Followed: the highest that the broker may use. Written: 1 or 2."""
    retained: Literal["new", "always", "never"] = titled("保留消息", "Retained messages", "new")
    """Followed: whether retained messages come when the subscription is `new`, `always` when we connect, or `never`."""
    retain: bool = titled("写为保留消息", "Retain", False)
    """Written: the broker keeps the newest message of each topic. A delete is an empty message, which removes it."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What MQTT tells about each message, as columns behind the fields: `_topic`, `_qos`, `_retained`, `_content_type`,
    `_user_properties` (JSON), `_message_id` (what Tongqu called it when it wrote it), `_received_at`."""

    @model_validator(mode="after")
    def _formats(self) -> TopicSettings:
        if self.format in ("avro", "protobuf"):
            raise ValueError("messages are json, text or bytes")
        return self


class MqttSettings(BrokerSettings):
    """An MQTT 5 broker."""

    port: int = titled("端口", "Port", 1883, ge=1, le=65535)
    """TCP port; 8883 is usual with TLS."""
    prefix: str = titled("主题前缀", "Prefix", "")
    """What topics begin with of which nothing is said."""
    topics: dict[str, TopicSettings] = titled("主题", "Topics", {})
    """What is said of topics, by dataset; only these are followed, since a broker lists none."""
    client_id: str = titled("客户端标识", "Client id", "", max_length=128)
    """What our session is called; followed topics add their dataset to it. Left out: made once for each project."""
    session_seconds: int = titled("会话保留(秒)", "Session kept, seconds", 7 * 86_400, ge=1, le=0xFFFFFFFE)
    """How long the broker keeps our session, and what comes for it, while we are away."""
    receive_maximum: int = titled("在途上限", "Receive maximum", 1_000, ge=1, le=65_535)
    """Most messages of QoS 1 and 2 that are on their way to us and not acknowledged."""
    message_bytes: int = titled("消息上限(字节)", "Message bytes", 4 << 20, ge=1024, le=256 << 20)
    """Largest packet that we take; the broker drops larger messages without a word."""
    keep_alive: int = titled("心跳间隔(秒)", "Keep alive, seconds", 30, ge=2, le=65_535)
    """After so long without a word from the broker we connect again."""
    keep_days: float = titled("保留天数", "Days to keep", 7.0, gt=0)
    """How long messages are kept on our disk after all pipelines have them; those that a pipeline has not read are
    kept for as long as it takes."""
    first_seconds: float = titled("首次重连等待(秒)", "First wait, seconds", 0.5, gt=0)
    """Wait before connecting again; it doubles with each failure, and half of it is random."""
    longest_seconds: float = titled("最长重连等待(秒)", "Longest wait, seconds", 30.0, gt=0)
    """Longest wait between two attempts."""
    calls: Manner = titled("写入方式", "Calls", Manner(concurrency=1, unknown="repeat"))
    """How rows are sent. With `unknown: repeat` a message of which nobody knows whether it arrived is sent again."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    answer_seconds: float = titled("应答超时(秒)", "Answer timeout, seconds", 30.0, gt=0)
    """Give up when the broker has not answered for this long."""

    def said(self, dataset: str) -> TopicSettings:
        """What is said of a dataset."""
        said = self.topics.get(dataset) or TopicSettings()
        return said if said.topic else said.model_copy(update={"topic": self.prefix + dataset})

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"mqtt://{self.host}:{self.port}/{self.prefix}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"mqtt{'s' if self.tls else ''}://{self.user + '@' if self.user else ''}{self.host}:{self.port}"


def from_url(url: str) -> MqttSettings:
    """`mqtt://user:password@host:port/plant/+/orders?keep_alive=60#fields=id:int64&qos=2`, `mqtts://…`: one topic, a
    dataset called as its last part that is no wildcard (`%23` is the wildcard `#`); what stands after `#` are settings
    of the topic, without fields its messages are texts. Without a topic it can be written to. Raises
    InvalidSettingsError."""
    scheme, _, rest = url.partition("://")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    host, _, port = place.rpartition(":") if place.rpartition(":")[2].isdigit() else (place, "", "")
    values: dict[str, Any] = {
        "host": host.strip("[]"), "port": port or ("8883" if scheme == "mqtts" else ""), "user": unquote(user),
        "password": unquote(password),
    }  # fmt: skip
    for key, value in parse_qsl(query):
        if key not in MqttSettings.model_fields:
            valid = ", ".join(sorted(MqttSettings.model_fields))
            raise InvalidSettingsError(f"unknown URL parameter {key!r}", path="url", hint=f"valid parameters: {valid}")
        values[key] = value
    kept = {key: value for key, value in values.items() if value != ""}
    topic = unquote(path)
    if topic:
        said: dict[str, Any] = {"topic": topic, **dict(parse_qsl(fragment))}
        fields = str(said.pop("fields", ""))
        said |= {"fields": dict(one.partition(":")[::2] for one in fields.split(","))} if fields else {"format": "text"}
        for name in ("key", "metadata"):
            if name in said:
                said[name] = str(said[name]).split(",")
        names = [part for part in topic.split("/") if part and part not in "+#"]
        kept["topics"] = {names[-1] if names else "messages": {**said, **_number(said)}}
    return MqttSettings.parse(kept | ({"tls": {}} if scheme == "mqtts" else {}), "url")


def _number(said: dict[str, Any]) -> dict[str, Any]:
    qos = str(said.get("qos", ""))
    return {"qos": int(qos)} if qos.isdigit() else {}
