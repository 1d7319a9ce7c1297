"""Things that happened, as frozen records; areas that must not know each other talk by these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tongqu.core.data import Counts
from tongqu.core.schema_changes import SchemaChange


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    run: str
    stream: str


@dataclass(frozen=True)
class StreamPlanned(Event):
    """A stream is about to run: how it will travel and why not faster."""

    lane: str
    mode: str
    write: str
    splits: int = 0
    rows: int | None = None
    attempt: int = 1
    reason: str = ""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Committed(Event):
    """A chunk and its position are durable. `counts` are the stream's totals over all attempts."""

    split: str
    counts: Counts


@dataclass(frozen=True)
class Followed(Event):
    """How far a stream is behind the log that it follows; None where nobody knows. `latency_ms` has `p50 p95 p99 max`
    of the time from a change's commit at the source until it could be seen."""

    lag_seconds: float | None
    latency_ms: Mapping[str, float]
    lag_bytes: int | None = None
    lag_rows: int | None = None
    seconds_until_loss: float | None = None


@dataclass(frozen=True)
class Retrying(Event):
    """A retryable failure; the split goes on from its stored position after `delay` seconds."""

    split: str
    problem: str
    attempt: int
    delay: float


@dataclass(frozen=True)
class LaneChanged(Event):
    """A chunk left the pass lane because the target refused rows in it."""

    split: str
    reason: str


@dataclass(frozen=True)
class SchemaChanged(Event):
    """The arriving schema differs from the last one; `change` says how, and what is done about it."""

    change: SchemaChange


@dataclass(frozen=True)
class StreamEnded(Event):
    """A stream ended."""

    status: str
    counts: Counts
    problem: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Warned(Event):
    """Something a person should know and that does not stop the run."""

    code: str
    message: str


Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """An `Emit` that drops everything."""
    del event
