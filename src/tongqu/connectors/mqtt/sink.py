"""Writes rows as messages that the broker confirms."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from time import monotonic, time_ns

from tongqu.connectors.mqtt import codec
from tongqu.connectors.mqtt.codec import Properties, Publish
from tongqu.connectors.mqtt.settings import MqttSettings, TopicSettings
from tongqu.connectors.mqtt.source import reached
from tongqu.connectors.mqtt.topic import ID, KEY, ORIGIN_NAME, RUN
from tongqu.connectors.mqtt.wire import Wire, reason
from tongqu.core.data import Write, WriteMode
from tongqu.core.errors import InvalidPlanError, TongquError
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.outgoing import Post, outgoing
from tongqu.kit.messages.template import Template
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Writer

_TYPES = {"json": "application/json", "text": "text/plain"}
_LATER = (0x83, 0x89, 0x97)


class MqttSink(RemoteSink):
    """See RemoteSink. `append` writes messages; where the envelope tells changes, `upsert` does, and tells deletes."""

    def __init__(self, settings: MqttSettings):
        super().__init__(settings.calls)
        self.name = settings.display()
        self._settings = settings

    def check(self) -> Iterator[str]:
        """See Sink.check; publishes nothing, since that cannot be taken back."""
        wire = yield from reached(self._settings)
        with closing(wire):
            for name in self._settings.topics:
                fits(wire, self._settings.said(name), name)
            wire.leave()
        yield f"confirmed messages, up to {wire.window} on their way"

    def modes(self) -> tuple[WriteMode, ...]:
        """See Sink.modes."""
        return (WriteMode.APPEND, WriteMode.UPSERT)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer; raises InvalidPlanError for QoS 0, which nobody confirms."""
        said = self._settings.said(write.dataset.name)
        if not said.qos:
            raise InvalidPlanError(
                "messages of QoS 0 are not confirmed, and so are not written", path=write.stream, hint="use qos: 1 or 2"
            )
        return MqttWriter(self._settings, said, write)


def fits(wire: Wire, said: TopicSettings, path: str) -> None:
    """Raises InvalidPlanError where the broker cannot do what is asked of a topic."""
    if said.qos > wire.best_qos:
        raise InvalidPlanError(f"the broker takes messages up to QoS {wire.best_qos}", path=path)
    if said.retain and not wire.retains:
        raise InvalidPlanError("the broker keeps no retained messages", path=path, hint="use retain: false")


class Publishing:
    """Messages on their way over one connection, as many at once as the broker takes."""

    def __init__(self, wire: Wire, seconds: float):
        self._wire, self._seconds = wire, seconds
        self._window = min(wire.window, 500)
        self._waiting: dict[int, int] = {}
        self.found: dict[int, Outcome] = {}

    def publish(self, number: int, topic: str, body: bytes, said: TopicSettings, properties: Properties) -> None:
        """Send a message, the `number` of its batch, once there is room."""
        while len(self._waiting) >= self._window:
            self._hear()
        id = self._wire.identifier()
        while id in self._waiting:
            id = self._wire.identifier()
        packet = codec.published(Publish(topic, body, said.qos, said.retain, id, properties))
        if len(packet) > self._wire.largest:
            self.found[number] = Outcome(
                Result.FAILED,
                detail=f"the message is too large: {len(packet)} bytes, the broker takes {self._wire.largest}",
            )
            return
        self._waiting[id] = number
        self._wire.send(packet)

    def settle(self) -> None:
        """Wait until all of it is confirmed or refused."""
        while self._waiting:
            self._hear()

    def given_up(self, why: str) -> None:
        """Of those that are on their way nobody knows."""
        for number in self._waiting.values():
            self.found[number] = Outcome(Result.UNKNOWN, detail=why)
        self._waiting.clear()

    def _hear(self) -> None:
        deadline = monotonic() + self._seconds
        while True:
            came = self._wire.next(max(deadline - monotonic(), 0))
            if came is None:
                raise self._wire.lost("a message was not confirmed in time")
            kind, _, body = came
            if kind in (codec.PUBACK, codec.PUBREC, codec.PUBCOMP):
                break
        id, code, said = codec.acknowledged(body)
        if id not in self._waiting:
            return
        if kind == codec.PUBREC and code < 0x80:
            self._wire.send(codec.answer(codec.PUBREL, id))
            return
        self.found[self._waiting.pop(id)] = _outcome(code, said)


