"""Settings of a connection to RabbitMQ, and their URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import titled
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.broker import BrokerSettings
from tongqu.kit.messages.settings import Envelope, Format, MessageSettings
from tongqu.kit.messages.template import Placed
from tongqu.kit.messages.urls import broker_url
from tongqu.kit.remote.manner import Manner

Metadata = Literal[
    "_exchange", "_routing_key", "_message_id", "_timestamp", "_offset", "_redelivered", "_headers"
]  # fmt: skip
Kind = Literal["quorum", "classic", "stream"]


class QueueSettings(MessageSettings):
    """The messages of one queue."""

    queue: str = titled("队列", "Queue", "")
    """The queue's name. Left out: the prefix and the dataset's name."""
    kind: Kind | Literal[""] = titled("队列类型", "Kind of queue", "")
    """A `stream` is read from an offset and keeps its messages; of others each message is given once. Left out: the
    connection's."""
    exchange: Placed = titled("交换机", "Exchange", "")
    """Exchange that rows are written to, with places for columns: `plant.{site}`. Left out: the default exchange, which
    leads to the queue."""
    routing_key: Placed = titled("路由键", "Routing key", "")
    """Routing key of rows that are written, with places for columns: `orders.{site}`. Left out: the queue's name."""
    bad: Literal["acknowledge", "dead_letter"] = titled("坏消息", "Bad messages", "acknowledge")
    """What becomes of a message that cannot be read, once its original is in quarantine: `acknowledge` takes it from
    the queue, `dead_letter` rejects it, so that the queue's dead-letter exchange keeps it too."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What RabbitMQ tells about each message, as columns behind the fields: `_exchange`, `_routing_key`,
    `_message_id`, `_timestamp` (its writer's), `_offset` (streams), `_redelivered`, `_headers` (JSON; why it was
    dead-lettered is in `x-death`)."""


class RabbitmqSettings(BrokerSettings):
    """A RabbitMQ server."""

    port: int = titled("端口", "Port", 5672, ge=1, le=65535)
    """TCP port; 5671 is usual with TLS."""
    virtual_host: str = titled("虚拟主机", "Virtual host", "/")
    """The virtual host."""
    user: str = titled("用户", "User", "guest")
    """Login name; without password and with a client certificate the login is EXTERNAL."""
    prefix: str = titled("队列前缀", "Prefix", "")
    """Datasets are named without it; AMQP does not list queues, so those are known that `queues` names, that Tongqu has
    written, or that are asked for by their name."""
    kind: Kind = titled("队列类型", "Kind of queue", "quorum")
    """Kind of queues of which nothing is said, and of those that are made."""
    queues: dict[str, QueueSettings] = titled("队列", "Queues", {})
    """What is said of queues, by dataset. Others are read as `kind`, `format` and `envelope` say."""
    format: Format = titled("格式", "Format", "json")
    """Format of queues of which nothing is said."""
    envelope: Envelope = titled("信封", "Envelope", "plain")
    """Envelope of queues of which nothing is said."""
    registry: HttpSettings | None = titled("模式注册表", "Schema registry", None)
    """Schema registry with Confluent's interface, for `avro` and `protobuf`."""
    start: Literal["earliest", "latest"] = titled("起点", "Start", "earliest")
    """Where a stream queue begins that has no position yet."""
    prefetch: int = titled("预取条数", "Prefetch", 5_000, ge=1, le=65_535)
    """Most messages that are on their way and not acknowledged, for each queue."""
    sample: int = titled("取样条数", "Messages sampled", 200, ge=1, le=100_000)
    """How many of a stream queue's first messages are looked at to find its fields."""
    calls: Manner = titled("写入方式", "Calls", Manner(concurrency=1, unknown="repeat"))
    """How rows are sent. With `unknown: repeat` a message of which nobody knows whether it arrived is sent again. With
    `concurrency` above 1 messages of different keys may change places."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    answer_seconds: float = titled("应答超时(秒)", "Answer timeout, seconds", 30.0, gt=0)
    """Give up when the server has not answered for this long."""

    def said(self, dataset: str) -> QueueSettings:
        """What is said of a dataset."""
        said = self.queues.get(dataset)
        if said is None:
            said = QueueSettings(format=self.format, envelope=self.envelope)
        return said.model_copy(update={"queue": said.queue or self.prefix + dataset, "kind": said.kind or self.kind})

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"amqp://{self.host}:{self.port}/{self.virtual_host}#{self.prefix}"

    def display(self) -> str:
        """See Endpoint.display."""
        path = "" if self.virtual_host == "/" else self.virtual_host
        return f"amqp{'s' if self.tls else ''}://{self.user}@{self.host}:{self.port}/{path}"


def from_url(url: str) -> RabbitmqSettings:
    """`amqp://user:password@host:port/VHOST?prefix=lab.&kind=stream`, `amqps://…`; raises InvalidSettingsError."""
    told = broker_url(url, RabbitmqSettings.model_fields)
    secure = told.scheme == "amqps"
    login = {"user": told.user, "password": told.password, "virtual_host": told.path}
    kept = told.settings(**login, **({"port": "5671"} if secure else {}))
    return RabbitmqSettings.parse(kept | ({"tls": {}} if secure else {}))
