"""Appends rows to streams as entries, each under an id of its own, so that what is sent again is there once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from time import time_ns
from typing import Any

from tongqu.connectors.redis.entries import exists
from tongqu.connectors.redis.link import Link
from tongqu.connectors.redis.settings import RedisSettings
from tongqu.connectors.redis.shapes import remember
from tongqu.connectors.redis.source import reached
from tongqu.connectors.redis.stream import ID, KEY, ORIGIN, RUN, WHOLE, whole
from tongqu.core.data import Opened, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, TongquError
from tongqu.kit.messages.encoder import Encoder
from tongqu.kit.messages.outgoing import Post, outgoing
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.sink import Connections, MessageSink, ops
from tongqu.kit.messages.template import Template
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result
from tongqu.kit.remote.writer import Keyed, Writer

_SENT = "_tongqu_sent"
_APPEND = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
local found, at = {}, 3
for number = 2, #KEYS do
  local id, count = ARGV[at], tonumber(ARGV[at + 1])
  if redis.call('ZSCORE', KEYS[1], id) then
    found[#found + 1] = ''
  else
    local told = {KEYS[number]}
    if tonumber(ARGV[2]) > 0 then
      for _, word in ipairs({'MAXLEN', '~', ARGV[2]}) do told[#told + 1] = word end
    end
    told[#told + 1] = '*'
    for place = at + 2, at + 1 + count do told[#told + 1] = ARGV[place] end
    local made = redis.pcall('XADD', unpack(told))
    if type(made) == 'table' and made.err then
      found[#found + 1] = '!' .. made.err
    else
      redis.call('ZADD', KEYS[1], now, id)
      found[#found + 1] = made
    end
  end
  at = at + 2 + count
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return found
"""
"""Append entries whose ids were not seen within the window (seconds), and note their ids; one instant for all."""


class RedisSink(MessageSink):
    """See MessageSink. A stream that is not there is made."""

    def check(self) -> Iterator[str]:
        """See Sink.check; writes nothing."""
        link = yield from reached(self._settings)
        with closing(link), link.told():
            link.client.eval("return 1", 0)
            yield "scripts"

    def open(self, write: Write) -> Opened:
        """See RemoteSink.open."""
        opened = super().open(write)
        said = self._settings.said(write.dataset.name)
        if said.to:
            return opened
        with closing(Link(self._settings)) as link:
            if not exists(link, said.stream):
                with link.told():
                    link.client.xgroup_create(said.stream, "tongqu", mkstream=True)
                    link.client.xgroup_destroy(said.stream, "tongqu")
            if said.envelope == "plain":
                key = write.key if write.mode is not WriteMode.APPEND else ()
                remember(link, said.stream, write.dataset.schema, key)
        return opened

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return RedisWriter(self._settings, write, self.registry)


class RedisWriter(Writer):
    """One call is one script that appends many entries. Each thread has a connection."""

    batch = 500
    keyed = Keyed.ROW
    divides = False
    alone = True

    def __init__(self, settings: RedisSettings, write: Write, registry: SchemaRegistry | None):
        said = settings.said(write.dataset.name)
        if said.field == WHOLE and (said.format != "json" or said.envelope != "plain"):
            raise InvalidPlanError(
                "fields of their own (field: '*') are written of plain JSON only", path=write.stream,
                hint="format: json, envelope: plain",
            )  # fmt: skip
        self.ops = ops(said.envelope)
        self._settings, self._said, self._write = settings, said, write
        self._encoder = Encoder(said, write.dataset.schema, write.key, said.stream, registry)
        self._to = Template(said.to or said.stream.replace("{", "{{").replace("}", "}}"), write.dataset.columns, "to")
        self._connections = Connections(lambda: Link(settings))

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send. The peer's id is the entry's; it is empty for one that was there already."""
        posts = outgoing(self._encoder, effects, time_ns() // 1_000_000)
        found: dict[int, Outcome] = {}
        keys: list[Any] = [self._settings.prefix + _SENT]
        told: list[Any] = [self._settings.duplicates_seconds, self._said.keep]
        sent = []
        for number, stream in enumerate(self._to.of(effects.rows)):
            fields = self._fields(posts[number], effects.ids[number])
            if not stream:
                found[number] = Outcome(Result.FAILED, detail="a column that the stream's name needs is null")
            else:
                sent.append(number)
                keys.append(stream)
                told += (effects.ids[number], len(fields), *fields)
        try:
            link = self._connections.mine()
            with link.told():
                answers = link.client.eval(_APPEND, len(keys), *keys, *told) if sent else []
        except TongquError as error:
            self._connections.drop()
            if not error.retryable:
                raise
            answers = []
            found |= {number: Outcome(Result.UNKNOWN, detail=error.message) for number in sent}
        found |= {number: _outcome(answer.decode()) for number, answer in zip(sent, answers, strict=False)}
        return [found[number] for number in range(len(effects))]

    def _fields(self, post: Post, id: str) -> list[bytes]:
        """Names and values of an entry, in turn."""
        value = post.value or b""
        made = whole(value) if self._said.field == WHOLE else [self._said.field.encode(), value]
        made += (ID, id.encode(), ORIGIN, self._write.sync.encode(), RUN, self._write.run.encode())
        return made if post.key is None else [*made, KEY, post.key]

    def close(self) -> None:
        """See Writer.close."""
        self._connections.close()


def _outcome(answer: str) -> Outcome:
    if not answer.startswith("!"):
        return Outcome(Result.OK, Op.CREATE, 200, answer)
    again = answer.startswith(("!OOM", "!READONLY", "!MISCONF", "!NOREPLICAS"))
    return Outcome(Result.AGAIN if again else Result.FAILED, detail=answer[1:])
