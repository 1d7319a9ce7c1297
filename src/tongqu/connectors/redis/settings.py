"""Settings of a connection to a Redis server, and their URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import titled
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.broker import BrokerSettings
from tongqu.kit.messages.settings import Envelope, Format, MessageSettings
from tongqu.kit.messages.template import Placed
from tongqu.kit.messages.urls import broker_url
from tongqu.kit.remote.manner import Manner

Metadata = Literal["_id", "_timestamp", "_message_id", "_fields"]


class StreamSettings(MessageSettings):
    """The entries of one stream."""

    stream: str = titled("流", "Stream", "")
    """The stream's key. Left out: the prefix and the dataset's name."""
    field: str = titled("消息字段", "Field of the message", "value", min_length=1)
    """The field of an entry that has the message. `*`: each field of an entry is one of the row, as text; those that
    are declared as numbers are read as such."""
    to: Placed = titled("写入流", "Write to", "")
    """Stream that rows are appended to, with places for columns: `orders:{plant}`. Left out: `stream`."""
    keep: int = titled("保留条数", "Entries kept", 0, ge=0)
    """Appending trims a stream to about this many entries; 0 trims nothing."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What Redis tells about each entry, as columns behind the fields: `_id`, `_timestamp` (the id's time),
    `_message_id` (what Tongqu called it when it wrote it), `_fields` (all fields of the entry, JSON)."""


class RedisSettings(BrokerSettings):
    """A Redis server; no cluster."""

    port: int = titled("端口", "Port", 6379, ge=1, le=65535)
    """TCP port."""
    database: int = titled("数据库", "Database", 0, ge=0)
    """Number of the database."""
    user: str = titled("用户", "User", "")
    """Login name (ACL); left out, the password is that of `default`."""
    prefix: str = titled("流前缀", "Prefix", "")
    """Only streams whose keys begin with this are meant; datasets are named without it."""
    streams: dict[str, StreamSettings] = titled("流", "Streams", {})
    """What is said of streams, by dataset. Others are read as `format` and `envelope` say."""
    format: Format = titled("格式", "Format", "json")
    """Format of streams of which nothing is said."""
    envelope: Envelope = titled("信封", "Envelope", "plain")
    """Envelope of streams of which nothing is said."""
    registry: HttpSettings | None = titled("模式注册表", "Schema registry", None)
    """Schema registry with Confluent's interface, for `avro` and `protobuf`."""
    start: Literal["earliest", "latest"] = titled("起点", "Start", "earliest")
    """Where a stream begins that has no position yet."""
    sample: int = titled("取样条数", "Messages sampled", 200, ge=1, le=100_000)
    """How many of a stream's newest entries are looked at to find its fields."""
    duplicates_seconds: int = titled("去重窗口(秒)", "Window of duplicates, seconds", 3600, ge=1)
    """How long the ids of written rows are remembered: a row that comes again within it is there once."""
    calls: Manner = titled("写入方式", "Calls", Manner(concurrency=1))
    """How rows are sent. With `concurrency` above 1 messages of different keys may change places."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    answer_seconds: float = titled("应答超时(秒)", "Answer timeout, seconds", 30.0, gt=0)
    """Give up when the server has not answered for this long."""

    def said(self, dataset: str) -> StreamSettings:
        """What is said of a dataset."""
        said = self.streams.get(dataset)
        if said is None:
            return StreamSettings(stream=self.prefix + dataset, format=self.format, envelope=self.envelope)
        return said if said.stream else said.model_copy(update={"stream": self.prefix + dataset})

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"redis://{self.host}:{self.port}/{self.database}#{self.prefix}"

    def display(self) -> str:
        """See Endpoint.display."""
        user = f"{self.user}@" if self.user else ""
        return f"redis{'s' if self.tls else ''}://{user}{self.host}:{self.port}/{self.database}"


def from_url(url: str) -> RedisSettings:
    """`redis://user:password@host:port/DATABASE?prefix=lab:&envelope=upsert`, `rediss://…` with TLS; raises
    InvalidSettingsError."""
    told = broker_url(url, RedisSettings.model_fields)
    login = {"password": told.user} if told.bare else {"user": told.user, "password": told.password}
    kept = told.settings(database=told.path, **login)
    return RedisSettings.parse(kept | ({"tls": {}} if told.scheme == "rediss" else {}))
