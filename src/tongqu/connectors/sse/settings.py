"""Settings of a connection to a server of event streams, and their URL form."""

from __future__ import annotations

from tongqu.core.settings import Names, titled
from tongqu.kit.push.addresses import pushed
from tongqu.kit.push.settings import PushedSettings, PushSettings


class StreamSettings(PushedSettings):
    """One event stream."""

    events: Names = titled("事件类型", "Events", ())
    """Kinds of events that are taken (`message` is the unnamed one); left out: all."""


class SseSettings(PushSettings):
    """A server of event streams (`text/event-stream`)."""

    datasets: dict[str, StreamSettings] = titled("数据集", "Datasets")
    """The streams by name: `{orders: {path: /orders/stream, fields: {id: int64, state: string}}}`."""


def from_url(url: str) -> SseSettings:
    """`sse://host/path/orders?query#fields=id:int64,state:string`, `sses://` over TLS: one stream, called as the last
    part of the path; what stands after `#` are settings of it. Without fields its messages are texts."""
    return SseSettings.parse(pushed(url, {"sse": "http", "sses": "https"}), "url")
