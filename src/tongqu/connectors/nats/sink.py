"""Writes rows as messages of streams, each under an id of its own, so that what is sent again is there once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from time import monotonic, time_ns

from tongqu.connectors.nats.jetstream import JetStream
from tongqu.connectors.nats.settings import NatsSettings
from tongqu.connectors.nats.shapes import remember
from tongqu.connectors.nats.source import reached
from tongqu.connectors.nats.subject import ID_HEADER, KEY_HEADER, ORIGIN_HEADER, RUN_HEADER
from tongqu.core.data import Opened, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, NotFoundError, TongquError
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.outgoing import outgoing
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.sink import Connections, MessageSink, ops
from tongqu.kit.messages.template import Template
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result
from tongqu.kit.remote.writer import Keyed, Writer

_NOT_HERE = set(" \t\r\n*>")
_REFUSED = (400, 413)


class NatsSink(MessageSink):
    """See MessageSink. A
    stream that is not there is made, with the subjects `NAME` and `NAME.>`."""

    def check(self) -> Iterator[str]:
        """See Sink.check; writes nothing."""
        jetstream = yield from reached(self._settings)
        try:
            told = jetstream.ask("INFO")
            most = int(told.get("limits", {}).get("max_streams", -1))
            yield f"streams: {told.get('streams', 0)}{f' of {most}' if most >= 0 else ''}"
        finally:
            jetstream.close()

    def open(self, write: Write) -> Opened:
        """See RemoteSink.open."""
        opened = super().open(write)
        stream = self._settings.said(write.dataset.name).stream
        jetstream = JetStream(self._settings)
        try:
            jetstream.create(stream, [stream, f"{stream}.>"])
            if self._settings.said(write.dataset.name).envelope == "plain":
                key = write.key if write.mode is not WriteMode.APPEND else ()
                remember(jetstream, stream, write.dataset.schema, key)
        finally:
            jetstream.close()
        return opened

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer; raises InvalidPlanError for a name that no stream can have."""
        stream = self._settings.said(write.dataset.name).stream
        if not stream or any(character in _NOT_HERE | set("./\\") for character in stream):
            raise InvalidPlanError(
                f"{stream!r} is no name of a stream", path=write.stream,
                hint="name one for the dataset: streams: {NAME: {stream: orders}}",
            )  # fmt: skip
        return NatsWriter(self._settings, write, stream, self.registry)


class NatsWriter(Writer):
    """One call is many messages on their way at once, each acknowledged by the stream. Each thread has a connection."""

    batch = 500
    keyed = Keyed.ROW
    divides = False
    alone = True

    def __init__(self, settings: NatsSettings, write: Write, stream: str, registry: SchemaRegistry | None):
        said = settings.said(write.dataset.name)
        self.ops = ops(said.envelope)
        self._settings, self._write, self._stream = settings, write, stream
        self._encoder = Encoder(said, write.dataset.schema, write.key, stream, registry)
        self._to = Template(said.to or stream, write.dataset.columns, write.stream)
        self._connections = Connections(lambda: JetStream(settings))

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send. The peer's id is the stream's sequence."""
        posts = outgoing(self._encoder, effects, time_ns() // 1_000_000)
        jetstream = self._connections.mine()
        wire = jetstream.wire
        head = {"Nats-Expected-Stream": self._stream, ORIGIN_HEADER: _line(self._write.sync)}
        head[RUN_HEADER] = _line(self._write.run)
        found: dict[int, Outcome] = {}
        waiting: dict[str, int] = {}
        try:
            for number, subject in enumerate(self._to.of(effects.rows)):
                reason = _unfit(subject, posts[number].value, wire.largest)
                if subject is None or reason:
                    found[number] = Outcome(Result.FAILED, detail=reason)
                    continue
                post = posts[number]
                told = head | {ID_HEADER: effects.ids[number]}
                if post.key is not None:
                    told[KEY_HEADER] = post.key.decode()
                reply = wire.reply()
                waiting[reply] = number
                wire.publish(subject, post.value or b"", told, reply)
            wire.flush()
            self._answers(jetstream, waiting, found)
        except TongquError as error:
            self._connections.drop()
            for number in waiting.values():
                found.setdefault(number, Outcome(Result.UNKNOWN, detail=error.message))
            if not error.retryable:
                raise
        return [found[number] for number in range(len(effects))]

    def _answers(self, jetstream: JetStream, waiting: dict[str, int], found: dict[int, Outcome]) -> None:
        deadline = monotonic() + self._settings.answer_seconds
        left = set(waiting)
        while left and monotonic() < deadline:
            came = jetstream.wire.next(max(deadline - monotonic(), 0))
            if came is None or came.subject not in left:
                continue
            left.discard(came.subject)
            deadline = monotonic() + self._settings.answer_seconds
            if came.status == 503:
                raise NotFoundError(
                    f"no stream takes the subject of {self._stream!r}", path=self._write.stream,
                    hint=f"add it to the stream's subjects: nats stream edit {self._stream} --subjects …",
                )  # fmt: skip
            found[waiting[came.subject]] = _outcome(json.loads(came.data))
        for one in left:
            found[waiting[one]] = Outcome(Result.UNKNOWN, detail="the stream did not answer in time")
        if left:
            self._connections.drop()

    def close(self) -> None:
        """See Writer.close."""
        self._connections.close()


def _unfit(subject: str | None, value: bytes | None, largest: int) -> str:
    if subject is None:
        return "a column that the subject needs is null"
    parts = subject.split(".")
    if "" in parts or any(character in _NOT_HERE for character in subject) or subject.startswith("$"):
        return f"{subject!r} is no subject: a part is empty, or has a space, * or >"
    if len(value or b"") > largest - 1024:
        return f"the message is too large: {len(value or b'')} bytes, the server takes {largest}"
    return ""


def _outcome(answer: dict[str, object]) -> Outcome:
    """What a stream said of one message."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return Outcome(Result.OK, Op.CREATE, 200, str(answer.get("seq", "")))
    code, text = int(error.get("code", 0)), str(error.get("description", ""))
    result = Result.FAILED if code in _REFUSED else Result.AGAIN
    return Outcome(result, status=code, detail=text)


def _line(text: str) -> str:
    return " ".join(text.split())
