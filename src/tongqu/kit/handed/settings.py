"""Settings that connections to brokers which hand messages out have in common, and their URL form."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import model_validator

from tongqu.core.settings import titled
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.broker import BrokerSettings
from tongqu.kit.messages.settings import MessageSettings
from tongqu.kit.messages.template import Placed
from tongqu.kit.messages.urls import broker_url
from tongqu.kit.remote.manner import Manner

Metadata = Literal["_message_id", "_destination", "_timestamp", "_redelivered", "_content_type", "_headers"]


class HandedQueueSettings(MessageSettings):
    """The messages of one queue."""

    queue: str = titled("队列", "Queue", "")
    """The queue's address, as the broker writes it. Left out: the prefix and the dataset's name."""
    to: Placed = titled("写入地址", "Write to", "")
    """Address that rows are written to, with places for columns: `orders.{plant}`. Left out: `queue`."""
    bad: Literal["acknowledge", "reject"] = titled("坏消息", "Bad messages", "acknowledge")
    """What becomes of a message that cannot be read, once its original is in quarantine: `acknowledge` takes it from
    the queue, `reject` refuses it, so that the broker puts it where it keeps dead letters."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What is told about each message, as columns behind the fields: `_message_id`, `_destination`, `_timestamp` (its
    writer's), `_redelivered`, `_content_type`, `_headers` (JSON)."""

    @model_validator(mode="after")
    def _declared(self) -> HandedQueueSettings:
        if self.changes and not self.key:
            raise ValueError("messages of changes need a key: key: [id]")
        return self


class HandedSettings(BrokerSettings):
    """A broker that hands messages out."""

    virtual_host: str = titled("虚拟主机", "Virtual host", "")
    """The virtual host, where the broker has several."""
    queues: dict[str, HandedQueueSettings] = titled("队列", "Queues", {})
    """What is said of queues, by dataset; only these are followed, since the protocol lists none."""
    registry: HttpSettings | None = titled("模式注册表", "Schema registry", None)
    """Schema registry with Confluent's interface, for `avro` and `protobuf`."""
    prefetch: int = titled("预取条数", "Prefetch", 1_000, ge=1, le=65_535)
    """Most messages that are on their way and not acknowledged, for each queue."""
    quiet_seconds: float = titled("静默判尽(秒)", "Quiet, seconds", 3.0, gt=0)
    """A queue from which nothing comes for so long has been read to its end, where a read is to end there."""
    calls: Manner = titled("写入方式", "Calls", Manner(concurrency=1, unknown="repeat"))
    """How rows are sent. With `unknown: repeat` a message of which nobody knows whether it arrived is sent again. With
    `concurrency` above 1 messages of different keys may change places."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    answer_seconds: float = titled("应答超时(秒)", "Answer timeout, seconds", 30.0, gt=0)
    """Give up when the server has not answered for this long."""

    def said(self, dataset: str) -> Any:
        """What is said of a dataset."""
        said = self.queues.get(dataset) or HandedQueueSettings()
        return said if said.queue else said.model_copy(update={"queue": self._prefix() + dataset})

    def _prefix(self) -> str:
        return str(getattr(self, "prefix", ""))

    def place(self, scheme: str) -> str:
        """The server and its virtual host as a URL, without login."""
        return f"{scheme}://{self.host}:{self.port}/{self.virtual_host}"

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"{self.place(type(self).__name__.removesuffix('Settings').lower())}#{self._prefix()}"


S = TypeVar("S", bound=HandedSettings)


def handed_url(url: str, kind: type[S], secure: str, port: int) -> S:
    """`scheme://user:password@host:port/VHOST?prefix=lab.#queue=orders&fields=id:int64`: after `#` one queue, a dataset
    called as the last part of its address. `secure` is the scheme with TLS, `port` its port. Raises
    InvalidSettingsError."""
    from urllib.parse import parse_qsl

    told, _, fragment = url.partition("#")
    parts = broker_url(told, kind.model_fields)
    login = {"user": parts.user, "password": parts.password, "virtual_host": parts.path}
    tls = parts.scheme == secure
    values: dict[str, Any] = parts.settings(**login, **({"port": str(port)} if tls else {}))
    if fragment:
        said: dict[str, Any] = dict(parse_qsl(fragment))
        fields = str(said.pop("fields", ""))
        said |= {"fields": dict(one.partition(":")[::2] for one in fields.split(","))} if fields else {"format": "text"}
        said |= {name: str(said[name]).split(",") for name in ("key", "metadata") if name in said}
        name = str(said.get("queue", "messages")).rpartition("/")[2]
        values["queues"] = {name: said}
    return kind.parse(values | ({"tls": {}} if tls else {}), "url")
