"""A job: one thing to run, with everything that decides when and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OPEN = ("queued", "running", "paused")
"""States of a job that is not over."""
STATES = (*OPEN, "done", "failed", "cancelled")


@dataclass(frozen=True)
class Work:
    """What a new job is. `place` is the project and environment that it belongs to.

    `writer`: of jobs with the same one at most one runs at a time. `dedup`: of waiting jobs there is at most one with
    it; of `kept` ones, of waiting and running ones. `pinned`: it runs only on the host that owns the project's files.
    `kept`: it has no end, and is started again however often it ends.
    """

    id: str
    kind: str
    subject: str
    place: str = ""
    writer: str = ""
    dedup: str = ""
    connections: Sequence[str] = ()
    priority: int = 0
    due: float = 0.0
    """Not before this time (seconds since 1970)."""
    retries: int = 3
    timeout: float = 0.0
    """Seconds after which an attempt is ended; 0: never."""
    pinned: bool = False
    kept: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)
    """What else the one who runs it must know; plain JSON, no secrets."""
    schedule: str = ""
    tick: float = 0.0
    """The moment of the schedule that made it."""


@dataclass(frozen=True)
class Job(Work):
    """A job as it stands in the store. `epoch` is the number of its lease: whoever holds another one has lost it."""

    state: str = "queued"
    epoch: int = 0
    holder: str = ""
    lease: float = 0.0
    attempts: int = 0
    failures: int = 0
    """Failures in a row."""
    wish: str = ""
    """What somebody asked of it while it runs: `pause`, `cancel` or `restart`."""
    run: str = ""
    created: float = 0.0
    began: float = 0.0
    finished: float = 0.0
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.state in OPEN


@dataclass(frozen=True)
class Ended:
    """How an attempt ended. `state` is the job's next: one of `STATES`; `due` is when a queued one goes on."""

    state: str
    outcome: Mapping[str, Any] = field(default_factory=dict)
    due: float = 0.0
    failures: int = 0
    follow: Sequence[Work] = ()
    """Jobs that begin because this one is done, made in the same transaction."""


@dataclass(frozen=True)
class Limits:
    """How many jobs may run at the same time, in all processes: together, and per connection."""

    runs: int = 0
    """0: as many as there are hands."""
    connections: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Hands:
    """Who asks for work: its unique name, its host, and how much more it can take."""

    holder: str
    host: str
    free: int
    kept: int = 0
    """How many more jobs without an end."""
    place: str = ""
    lease: float = 15.0
    """Seconds that a lease is good for."""
    owner: str = ""
    """The host that owns the project's files, if somebody said so; else the first one that asks."""
