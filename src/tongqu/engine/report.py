"""The outcome of a run, as design §7 prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.core.data import Counts
from tongqu.core.schema_changes import SchemaChange

STATUSES = ("succeeded", "attention", "failed", "cancelled", "stopped")


@dataclass
class StreamReport:
    """One stream's outcome; counts are totals over all attempts of the run."""

    name: str
    mode: str
    write: str = ""
    lane: str = ""
    status: str = "succeeded"
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    attempt: int = 1
    problem: dict[str, str] | None = None
    schema: Sequence[SchemaChange] = ()
    lag_seconds: float | None = None
    """How far a stream that follows a log was behind it at the end."""
    latency_ms: dict[str, float] | None = None
    """`p50 p95 p99 max` of the time from a change's commit at the source until it could be seen."""
    read_from: str = ""
    """The connection that was read instead of the one that is named."""
    runner: str = ""
    """What moved the splits, where it was not this process."""
    warnings: list[dict[str, str]] = field(default_factory=list)
    """Rules about all rows that do not hold, as problems with `level`."""

    def to_json(self) -> dict[str, Any]:
        """The stream as the run document shows it."""
        c = self.counts
        document: dict[str, Any] = {
            "name": self.name,
            "mode": self.mode,
            "lane": self.lane,
            "read": c.read,
            "written": c.written,
            "inserted": c.inserted,
            "updated": c.updated,
            "deleted": c.deleted,
            "unchanged": c.unchanged,
            "merged": c.merged,
            "filtered": c.filtered,
            "deduplicated": c.deduplicated,
            "generated": c.generated,
            "quarantined": c.quarantined,
            "repaired": c.repaired,
            "bytes": c.bytes,
            "seconds": round(self.seconds, 3),
            "write": self.write,
            "status": self.status,
        }
        document |= {name: value for name, value in (("runner", self.runner), ("read_from", self.read_from)) if value}
        if self.schema:
            document |= {"schema": [change.to_json() for change in self.schema], "discarded": c.discarded}
        if self.mode in ("cdc", "stream"):
            document |= {"lag_seconds": self.lag_seconds, "latency_ms": self.latency_ms}
        if c.steps:
            document["steps"] = [step.to_json() for step in c.steps.values()]
        return document


@dataclass
class Report:
    """A run's outcome."""

    run: str
    streams: Sequence[StreamReport]
    attempts: int = 1
    stopped: bool = False
    follows: bool = False
    """Its streams follow logs: being stopped is how they end."""

    @property
    def status(self) -> str:
        """succeeded | attention (rows quarantined) | failed | stopped."""
        if any(stream.status == "failed" for stream in self.streams):
            return "failed"
        if self.stopped or any(stream.status == "stopped" for stream in self.streams):
            return "stopped"
        noted = any(stream.counts.quarantined or stream.warnings for stream in self.streams)
        return "attention" if noted else "succeeded"

    @property
    def lane(self) -> str:
        """The lane all streams took, or `mixed`."""
        lanes = {stream.lane for stream in self.streams if stream.lane}
        return lanes.pop() if len(lanes) == 1 else "mixed" if lanes else ""

    @property
    def problems(self) -> list[dict[str, str]]:
        """What failed, one entry a stream."""
        return [stream.problem for stream in self.streams if stream.problem]

    @property
    def exit_code(self) -> int:
        """0 done or a log was followed until stopped, 1 failed or stopped, 3 done with quarantined rows."""
        if self.follows and self.status == "stopped":
            return 0
        return {"succeeded": 0, "attention": 3}.get(self.status, 1)

    def to_json(self) -> dict[str, Any]:
        """The run document of design §7."""
        document: dict[str, Any] = {
            "run": self.run,
            "status": self.status,
            "attempts": self.attempts,
            "lane": self.lane,
            "streams": [stream.to_json() for stream in self.streams],
        }
        warnings = [warning for stream in self.streams for warning in stream.warnings]
        if self.problems:
            document |= {"ok": False, "problems": [*self.problems, *warnings]}
        elif warnings:
            document["problems"] = warnings
        return document
