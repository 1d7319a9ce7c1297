"""The parts of a gateway that go on by themselves: live streams, followed cursors, webhooks and intake."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tongqu.gateway.audit.assembled import Audited
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.intake.draining import Drainer
from tongqu.gateway.intake.handler import IntakeHandler
from tongqu.gateway.live.handler import LiveHandler
from tongqu.gateway.live.hub import Hub
from tongqu.gateway.live.polling import Polling
from tongqu.gateway.metrics.measures import Metrics
from tongqu.gateway.metrics.troubles import show_trouble
from tongqu.gateway.reading import Reader
from tongqu.gateway.settings import GatewayEntry
from tongqu.gateway.site import Route, Site
from tongqu.gateway.webhooks.clients import ClientActors
from tongqu.gateway.webhooks.dispatching import Dispatcher, Means
from tongqu.gateway.writing import Writer
from tongqu.store.feed import Feed
from tongqu.store.intake import SqliteIntake
from tongqu.store.outbox import Outbox

if TYPE_CHECKING:
    from tongqu.gateway.tracing import Tracing
    from tongqu.store.home import Home


@dataclass
class Streams:
    """The running parts of one process. Of cursors, webhooks and intake one process of a home does the work; when it
    ends another takes over within seconds."""

    feed: Feed
    hub: Hub
    polling: Polling
    outbox: Outbox
    dispatcher: Dispatcher
    intake: SqliteIntake
    drainer: Drainer
    routes: Sequence[Route]
    holder: str
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    def open(  # noqa: PLR0917  the parts they stand on
        cls, home: Home, feed: Feed, reader: Reader, writer: Writer, identity: Identity, entry: GatewayEntry,
        site: Site, audit: Audited, holder: str, key: bytes, resolve: Callable[[str], Any],
    ) -> Streams:  # fmt: skip
        """The parts, not running yet. Raises CheckpointError, OSError and sqlite3.Error."""

        def published() -> Any:
            return site.publication

        outbox, intake = Outbox.open(home), SqliteIntake.open(home)
        hub = Hub(feed, reader, identity.identify, published, _derived(key, b"marks"), watch=audit.watch)
        means = Means(
            ClientActors(identity.access), resolve, _derived(key, b"webhooks"), holder,
            watch=audit.watch, tracing=audit.tracing,
        )  # fmt: skip
        drainer = Drainer(intake, feed, writer, published, holder=holder, clock=time.monotonic, sizes=entry.sizes,
                          tracing=audit.tracing)  # fmt: skip
        handler = IntakeHandler(intake, entry.sizes, _derived(key, b"marks"), depth=lambda: drainer.depth)
        routes = (
            Route("/live", LiveHandler(hub, identity.identify, lambda: site.stages.admission), "rules"),
            Route("/ingest", handler, "rules"),
        )
        polling = Polling(feed, published, holder, time.monotonic)
        dispatcher = Dispatcher(feed, outbox, reader, published, means)
        return cls(feed, hub, polling, outbox, dispatcher, intake, drainer, routes, holder)

    def measured_by(self, metrics: Metrics) -> None:
        """Show how they do among the metrics."""
        metrics.gauge("tongqu_live_subscribers", "Open live subscriptions", lambda: self.hub.numbers[0])
        metrics.gauge("tongqu_live_views", "Different live subscriptions", lambda: self.hub.numbers[1])
        metrics.gauge("tongqu_intake_waiting", "Parcels that were taken in and wait", lambda: self.drainer.depth)
        for part in (self.hub, self.polling, self.dispatcher, self.drainer):
            show_trouble(metrics, part.trouble)

    def traced_by(self, tracing: Tracing | None) -> None:
        """Tell of deliveries and batches there from now on."""
        self.dispatcher.tracing = self.drainer.tracing = tracing

    def start(self) -> None:
        """Begin, in the running loop."""
        self.hub.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(work) for work in (self.polling.run(), self.dispatcher.run(), self.drainer.run())
        ]

    def retire(self) -> None:
        """End all live subscriptions, so that the server can stop."""
        self.hub.retire()

    async def leave(self) -> None:
        """Stop; deliveries and batches that run are finished or come again."""
        await self.hub.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatcher.close()

    def close(self) -> None:
        """Let others go on, and close the files; the feed is the caller's."""
        self.feed.leave(self.holder)
        self.intake.close()
        self.outbox.close()


def _derived(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, b"tongqu " + label, "sha256")
