"""Server-sent events: streams over HTTP that are followed, and gone on with after a pause."""

from __future__ import annotations

from tongqu.connectors.sse.settings import SseSettings, from_url
from tongqu.core.connector import Can, Connector, Source


def _source(settings: SseSettings) -> Source:
    from tongqu.connectors.sse.source import SseSource

    return SseSource(settings)


connector = Connector(
    name="sse",
    title={"zh": "SSE 事件流", "en": "Server-sent events"},
    settings=SseSettings,
    can=Can.STREAM,
    schemes=("sse", "sses"),
    from_url=from_url,
    source=_source,
    label="real",
    guarantee={
        "zh": "消息先落入本机持久队列再计数, 之后恰好一次; 断线期间发送的消息只有在对方按编号补发时才不丢",
        "en": "messages are on our own disk before they count, and take effect exactly once from there; what is sent "
        "while the connection is down comes again only where the other side sends on after an id",
    },
    systems=("any server of the WHATWG event stream format (real)",),
)
