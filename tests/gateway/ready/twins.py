"""Two gateways that differ in one thing: at one of them answers stand ready. What both are asked is compared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.gateway.rest.plant import ACCESS, KEY, Plant, plant

from tongqu.gateway.audit.watch import AuditWatch, Pace, WhileAudited
from tongqu.gateway.auth.access import Grant
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.auth.identify import Identify
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.gateway.cache.keeping import Cache, MemoryStore
from tongqu.gateway.cache.touches import Touches
from tongqu.gateway.etags import Tags
from tongqu.gateway.gate import AddressGate
from tongqu.gateway.limit.admission import Admitting
from tongqu.gateway.metrics.board import Board
from tongqu.gateway.metrics.measures import Metrics
from tongqu.gateway.reading import Reader
from tongqu.gateway.ready.answers import Ready
from tongqu.gateway.rest.handler import RestHandler
from tongqu.gateway.serving.connection import Connection
from tongqu.gateway.serving.server import HttpServer
from tongqu.gateway.settings import GatewayEntry
from tongqu.gateway.shield.guard import Shield
from tongqu.gateway.site import Route, Site, Stages
from tongqu.gateway.stages import Watches
from tongqu.gateway.writing import Writer
from tongqu.store.audit.trail import Trail
from tongqu.store.audit.usage import Usage
from tongqu.store.feed import TOUCHED, Feed
from tongqu.store.home import Home
from tongqu.store.identity.clients import Client
from tongqu.store.scrub import Scrubber

ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "items": {"cache": {"seconds": 10, "stale_seconds": 5}, "limit": {"requests": 1000, "per": "day", "burst": 40}},
    "lines": {
        "cache": {"seconds": 60},
        "limit": {"requests": 1000, "per": "day"},
        "addresses": {"deny": ["10.9.0.0/16"]},
    },
    "defects": {"cache": {"seconds": 60}, "limit": {"requests": 100, "per": "day", "burst": 6}},
}
ACCESSES = {**ACCESS, "defects": {"public": True}}
OPEN: Mapping[str, Any] = {
    "trusted_proxies": ["127.0.0.1/32"],
    "limits": {
        "address": {"requests": 1000, "per": "day", "burst": 60},
        "client": {"requests": 1000, "per": "day", "burst": 50},
    },
}
_ID = re.compile(rb"(?<=\r\ntongqu-request-id: )[0-9a-f]{16}(?=\r\n)")


class Line(asyncio.Transport):
    """The other end of a connection, from where bytes are given by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.got = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def write(self, data: Any) -> None:
        self.got += data

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """As above."""

    def close(self) -> None:
        self.closed = True

    abort = close


@dataclass
class Twin:
    """One gateway, and what it wrote down."""

    site: Site
    server: HttpServer
    cache: Cache
    metrics: Metrics
    board: Board
    audit: AuditWatch
    gate: AddressGate
    usage: Usage
    trail: Trail
    trace: str = ""
    lines: dict[str, tuple[Connection, Line]] = field(default_factory=dict)

    async def ask(self, request: bytes, line: str = "") -> bytes:
        """The whole answer to a request, but for its ids; on a connection that stays open."""
        if line not in self.lines or self.lines[line][1].closed:
            made = (Connection(self.server), Line())
            made[0].connection_made(made[1])
            self.lines[line] = made
        connection, end = self.lines[line]
        end.got = b""
        connection.data_received(request)
        async with asyncio.timeout(30):
            while not end.got or not connection.idle():
                await asyncio.sleep(0)
        await asyncio.sleep(0)  # the turn is over
        await asyncio.sleep(0)
        self.trace = end.got.partition(b"traceparent: 00-")[2][:32].decode()
        [id] = _ID.findall(end.got)
        return end.got.replace(id, b"*").replace(self.trace.encode(), b"*")


