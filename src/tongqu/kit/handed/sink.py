"""Writes rows as durable messages that the broker confirms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from time import monotonic, time_ns

from tongqu.core.data import Write
from tongqu.core.errors import TongquError
from tongqu.kit.handed.line import ID, KEY, ORIGIN, RUN, Connect, Letter, Line
from tongqu.kit.handed.settings import HandedSettings
from tongqu.kit.handed.source import reached
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.outgoing import Post, outgoing
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.sink import Connections, MessageSink, ops
from tongqu.kit.messages.template import Template
from tongqu.kit.remote.effect import Effects, Outcome, Result
from tongqu.kit.remote.writer import Writer

_TYPES = {"json": "application/json", "text": "text/plain", "avro": "application/avro"}


class HandedSink(MessageSink):
    """See MessageSink."""

    def __init__(self, settings: HandedSettings, connect: Connect):
        super().__init__(settings)
        self._connect = connect

    def check(self) -> Iterator[str]:
        """See Sink.check; writes nothing."""
        with closing((yield from reached(self._settings, self._connect))):
            return

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return HandedWriter(self._settings, self._connect, write, self.registry)


class HandedWriter(Writer):
    """One call is many messages on their way at once, each confirmed. Each thread has a connection."""

    batch = 500
    divides = False
    alone = True

    def __init__(self, settings: HandedSettings, connect: Connect, write: Write, registry: SchemaRegistry | None):
        said = settings.said(write.dataset.name)
        self.ops = ops(said.envelope)
        self._write, self._seconds = write, settings.answer_seconds
        self._encoder = Encoder(said, write.dataset.schema, write.key, said.queue, registry)
        plain = said.queue.replace("{", "{{").replace("}", "}}")
        self._to = Template(said.to or plain, write.dataset.columns, write.stream)
        self._type = _TYPES.get(said.format, "application/octet-stream")
        self._connections: Connections[Line] = Connections(connect)

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send."""
        now = time_ns()
        posts = outgoing(self._encoder, effects, now // 1_000_000)
        found: dict[int, Outcome] = {}
        sent: set[int] = set()
        try:
            line = self._connections.mine()
            for number, address in enumerate(self._to.of(effects.rows)):
                if not address:
                    found[number] = Outcome(Result.FAILED, detail="a column that the address needs is null")
                    continue
                sent.add(number)
                letter = self._letter(posts[number], effects.ids[number], now // 1_000)
                line.send(address, letter, _noted(found, number))
            line.flush()
            self._answers(line, found, sent)
        except TongquError as error:
            self._connections.drop()
            for number in range(len(effects)):
                missing = Result.UNKNOWN if number in sent else Result.AGAIN
                found.setdefault(number, Outcome(missing, detail=error.message))
            if not error.retryable:
                raise
        return [found[number] for number in range(len(effects))]

    def _answers(self, line: Line, found: dict[int, Outcome], sent: set[int]) -> None:
        deadline = monotonic() + self._seconds
        while len(found.keys() & sent) < len(sent) and monotonic() < deadline:
            if line.answer(0.2):
                deadline = monotonic() + self._seconds
        left = sent - found.keys()
        if left:
            self._connections.drop()
            found |= {number: Outcome(Result.UNKNOWN, detail="the server did not answer in time") for number in left}

    def _letter(self, post: Post, id: str, at: int) -> Letter:
        headers = {ID: id, ORIGIN: self._write.sync, RUN: self._write.run}
        if post.key is not None:
            headers[KEY] = post.key.decode()
        return Letter(post.value or b"", id, kind=self._type, headers=headers, at=at)

    def close(self) -> None:
        """See Writer.close."""
        self._connections.close()


def _noted(found: dict[int, Outcome], number: int) -> Callable[[Outcome], None]:
    return lambda outcome: found.__setitem__(number, outcome)
