"""Settings of a connection to a WebSocket server, and their URL form."""

from __future__ import annotations

import json
from typing import Any

from pydantic import field_validator, model_validator

from tongqu.core.settings import Names, Secret, titled
from tongqu.kit.push.addresses import pushed
from tongqu.kit.push.settings import PushedSettings, PushSettings

LAST = "{last}"
SCHEMES = {"ws": "http", "wss": "https"}


class StreamSettings(PushedSettings):
    """One stream: a connection of its own."""

    subscribe: tuple[Any, ...] = titled("订阅消息", "Subscribe", ())
    """What is sent once the connection is open, in order: texts as they are, anything else as JSON. `{last}` stands for
    the id of the last message that is kept, and a message that holds it is left out as long as there is none."""
    token_message: Secret | None = titled("认证消息", "Token message", None)
    """A message with credentials that is sent before the others, where the server wants them so; better given as
    ${secret:NAME}."""
    protocols: Names = titled("子协议", "Protocols", ())
    """Subprotocols that are offered."""
    id: str = titled("消息标识", "Id", "")
    """Where a JSON message tells its id: keys with points between them, `data.seq`. `{last}` is made of it."""
    only: dict[str, str] = titled("条件", "Only", {})
    """Only messages that have these values are taken, by keys with points between them: `{channel: trades}`; answers to
    subscriptions and heartbeats are left out so."""

    @model_validator(mode="after")
    def _resumes(self) -> StreamSettings:
        if not self.id and any(LAST in message_text(one) for one in self.subscribe):
            raise ValueError("{last} needs `id`: where messages tell theirs")
        return self


class WebSocketSettings(PushSettings):
    """A server that sends messages over WebSocket connections."""

    datasets: dict[str, StreamSettings] = titled("数据集", "Datasets")
    """The streams by name: `{trades: {path: /ws, subscribe: [{op: subscribe, channel: trades}], fields: {…}}}`."""
    ping_seconds: float = titled("心跳间隔(秒)", "Ping, seconds", 20.0, gt=0)
    """How often the other side is asked whether it is there; after as long without an answer we connect again."""

    @field_validator("base_url", mode="before")
    @classmethod
    def _as_http(cls, value: Any) -> Any:
        scheme, colon, rest = str(value).partition("://")
        return f"{SCHEMES[scheme]}://{rest}" if colon and scheme in SCHEMES else value


def message_text(message: Any) -> str:
    """What is sent."""
    return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def from_url(url: str) -> WebSocketSettings:
    """`wss://host/path/trades?query#fields=id:int64,price:double&subscribe={"op":"subscribe"}`: one stream, called as
    the last part of the path; what stands after `#` are settings of it. Without fields its messages are texts."""
    values = pushed(url, SCHEMES)
    for stream in values["datasets"].values():
        if "subscribe" in stream:
            stream["subscribe"] = (stream["subscribe"],)
    return WebSocketSettings.parse(values, "url")
