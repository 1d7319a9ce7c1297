"""Brings news to subscribers: one after the other for each, signed, tried again, and given up in the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any, Protocol

from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway.news.handler import secret_of, text_of
from tongqu.gateway.news.telling import days_left, told
from tongqu.gateway.publication import DRAFT, Publication
from tongqu.gateway.settings import NewsEntry
from tongqu.gateway.webhooks.dispatching import DELAYS
from tongqu.gateway.webhooks.sending import Answered, Delivery, HttpSender, Sender
from tongqu.kit.egress.policy import Grant
from tongqu.kit.serving.texts import dumps
from tongqu.kit.tls import Tls
from tongqu.kit.trouble import Trouble
from tongqu.store.feed import Feed
from tongqu.store.news import Item, News, Subscriber

LEASE, LEASE_SECONDS = "news", 30.0
LOOK_SECONDS = 1.0
WARN_DAYS = (30, 7, 1)
"""How long before a version ends its callers are told once more."""
_AT_ONCE = 50
Mail = Callable[[str, str, str, str], None]
"""Sends a mail: to whom, subject, text, and an id under which it is sent once. Blocks; raises TongquError."""
logger = logging.getLogger("tongqu.gateway")


class Actors(Protocol):
    """Knows callers by their id."""

    def actor(self, who: str) -> Actor | None:
        """The caller with the rights it has now; None if it is not there any more."""
        ...


@dataclass(frozen=True)
class Receiver:
    """Where a subscriber's webhook is called. Nobody vouches for the address."""

    url: str
    allow: tuple[str, ...] = ()
    seconds: float = 10.0
    tls: Tls = field(default_factory=Tls)


def sender_of(url: str, allow: tuple[str, ...]) -> Sender:
    """What calls a subscriber."""
    return HttpSender(Receiver(url, allow), grant=Grant.DATA)


@dataclass
class Courier:
    """Works in one process of a home at a time. `look` learns what there is to tell, `mail` sends mails where there is
    a connection for them, `now` is Unix seconds."""

    news: News
    env: str
    key: bytes
    publication: Callable[[], Publication]
    entry: Callable[[], NewsEntry]
    actors: Actors
    look: Callable[[], None]
    feed: Feed
    holder: str
    mail: Callable[[], Mail | None] = lambda: None
    now: Callable[[], float] = time.time
    senders: Callable[[str, tuple[str, ...]], Sender] = sender_of
    trouble: Trouble = field(default_factory=lambda: Trouble("news", "news cannot be told at the moment", logger))
    over: Event = field(default_factory=Event)
    """Set: nothing more is brought, not even what is left of this turn."""

    async def run(self) -> None:
        """Until cancelled."""
        wait = LOOK_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                await asyncio.to_thread(self.turn)
                self.trouble.over()
                wait = LOOK_SECONDS
            except Exception as error:  # noqa: BLE001  # whatever it is, the next turn may do better
                wait = max(self.trouble.failed(error), LOOK_SECONDS)

    def turn(self) -> None:
        """Learn what there is to tell, and tell it, if this process is the one that does. Blocks."""
        if not self._mine():
            return
        self.look()
        self._endings()
        for one in self.news.subscribers(self.env):
            if one.due <= self.now():
                self._bring(one)

    def _mine(self) -> bool:
        """Whether this process is the one that tells, for as long as one delivery takes."""
        return not self.over.is_set() and self.feed.lease(LEASE, self.holder, LEASE_SECONDS)

    def _endings(self) -> None:
        """Versions that end soon are told of once for each of `WARN_DAYS`."""
        items = []
        for (version, name), api in self.publication().apis.items():
            sunset = api.entry.sunset
            left = days_left(sunset, self.now()) if sunset and not version.endswith(DRAFT) else 0
            within = [days for days in WARN_DAYS if 0 < left <= days]
            if sunset and within:
                days = min(within)
                id = f"{self.env or 'default'}-{version}-{name}-ends-{sunset}-{days}"
                document = {"sunset": sunset, "days": days, "successor": api.entry.successor}
                items.append(Item(0, id, _instant(self.now()), version, name, "version.ends", document))
        if items:
            self.news.add(self.env, items)

    def _bring(self, one: Subscriber) -> None:
        """All that this subscriber was not told yet, until an attempt fails."""
        actor = self.actors.actor(one.who)
        for item in self.news.after(self.env, one.position, _AT_ONCE):
            mine = one.api in ("*", item.api)
            publication = self.publication()
            document = told(publication, actor, item, known=one.api == item.api) if mine and actor is not None else None
            if document is None:
                self.news.told(one.id, item.position)
                continue
            if not self._mine():
                return
            answered = self._delivered(one, document)
            if answered.verdict == "taken":
                self.news.told(one.id, item.position)
                continue
            attempts = one.attempts + 1
            if attempts >= len(DELAYS) or answered.verdict == "gone":
                self.news.told(one.id, item.position, missed=True, problem=answered.problem)
            else:
                wait = max(DELAYS[attempts], answered.wait)
                self.news.later(one.id, self.now() + wait, answered.problem or str(answered.status))
            return

    def _delivered(self, one: Subscriber, document: Mapping[str, Any]) -> Answered:
        """One attempt; never raises for what the other side does."""
        id = f"{one.id}-{document['id']}"
        if one.channel == "mail":
            mail = self.mail()
            if mail is None:
                return Answered("again", problem="mail.none")
            try:
                mail(one.address, str(document["title"]), text_of(document), id)
            except TongquError as error:
                return Answered("again", problem=error.code)
            return Answered("taken")
        body = dumps({"type": document["type"], "timestamp": document["at"], "data": dict(document)})
        try:
            sender = self.senders(one.address, tuple(self.entry().allow))
        except TongquError as error:
            return Answered("again", problem=error.code)
        try:
            return sender.send(Delivery(id, body, [secret_of(self.key, one.id)], self.now()))
        finally:
            sender.close()


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
