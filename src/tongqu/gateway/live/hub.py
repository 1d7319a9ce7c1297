"""Follows the feed for all subscribers of a process, and looks whether each of them may still be told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway import faults
from tongqu.gateway.asking import Ask
from tongqu.gateway.exchange import Notes, Reply, Request
from tongqu.gateway.live.crowd import Crowd, owner_of
from tongqu.gateway.live.keys import of_api
from tongqu.gateway.live.marks import Marks
from tongqu.gateway.live.views import Message, Seeing, View, messages
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.publication import Api, Publication
from tongqu.gateway.reading import Reader, decided
from tongqu.gateway.stages import Identify, Watch
from tongqu.kit.trouble import Trouble
from tongqu.store.feed import Event, Feed

LOOK_SECONDS = 0.2
RIGHTS_SECONDS = 0.4
HEARTBEAT_SECONDS = 15.0
LINGER_SECONDS = 60.0
"""How long a view without subscribers is kept, so that who comes back loses nothing."""
MOST = 500
"""Events that are read at once."""
logger = logging.getLogger("tongqu.gateway")
declare({"live.ended": Kind(503, "the server is stopping: connect again", "服务正在停止，请重新连接", retryable=True)})


@dataclass(frozen=True)
class Told:
    """What a subscriber hears: `change`, `touched` (some rows changed, nobody knows which), `lagged` (it was too slow;
    what follows comes from the feed), or `reset` (what it has may be old: read again). `mark` is where to resume."""

    kind: str
    mark: str
    body: bytes = b""


@dataclass(eq=False)
class Subscription:
    """One subscriber. `at` is the position of the last thing it was told."""

    hub: Hub
    request: Request
    address: tuple[str, str]
    ask: Ask
    view: View
    about: str
    at: int = 0
    reset: bool = False
    slow: bool = False
    ended: Problem | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    noted: Notes = field(default_factory=Notes)
    """What it was told since that was last written down."""

    async def next(self) -> list[Told]:
        """What is new, waiting for it; an empty list now and then when nothing is (a heartbeat). Raises Problem when
        the right to be told has ended, or the server stops."""
        if not self._ready():
            self.wake.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self.wake.wait()
            except TimeoutError:
                return []
        if self.ended is not None:
            raise self.ended
        if self.reset:
            self.reset = False
            return [Told("reset", self.mark())]
        if self.at < self.view.since:
            return await self._behind()
        return [self._told(message) for message in self.view.after(self.at)]

    def leave(self) -> None:
        """Nobody listens any more; may be called twice."""
        self.hub.left(self)

    def _ready(self) -> bool:
        view = self.view
        return bool(
            self.ended or self.reset or self.at < view.since or (view.ring and view.ring[-1].position > self.at)
        )

    async def _behind(self) -> list[Told]:
        """It is behind what the view keeps: from the feed, if rows that it must not hear of cannot be among them."""
        view = self.view
        if view.known is not None or not self.hub.feed.reaches(self.at):
            self.at = view.upto
            return [Told("reset", self.mark())]
        told = [Told("lagged", self.mark())] if self.slow else []
        self.slow = False
        events = await self.hub.events(view.seeing.api, self.at, view.since)
        try:
            missed = await messages(view.seeing, self.hub.reader, events, None)
        except TongquError as error:  # who follows comes back behind what it was told
            raise faults.told(error) from error
        told += [self._told(message) for message in missed]
        if len(events) < MOST:
            self.at = max(self.at, view.since)
            self.slow = True
        return told

    def _told(self, message: Message) -> Told:
        self.at = message.position
        self.noted.rows += 1
        if message.read is not None:
            read, more = message.read, self.noted.more
            self.noted.fields, self.noted.masks, self.noted.policy = read.fields, read.masks, read.policy
            if "subjects" in read.more:
                more["subjects"] = sorted({*more.get("subjects", ()), *read.more["subjects"]})
        return Told("touched" if message.op == "touched" else "change", self.mark(), message.body)

    def mark(self) -> str:
        """Where to resume."""
        return self.hub.marks.mark(self.about, self.at)


class Hub:
    """The subscribers of one process. All methods run in its event loop.

    Each view reads a changed row once, whatever the number of its subscribers; a subscriber is a cursor in its view's
    ring, so that a slow one costs no memory. Rights are looked at every `RIGHTS_SECONDS`.
    """

    def __init__(
        self,
        feed: Feed,
        reader: Reader,
        identify: Identify,
        publication: Callable[[], Publication],
        key: bytes,
        *,
        crowd: Crowd | None = None,
        watch: Watch | None = None,
    ):
        self.feed = feed
        self.reader = reader
        self.marks = Marks(key)
        self._identify = identify
        self._publication = publication
        self._crowd = crowd or Crowd()
        self._audit = watch
        self._views: dict[tuple[Any, ...], View] = {}
        self._subscriptions: set[Subscription] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop
        self._stopped = False
        self.at = 0
        """How far the feed was read."""
        self.trouble = Trouble("live", "the feed of changes cannot be read", logger)

    def start(self) -> None:
        """Begin to follow; called in the loop."""
        self._loop = asyncio.get_running_loop()
        self.feed.listeners.append(self._appended)
        self._tasks = [self._loop.create_task(self._follow()), self._loop.create_task(self._watch())]

    def retire(self) -> None:
        """End all subscriptions: the server stops."""
        self._stopped = True
        for one in list(self._subscriptions):
            self._end(one, Problem("live.ended"))

    async def close(self) -> None:
        """Stop following."""
        self.retire()
        if self._appended in self.feed.listeners:
            self.feed.listeners.remove(self._appended)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def numbers(self) -> tuple[int, int]:
        """Subscribers and views."""
        return len(self._subscriptions), len(self._views)

    async def subscribe(self, request: Request, version: str, name: str, ask: Ask, mark: str = "") -> Subscription:
        """Follow an API from now, or from behind `mark`. `request` is whose rights count, now and later.

        Raises Problem: what reading raises, `cursor.invalid` for a mark of another API, `live.*`, `overloaded`.
        """
        if request.actor.sandbox:
            raise Problem("access.denied", "made-up rows never change: a sandbox client cannot follow them")
        mine = sum(1 for one in self._subscriptions if one.request.actor.id == request.actor.id)
        if self._stopped or len(self._subscriptions) >= self._crowd.subscribers or mine >= self._crowd.of_one:
            raise Problem("overloaded", "there are too many subscribers")
        api = published(self._publication(), version, name, request.actor)
        decision = decided(api, request.actor, "read")
        about = f"{version} {name}"
        position = self.marks.position(about, mark) if mark else None
        if mark and position is None:
            raise Problem("cursor.invalid")
        view = await self._view(Seeing(api, request.actor, ask, decision), request.notes)
        at = view.upto if position is None else position
        subscription = Subscription(self, request, (version, name), ask, view, about, at)
        if position is not None and at < view.since and view.known is not None:
            subscription.reset, subscription.at = True, view.upto
        subscription.slow = position is None
        view.subscribers += 1
        self._subscriptions.add(subscription)
        return subscription

    def left(self, subscription: Subscription) -> None:
        """A subscriber is gone."""
        if subscription in self._subscriptions:
            self._subscriptions.discard(subscription)
            self._dropped(subscription.view)
            self._write_down(subscription)

    async def events(self, api: Api, after: int, until: int) -> list[Event]:
        """The next events of the API's tables, up to a position; fewer than `MOST` mean that there are no more."""
        found: list[Event] = []
        while after < until and len(found) < MOST:
            every = await asyncio.to_thread(self.feed.after, after, MOST)
            if not every:
                break
            found += of_api(api, every)
            after = every[-1].position
        return [event for event in found if event.position <= until]

    # the feed

    def _appended(self) -> None:
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _follow(self) -> None:
        self.at = await asyncio.to_thread(self.feed.last)
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._look()
                self.trouble.over()
            except Exception as error:  # noqa: BLE001  # the next look may do better
                await asyncio.sleep(self.trouble.failed(error))

    async def _look(self) -> None:
        """Read on in the feed and hand each view what is of its tables."""
        await asyncio.to_thread(self.feed.settle)
        while events := await asyncio.to_thread(self.feed.after, self.at, MOST):
            upto = events[-1].position
            for place, view in list(self._views.items()):
                mine = of_api(view.seeing.api, events)
                await self._advance(place, view, [event for event in mine if event.position > view.upto], upto)
            # a view that was made meanwhile, and lacks some of what was read before it was there, gets it next
            self.at = min([upto, *(view.upto for view in self._views.values())])

    async def _advance(self, place: tuple[Any, ...], view: View, events: list[Event], upto: int) -> None:
        try:
            news = await view.advance(self.reader, events, max(upto, view.upto))
        except (TongquError, Problem) as error:
            # its rows cannot be read: who follows must not miss them, and comes back behind what it was told
            self._views.pop(place, None)
            problem = error if isinstance(error, Problem) else Problem("source.unavailable")
            for one in [one for one in self._subscriptions if one.view is view]:
                self._end(one, problem)
            return
        if news:
            for one in self._subscriptions:
                if one.view is view:
                    one.wake.set()

    async def _view(self, seeing: Seeing, notes: Notes) -> View:
        key = (id(seeing.api), seeing.decision.fingerprint, repr(seeing.ask))
        found = self._views.get(key)
        await seeing.check(self.reader, notes)
        notes.rows = 0
        if found is not None:
            return found
        owner = owner_of(seeing.actor)
        self._crowd.room(self._views, owner)
        if not seeing.keyed and seeing.api.table:
            raise Problem("live.keyless")
        position = await asyncio.to_thread(self.feed.last)
        known = await seeing.all_keys(self.reader) if seeing.restricted and seeing.keyed else None
        self._crowd.room(self._views, owner, len(known or ()))  # others came meanwhile
        view = self._views.setdefault(key, View(seeing, position, known, owner))
        self.at = min(self.at, view.upto)  # what was read while the view was made is read again, for it alone
        self._wake.set()
        return view

    def _dropped(self, view: View) -> None:
        view.subscribers -= 1
        view.idle_since = self._loop.time()

    # rights

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(RIGHTS_SECONDS)
            publication = self._publication()
            decisions: dict[tuple[Any, ...], Decision] = {}
            for number, one in enumerate(list(self._subscriptions)):
                if number % 100 == 99:  # others want to be served too
                    await asyncio.sleep(0)
                self._write_down(one)
                try:
                    await self._look_at(one, publication, decisions)
                except Problem as problem:
                    self._end(one, problem)
                except Exception:  # whoever cannot be judged is not told
                    logger.exception("whether a subscriber may be told cannot be found out")
                    self._end(one, Problem("source.unavailable"))
            now = self._loop.time()
            for key, view in list(self._views.items()):
                if view.subscribers <= 0 and now - view.idle_since > LINGER_SECONDS:
                    del self._views[key]

    async def _look_at(
        self, one: Subscription, publication: Publication, decisions: dict[tuple[Any, ...], Decision]
    ) -> None:
        actor = await self._again(one.request)
        if actor.sandbox:
            raise Problem("access.denied")
        api = published(publication, *one.address, actor)
        same = (id(api), actor.id, actor.roles, actor.purpose, actor.address, actor.scopes, repr(actor.attributes))
        decision = decisions.get(same)
        if decision is None:
            decision = decisions[same] = decided(api, actor, "read")
        seen = one.view.seeing
        if api is seen.api and decision.fingerprint == seen.decision.fingerprint:
            return
        view = await self._view(Seeing(api, actor, one.ask, decision), Notes())
        view.subscribers += 1
        self._dropped(one.view)
        one.request.actor, one.view = actor, view
        if view.known is not None or view.since > one.at:
            one.reset, one.at = True, view.upto
        one.wake.set()

    def _write_down(self, one: Subscription) -> None:
        """Let the audit know what a subscriber was told, long before its stream ends."""
        noted, one.noted = one.noted, Notes()
        if self._audit is None or not noted.rows:
            return
        noted.version, noted.api = one.address
        noted.action = "tell"
        if client := one.request.notes.more.get("client"):
            noted.more["client"] = client
        self._audit.saw(replace(one.request, notes=noted), Reply(200), 0.0)

    async def _again(self, request: Request) -> Actor:
        again = getattr(self._identify, "again", self._identify.actor)
        actor: Actor = await again(request)
        return actor

    def _end(self, one: Subscription, problem: Problem) -> None:
        one.ended = problem
        one.wake.set()


def published(publication: Publication, version: str, name: str, actor: Actor) -> Api:
    """The API, if it is published for live streams; otherwise there is none."""
    api = publication.api(version, name)
    if api is None or "live" not in api.entry.protocols:
        raise Problem("api.unknown" if actor.known else "auth.missing")
    return api
