"""Brings what changed from the feed into the outbox, and what is due in the outbox to its receivers."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask
from tongqu.gateway.cloudevents import STRUCTURED, CloudEvent
from tongqu.gateway.exchange import Notes, Reply, Request
from tongqu.gateway.live.handler import asked
from tongqu.gateway.live.keys import key_in, key_of, of_api
from tongqu.gateway.live.views import Seeing
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.reading import Reader, decided
from tongqu.gateway.stages import Watch
from tongqu.gateway.tracing import Trace, Tracing, enter, here, step
from tongqu.gateway.webhooks.sending import Answered, Delivery, HttpSender, Sender
from tongqu.gateway.webhooks.settings import WebhookEntry
from tongqu.gateway.webhooks.signing import checked
from tongqu.kit.serving.texts import dumps, plain
from tongqu.kit.trouble import Trouble
from tongqu.store.feed import Event, Feed
from tongqu.store.outbox import Hook, Outbox, Waiting

DELAYS = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds before each attempt, after the one before (Standard Webhooks 1.0); a tenth is added by chance."""
LEASE, LEASE_SECONDS = "webhooks", 5.0
LOOK_SECONDS = 0.3
MOST_BODY = 20_000
"""A body beyond it is sent without its row, and says so."""
AT_ONCE = 8
_SECRET_SECONDS = 5.0
_UNTIL_AGAIN = 5.0
_EVENTS = 500
_PRUNE_SECONDS = 3600.0
logger = logging.getLogger("tongqu.gateway")


class Actors(Protocol):
    """Knows clients by name."""

    def client(self, name: str) -> Actor | None:
        """The client as a caller with the roles it has now; None if there is none, or it is disabled."""
        ...


@dataclass(frozen=True)
class Means:
    """What deliveries need from around them. `now` is Unix seconds, `chance` a number from 0 to 1, `resolve` resolves
    `${…}`, `senders` makes the sender of an entry, `watch` is told of every delivery, `key` makes ids."""

    actors: Actors
    resolve: Callable[[str], Any]
    key: bytes
    holder: str
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = secrets.SystemRandom().random
    senders: Callable[[WebhookEntry], Sender] = HttpSender
    watch: Watch | None = None
    tracing: Tracing | None = None


@dataclass
class Receiver:
    """One webhook of the publication."""

    name: str
    api: Api
    entry: WebhookEntry
    ask: Ask
    sender: Sender
    running: set[str] = field(default_factory=set)