class MqttWriter(Writer):
    """One call is many messages on their way at once, each confirmed. Each thread has a connection."""

    batch = 500
    divides = False
    alone = True

    def __init__(self, settings: MqttSettings, said: TopicSettings, write: Write):
        plain = said.envelope == "plain"
        self.ops = frozenset({Op.CREATE} if plain else {Op.CREATE, Op.UPSERT, Op.DELETE})
        self._settings, self._said, self._write = settings, said, write
        self._encoder = Encoder(said, write.dataset.schema, write.key, said.topic, None)
        self._topic = Template(said.to or said.topic.replace("{", "{{").replace("}", "}}"), write.dataset.columns,
                               write.stream)  # fmt: skip
        self._own = threading.local()
        self._opened: list[Wire] = []
        self._lock = threading.Lock()

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send."""
        posts = outgoing(self._encoder, effects, time_ns() // 1_000_000)
        topics = self._topic.of(effects.rows)
        wire = self._wire()
        publishing = Publishing(wire, self._settings.answer_seconds)
        count, sent = len(effects), 0
        try:
            for number, topic in enumerate(topics):
                refused = _unfit(topic)
                if topic is None or refused:
                    publishing.found[number] = Outcome(Result.FAILED, detail=refused)
                else:
                    sent = number + 1
                    told = self._properties(effects.ids[number], posts[number])
                    publishing.publish(number, topic, posts[number].value or b"", self._said, told)
            publishing.settle()
        except TongquError as error:
            self._drop(wire)
            if not error.retryable:
                raise
            publishing.given_up(error.message)
            unsent = Outcome(Result.AGAIN, detail=error.message)
            for number in range(count):
                publishing.found.setdefault(number, unsent if number >= sent else Outcome(Result.UNKNOWN))
        return [publishing.found[number] for number in range(count)]

    def _properties(self, id: str, post: Post) -> Properties:
        user = [(ID, id), (ORIGIN_NAME, self._write.sync), (RUN, self._write.run)]
        if post.key is not None:
            user.append((KEY, post.key.decode()))
        kind = _TYPES.get(self._said.format)
        return Properties({codec.CONTENT_TYPE: kind} if kind else {}, user)

    def _wire(self) -> Wire:
        made: Wire | None = getattr(self._own, "wire", None)
        if made is None:
            made = Wire(self._settings, f"tongqu-{secrets.token_hex(8)}")
            with self._lock:
                self._opened.append(made)
            fits(made, self._said, self._write.stream)
            self._own.wire = made
        return made

    def _drop(self, wire: Wire) -> None:
        """The connection is of no use any more: the next call makes another."""
        wire.close()
        self._own.wire = None
        with self._lock:
            if wire in self._opened:
                self._opened.remove(wire)

    def close(self) -> None:
        """See Writer.close."""
        with self._lock:
            opened, self._opened = self._opened, []
        for one in opened:
            one.leave()
        self._own = threading.local()


def _unfit(topic: str | None) -> str:
    if topic is None:
        return "a column that the topic needs is null"
    if not topic or any(character in topic for character in "+#\0") or topic.startswith("$"):
        return f"{topic!r} is no topic: it is empty, begins with $, or has + or #"
    if len(topic.encode()) > codec.LONGEST_TEXT:
        return f"a topic of more than {codec.LONGEST_TEXT} bytes: {topic[:40]}…"
    return ""


def _outcome(code: int, said: str) -> Outcome:
    """What the broker said of one message; that nobody has subscribed to it is no failure."""
    if code < 0x80:
        return Outcome(Result.OK, Op.CREATE, code)
    return Outcome(Result.AGAIN if code in _LATER else Result.FAILED, status=code, detail=reason(code, said))
