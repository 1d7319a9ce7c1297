"""WebSocket streams: connected, subscribed and followed, and connected again after failures."""

from __future__ import annotations

from tongqu.connectors.websocket.settings import WebSocketSettings, from_url
from tongqu.core.connector import Can, Connector, Source


def _source(settings: WebSocketSettings) -> Source:
    from tongqu.connectors.websocket.source import WebSocketSource

    return WebSocketSource(settings)


connector = Connector(
    name="websocket",
    title={"zh": "WebSocket 消息流", "en": "WebSocket streams"},
    settings=WebSocketSettings,
    can=Can.STREAM,
    schemes=("ws", "wss"),
    from_url=from_url,
    source=_source,
    label="real",
    extra="websocket",
    guarantee={
        "zh": "消息先落入本机持久队列再计数, 之后恰好一次; 断线期间发送的消息只有在对方按编号补发时才不丢",
        "en": "messages are on our own disk before they count, and take effect exactly once from there; what is sent "
        "while the connection is down comes again only where the other side sends on after an id",
    },
    systems=("any server of RFC 6455 (real)",),
)
