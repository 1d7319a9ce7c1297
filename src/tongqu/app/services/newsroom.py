"""The news of a running gateway: the handler of `/news` and what brings news to subscribers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tongqu.app.services.announcing import Announcing
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.core.policy import Actor
from tongqu.gateway.news.courier import Courier, Mail
from tongqu.gateway.news.handler import PREFIX, NewsHandler, is_address, new_subscriber, secret_of
from tongqu.gateway.settings import NewsEntry
from tongqu.store.news import News

if TYPE_CHECKING:
    from tongqu.app.services.composing import Gateway
    from tongqu.app.wire import Wire
    from tongqu.gateway.auth.access import Access
    from tongqu.store.home import Home

Document = dict[str, Any]


@dataclass
class Newsroom:
    """What belongs to one serving process. Unless `telling`, nobody is told but who asks."""

    news: News
    courier: Courier
    telling: bool = True
    _task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Tell subscribers from now on, in the running loop."""
        if self.telling:
            self._task = asyncio.get_running_loop().create_task(self.courier.run())

    async def leave(self) -> None:
        """Stop; what is being told now is told, or told again."""
        self.courier.over.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        """Close the file."""
        self.news.close()


def newsroom(wire: Wire, gateway: Gateway, *, telling: bool) -> Newsroom:
    """Answers `/news` from now on, and tells subscribers once it begins. Raises OSError and sqlite3.Error."""
    from tongqu.gateway.metrics.troubles import show_trouble
    from tongqu.gateway.site import Route

    news, key = News.open(wire.home), _key(wire.home)

    def entry() -> NewsEntry:
        return gateway.entry.news

    gateway.site.add(Route(PREFIX, NewsHandler(news, wire.env, key, entry), "rules"))
    courier = Courier(
        news, wire.env, key, lambda: gateway.site.publication, entry, _Callers(gateway.identity.access),
        announcing(wire).look, gateway.feed, gateway.streams.holder, lambda: mail_by(wire, entry().mail),
    )  # fmt: skip
    show_trouble(gateway.metrics, courier.trouble)
    return Newsroom(news, courier, telling)


def announcing(wire: Wire) -> Announcing:
    """What makes news of applied versions."""
    return Announcing(wire.home, wire.env, wire.promises.consumers)


def listed(wire: Wire, limit: int) -> Document:
    """The newest news, whole: for who manages the APIs."""
    announcing(wire).look()
    if not wire.home.news.exists():
        return {"news": []}
    with closing(News(wire.home.news)) as news:
        found = news.newest(wire.env, limit)
    return {"news": [
        {"id": one.id, "at": one.at, "type": one.kind, "api": one.api, "version": one.version, **one.document}
        for one in found
    ]}  # fmt: skip


def subscribers(wire: Wire) -> Document:
    """Who is told of what, and how that goes."""
    if not wire.home.news.exists():
        return {"subscribers": []}
    with closing(News(wire.home.news)) as news:
        return {"subscribers": [one.to_json() for one in news.subscribers(wire.env)]}


def subscribed(wire: Wire, api: str, who: str, channel: str, address: str) -> Document:
    """Subscribe for a client or person: `mes`, `user:zhang`. The secret of a webhook stands in this document, and can
    be made again by the same call. Raises InvalidSettingsError, UnknownNameError."""
    if channel not in ("webhook", "mail") or not is_address(channel, address):
        raise InvalidSettingsError(f"{address!r} is no address", path=f"--{channel}", hint="https://… or name@example")
    kind, colon, name = who.partition(":")
    kind, name = (kind, name) if colon else ("client", who)
    with wire.callers().opened() as identities:
        _ = identities.users.known(name) if kind == "user" else identities.clients.known(name)
    announcing(wire).look()
    with closing(News.open(wire.home)) as news:
        made = news.subscribe(new_subscriber(wire.env, api or "*", f"{kind}:{name}", channel, address))
    about = {"secret": secret_of(_key(wire.home), made.id)} if channel == "webhook" else {}
    return {"subscribers": [{**made.to_json(), **about}]}


def unsubscribed(wire: Wire, id: str) -> Document:
    """End a subscription; raises UnknownNameError."""
    with closing(News.open(wire.home)) as news:
        news.unsubscribe(wire.env, id)
    return {"removed": id}


def mail_by(wire: Wire, connection: str) -> Mail | None:
    """Sends mails by a connection of the project, to whom its `allow` lets; None where none is named."""
    if not connection:
        return None

    def mail(to: str, subject: str, text: str, id: str) -> None:
        import pyarrow as pa

        from tongqu.core.data import Dataset, Write, WriteMode
        from tongqu.kit.remote.effect import Effects, Op
        from tongqu.kit.remote.sink import RemoteSink

        end = wire.ends.end(connection)
        if "subject" not in type(end.settings).model_fields:
            raise InvalidPlanError(f"{connection!r} sends no mail", path="gateway.news.mail", hint="type: smtp")
        about = {"to": ("{address}",), "cc": (), "subject": "{subject}", "text": "{text}", "html": "", "attach": "none",
                 "per": ("row",)}  # fmt: skip
        sink = replace(end, settings=end.settings.model_copy(update=about)).sink()
        assert isinstance(sink, RemoteSink)  # noqa: S101  # whatever has a subject is one
        rows = pa.table({"address": [to], "subject": [subject], "text": [text]})
        writer = sink.writer(Write("news", Dataset("news", rows.schema), WriteMode.APPEND, "news", id))
        try:
            number = hashlib.blake2b(id.encode(), digest_size=16).hexdigest()
            writer.send(Effects(Op.CREATE, rows, [number], [json.dumps({"address": to})], [""]))
        finally:
            writer.close()
            sink.close()

    return mail


@dataclass(frozen=True)
class _Callers:
    """Callers by their id, with the rights they have now."""

    access: Access

    def actor(self, who: str) -> Actor | None:
        """See Actors."""
        kind, _, name = who.partition(":")
        identities = self.access.identities
        found = identities.users.get(name) if kind == "user" else identities.clients.get(name)
        if found is None or not found.alive(identities.database.seconds()):
            return None
        return self.access.actor(found)


def _key(home: Home) -> bytes:
    from tongqu.app.services.composing import gateway_key

    home.ensure()
    return hmac.digest(gateway_key(home), b"tongqu news", "sha256")
