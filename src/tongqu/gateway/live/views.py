"""What one kind of subscriber sees of an API: the rows that changed, read with its rights and told once for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask, Condition, Joined, Wanted
from tongqu.gateway.exchange import Notes
from tongqu.gateway.live.keys import Key, digest, key_in, one_of
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.policy.values import fitted
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.publication import Api
from tongqu.gateway.reading import Reader
from tongqu.kit.serving.texts import dumps, plain
from tongqu.store.feed import Event

MOST_KEYS = 200_000
"""Rows that a subscriber whose rows are restricted may follow: it is remembered of each that it was seen."""
RING_MESSAGES = 1000
RING_BYTES = 2 << 20
_AT_ONCE = 100
_KEY = "tongqu_key_"
declare(
    {
        "live.too_wide": Kind(422, "too many rows to follow: filter them", "订阅的行过多：请给出筛选条件"),
        "live.keyless": Kind(422, "the rows have no key that you may see", "这些行没有可见的主键"),
    }
)


@dataclass(frozen=True)
class Message:
    """One change as subscribers are told: `body` is a JSON object with `op`, `key` and, unless it is gone, `row`.
    `read` is what was noted when the rows were read that it is from: fields, masks, whose rows."""

    position: int
    op: str
    body: bytes
    read: Notes | None = None


TOUCHED_BODY = b'{"op":"touched"}'


@dataclass(frozen=True)
class Seeing:
    """An API through a filter with somebody's rights."""

    api: Api
    actor: Actor
    ask: Ask
    decision: Decision

    @property
    def restricted(self) -> bool:
        """Whether there may be rows that it must not hear of at all."""
        return self.decision.rows is not None

    @property
    def keyed(self) -> bool:
        """Whether its rows can be told apart."""
        key = self.api.dataset.key
        seen = self.decision.fields
        return bool(self.api.table and key) and all(name in seen and seen[name] is None for name in key)

    def keys_of(self, events: Sequence[Event]) -> dict[Key, Event]:
        """The rows of events; of several of one row the last."""
        found: dict[Key, Event] = {}
        for event in events:
            key = key_in(self.api, event)
            if key is not None:
                found[key] = event
        return found

    async def rows(self, reader: Reader, keys: Sequence[Key], notes: Notes) -> dict[Key, dict[str, Any]]:
        """Those rows of the keys that are seen now."""
        found: dict[Key, dict[str, Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = one_of(self.api, keys[start : start + _AT_ONCE])
            found |= await self._read(reader, some, notes)
        return found

    async def all_keys(self, reader: Reader) -> set[int]:
        """Digests of the keys of all rows that are seen now; raises Problem `live.too_wide`."""
        wanted = tuple(Wanted(name) for name in self.api.dataset.key)
        fields = [self.api.dataset.schema.field(name) for name in self.api.dataset.key]
        ask = replace(self.ask, wanted=wanted)
        known: set[int] = set()
        while True:
            answer = await reader.read(self.api, self.actor, ask, "rows", Notes(), fresh=True)
            known.update(
                digest(tuple(fitted(value, field) for value, field in zip(row, fields, strict=True)))
                for row in answer.values
            )
            if not answer.next:
                return known
            if len(known) > MOST_KEYS:
                raise Problem("live.too_wide")
            ask = replace(ask, after=answer.next)

    async def check(self, reader: Reader, notes: Notes) -> None:
        """Read one row, so that what cannot be asked is refused at once."""
        await reader.read(self.api, self.actor, replace(self.ask, limit=1), "rows", notes, fresh=True)

    async def _read(self, reader: Reader, where: Condition, notes: Notes) -> dict[Key, dict[str, Any]]:
        fields = [self.api.dataset.schema.field(name) for name in self.api.dataset.key]
        more = tuple(Wanted(name, f"{_KEY}{at}") for at, name in enumerate(self.api.dataset.key))
        wanted = (*(self.ask.wanted or (Wanted("*"),)), *more)
        ask = Ask(wanted, where if self.ask.where is None else Joined("and", (where, self.ask.where)), limit=_AT_ONCE)
        answer = await reader.read(self.api, self.actor, ask, "rows", notes, fresh=True)
        count = len(answer.names) - len(more)
        return {
            tuple(fitted(value, field) for value, field in zip(row[count:], fields, strict=True)): dict(
                zip(answer.names[:count], row[:count], strict=True)
            )
            for row in answer.values
        }


class View:
    """The messages of one `Seeing`, for all its subscribers, in the order of the feed.

    `ring` holds those behind `since`; `upto` is how far the feed was read. Of a restricted view `known` are the rows
    that were seen: only of them is told that they are gone.
    """

    def __init__(self, seeing: Seeing, position: int, known: set[int] | None, owner: str = ""):
        self.seeing = seeing
        self.owner = owner
        self.since = position
        self.upto = position
        self.known = known
        self.ring: deque[Message] = deque()
        self.subscribers = 0
        self.idle_since = 0.0
        self._bytes = 0

    async def advance(self, reader: Reader, events: Sequence[Event], upto: int) -> bool:
        """Read what changed and keep it for the subscribers; whether there is anything new."""
        made = await messages(self.seeing, reader, events, self.known) if events else []
        for message in made:
            self.ring.append(message)
            self._bytes += len(message.body)
        while self.ring and (len(self.ring) > RING_MESSAGES or self._bytes > RING_BYTES):
            gone = self.ring.popleft()
            self._bytes -= len(gone.body)
            self.since = gone.position
        self.upto = upto
        return bool(made)

    def after(self, position: int, limit: int = 100) -> list[Message]:
        """The next messages behind a position that is not before `since`."""
        if not self.ring or self.ring[-1].position <= position:
            return []
        found = []
        for message in self.ring:
            if message.position > position:
                found.append(message)
                if len(found) >= limit:
                    break
        return found


async def messages(seeing: Seeing, reader: Reader, events: Sequence[Event], known: set[int] | None) -> list[Message]:
    """What subscribers are told of events. A row that is seen now is told as it is now; one that is not, as deleted, if
    it may be known: with `known`, if it is in there; without, always, since such callers may see all rows."""
    if not seeing.keyed:
        return [Message(events[-1].position, "touched", TOUCHED_BODY)] if events else []
    keys = seeing.keys_of(events)
    read = Notes()
    rows = await seeing.rows(reader, list(keys), read) if keys else {}
    made: list[Message] = []
    for key, event in keys.items():
        told = dict(zip(seeing.api.dataset.key, (plain(value) for value in key), strict=True))
        row = rows.get(key)
        mark = digest(key) if known is not None else 0
        if row is not None:
            fresh = event.op == "insert" or (known is not None and mark not in known)
            op = "insert" if fresh else "update"
            made.append(Message(event.position, op, dumps({"op": op, "key": told, "row": row}), read))
            if known is not None:
                known.add(mark)
                if len(known) > MOST_KEYS + len(keys):
                    raise Problem("live.too_wide")
        elif known is None or mark in known:
            made.append(Message(event.position, "delete", dumps({"op": "delete", "key": told})))
            if known is not None:
                known.discard(mark)
    rest = [event for event in events if key_in(seeing.api, event) is None]
    if rest:
        made.append(Message(rest[-1].position, "touched", TOUCHED_BODY))
    return sorted(made, key=lambda message: message.position)
