"""What a running server does about keys, certificates and passwords that end soon: it says so, in time and once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu.app.services.identity import Callers
from tongqu.app.services.reviewing import endings
from tongqu.core.errors import TongquError
from tongqu.gateway.metrics.measures import Metrics
from tongqu.gateway.metrics.troubles import show_trouble
from tongqu.kit.trouble import Trouble
from tongqu.store.feed import Feed
from tongqu.store.identity.reviews import WARN_DAYS, Ending
from tongqu.store.runs import instant

if TYPE_CHECKING:
    from tongqu.store.audit.trail import Trail

LEASE, LEASE_SECONDS = "expiring", 180.0
TURN_SECONDS = 60.0
LOOK_SECONDS = 3600.0
logger = logging.getLogger("tongqu.gateway")


@dataclass
class Expiring:
    """Looks once an hour, in one process of a home. What ends within 30, 7 and 1 days, or has ended, is told in the log
    and the audit trail once for each of these, whatever `access expiring --new` told; the metric
    `tongqu_credentials_expiring` counts them always, each under the smallest number of days that it is within.
    `certificate` is the server's own file (PEM), if it speaks TLS."""

    callers: Callers
    trail: Trail
    feed: Feed
    holder: str
    certificate: str = ""
    clock: Callable[[], float] = time.monotonic
    counts: Counter[int] = field(default_factory=Counter)
    trouble: Trouble = field(default_factory=lambda: Trouble("expiring", "what expires cannot be looked at", logger))
    _looked: float | None = None

    def measured_by(self, metrics: Metrics) -> None:
        """Show the numbers among the metrics."""
        show_trouble(metrics, self.trouble)
        about = "Keys, certificates, passwords and accounts that end within so many days (0: have ended)"
        for days in (*WARN_DAYS, 0):
            metrics.gauge("tongqu_credentials_expiring", about, lambda days=days: self.counts[days], days=str(days))  # type: ignore[misc]  # bound now

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait = TURN_SECONDS
            try:
                await asyncio.to_thread(self.turn)
                self.trouble.over()
            except (TongquError, OSError, sqlite3.Error) as error:  # the next turn may do better
                wait = max(self.trouble.failed(error), TURN_SECONDS)
            await asyncio.sleep(wait)

    def turn(self) -> None:
        """Look, if it is time and this process is the one that does."""
        if not self.feed.lease(LEASE, self.holder, LEASE_SECONDS):
            self.counts, self._looked = Counter(), None
        elif self._looked is None or self.clock() >= self._looked + LOOK_SECONDS:
            self.look()
            self._looked = self.clock()

    def look(self) -> Sequence[Ending]:
        """Count what ends soon and tell what was not told yet, which is given."""
        now = self.callers.clock().timestamp()
        with self.callers.opened() as identities:
            found = [*endings(identities, self.callers), *self._own()]
            self.counts = Counter(days for one in found if (days := one.days(now)) >= 0)
            fresh = identities.reviews.newly_due(found, "serve")
        for one in fresh:
            at, days = instant(datetime.fromtimestamp(one.expires, UTC)), one.days(now)
            logger.warning("%s of %s %s at %s", one.what, one.subject, "ends" if days else "ended", at)
            self.trail.note("expiring", on=one.subject, item=one.what, expires=at, days=days)
        return fresh

    def _own(self) -> list[Ending]:
        """The certificate that callers see; a file that is not there any more or broken is told by the log."""
        if not self.certificate:
            return []
        from cryptography import x509

        try:
            found = x509.load_pem_x509_certificate(Path(self.certificate).read_bytes())
        except (OSError, ValueError):
            logger.warning("the certificate %s cannot be read", self.certificate)
            return []
        return [Ending(self.certificate, "certificate", found.not_valid_after_utc.timestamp())]