@dataclass
class Twins:
    """The two, with the clock, the callers and the tables that they share."""

    plain: Twin
    quick: Twin
    plant: Plant
    identity: Identity
    feed: Feed
    entry: GatewayEntry
    tokens: dict[str, str] = field(default_factory=dict)
    at: list[float] = field(default_factory=lambda: [1_772_366_400.0])

    @property
    def ready(self) -> Ready:
        """What stands ready at the one of them."""
        assert self.quick.site.ready is not None
        return self.quick.site.ready

    async def ask(self, target: str, who: str = "", *, method: str = "GET", line: str = "", **headers: str) -> bytes:
        """What both answer; fails unless it is the same. Headers are written `if_none_match`."""
        told = {"host": "gateway.test", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if who:
            told["authorization"] = f"Bearer {self.tokens[who]}"
        lines = [f"{method} /api/v1/{target} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        return await self.say(("\r\n".join(lines) + "\r\n\r\n").encode(), line)

    async def say(self, request: bytes, line: str = "") -> bytes:
        """What both answer to these bytes."""
        one, other = await self.plain.ask(request, line), await self.quick.ask(request, line)
        assert other == one, (request, one, other)
        return one

    def pass_(self, seconds: float) -> None:
        """Later."""
        self.at[0] += seconds

    def add(self, who: str, **told: Any) -> None:
        """A client with a token for an hour."""
        clients = self.identity.identities.clients
        if clients.get(who) is None:
            clients.add(Client(who, **{"roles": ("quality",), "attributes": {"plant": "A"}, **told}))
        self.tokens[who] = self.identity.access.token(Grant(f"client:{who}", who, seconds=300))[0]

    def adopt(self, entry: Mapping[str, Any]) -> None:
        """Protect both in another way from now on."""
        self.entry = GatewayEntry.parse(entry)
        for twin in (self.plain, self.quick):
            twin.site.stages = stages(self, twin)

    def publish(self, version: str) -> None:
        """Another version of the same."""
        self.plant.publication = replace(self.plant.publication, version=version)
        for twin in (self.plain, self.quick):
            twin.site.swap(self.plant.publication)

    def touch(self, place: str) -> None:
        """Rows of the table changed."""
        self.feed.append(place, [TOUCHED], "call")

    def counted(self) -> tuple[dict[str, float], dict[str, float]]:
        """What both measured, but for how long calls took."""
        found = []
        for twin in (self.plain, self.quick):
            sums = {name: value for name, value in twin.board.sums().items() if value and "seconds" not in name}
            found.append(sums)
        return found[0], found[1]


def stages(twins: Twins, twin: Twin) -> Stages:
    """Who stands at each stage of one of them."""
    nanoseconds = lambda: int(twins.at[0] * 1_000_000_000)  # noqa: E731
    twin.gate = AddressGate(twins.entry, nanoseconds)
    admitting = Admitting(twins.entry, nanoseconds, gate=twin.gate, shield=Shield())
    return Stages(
        gate=twin.gate, identify=Identify(twins.identity.access), admission=WhileAudited(admitting, [twin.audit]),
        watch=Watches(twin.metrics, twin.audit, twin.gate),
    )  # fmt: skip


def _twin(folder: Path, there: Plant, at: list[float]) -> Twin:
    home = Home(folder)
    home.ensure()
    seconds = lambda: at[0]  # noqa: E731
    touches = Touches(Feed(folder.parent / "feed.db", clock=seconds), seconds)
    cache = Cache(touches, MemoryStore(1 << 20, touches, seconds))
    reader = Reader(KEY, lambda: 1000.0, cache)
    board = Board(folder / "metrics", "one")
    trail, usage = Trail.open(home), Usage.open(home)
    audit = AuditWatch(trail, "c-1", usage, wall=seconds, tick=seconds, pace=Pace())
    site = Site([Route("/api", RestHandler(reader, Writer(reader), Tags(KEY)), "rules")], there.publication)
    gate = AddressGate(GatewayEntry(), lambda: 0)
    made = Twin(site, HttpServer(site), cache, Metrics(board), board, audit, gate, usage, trail)
    made.server.clock.tick(1000.0)
    return made


@asynccontextmanager
async def twins(folder: Path) -> AsyncIterator[Twins]:
    """Both of them over one small plant, with the clients `mes` and `erp` of plant A and `far` of plant B."""
    at = [1_772_366_400.0]
    home = Home(folder / "home")
    identity = Identity.open(home, Scrubber(), IdentitySettings(), clock=lambda: datetime.fromtimestamp(at[0], UTC),
                             elapsed=lambda: at[0])  # fmt: skip
    feed = Feed(folder / "feed.db", clock=lambda: at[0])
    async with plant(folder, ENTRIES, access=ACCESSES) as there:
        plain, quick = _twin(folder / "plain", there, at), _twin(folder / "quick", there, at)
        made = Twins(plain, quick, there, identity, feed, GatewayEntry.parse(OPEN), at=at)
        made.adopt(OPEN)
        quick.site.ready = Ready(quick.site, Identify(identity.access))
        quick.server = HttpServer(quick.site)
        quick.server.clock.tick(1000.0)
        for who, told in {"mes": {}, "erp": {}, "far": {"attributes": {"plant": "B"}}}.items():
            made.add(who, **told)
        try:
            yield made
        finally:
            for twin in (plain, quick):
                for connection, end in twin.lines.values():
                    end.close()
                    connection.connection_lost(None)
                await twin.cache.close()
                twin.audit.close()
                twin.board.close()
                twin.usage.close()
                twin.trail.close()
            identity.close()
            feed.close()