class Dispatcher:
    """Delivers at least once, in the order of the feed for each row, from one process of a home at a time."""

    def __init__(
        self, feed: Feed, outbox: Outbox, reader: Reader, publication: Callable[[], Publication], means: Means
    ):
        self._feed = feed
        self._outbox = outbox
        self._reader = reader
        self._publication = publication
        self._means = means
        self.tracing = means.tracing
        """Where deliveries are told as steps of traces."""
        self._receivers: dict[str, Receiver] = {}
        self._served: Publication | None = None
        self._secrets: dict[str, tuple[float, str, float]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._leased = 0.0
        self._pruned = 0.0
        self.trouble = Trouble("webhooks", "webhooks cannot be delivered at the moment", logger)
        self._troubles: dict[str, Trouble] = {}
        self._again: dict[str, float] = {}
        """When webhooks are tried again whose deliveries could not even be tried."""

    async def run(self) -> None:
        """Until cancelled."""
        wait = LOOK_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                await self.look()
                self.trouble.over()
                wait = LOOK_SECONDS
            except Exception as error:  # noqa: BLE001  # whatever it is, the next look may do better
                wait = max(self.trouble.failed(error), LOOK_SECONDS)

    async def look(self) -> int:
        """Take over what the feed has, and begin every delivery that is due; how many were begun."""
        self._adopt(self._publication())
        if not self._receivers or not self._mine():
            return 0
        if self._means.now() - self._pruned >= _PRUNE_SECONDS:
            self._pruned = self._means.now()
            await asyncio.to_thread(self._outbox.prune, self._pruned)
        begun = 0
        for receiver in list(self._receivers.values()):
            if self._again.get(receiver.name, 0.0) > self._means.now():
                continue
            await self._filled(receiver)
            free = AT_ONCE - len(receiver.running)
            due = await asyncio.to_thread(self._outbox.due, receiver.name, self._means.now(), free + AT_ONCE)
            for one in [one for one in due if one.id not in receiver.running][: max(0, free)]:
                receiver.running.add(one.id)
                task = asyncio.get_running_loop().create_task(self._deliver(receiver, one))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                begun += 1
        return begun

    async def settled(self) -> None:
        """Wait for the deliveries that run."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def close(self) -> None:
        """Wait for the deliveries that run, and close connections."""
        await self.settled()
        for receiver in self._receivers.values():
            receiver.sender.close()
        self._receivers.clear()

    def _adopt(self, publication: Publication) -> None:
        """The webhooks of what is published now; those that stayed as they were keep their connections."""
        if publication is self._served:
            return
        self._served = publication
        earlier, self._receivers = self._receivers, {}
        for api in publication.apis.values():
            for hook, entry in api.entry.webhooks.items():
                name = hook_name(api, hook)
                old = earlier.pop(name, None)
                if old is not None and old.entry == entry:
                    self._receivers[name] = Receiver(name, api, entry, old.ask, old.sender, old.running)
                    continue
                if old is not None:
                    old.sender.close()
                try:
                    self._receivers[name] = Receiver(name, api, entry, ask_of(entry), self._means.senders(entry))
                except (Problem, TongquError):
                    logger.warning("the webhook %s cannot be used", name, exc_info=True)
        for old in earlier.values():
            old.sender.close()

    def _mine(self) -> bool:
        """Whether this process is the one that delivers. It stops in time before another one may begin."""
        now = self._means.now()
        if now < self._leased + LEASE_SECONDS / 3:
            return True
        mine = self._feed.lease(LEASE, self._means.holder, LEASE_SECONDS)
        self._leased = now if mine else 0.0
        return mine

    async def _filled(self, receiver: Receiver) -> None:
        """Keep what the feed has for this webhook."""
        hook = await asyncio.to_thread(self._hook, receiver.name)
        if not self._feed.reaches(hook.position):
            lost = self._waiting(receiver, Event(self._feed.last(), self._means.now(), "", "touched", {}, ""))
            await asyncio.to_thread(self._outbox.add, receiver.name, lost.position, [lost])
            return
        position, ops = hook.position, receiver.entry.events
        while events := await asyncio.to_thread(self._feed.after, position, _EVENTS):
            position = events[-1].position
            mine = [self._told(receiver, event) for event in of_api(receiver.api, events)]
            wanted = [self._waiting(receiver, one) for one in mine if one.op in ops or one.op != "touched"]
            await asyncio.to_thread(self._outbox.add, receiver.name, position, wanted)

    def _hook(self, name: str) -> Hook:
        found = self._outbox.hook(name)
        if found is None:
            self._outbox.begin(name, self._feed.last())
            found = self._outbox.hook(name)
        assert found is not None  # noqa: S101  # it was just begun
        return found

    @staticmethod
    def _told(receiver: Receiver, event: Event) -> Event:
        """The event as one of the API's rows; of rows of another table nobody knows which of these they change."""
        known = key_in(receiver.api, event) is not None
        return event if known else replace(event, op="touched", key={})

    def _waiting(self, receiver: Receiver, event: Event) -> Waiting:
        made = hmac.digest(self._means.key, f"{receiver.name} {event.position}".encode(), "sha256").hex()[:26]
        return Waiting(f"msg_{made}", receiver.name, event.position, event.op, event.key, event.at, due=event.at,
                       trace=event.trace)  # fmt: skip

    # one delivery

    async def _deliver(self, receiver: Receiver, one: Waiting) -> None:
        notes = Notes()
        began = self._means.now()
        enter(Trace.of(one.trace), self.tracing)
        try:
            await self._attempt(receiver, one, notes)
        except Problem as problem:
            now = self._means.now()
            if problem.kind.retryable:
                await asyncio.to_thread(self._outbox.hold, receiver.name, now + _UNTIL_AGAIN)
            else:
                await asyncio.to_thread(self._outbox.end, one, "dead", now, problem=problem.code)
        except TongquError as error:
            logger.warning("the webhook %s waits: %s", receiver.name, error.code)
            await asyncio.to_thread(self._outbox.hold, receiver.name, self._means.now() + _UNTIL_AGAIN)
        except Exception as error:  # noqa: BLE001  # it stays in the outbox
            said = f"the webhook {receiver.name} could not be tried"
            trouble = self._troubles.setdefault(receiver.name, Trouble("webhook", said, logger))
            self._again[receiver.name] = self._means.now() + trouble.failed(error)
        else:
            if (known := self._troubles.get(receiver.name)) is not None:
                known.over()
        finally:
            receiver.running.discard(one.id)
            if notes.action == "deliver":
                self._saw(receiver, one, notes, self._means.now() - began)

    async def _attempt(self, receiver: Receiver, one: Waiting, notes: Notes) -> None:
        actor = self._means.actors.client(receiver.entry.as_)
        if actor is None:
            raise Problem("access.denied", "the client of the webhook is not there or disabled")
        op, document = await self._told_now(receiver, one, actor, notes)
        if not op or op not in receiver.entry.events:
            await asyncio.to_thread(self._outbox.end, one, "skipped", self._means.now())
            return
        keys = await asyncio.to_thread(self._keys, receiver)
        with step("webhook", hook=receiver.name, attempt=one.attempts + 1) as at:
            trace = (at or here().below()).header
            body, headers = _enveloped(receiver, one, document, trace)
            delivery = Delivery(one.id, body, keys, self._means.now(), trace, headers)
            answered = await asyncio.to_thread(receiver.sender.send, delivery)
        notes.action, notes.bytes, notes.reason = "deliver", len(body), answered.problem
        notes.more |= {"status": answered.status, "client": receiver.entry.as_}
        await asyncio.to_thread(self._noted, receiver, one, answered, op)

    def _noted(self, receiver: Receiver, one: Waiting, answered: Answered, op: str) -> None:
        """Write down what came of an attempt."""
        now, attempts = self._means.now(), one.attempts + 1
        if answered.verdict == "held":
            self._outbox.hold(receiver.name, now + _UNTIL_AGAIN)
            return
        if answered.verdict == "taken":
            told = None if op == "touched" else op != "delete"
            self._outbox.end(one, "done", now, status=answered.status, told=told)
            return
        if answered.verdict == "gone":
            self._outbox.disable(receiver.name, answered.problem)
        elif answered.verdict == "slower":
            self._outbox.hold(receiver.name, now + max(answered.wait, _UNTIL_AGAIN))
        if attempts >= len(DELAYS):
            self._outbox.end(one, "dead", now, status=answered.status, problem=answered.problem)
            return
        wait = DELAYS[attempts] * (1 + self._means.chance() / 10)
        self._outbox.later(one, now + max(wait, answered.wait), answered.status, answered.problem)

    async def _told_now(
        self, receiver: Receiver, one: Waiting, actor: Actor, notes: Notes
    ) -> tuple[str, dict[str, Any]]:
        """What the client may be told of the change now; no word if that is nothing."""
        api = receiver.api
        decision = decided(api, actor, "read")
        if one.op == "touched":
            return "touched", _document(receiver, one, "touched", {}, None)
        seeing = Seeing(api, actor, receiver.ask, decision)
        key = key_of(api, one.key) if seeing.keyed else None
        if key is None:
            return ("touched", _document(receiver, one, "touched", {}, None))
        told = dict(zip(api.dataset.key, (plain(value) for value in key), strict=True))
        row = (await seeing.rows(self._reader, [key], notes)).get(key)
        if row is not None:
            op = "insert" if one.op == "insert" else "update"
            return op, _document(receiver, one, op, told, row)
        everything = not seeing.restricted and receiver.ask.where is None
        if everything or await asyncio.to_thread(self._outbox.knows, receiver.name, one.key):
            return "delete", _document(receiver, one, "delete", told, None)
        return "", {}

    def _keys(self, receiver: Receiver) -> list[str]:
        """The secrets that sign now, the present one first."""
        present = receiver.entry.secret
        hook = self._hook(receiver.name)
        keys = [checked(self._secret(present, hook.overlap_until))]
        if hook.overlap_until > self._means.now():
            keys.append(checked(self._secret(secret_before(present), hook.overlap_until)))
        return keys

    def _secret(self, reference: str, rotated: float) -> str:
        """The secret, looked up again after a while, and at once after a rotation."""
        now = self._means.now()
        kept = self._secrets.get(reference)
        if kept is None or kept[2] != rotated or not kept[0] <= now < kept[0] + _SECRET_SECONDS:
            kept = self._secrets[reference] = (now, str(self._means.resolve(reference)), rotated)
        return kept[1]

    def _saw(self, receiver: Receiver, one: Waiting, notes: Notes, seconds: float) -> None:
        watch, served = self._means.watch, self._served
        actor = self._means.actors.client(receiver.entry.as_)
        if watch is None or served is None or actor is None:
            return
        host = urlsplit(receiver.entry.url).hostname or ""
        request = Request("POST", f"/hooks/{receiver.name}", "", {}, "", one.id, here().id, 0.0, _no_body,
                          served, host=host, actor=actor, notes=notes)  # fmt: skip
        notes.api, notes.version = receiver.api.name, receiver.api.version
        watch.saw(request, Reply(200 if not notes.reason else 502), seconds)


async def _no_body(limit: int) -> bytes:
    del limit
    return b""


def hook_name(api: Api, hook: str) -> str:
    """`v1/inspections/erp`: the name of a webhook among all."""
    return f"{api.version}/{api.name}/{hook}"


def ask_of(entry: WebhookEntry) -> Ask:
    """What a webhook selects and filters; raises Problem."""
    pairs = parse_qsl(entry.filter, keep_blank_values=True)
    return asked([*pairs, *([("select", entry.select)] if entry.select else [])])[0]


def secret_before(reference: str) -> str:
    """Where the secret before the present one is kept while both sign."""
    return f"{reference[:-1]}_before}}"


def _enveloped(
    receiver: Receiver, one: Waiting, document: Mapping[str, Any], trace: str
) -> tuple[bytes, Mapping[str, str]]:
    """The body of a delivery in the envelope that the receiver wants, and the headers that belong to it."""
    if receiver.entry.envelope == "standard":
        return dumps(document), {}
    event = CloudEvent.of(one.id, receiver.api.path, document["data"], document["timestamp"], trace)
    if receiver.entry.envelope == "cloudevents":
        return event.structured(), {"Content-Type": STRUCTURED}
    headers, body = event.binary()
    return body, headers


def _document(
    receiver: Receiver, one: Waiting, op: str, key: Mapping[str, Any], row: Mapping[str, Any] | None
) -> dict[str, Any]:
    at = datetime.fromtimestamp(one.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data: dict[str, Any] = {"api": receiver.api.path, "op": op}
    if key:
        data["key"] = dict(key)
    told = {"type": f"{receiver.api.name}.{op}", "timestamp": at, "data": data}
    if row is not None and receiver.entry.body == "full":
        whole = {**told, "data": {**data, "row": dict(row)}}
        if len(dumps(whole)) <= MOST_BODY:
            return whole
        data["too_large"] = True
    return told
