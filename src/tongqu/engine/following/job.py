"""What one job asks of those who follow its logs, and which streams share a log."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

from tongqu.core.connector import Source
from tongqu.core.errors import CancelledError, FencedError, TongquError
from tongqu.core.events import Committed, Emit, StreamEnded
from tongqu.engine.job import Job, Stream, Surroundings
from tongqu.engine.pump import Tally
from tongqu.engine.report import StreamReport

if TYPE_CHECKING:
    from tongqu.engine.following.stream import Followed

SPLIT = "log"
"""The id of the one split that a followed stream has."""
TOLD_SECONDS = 0.2
"""Counts are told at most so often for each stream."""


@dataclass
class Asked:
    """What one job asks of its followers."""

    job: Job
    emit: Emit
    around: Surroundings
    run: str = ""

    def __post_init__(self) -> None:
        self._allowed: dict[str, Tally] = {}
        self._ended: set[str] = set()
        self._lock = Lock()

    def tally(self, followed: Followed) -> None:
        """A chunk is durable: tell who listens, not too often; QualityError if too many rows are quarantined."""
        name = followed.stream.name
        with self._lock:
            tally = self._allowed.setdefault(name, Tally(self.job.limits))
        total = tally.set(SPLIT, followed.counts)
        now = self.around.now().timestamp()
        if now - followed.told_at >= TOLD_SECONDS or now < followed.told_at:
            self.tell(followed)
        tally.check(total, ended=False)

    def tell(self, followed: Followed) -> None:
        """Tell the counts if they are others than were told."""
        if followed.told == followed.counts.read:
            return
        followed.told_at, followed.told = self.around.now().timestamp(), followed.counts.read
        self.emit(Committed(self.run, followed.stream.name, SPLIT, replace(followed.counts)))

    def ended(self, report: StreamReport) -> None:
        """Tell once that a stream has ended."""
        with self._lock:
            if report.name in self._ended:
                return
            self._ended.add(report.name)
        self.emit(StreamEnded(self.run, report.name, report.status, replace(report.counts), report.problem or {}))


@dataclass
class Group:
    """The streams that share a log, their reports in the same order, and the name of the log."""

    source: Source
    name: str
    streams: list[Stream] = field(default_factory=list)
    reports: list[StreamReport] = field(default_factory=list)


def fail(report: StreamReport, error: TongquError, path: str) -> None:
    """Note in a report what its stream met."""
    problem = error.problem()
    problem["path"] = problem["path"] or path
    report.status, report.problem = "failed", problem


def isolated(error: TongquError) -> bool:
    """Whether an error is of one stream alone, so that those beside it can go on."""
    return not error.retryable and not isinstance(error, (FencedError, CancelledError))
