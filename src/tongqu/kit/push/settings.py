"""What is said about a system that pushes messages over a connection: its streams, and how they are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tongqu.core.settings import titled
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.settings import MessageSettings

Metadata = Literal["_id", "_event", "_received_at"]


class PushedSettings(MessageSettings):
    """One stream of messages."""

    path: str = titled("路径", "Path", "")
    """Path of the stream below the address; left out: the address itself."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What is known of each message beside its text, as columns behind the fields: `_id`, `_event` (its kind),
    `_received_at`."""

    @model_validator(mode="after")
    def _known_fields(self) -> PushedSettings:
        if self.format in ("avro", "protobuf"):
            raise ValueError("messages are json, text or bytes")
        if self.format == "json" and not self.fields:
            raise ValueError("fields are needed, since there is no sample of a stream: fields: {id: int64, …}")
        return self


class PushSettings(HttpSettings):
    """A system that pushes messages over connections that stay open."""

    keep_days: float = titled("保留天数", "Days to keep", 7.0, gt=0)
    """How long messages are kept on our disk after all pipelines have them; those that a pipeline has not read are
    kept for as long as it takes."""
    first_seconds: float = titled("首次重连等待(秒)", "First wait, seconds", 0.5, gt=0)
    """Wait before connecting again; it doubles with each failure, and half of it is random."""
    longest_seconds: float = titled("最长重连等待(秒)", "Longest wait, seconds", 30.0, gt=0)
    """Longest wait between two attempts."""
    message_bytes: int = titled("消息上限(字节)", "Message bytes", 4 << 20, ge=1024)
    """Largest message; a larger one stops the stream."""
