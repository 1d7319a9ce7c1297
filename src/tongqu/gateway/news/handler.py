"""`/news`: what changed in the APIs that the caller may read, as a feed, and its subscriptions."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape, quoteattr

from tongqu.core.errors import UnknownNameError
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.news.telling import readable, told
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.settings import NewsEntry
from tongqu.kit.serving.texts import dumps
from tongqu.store.news import News, Subscriber

declare({
    "subscription.unknown": Kind(404, "there is no such subscription", "没有这个订阅"),
    "subscription.many": Kind(409, "there are too many subscriptions", "订阅数量过多"),
})  # fmt: skip
PREFIX = "/news"
SUBSCRIPTIONS = f"{PREFIX}/subscriptions"
_MOST = 200
_BODY = 16_384
_MAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,253}")
_VARY = ("vary", "Accept, Accept-Language, Authorization, Cookie, X-API-Key")


class NewsHandler:
    """`GET /news` (JSON Feed, or Atom by `Accept: application/atom+xml`; `?api=NAME` for one), and of callers that are
    known `GET`, `POST /news/subscriptions` and `DELETE /news/subscriptions/ID`. `key` makes the secrets of webhooks."""

    def __init__(self, news: News, env: str, key: bytes, entry: Callable[[], NewsEntry]):
        self._news, self._env, self._key, self._entry = news, env, key, entry

    async def handle(self, request: Request) -> Reply:
        """The answer; raises Problem."""
        request.notes.action = "news"
        if request.path == PREFIX:
            if request.method not in ("GET", "HEAD"):
                raise Problem("method.refused", headers=[("allow", "GET, HEAD")])
            reply = await self._feed(request)
            return Reply(reply.status, reply.headers) if request.method == "HEAD" else reply
        if not request.actor.known:
            raise Problem("auth.missing")
        if request.path == SUBSCRIPTIONS and request.method == "GET":
            mine = await asyncio.to_thread(self._news.subscribers, self._env, request.actor.id)
            return _json(200, {"subscriptions": [_own(one) for one in mine]})
        if request.path == SUBSCRIPTIONS and request.method == "POST":
            return await self._subscribe(request)
        if request.path.startswith(f"{SUBSCRIPTIONS}/") and request.method == "DELETE":
            return await self._unsubscribe(request)
        raise Problem("path.unknown")

    async def _feed(self, request: Request) -> Reply:
        wanted = dict(request.pairs()).get("api", "")
        found = await asyncio.to_thread(self._news.newest, self._env, _MOST)
        items = [
            one
            for item in found
            if (not wanted or item.api == wanted)
            and (one := told(request.publication, request.actor, item, request.language))
        ]
        base = f"{request.scheme}://{request.host}"
        atom = "application/atom+xml" in request.headers.get("accept", "")
        body = _atom(items, base) if atom else dumps(_json_feed(items, base))
        media = "application/atom+xml" if atom else "application/feed+json"
        tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
        headers: Headers = [("content-type", f"{media}; charset=utf-8"), ("etag", tag), _VARY,
                            ("cache-control", "private, no-cache")]  # fmt: skip
        if tag in request.headers.get("if-none-match", ""):
            return Reply(304, headers)
        return Reply(200, headers, body)

    async def _subscribe(self, request: Request) -> Reply:
        api, channel, address = _asked(await request.body(_BODY))
        if channel == "mail" and not self._entry().mail:
            raise Problem("body.invalid", errors=[_wrong("/mail", "no mail is sent here")])
        if api != "*" and not readable(request.publication, request.actor, api):
            raise Problem("api.unknown")
        mine = await asyncio.to_thread(self._news.subscribers, self._env, request.actor.id)
        if len(mine) >= self._entry().most:
            raise Problem("subscription.many")
        one = new_subscriber(self._env, api, request.actor.id, channel, address)
        kept = await asyncio.to_thread(self._news.subscribe, one)
        about = {"secret": secret_of(self._key, kept.id)} if channel == "webhook" else {}
        return _json(201, {**_own(kept), **about})

    async def _unsubscribe(self, request: Request) -> Reply:
        id = request.path.removeprefix(f"{SUBSCRIPTIONS}/")
        try:
            await asyncio.to_thread(self._news.unsubscribe, self._env, id, request.actor.id)
        except UnknownNameError:
            raise Problem("subscription.unknown") from None
        return Reply(204)


def new_subscriber(env: str, api: str, who: str, channel: str, address: str) -> Subscriber:
    """A subscription that begins now."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Subscriber(f"sub_{secrets.token_hex(8)}", env, api, who, channel, address, at, 0)


