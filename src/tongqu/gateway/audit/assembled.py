"""The audit of one serving process, put together: its chain, the sums of use, and the way to the sinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tongqu.gateway.audit.settings import AuditEntry
from tongqu.gateway.audit.shipping import Shipper, Shipping
from tongqu.gateway.audit.sinks import sink_of
from tongqu.gateway.audit.watch import AuditWatch
from tongqu.gateway.metrics.measures import Metrics
from tongqu.gateway.stages import Watch
from tongqu.gateway.tracing import Tracing
from tongqu.store.audit.trail import Keeping, Trail
from tongqu.store.audit.usage import Usage
from tongqu.store.home import Home


@dataclass
class Audited:
    """The running parts."""

    trail: Trail
    watch: AuditWatch
    usage: Usage
    shipping: Shipping
    tracing: Tracing | None = None

    @classmethod
    def open(cls, home: Home, entry: AuditEntry, process: str, warn: Callable[[str], None]) -> Audited:
        """Begin a chain of the name `process` and ship to the sinks; `entry` has its secrets in it. Raises AuditError,
        MissingDriverError, CheckpointError, OSError, sqlite3.Error."""
        trail = Trail.open(home, Keeping(entry.profile, entry.keep_days))
        usage = Usage.open(home)
        watch = AuditWatch(trail, process, usage, warn=warn)
        shippers = [Shipper(trail.place, name, sink_of(sink), warn) for name, sink in entry.sinks.items()]
        tracing = Tracing(entry.traces, share=entry.traces.share) if entry.traces else None
        made = cls(trail, watch, usage, Shipping(shippers), tracing)
        watch.start()
        made.shipping.start()
        return made

    @property
    def watches(self) -> tuple[Watch, ...]:
        """Those who are told of every answer."""
        return (self.watch, self.tracing) if self.tracing else (self.watch,)

    def measured_by(self, metrics: Metrics) -> None:
        """Show how the audit does among the metrics."""
        counts = self.watch.counts
        gauges: list[tuple[str, str, Callable[[], float]]] = [
            ("tongqu_audit_records", "Audit records that this process committed", lambda: counts.records),
            ("tongqu_audit_waiting", "Calls whose audit record is not committed yet", lambda: counts.waiting),
            ("tongqu_audit_lost", "Calls that could not be written down", lambda: counts.lost),
            ("tongqu_audit_failing", "Whether the audit trail cannot be written", lambda: not self.watch.ready),
        ]
        for name, help, read in gauges:
            metrics.gauge(name, help, read)
        for one in self.shipping.shippers:
            behind, failing = "tongqu_audit_sink_behind_bytes", "tongqu_audit_sink_failing"
            metrics.gauge(behind, "Bytes of the trail that a sink has not got yet", one.behind, sink=one.name)
            metrics.gauge(failing, "Whether a sink takes nothing at the moment", one.failing, sink=one.name)
        self.watch.each_second = metrics.refresh

    def close(self) -> None:
        """Commit what was seen, ship what is left (one attempt), close the files. Raises AuditError if the rest cannot
        be written."""
        try:
            self.watch.close()
        finally:
            self.shipping.close()
            if self.tracing:
                self.tracing.close()
            self.usage.close()
            self.trail.close()
