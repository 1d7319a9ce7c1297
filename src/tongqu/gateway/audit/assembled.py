"""The audit of one serving process, put together: its chain, the sums of use, and the way to the sinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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
    entry: AuditEntry
    warn: Callable[[str], None]
    tracing: Tracing | None = None
    metrics: Metrics | None = None

    @classmethod
    def open(cls, home: Home, entry: AuditEntry, process: str, warn: Callable[[str], None]) -> Audited:
        """Begin a chain of the name `process` and ship to the sinks; `entry` has its secrets in it. Raises AuditError,
        MissingDriverError, CheckpointError, OSError, sqlite3.Error."""
        trail = Trail.open(home, Keeping(entry.profile, entry.keep_days))
        usage = Usage.open(home)
        watch = AuditWatch(trail, process, usage, warn=warn)
        shippers = [Shipper(trail.place, name, sink_of(sink), warn) for name, sink in entry.sinks.items()]
        made = cls(trail, watch, usage, Shipping(shippers), entry, warn, _tracing(entry))
        watch.start()
        made.shipping.start()
        return made

    def prepared(self, entry: AuditEntry) -> Callable[[], Callable[[], None]]:
        """What keeps the trail by another entry, with its secrets in it. All that can fail is done now, and raises as
        `open` does; what is given back swaps it in at once, and gives back what ends the old parts (it may take as long
        as a sink does, and belongs into a thread)."""
        before = self.entry.sinks
        fresh = {name: sink for name, sink in entry.sinks.items() if before.get(name) != sink}
        new: list[Shipper] = []
        try:
            new += (Shipper(self.trail.place, name, sink_of(sink), self.warn) for name, sink in fresh.items())
            changed = entry.traces != self.entry.traces
            tracing = _tracing(entry) if changed else self.tracing
        except BaseException:
            for one in new:
                one.close()
            raise
        gone = [one for one in self.shipping.shippers if one.name in fresh or one.name not in entry.sinks]

        def swap() -> Callable[[], None]:
            self.trail.keep(Keeping(entry.profile, entry.keep_days))
            old, self.tracing, self.entry = self.tracing, tracing, entry
            ended = self.shipping.swap(gone, new)
            if self.metrics is not None:
                self._measure(self.metrics)

            def end() -> None:
                ended()
                if changed and old is not None:
                    old.close()

            return end

        return swap

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
        self.metrics = metrics
        self._measure(metrics)
        self.watch.each_second = metrics.refresh

    def _measure(self, metrics: Metrics) -> None:
        """Show how the sinks do, by name; one that is gone is behind with nothing."""

        def number(name: str, read: Callable[[Shipper], float]) -> float:
            return sum(read(one) for one in self.shipping.shippers if one.name == name)

        for name in self.entry.sinks:
            behind, failing = "tongqu_audit_sink_behind_bytes", "tongqu_audit_sink_failing"
            late, stuck = partial(number, name, Shipper.behind), partial(number, name, Shipper.failing)
            metrics.gauge(behind, "Bytes of the trail that a sink has not got yet", late, sink=name)
            metrics.gauge(failing, "Whether a sink takes nothing at the moment", stuck, sink=name)

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


def _tracing(entry: AuditEntry) -> Tracing | None:
    return Tracing(entry.traces, share=entry.traces.share) if entry.traces else None
