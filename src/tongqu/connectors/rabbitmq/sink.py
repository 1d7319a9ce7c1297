"""Writes rows as persistent messages that the server confirms; what no queue takes is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from time import monotonic, time, time_ns
from typing import Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.queue import KEY_HEADER, ORIGIN_HEADER, RUN_HEADER
from tongqu.connectors.rabbitmq.settings import RabbitmqSettings
from tongqu.connectors.rabbitmq.shapes import remember
from tongqu.connectors.rabbitmq.source import reached
from tongqu.core.data import Opened, Write, WriteMode
from tongqu.core.errors import TongquError, WriteError
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.outgoing import outgoing
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.sink import Connections, MessageSink, ops
from tongqu.kit.messages.template import Template
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result
from tongqu.kit.remote.writer import Writer

_TYPES = {"json": "application/json", "text": "text/plain", "avro": "application/avro"}
_LONGEST_NAME = 255


class RabbitmqSink(MessageSink):
    """See MessageSink. A
    queue that is not there is made where the default exchange leads to it."""

    def check(self) -> Iterator[str]:
        """See Sink.check; publishes nothing."""
        link = yield from reached(self._settings)
        with closing(link):
            link.publisher()
            yield "publisher confirms"

    def open(self, write: Write) -> Opened:
        """See RemoteSink.open."""
        opened = super().open(write)
        said = self._settings.said(write.dataset.name)
        if said.exchange:
            return opened
        with closing(Link(self._settings)) as link:
            if not said.routing_key:
                link.make(said.queue, said.kind)
            if said.envelope == "plain" and not said.routing_key:
                key = write.key if write.mode is not WriteMode.APPEND else ()
                remember(self._settings, self._put, said.queue, write.dataset.schema, key)
        return opened

    def _put(self, queue: str, body: bytes) -> None:
        with closing(Link(self._settings)) as link:
            found = Publishing(link, self._settings.answer_seconds)
            found.publish(0, "", queue, body, {"delivery_mode": 2})
            (outcome,) = found.outcomes(1)
        if outcome.result is not Result.OK:
            raise WriteError(f"{queue}: {outcome.detail}", path=self.name)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return RabbitmqWriter(self._settings, write, self.registry)


class Publishing:
    """Messages on their way over one channel: which the server has confirmed, refused or given back."""

    def __init__(self, link: Link, seconds: float):
        self._link, self._seconds = link, seconds
        self._channel = link.publisher()
        self._channel.events["basic_ack"].add(self._confirmed)
        self._channel.events["basic_nack"].add(self._refused)
        self._channel.events["basic_return"].add(self._returned)
        self._waiting: dict[int, int] = {}
        self._numbers: dict[str, int] = {}
        self._found: dict[int, Outcome] = {}
        self._tag = 0

    def publish(self, number: int, exchange: str, key: str, body: bytes, properties: dict[str, Any]) -> None:
        """Send a message, the `number` of its batch."""
        self._tag += 1
        self._waiting[self._tag] = number
        if "message_id" in properties:
            self._numbers[properties["message_id"]] = number
        with self._link.told():
            self._channel.basic_publish(self._link.message(body, properties), exchange, key, mandatory=True)

    def refuse(self, number: int, reason: str) -> None:
        """Note a message that cannot be sent."""
        self._found[number] = Outcome(Result.FAILED, detail=reason)

    def outcomes(self, count: int, why: str = "the server did not confirm it in time") -> list[Outcome]:
        """What became of the batch, once all of it is known or nothing comes for long. Begins a new batch."""
        deadline = monotonic() + self._seconds
        while self._waiting and monotonic() < deadline:
            if self._link.drain(0.2):
                deadline = monotonic() + self._seconds
        return self.given_up(count, why)

    def given_up(self, count: int, why: str) -> list[Outcome]:
        """What is known of the batch now; of the others nobody knows. Begins a new batch."""
        made = [self._found.get(number) or Outcome(Result.UNKNOWN, detail=why) for number in range(count)]
        self._waiting.clear()
        self._numbers.clear()
        self._found.clear()
        return made

    def close(self) -> None:
        """Release the connection; may be called twice."""
        self._link.close()

    def _settled(self, tag: int, multiple: bool) -> list[int]:
        tags = [one for one in self._waiting if one <= tag] if multiple else [tag]
        return [self._waiting.pop(one) for one in tags if one in self._waiting]

    def _confirmed(self, tag: int, multiple: bool) -> None:
        for number in self._settled(tag, multiple):
            self._found.setdefault(number, Outcome(Result.OK, Op.CREATE, 200))

    def _refused(self, tag: int, multiple: bool) -> None:
        for number in self._settled(tag, multiple):
            self._found.setdefault(number, Outcome(Result.AGAIN, detail="the server did not take the message"))

    def _returned(self, error: Any, exchange: str, key: str, message: Any) -> None:
        """A message that no queue takes comes back before it is confirmed."""
        del error
        number = self._numbers.get(message.properties.get("message_id", ""))
        if number is not None:
            self._found[number] = Outcome(
                Result.FAILED, detail=f"no queue takes it: exchange {exchange!r}, routing key {key!r}"
            )


class RabbitmqWriter(Writer):
    """One call is many messages on their way at once, each confirmed. Each thread has a connection."""

    batch = 500
    divides = False
    alone = True

    def __init__(self, settings: RabbitmqSettings, write: Write, registry: SchemaRegistry | None):
        said = settings.said(write.dataset.name)
        self.ops = ops(said.envelope)
        self._settings, self._write = settings, write
        self._encoder = Encoder(said, write.dataset.schema, write.key, said.queue, registry)
        columns = write.dataset.columns
        self._exchange = Template(said.exchange, columns, write.stream)
        self._key = Template(said.routing_key or said.queue, columns, write.stream)
        self._type = _TYPES.get(said.format, "application/octet-stream")
        self._connections = Connections(lambda: Publishing(Link(settings), settings.answer_seconds))

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send."""
        posts = outgoing(self._encoder, effects, time_ns() // 1_000_000)
        exchanges, keys = self._exchange.of(effects.rows), self._key.of(effects.rows)
        count = len(effects)
        publishing = self._connections.mine()
        try:
            for number, (exchange, key) in enumerate(zip(exchanges, keys, strict=True)):
                if exchange is None or key is None:
                    publishing.refuse(number, "a column that the exchange or the routing key needs is null")
                elif len(key.encode()) > _LONGEST_NAME or len(exchange.encode()) > _LONGEST_NAME:
                    publishing.refuse(number, f"a name of more than {_LONGEST_NAME} bytes: {key[:40]}…")
                else:
                    properties = self._properties(effects.ids[number], posts[number].key)
                    publishing.publish(number, exchange, key, posts[number].value or b"", properties)
            return publishing.outcomes(count)
        except TongquError as error:
            self._connections.drop()
            if not error.retryable:
                raise
            return publishing.given_up(count, error.message)

    def _properties(self, id: str, key: bytes | None) -> dict[str, Any]:
        headers = {ORIGIN_HEADER: self._write.sync, RUN_HEADER: self._write.run}
        if key is not None:
            headers[KEY_HEADER] = key.decode()
        return {
            "delivery_mode": 2, "message_id": id, "content_type": self._type, "app_id": "tongqu",
            "timestamp": int(time()), "application_headers": headers,
        }  # fmt: skip

    def close(self) -> None:
        """See Writer.close."""
        self._connections.close()
