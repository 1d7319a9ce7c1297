"""Settings of a connection to NATS JetStream, and their URL form."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from tongqu.core.settings import Secret, titled
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.broker import BrokerSettings
from tongqu.kit.messages.settings import Envelope, Format, MessageSettings
from tongqu.kit.messages.template import Placed
from tongqu.kit.messages.urls import broker_url
from tongqu.kit.remote.manner import Manner
from tongqu.kit.tls import Tls

Metadata = Literal["_subject", "_sequence", "_timestamp", "_message_id", "_headers"]


class StreamSettings(MessageSettings):
    """The messages of one stream, or of some of its subjects."""

    stream: str = titled("流", "Stream", "", pattern=r"^[^\s.*>/\\]*$")
    """The stream's name. Left out: the prefix and the dataset's name."""
    subject: str = titled("主题过滤", "Subject", "", pattern=r"^[^\s]*$")
    """Only messages of this subject are read; `*` stands for one part, a last `>` for all that follow."""
    to: Placed = titled("写入主题", "Write to", "")
    """Subject that rows are written to, with places for columns: `orders.{plant}`. Left out: the stream's name."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What NATS tells about each message, as columns behind the fields: `_subject`, `_sequence`, `_timestamp`,
    `_message_id` (what its writer called it), `_headers` (JSON)."""


class NatsSettings(BrokerSettings):
    """A NATS server with JetStream."""

    port: int = titled("端口", "Port", 4222, ge=1, le=65535)
    """TCP port."""
    token: Secret | None = titled("令牌", "Token", None)
    """Token, instead of user and password."""
    jwt: Secret | None = titled("用户 JWT", "User JWT", None)
    """The user's JWT (the first block of a `.creds` file), where accounts are decentralised; needs `seed`."""
    seed: Secret | None = titled("NKey 种子", "NKey seed", None)
    """The user's NKey seed (`SU…`), which signs what the server asks; alone or with `jwt`."""
    tls: Tls | None = titled("TLS", "TLS", None)
    """`{}` wants TLS with the system's authorities. A server that demands TLS gets it also where this is left out."""
    prefix: str = titled("流前缀", "Prefix", "", pattern=r"^[A-Za-z0-9_-]*$")
    """Only streams that begin with this are meant; datasets are named without it."""
    domain: str = titled("JetStream 域", "JetStream domain", "", pattern=r"^[A-Za-z0-9_-]*$")
    """Domain of a JetStream behind a leaf node."""
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
    """How many of a stream's newest messages are looked at to find its fields."""
    duplicates_seconds: float = titled("去重窗口(秒)", "Window of duplicates, seconds", 3600.0, gt=0)
    """How long streams that are made here remember message ids: a message that comes again within it is one."""
    replicas: int = titled("副本数", "Replicas", 1, ge=1, le=5)
    """Copies of streams that are made here."""
    calls: Manner = titled("写入方式", "Calls", Manner(concurrency=1))
    """How rows are sent. With `concurrency` above 1 messages of different keys may change places."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    answer_seconds: float = titled("应答超时(秒)", "Answer timeout, seconds", 30.0, gt=0)
    """Give up when the server has not answered for this long."""

    @model_validator(mode="after")
    def _one_login(self) -> NatsSettings:
        if sum(bool(given) for given in (self.user, self.token, self.seed)) > 1:
            raise ValueError("log in by either user and password, token, or seed")
        if self.jwt is not None and self.seed is None:
            raise ValueError("jwt needs seed")
        return self

    def said(self, dataset: str) -> StreamSettings:
        """What is said of a dataset."""
        said = self.streams.get(dataset)
        if said is None:
            return StreamSettings(stream=self.prefix + dataset, format=self.format, envelope=self.envelope)
        return said if said.stream else said.model_copy(update={"stream": self.prefix + dataset})

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"nats://{self.host}:{self.port}/{self.prefix}{'@' + self.domain if self.domain else ''}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"nats://{self.user + '@' if self.user else ''}{self.host}:{self.port}/{self.prefix}"


def from_url(url: str) -> NatsSettings:
    """`nats://user:password@host:port/PREFIX?envelope=upsert`, `nats://token@host`, `tls://…`; raises
    InvalidSettingsError."""
    told = broker_url(url, NatsSettings.model_fields)
    login = {"token": told.user} if told.bare else {"user": told.user, "password": told.password}
    return NatsSettings.parse(told.settings(prefix=told.path, **login) | ({"tls": {}} if told.scheme == "tls" else {}))