def secret_of(key: bytes, id: str) -> str:
    """What the deliveries of a subscription are signed with: made of the home's own key, and kept nowhere."""
    return "whsec_" + base64.b64encode(hmac.digest(key, id.encode(), "sha256")).decode()


def is_address(channel: str, address: str) -> bool:
    """Whether something can be called, or get mail, at an address."""
    if channel == "mail":
        return address.isascii() and _MAIL.fullmatch(address) is not None
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment


def _asked(body: bytes) -> tuple[str, str, str]:
    """API, channel and address of a new subscription; raises Problem that names what is wrong."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem("body.malformed") from None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Problem("body.invalid", errors=[_wrong("", "an object of texts")])
    if unknown := set(given) - {"api", "webhook", "mail"}:
        raise Problem("body.invalid", errors=[_wrong(f"/{min(unknown)}", "valid: api, webhook, mail")])
    channels = [name for name in ("webhook", "mail") if given.get(name)]
    if len(channels) != 1:
        raise Problem("body.invalid", errors=[_wrong("/webhook", "one of webhook and mail is needed")])
    (channel,) = channels
    if not is_address(channel, given[channel]):
        raise Problem("body.invalid", errors=[_wrong(f"/{channel}", "this is no address")])
    return given.get("api") or "*", channel, given[channel]


def _wrong(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "code": "body.invalid", "detail": detail}


def _own(one: Subscriber) -> dict[str, Any]:
    return {"id": one.id, "api": one.api, one.channel: one.address, "at": one.at, "problem": one.problem,
            "missed": one.missed}  # fmt: skip


def _json(status: int, document: object) -> Reply:
    return Reply(status, [("content-type", "application/json"), ("cache-control", "no-store")], dumps(document))


def _json_feed(items: list[dict[str, Any]], base: str) -> dict[str, Any]:
    return {
        "version": "https://jsonfeed.org/version/1.1", "title": "APIs", "home_page_url": f"{base}/docs",
        "feed_url": f"{base}{PREFIX}",
        "items": [
            {"id": one["id"], "url": f"{base}/docs", "title": one["title"], "content_text": text_of(one),
             "date_published": one["at"], "_tongqu": one}
            for one in items
        ],
    }  # fmt: skip


def text_of(one: Mapping[str, Any]) -> str:
    """An item as lines for people."""
    lines = [str(one["title"])]
    lines += [f"{name}: {one[name]}" for name in ("deprecated", "sunset", "successor") if one.get(name)]
    for change in one.get("changes", ()):
        mark = "!" if change["breaking"] else "-"
        lines.append(f"{mark} {change['at']} ({change['code']}): {change['before']} → {change['after']}")
    return "\n".join(lines)


def _atom(items: list[dict[str, Any]], base: str) -> bytes:
    """RFC 4287."""
    newest = items[0]["at"] if items else "1970-01-01T00:00:00Z"
    entries = "".join(
        f"<entry><id>urn:tongqu:{escape(one['id'])}</id><title>{escape(one['title'])}</title>"
        f"<updated>{one['at']}</updated><link href={quoteattr(base + '/docs')}/>"
        f'<content type="text">{escape(text_of(one))}</content></entry>'
        for one in items
    )
    about = "<title>APIs</title><author><name>Tongqu</name></author>"
    head = f"<id>{escape(base)}{PREFIX}</id>{about}<updated>{newest}</updated>"
    link = f'<link rel="self" href={quoteattr(base + PREFIX)}/>'
    feed = f'<feed xmlns="http://www.w3.org/2005/Atom">{head}{link}{entries}</feed>'
    return f'<?xml version="1.0" encoding="utf-8"?>{feed}'.encode()
