"""Puts the gateway together: who stands at which stage, and which handler answers which address."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tongqu.app.services import auditing
from tongqu.app.services.hooking import no_queue
from tongqu.app.services.pretending import mocks_of
from tongqu.app.services.serve_place import COUNTS
from tongqu.app.services.streaming import Streams
from tongqu.gateway.audit.assembled import Audited
from tongqu.gateway.audit.watch import WhileAudited
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.auth.login import Doorkeeper
from tongqu.gateway.cache.assembled import opened
from tongqu.gateway.cache.keeping import Cache
from tongqu.gateway.docs.documents import Documents
from tongqu.gateway.docs.handler import DocsHandler
from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.exporting import Exporting
from tongqu.gateway.gate import AddressGate
from tongqu.gateway.graphql.handler import GraphqlHandler
from tongqu.gateway.health import Health
from tongqu.gateway.hooks.handler import PREFIX, HooksHandler, Means
from tongqu.gateway.limit.admission import Admitting
from tongqu.gateway.limit.rates import Meter
from tongqu.gateway.limit.shared import SharedMeter
from tongqu.gateway.limit.together import CommonMeter, table
from tongqu.gateway.live.ledger import FeedLedger
from tongqu.gateway.manners import Cors
from tongqu.gateway.metrics.board import Board
from tongqu.gateway.metrics.measures import Metrics, MetricsHandler
from tongqu.gateway.mock.worlds import Mocks
from tongqu.gateway.persons import Persons
from tongqu.gateway.reading import Reader
from tongqu.gateway.ready.answers import Ready
from tongqu.gateway.rest.handler import RestHandler
from tongqu.gateway.settings import CorsEntry, GatewayEntry
from tongqu.gateway.shield.guard import Shield
from tongqu.gateway.signing import Calling, Signing, SigningWriter
from tongqu.gateway.site import Route, Site, Stages
from tongqu.gateway.soap.handler import SoapHandler
from tongqu.gateway.soap.security import MessageIdentify
from tongqu.gateway.stages import Pass, Sharing, Ticket, Watches
from tongqu.gateway.writing import Writer
from tongqu.kit import lasting
from tongqu.kit.drivers import driver
from tongqu.store.exports import Exports
from tongqu.store.feed import Feed
from tongqu.store.pending import Pending
from tongqu.store.subjects import Digests

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.newsroom import Newsroom
    from tongqu.gateway.audit.settings import AuditEntry
    from tongqu.gateway.publication import Api, Publication
    from tongqu.kit.queue.queue import Queue
    from tongqu.store.home import Home
    from tongqu.store.identity.users import User
    from tongqu.store.scrub import Scrubber

logger = logging.getLogger(__name__)


@dataclass
class Gateway:
    """The running parts of one process."""

    site: Site
    identity: Identity
    audit: Audited
    metrics: Metrics
    board: Board
    cache: Cache
    feed: Feed
    streams: Streams
    hooks: HooksHandler
    counts: tuple[Exports, Pending]
    """What is counted and kept of calls, to be closed."""
    entry: GatewayEntry = field(default_factory=GatewayEntry)
    resolve: Callable[[str], Any] = str
    """Resolves `${…}`."""
    shared: SharedMeter | None = None
    """Where limits are counted for several replicas."""
    leaving: list[asyncio.Future[None]] = field(default_factory=list)
    """The closing of what was before."""
    audited: Callable[[Project], AuditEntry] | None = None
    """The section `audit` of a project with its references resolved."""
    mocks: Mocks | None = None
    """Made-up rows for who wants them."""
    news: Newsroom | None = None
    """Who tells callers what changes."""

    def prepared(self, project: Project) -> Callable[[], None]:
        """What makes this project's settings count: called in the serving loop it swaps them all in at once. What can
        fail is done now, in any thread, and raises SecretError, AuditError, MissingDriverError or OSError."""
        told = self.audited(project) if self.audited is not None else self.audit.entry
        swap = self.audit.prepared(told) if told != self.audit.entry else None

        def adopt() -> None:
            self.identity.adopt(project.identity)
            if swap is not None:
                ending = asyncio.get_running_loop().run_in_executor(None, swap())
                self._leave(ending)
                self.streams.traced_by(self.audit.tracing)
                stages = self.site.stages
                gate = [stages.gate] if isinstance(stages.gate, AddressGate) else []
                watch = Watches(self.metrics, *self.audit.watches, *gate)
                self.site.stages = replace(stages, watch=watch, tracing=self.audit.tracing)
            self._protect(project)

        return adopt

    def _leave(self, ending: asyncio.Future[None]) -> None:
        self.leaving = [one for one in self.leaving if not one.done()] + [ending]

    def _protect(self, project: Project) -> None:
        """Protect as this project says from the next request on; counters of limits begin anew where they changed."""
        entry = project.gateway or GatewayEntry()
        self.hooks.adopt(project.hooks, entry.sizes)
        if entry != self.entry:
            self.entry = entry
            before, self.shared = self.shared, _shared(entry, self.resolve)
            self.site.stages = _stages(entry, self.identity, self.audit, self.metrics, self.shared)
            for route in self.site.routes:
                if isinstance(route.handler, GraphqlHandler):
                    route.handler.adopt(entry)
            if before is not None:
                self._leave(asyncio.get_running_loop().create_task(before.close()))

    def begin(self) -> None:
        """Start what goes on by itself, in the running loop."""
        self.streams.start()
        if self.news is not None:
            self.news.begin()

    def retire(self) -> None:
        """End what would never end by itself, so that the server can stop."""
        self.streams.retire()

    async def leave(self) -> None:
        """Release what belongs to the event loop."""
        await self.streams.leave()
        if self.news is not None:
            await self.news.leave()
        await self.hooks.leave()
        await asyncio.gather(*self.leaving)
        if self.shared is not None:
            await self.shared.close()
        if self.mocks is not None:
            await self.mocks.close()
        await self.cache.close()

    def close(self) -> None:
        """Write down what was seen, and close the files."""
        self.audit.close()
        self.identity.close()
        self.board.close()
        self.streams.close()
        self.hooks.close()
        for one in self.counts:
            one.close()
        if self.news is not None:
            self.news.close()
        self.feed.close()


def compose(
    home: Home,
    scrubber: Scrubber,
    project: Project,
    publication: Publication,
    health: Health,
    *,
    resolve: Callable[[str], Any] = str,
    mocks: Mocks | None = None,
    queue: Callable[[str], Queue] = no_queue,
) -> Gateway:
    """The gateway of a home, ready to be served; `resolve` resolves the references of its settings, `mocks` gives
    made-up rows, `queue` opens the queue of a connection. Raises what its files do: SecretError, CheckpointError,
    OSError."""
    home.ensure()
    key = gateway_key(home)
    entry = project.gateway or GatewayEntry()
    identity = Identity.open(home, scrubber, project.identity)
    process = f"{os.getpid()}-{secrets.token_hex(4)}"
    audit = Audited.open(home, auditing.settings(home, scrubber, project), process, logger.warning)
    board = Board(home.path / "metrics", process)
    metrics = Metrics(board)
    audit.measured_by(metrics)
    cache = opened(home, entry.cache, project.name, resolve)
    exports = Exports.open(home)
    exporting = Exporting(exports, time.time, audit.trail.note)
    metrics.gauge("tongqu_export_alerts", "Callers that were oddly fast or wanted more rows", lambda: exporting.odd)
    reader = Reader(_derived(key, b"cursors"), time.time, cache, Persons(Digests.open(home).of), exporting)
    feed = Feed.open(home)
    pending = Pending.open(home)
    writer, tags = _writer(reader, feed, identity, audit, pending), Tags(_derived(key, b"tags"))
    rest = RestHandler(reader, writer, tags, entry.sizes)
    soap = SoapHandler(reader, writer, identity.identify, tags=tags, sizes=entry.sizes)
    routes = [
        Route("/api", rest, "rules"),
        Route("/soap", soap, "rules"),
        Route("/oauth", identity.oauth, "open"),
        Route("/.well-known", identity.oauth, "open"),
        Route("/metrics", MetricsHandler(metrics), "open"),
        Route("/healthz", health, "open"),
        Route("/readyz", health, "open"),
    ]
    shared = _shared(entry, resolve)
    site = Site(routes, publication, _stages(entry, identity, audit, metrics, shared))
    site.add(Route("/graphql", _graphql(reader, writer, entry, site), "rules"))
    streams = Streams.open(home, feed, reader, writer, identity, entry, site, audit, process, key, resolve)
    streams.measured_by(metrics)
    for route in streams.routes:
        site.add(route)
    mocks = mocks or mocks_of()
    hooks = HooksHandler(Means(resolve, queue), entry.sizes)
    site.add(Route(PREFIX, hooks, "open"))
    site.pretending = mocks
    site.ready = Ready(site, identity.identify)
    docs = DocsHandler(Documents(reader, mocks))
    site.add(Route("/openapi", docs, "open"))
    site.add(Route("/docs", docs, "open"))
    return Gateway(site, identity, audit, metrics, board, cache, feed, streams, hooks, (exports, pending), entry,
                   resolve, shared, mocks=mocks, audited=partial(auditing.settings, home, scrubber))  # fmt: skip


def _graphql(reader: Reader, writer: Writer, entry: GatewayEntry, site: Site) -> GraphqlHandler:
    """GraphQL, whose requests use several APIs: each within its own limits and told of as a call of its own."""

    async def share(request: Request, api: Api, texts: Sequence[tuple[str, str]], cost: int, first: bool) -> Ticket:
        admission = site.stages.admission
        return await admission.share(request, api, texts, cost, first) if isinstance(admission, Sharing) else Pass()

    def tell(request: Request, reply: Reply, seconds: float) -> None:
        site.stages.watch.saw(request, reply, seconds)

    return GraphqlHandler(reader, writer, entry, share=share, tell=tell)


def _writer(reader: Reader, feed: Feed, identity: Identity, audit: Audited, pending: Pending) -> Writer:
    doorkeeper = Doorkeeper(identity.identities, lambda: identity.access.settings)

    def user(name: str) -> User | None:
        found = identity.identities.users.get(name)
        return found if found and found.alive(identity.identities.database.seconds()) else None

    signing = Signing(doorkeeper, identity.access.actor, audit.trail.note, pending, user)
    return SigningWriter(reader, FeedLedger(feed), signing)


def _shared(entry: GatewayEntry, resolve: Callable[[str], Any]) -> SharedMeter | None:
    """Redis, where limits are counted in one."""
    if entry.limits.redis is None:
        return None
    driver("redis", "gateway")
    local = _common()
    local = Meter(entry.limits.keys) if local is None else local
    return SharedMeter(str(resolve(entry.limits.redis)), time.monotonic_ns, local)


def _common() -> Meter | None:
    """Where the processes of one `serve --workers` count together; None where there is one."""
    told = os.environ.get(COUNTS)
    return CommonMeter(table(int(told))) if told else None


def _stages(
    entry: GatewayEntry, identity: Identity, audit: Audited, metrics: Metrics, shared: SharedMeter | None
) -> Stages:
    gate = AddressGate(entry, time.monotonic_ns, _common())
    shield = Shield(entry.shield, entry.sizes)
    admitting = Admitting(entry, time.monotonic_ns, gate=gate, shared=shared, shield=shield, meter=_common())
    metrics.gauge("tongqu_in_flight", "Calls that are being worked on", lambda: admitting.numbers()["running"])
    metrics.gauge("tongqu_in_flight_limit", "Calls that may be worked on", lambda: admitting.numbers()["running_limit"])
    return Stages(
        gate=gate,
        identify=Calling(MessageIdentify(identity.identify, entry.sizes)),
        admission=WhileAudited(admitting, [audit.watch]),
        watch=Watches(metrics, *audit.watches, gate),
        cors=_cors(entry.cors),
        tracing=audit.tracing,
    )


def _cors(entry: CorsEntry) -> Cors:
    return Cors(
        origins=frozenset(entry.origins),
        methods=", ".join(entry.methods),
        headers=", ".join(entry.headers),
        credentials=entry.credentials,
        seconds=entry.seconds,
    )


def gateway_key(home: Home) -> bytes:
    """The gateway's own secret, made with the first start: all processes of the home sign cursors and tags alike."""
    return lasting.put_first(home.gateway_key, secrets.token_bytes(32))


def _derived(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, b"tongqu " + label, "sha256")
