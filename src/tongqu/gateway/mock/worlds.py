"""Whom made-up rows are given instead of real ones, and from where."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.entry import WriteEntry
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.mock.servers import MOST_WRITTEN, MockServer, OpenFile, Shelf
from tongqu.gateway.mock.tables import Making, Profile, table_name, together, wanted_values
from tongqu.gateway.publication import Api, Publication

WORLDS = 16
"""Callers whose tables are kept."""
_LATELY = 256
_OK = 400
Sleep = Callable[[float], Awaitable[Any]]


class Latencies:
    """How long real calls of each API took lately."""

    def __init__(self, seed: str = "latencies") -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._chance = Random(seed)  # noqa: S311  # a sample, no secret

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """Note a call that was really answered."""
        notes = request.notes
        if notes.api and reply.status < _OK and "mock" not in notes.more:
            path = f"/api/{notes.version}/{notes.api}"
            self._seconds.setdefault(path, deque(maxlen=_LATELY)).append(seconds)

    def sample(self, api: Api) -> float:
        """One of them; 0 if there is none."""
        found = self._seconds.get(api.path)
        return min(self._chance.choice(found), api.entry.limit.seconds) if found else 0.0


class World:
    """The made-up rows of one caller."""

    def __init__(self, publication: Publication, actor: Actor, mocks: Mocks) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tongqu-mock-")
        self.shelves: list[Shelf] = []
        quick, slow = {}, {}
        for number, group in enumerate(together(list(publication.apis.values()))):
            wanted = {(api.version, api.name): _wanted(api, actor) for api in group}
            making = Making(group, mocks.seed, mocks.profile, wanted)
            shelf = Shelf(Path(self._folder.name) / f"{number}.duckdb", making, mocks.open_file)
            self.shelves.append(shelf)
            ends: dict[tuple[str, bool], MockServer] = {}
            for api in group:
                place = (api.version, api.name)
                quick[place] = _pretended(api, _end(ends, shelf, api, None))
                slow[place] = _pretended(api, _end(ends, shelf, api, partial(mocks.pause, api)))
        self.quick = replace(publication, apis=quick)
        self.slow = replace(publication, apis=slow)

    @property
    def busy(self) -> bool:
        """Whether a call is being answered."""
        return any(shelf.busy for shelf in self.shelves)

    @property
    def spent(self) -> bool:
        """Whether so much was written that it should begin anew."""
        return any(shelf.written > MOST_WRITTEN for shelf in self.shelves)

    async def close(self) -> None:
        """Forget the rows."""
        for shelf in self.shelves:
            await shelf.close()
        self._folder.cleanup()


def _end(
    ends: dict[tuple[str, bool], MockServer], shelf: Shelf, api: Api, pause: Callable[[], Awaitable[None]] | None
) -> MockServer:
    """The server for a connection: APIs of one connection have one, so that what can be joined is what really can."""
    key = (api.connection, pause is not None)
    if key not in ends:
        ends[key] = MockServer(shelf, api.server, pause)
    return ends[key]


def _wanted(api: Api, actor: Actor) -> Any:
    return wanted_values(api.policy.opened().decide(actor, "read"))


def _pretended(api: Api, server: MockServer) -> Api:
    entry = api.entry.model_copy(update={"cache": None, **({"write": WriteEntry()} if api.sql else {})})
    return replace(
        api, entry=entry, server=server, policy=api.policy.opened(), connection=f"mock:{api.connection}",
        table=f"main.{table_name(api)}", sql="", tables=frozenset(),
    )  # fmt: skip


class Mocks:
    """Gives callers made-up publications: the same APIs, rules, limits and errors, over rows that are nobody's.

    Rows are the same for the same `seed`, API and rights. What a caller writes it sees again, nobody else does; its
    rows begin anew after `MOST_WRITTEN` of them, with a new configuration, or when more than `WORLDS` others came.
    """

    def __init__(
        self, open_file: OpenFile, profile: Profile = lambda api: None, *, seed: str = "tongqu",
        sleep: Sleep = asyncio.sleep, always: bool = False,
    ) -> None:  # fmt: skip
        self.open_file, self.profile, self.seed = open_file, profile, seed
        self.latencies = Latencies()
        self._sleep, self._always = sleep, always
        self._of: Publication | None = None
        self._worlds: OrderedDict[str, World] = OrderedDict()
        self._retired: list[World] = []
        self._closing: set[asyncio.Task[None]] = set()

    def instead(self, request: Request) -> None:
        """See stages.Pretending: for clients that are only given made-up rows, and for calls with `Prefer: mock`. With
        `Prefer: latency=real` an answer takes as long as a real one."""
        prefer = request.headers.get("prefer", "")
        if not (self._always or request.actor.sandbox or "mock" in prefer):
            return
        wished = {part.strip().lower() for part in prefer.split(",")}
        if self._always or request.actor.sandbox or "mock" in wished:
            world = self.world(request.publication, request.actor)
            request.publication = world.slow if "latency=real" in wished else world.quick
            request.notes.more["mock"] = True

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """See stages.Pretending."""
        self.latencies.saw(request, reply, seconds)

    def world(self, publication: Publication, actor: Actor) -> World:
        """The rows of a caller."""
        if self._of is not publication:
            self._of = publication
            self._retired += self._worlds.values()
            self._worlds.clear()
        key = _rights(actor)
        found = self._worlds.get(key)
        if found is not None and found.spent:
            self._retired.append(self._worlds.pop(key))
            found = None
        if found is None:
            found = self._worlds[key] = World(publication, actor, self)
            if len(self._worlds) > WORLDS:
                self._retired.append(self._worlds.popitem(last=False)[1])
        self._worlds.move_to_end(key)
        self._sweep()
        return found

    async def pause(self, api: Api) -> None:
        """Wait as long as a real call might take."""
        seconds = self.latencies.sample(api)
        if seconds:
            await self._sleep(seconds)

    async def close(self) -> None:
        """Forget all rows."""
        worlds = [*self._worlds.values(), *self._retired]
        self._worlds.clear()
        self._retired.clear()
        await asyncio.gather(*self._closing)
        for world in worlds:
            await world.close()

    def _sweep(self) -> None:
        """Close those that nobody uses any more."""
        idle = [world for world in self._retired if not world.busy]
        self._retired = [world for world in self._retired if world.busy]
        for world in idle:
            task = asyncio.get_running_loop().create_task(world.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _rights(actor: Actor) -> str:
    """What tells one caller's rows from another's."""
    told: Mapping[str, Any] = {
        "id": actor.id, "subject": actor.subject, "roles": sorted(actor.roles), "attributes": dict(actor.attributes),
        "purpose": actor.purpose,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, default=str, sort_keys=True).encode()).hexdigest()
