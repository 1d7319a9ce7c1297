"""`/hooks/{name}`: an event is checked, known again if it came before, and answered with 2xx when it is on disk."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from tongqu.core.errors import TongquError
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.hooks.delivery import Delivery, Event, Keys, Probe, Verifier
from tongqu.gateway.hooks.keeping import Keeper, Kept
from tongqu.gateway.hooks.schemes import verifier
from tongqu.gateway.hooks.settings import DedupEntry, HookEntry
from tongqu.gateway.limit.headers import exceeded
from tongqu.gateway.limit.rates import Meter, Rate
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SECONDS, SizesEntry
from tongqu.gateway.shield.bodies import json_body, unpacked
from tongqu.kit.queue.queue import Queue

PREFIX = "/hooks"
_SECRETS_SECONDS = 30.0
"""How long resolved secrets are used before they are looked up again: a rotated one counts soon."""
_LONGEST_ID = 255
_NEVER_KEPT = frozenset((
    "authorization", "cookie", "proxy-authorization", "x-api-key", "sign", "x-hub-signature", "x-hub-signature-256",
    "webhook-signature", "x-lark-signature", "x-gitlab-token",
))  # fmt: skip
_JSON = "json"

logger = logging.getLogger("tongqu.hooks")


@dataclass(frozen=True)
class Means:
    """What hooks stand on: `resolve` gives the value of a reference, `queue` the queue of a connection."""

    resolve: Callable[[str], object]
    queue: Callable[[str], Queue]
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Hook:
    """One entry in use."""

    def __init__(self, name: str, entry: HookEntry, dedup: DedupEntry, keeper: Keeper, means: Means):
        self.entry, self.dedup, self.keeper = entry, dedup, keeper
        self._name, self._means = name, means
        self._verifier: Verifier | None = None
        self._looked = 0.0
        self._declared = False
        limit = entry.limit
        self.rate = Rate("hook", limit.requests, SECONDS[limit.per], limit.burst or 0) if limit else None

    async def ready(self) -> Verifier:
        """The scheme with its secrets as they are now; raises Problem `source.unavailable` where they, or
        the topic, are not there."""
        now = self._means.monotonic()
        if self._verifier is None or now - self._looked > _SECRETS_SECONDS:
            try:
                self._verifier = await asyncio.to_thread(self._resolved)
            except (TongquError, OSError) as error:
                logger.error("the hook %s cannot be used: %s", self._name, error)
                raise Problem("source.unavailable", headers=[("retry-after", "10")]) from None
            self._looked = now
        return self._verifier

    def declare(self) -> None:
        """Make the topic where that is not done yet. Blocks; raises TongquError and OSError."""
        if not self._declared:
            self.keeper.declare()
            self._declared = True

    def _resolved(self) -> Verifier:
        self.declare()
        resolve, entry = self._means.resolve, self.entry
        secrets, tokens = (tuple(str(resolve(one)) for one in group) for group in (entry.secret, entry.token))
        return verifier(entry, Keys(secrets, tokens))


class HooksHandler:
    """Takes events in. Nothing of a refused one is kept or logged but its reason, which is counted; an event that was
    answered with 2xx is in its topic, once for each time it was known by."""

    def __init__(self, means: Means, sizes: SizesEntry):
        self._means, self._sizes = means, sizes
        self._hooks: dict[str, Hook] = {}
        self._queues: dict[str, Queue] = {}
        self._meter = Meter()

    def adopt(self, entries: Mapping[str, HookEntry], sizes: SizesEntry) -> None:
        """Take these from the next request on; those that are the same go on as they are. Blocks while topics are
        made; a queue that cannot be opened is told in the log, and its senders hear 503 until it can."""
        self._sizes = sizes
        hooks: dict[str, Hook] = {}
        for name, entry in entries.items():
            known = self._hooks.get(name)
            if known is not None and known.entry == entry:
                hooks[name] = known
                continue
            try:
                hooks[name] = self._opened(name, entry)
                hooks[name].declare()
            except (TongquError, OSError) as error:
                logger.error("the topic of the hook %s cannot be made: %s", name, error)
        self._hooks = hooks

    def _opened(self, name: str, entry: HookEntry) -> Hook:
        place = entry.to.connection
        if place not in self._queues:
            self._queues[place] = self._means.queue(place)
        dedup = entry.dedup or DedupEntry(by="body")
        keeper = Keeper(self._queues[place], entry.to.topic or name, name, dedup.hours, self._means.monotonic)
        return Hook(name, entry, dedup, keeper, self._means)

    async def handle(self, request: Request) -> Reply:
        """The answer that the entry or the scheme says; raises Problem, and what the queue raises."""
        request.notes.action = "hook"
        name = request.path[len(PREFIX) + 1 :]
        hook = self._hooks.get(name)
        if hook is None:
            raise Problem("api.unknown")
        self._admit(name, hook)
        allowed = ("GET", "POST") if hook.entry.verify == "wecom" else ("POST",)
        if request.method not in allowed:
            raise Problem("method.refused", headers=[("allow", ", ".join(allowed))])
        delivery = await self._delivery(request, hook.entry)
        opened = (await hook.ready()).opened(delivery)
        if isinstance(opened, Probe):
            return opened.reply
        request.notes.api = f"hooks/{name}"
        kept = self._kept(hook, delivery, opened, request.id)
        new = await hook.keeper.keep(kept)
        request.notes.rows = int(new)
        return opened.reply or self._reply(hook.entry, new=new)

    def _admit(self, name: str, hook: Hook) -> None:
        if hook.rate is not None:
            taken = self._meter.take([(hook.rate, name)], int(self._means.monotonic() * 1e9))
            if not all(one.allowed for one in taken):
                raise exceeded(taken)

    async def _delivery(self, request: Request, entry: HookEntry) -> Delivery:
        pairs = request.pairs()
        query = dict(pairs)
        if len(query) != len(pairs):
            raise Problem("query.malformed", "a parameter comes twice")
        if request.method == "GET":
            return Delivery("GET", query, request.headers, b"", self._means.now())
        _check_media(entry, request.headers.get("content-type", ""))
        limit = min(entry.body_kb << 10, self._sizes.body_bytes)
        encoding = request.headers.get("content-encoding", "")
        body = unpacked(await request.body(limit), encoding, limit, self._sizes)
        return Delivery("POST", query, request.headers, body, self._means.now())

    def _kept(self, hook: Hook, delivery: Delivery, event: Event, request: str) -> Kept:
        try:
            text = event.body.decode()
        except UnicodeDecodeError:
            raise Problem("body.malformed", "the body is no UTF-8 text") from None
        if "\0" in text:
            raise Problem("body.malformed", "the body holds a NUL character")
        known_by = self._known_by(hook, delivery, event)
        entry = hook.entry
        kind = delivery.headers.get(entry.event.lower(), "") if entry.event else event.kind
        headers = {
            name: delivery.headers[name]
            for name in (one.lower() for one in entry.headers)
            if name in delivery.headers and not _secretive(entry, name)
        }
        return Kept(known_by or request, known_by, delivery.now, kind[:_LONGEST_ID], headers, text)

    def _known_by(self, hook: Hook, delivery: Delivery, event: Event) -> str:
        by, name = hook.dedup.by, hook.dedup.name
        if by == "none":
            return ""
        found = ""
        if by == "header":
            found = delivery.headers.get(name.lower(), "")
        elif by == "field":
            value: object = json_body(event.body, self._sizes)
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            found = value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()
        elif event.id and hook.entry.dedup is None:
            found = event.id
        if not found:
            return f"sha256:{hashlib.sha256(event.body).hexdigest()}"
        return found if len(found) <= _LONGEST_ID else f"sha256:{hashlib.sha256(found.encode()).hexdigest()}"

    @staticmethod
    def _reply(entry: HookEntry, *, new: bool) -> Reply:
        headers: Headers = [("content-type", entry.respond.content_type)] if entry.respond.body else []
        if not new:
            headers.append(("tongqu-known", "true"))
        return Reply(entry.respond.status, headers, entry.respond.body.encode())

    async def leave(self) -> None:
        """Wait until what was taken in is on disk."""
        for hook in list(self._hooks.values()):
            await hook.keeper.finish()

    def close(self) -> None:
        """Close the queues."""
        for queue in self._queues.values():
            queue.close()
        self._queues, self._hooks = {}, {}


def _secretive(entry: HookEntry, name: str) -> bool:
    """Whether a header proves something and is never kept."""
    own = {entry.hmac.header.lower() if entry.hmac else "", entry.show.header.lower()}
    return name in _NEVER_KEPT or name in own


def _check_media(entry: HookEntry, given: str) -> None:
    media = given.partition(";")[0].strip().lower()
    if entry.content_types:
        good = media in {one.lower() for one in entry.content_types}
    elif entry.verify == "wecom":
        good = media in ("", "text/xml", "application/xml", "text/plain", "application/x-www-form-urlencoded")
    else:
        good = media.rpartition("/")[2].rpartition("+")[2] == _JSON
    if not good:
        raise Problem("media.unknown", "this hook takes other media types")
