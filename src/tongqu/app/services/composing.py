"""Puts the gateway together: who stands at which stage, and which handler answers which address."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tongqu.app.services import auditing
from tongqu.gateway.audit.assembled import Audited
from tongqu.gateway.audit.watch import WhileAudited
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.etags import Tags
from tongqu.gateway.gate import AddressGate
from tongqu.gateway.health import Health
from tongqu.gateway.limit.admission import Admitting
from tongqu.gateway.limit.rates import Meter
from tongqu.gateway.limit.shared import SharedMeter
from tongqu.gateway.manners import Cors
from tongqu.gateway.metrics.board import Board
from tongqu.gateway.metrics.measures import Metrics, MetricsHandler
from tongqu.gateway.reading import Reader
from tongqu.gateway.rest.handler import RestHandler
from tongqu.gateway.settings import CorsEntry, GatewayEntry
from tongqu.gateway.shield.guard import Shield
from tongqu.gateway.site import Route, Site, Stages
from tongqu.gateway.stages import Watches
from tongqu.gateway.writing import Writer
from tongqu.kit.drivers import driver

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.gateway.publication import Publication
    from tongqu.store.home import Home
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
    entry: GatewayEntry = field(default_factory=GatewayEntry)
    resolve: Callable[[str], Any] = str
    """Resolves `${…}`."""
    shared: SharedMeter | None = None
    """Where limits are counted for several replicas."""
    leaving: asyncio.Task[None] | None = None
    """The closing of what `shared` was before."""

    def adopt(self, project: Project) -> None:
        """Protect as this project says from the next request on; counters of limits begin anew where they changed."""
        entry = project.gateway or GatewayEntry()
        if entry != self.entry:
            self.entry = entry
            before, self.shared = self.shared, _shared(entry, self.resolve)
            self.site.stages = _stages(entry, self.identity, self.audit, self.metrics, self.shared)
            if before is not None:
                self.leaving = asyncio.get_running_loop().create_task(before.close())

    async def leave(self) -> None:
        """Release what belongs to the event loop."""
        if self.leaving is not None:
            await self.leaving
        if self.shared is not None:
            await self.shared.close()

    def close(self) -> None:
        """Write down what was seen, and close the files."""
        self.audit.close()
        self.identity.close()
        self.board.close()


def compose(
    home: Home,
    scrubber: Scrubber,
    project: Project,
    publication: Publication,
    health: Health,
    *,
    resolve: Callable[[str], Any] = str,
) -> Gateway:
    """The gateway of a home, ready to be served; `resolve` resolves the references of its settings. Raises what its
    files do: SecretError, CheckpointError, OSError."""
    home.ensure()
    key = _key(home)
    entry = project.gateway or GatewayEntry()
    identity = Identity.open(home, scrubber, project.identity)
    process = f"{os.getpid()}-{secrets.token_hex(4)}"
    audit = Audited.open(home, auditing.settings(home, scrubber, project), process, logger.warning)
    board = Board(home.path / "metrics", process)
    metrics = Metrics(board)
    audit.measured_by(metrics)
    reader = Reader(_derived(key, b"cursors"), time.time)
    rest = RestHandler(reader, Writer(reader), Tags(_derived(key, b"tags")), entry.sizes)
    routes = [
        Route("/api", rest, "rules"),
        Route("/oauth", identity.oauth, "open"),
        Route("/.well-known", identity.oauth, "open"),
        Route("/metrics", MetricsHandler(metrics), "open"),
        Route("/healthz", health, "open"),
        Route("/readyz", health, "open"),
    ]
    shared = _shared(entry, resolve)
    site = Site(routes, publication, _stages(entry, identity, audit, metrics, shared))
    return Gateway(site, identity, audit, metrics, board, entry, resolve, shared)


def _shared(entry: GatewayEntry, resolve: Callable[[str], Any]) -> SharedMeter | None:
    """Redis, where limits are counted in one."""
    if entry.limits.redis is None:
        return None
    driver("redis", "gateway")
    return SharedMeter(str(resolve(entry.limits.redis)), time.monotonic_ns, Meter(entry.limits.keys))


def _stages(
    entry: GatewayEntry, identity: Identity, audit: Audited, metrics: Metrics, shared: SharedMeter | None
) -> Stages:
    gate = AddressGate(entry, time.monotonic_ns)
    shield = Shield(entry.shield, entry.sizes)
    admitting = Admitting(entry, time.monotonic_ns, gate=gate, shared=shared, shield=shield)
    metrics.gauge("tongqu_in_flight", "Calls that are being worked on", lambda: admitting.numbers()["running"])
    metrics.gauge("tongqu_in_flight_limit", "Calls that may be worked on", lambda: admitting.numbers()["running_limit"])
    return Stages(
        gate=gate,
        identify=identity.identify,
        admission=WhileAudited(admitting, [audit.watch]),
        watch=Watches(metrics, *audit.watches, gate),
        cors=_cors(entry.cors),
    )


def _cors(entry: CorsEntry) -> Cors:
    return Cors(
        origins=frozenset(entry.origins),
        methods=", ".join(entry.methods),
        headers=", ".join(entry.headers),
        credentials=entry.credentials,
        seconds=entry.seconds,
    )


def _key(home: Home) -> bytes:
    """The gateway's own secret, made with the first start: all processes of the home sign cursors and tags alike."""
    place = home.gateway_key
    if not place.exists():
        part = place.with_name(f"{place.name}.{os.getpid()}")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(part, place)
        part.unlink()
    return place.read_bytes()


def _derived(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, b"tongqu " + label, "sha256")
