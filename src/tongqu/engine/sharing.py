"""Follows a log of messages together with other processes: each writes the parts that fall to it, one commit a batch.

Every part is a split of its own with its own checkpoint in the sink. Who takes a part up takes its split's fence, so
that whoever had it before, and may not know yet, can commit nothing more: nothing is lost or doubled, however often
parts change hands.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Counts, Lane, Mode, Position, Split, Started, Write, WriteMode
from tongqu.core.errors import FencedError, InvalidPlanError, TongquError
from tongqu.core.events import Emit, Followed, Retrying, StreamEnded, StreamPlanned
from tongqu.core.lending import Lends, Shared
from tongqu.engine.job import Job, Stream, Surroundings
from tongqu.engine.lanes import Route
from tongqu.engine.patience import Patience
from tongqu.engine.pump import Pump, Tally
from tongqu.engine.report import Report, StreamReport
from tongqu.engine.wanting import write_of
from tongqu.kit.faults import crash_point

if TYPE_CHECKING:
    from tongqu.core.log import Log

_ROWS = 20_000
_ALONE = "log"
"""The split of a stream that one process follows by itself; its position knows all parts."""
_LONGEST_WAIT = 30.0
_AGAIN = 20


def sharable(job: Job) -> bool:
    """Whether processes can share its streams: messages, written as they come into a sink that others can enter."""
    return len(job.streams) == 1 and all(
        stream.mode is Mode.STREAM and stream.sink.parallel and isinstance(stream.sink, Lends) for stream in job.streams
    )


def share(job: Job, emit: Emit, around: Surroundings) -> Report:
    """Read and write the parts that fall to this process, until stopped. Raises nothing that the stream met."""
    [stream] = job.streams
    report = StreamReport(stream.name, stream.mode.value, stream.write.value, lane=Lane.COLUMNAR.value)
    begun, started = around.now(), Started(job.run or around.new_id())
    try:
        if not isinstance(stream.sink, Lends):
            raise InvalidPlanError("this sink cannot be shared by several processes", path=stream.name)
        started = stream.sink.start(stream.sync, started.run, job.restart)
        sharing = _Sharing(job, stream, stream.sink, started, report, emit, around)
        sharing.run()
        report.status = "stopped"
    except TongquError as error:
        report.status, report.problem = "failed", error.problem()
        report.problem["path"] = report.problem["path"] or stream.name
    report.seconds = (around.now() - begun).total_seconds()
    emit(StreamEnded(started.run, report.name, report.status, replace(report.counts), report.problem or {}))
    return Report(started.run, [report], started.attempt, around.stop.is_set(), follows=True)


@dataclass
class _Sharing:
    job: Job
    stream: Stream
    sink: Lends
    started: Started
    report: StreamReport
    emit: Emit
    around: Surroundings
    held: dict[str, Checkpoint] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def run(self) -> None:
        """Follow; begin again after what may pass, waiting longer each time."""
        stream, around = self.stream, self.around
        digest = hashlib.sha256(stream.source_dataset.name.encode()).hexdigest()[:8]
        name = f"tongqu_{stream.sync[:16]}_{digest}"
        failures = 0
        with closing(stream.source.log(name, [stream.source_dataset])) as log:
            if not isinstance(log, Shared) or log.changes:
                raise InvalidPlanError(
                    "this log is read by one process at a time: changes of one key may stand in any part of it",
                    path=stream.name, hint="take `workers` out of `run`",
                )  # fmt: skip
            while not around.stop.is_set():
                before = self.report.counts.read
                try:
                    self._attempt(log, log)
                except TongquError as error:
                    if not error.retryable and not isinstance(error, FencedError):
                        raise
                    failures = 1 if self.report.counts.read > before else failures + 1
                    delay = min(0.2 * 2 ** min(failures, 10), _LONGEST_WAIT)
                    self.emit(Retrying(self.started.run, stream.name, "", error.message, failures, delay))
                    if failures > _AGAIN:
                        raise
                    around.wait(delay)

    def _attempt(self, log: Log, shared: Shared) -> None:
        stream, emit, around = self.stream, self.emit, self.around
        write = replace(write_of(stream, self.started.run, around.now().isoformat()), incremental=True, resumable=True)
        if write.mode is WriteMode.REPLACE:
            raise InvalidPlanError("a stream has no end, so it cannot replace its target", path=stream.name)
        patience = Patience(self.started.run, stream.name, self.job.limits, around, emit)
        opened = patience.asking(partial(self.sink.enter, write))
        crash_point("after_open")
        alone = opened.checkpoints.get(_ALONE)
        if alone is not None and alone.position is None:
            alone = None
        route = Route(Lane.COLUMNAR, reason="messages are followed in Arrow batches")
        planned = StreamPlanned(
            self.started.run, stream.name, lane=route.lane.value, mode=stream.mode.value, write=write.mode.value,
            splits=len(opened.checkpoints), attempt=self.started.attempt, reason=route.reason,
        )  # fmt: skip
        emit(planned)
        tally = Tally(self.job.limits)
        pump = Pump(stream, write, route, self.job.limits, tally, emit, around)
        chain = stream.chain.fork() if stream.chain is not None else None

        def take(part: str) -> Position | None:
            found = patience.asking(lambda: self.sink.join(write, opened.fence, part, make=True)).checkpoints[part]
            crash_point("after_join")
            self.held[part] = found
            return found.position if found.position is not None else alone.position if alone else None

        def give_up(part: str) -> None:
            self.held.pop(part, None)
            session = self.sessions.pop(part, None)
            if session is not None:
                session.close()

        own: dict[str, Counts] = {}
        try:
            with closing(shared.share(take, give_up, _ROWS, around.stop)) as items:
                for item in items:
                    if item.batch is None or item.batch.position is None:
                        self._tell(item.behind or 0)
                        continue
                    checkpoint = self.held[item.part]
                    session = self._session(write, checkpoint.split)
                    before = checkpoint.counts
                    self.held[item.part] = pump.put(session, chain, checkpoint, item.batch)
                    own[item.part] = _more(own.get(item.part), self.held[item.part].counts, before)
                    self.report.counts = _sum(own)
        finally:
            for part in [*self.sessions]:
                give_up(part)

    def _session(self, write: Write, split: Split) -> Session:
        if split.id not in self.sessions:
            self.sessions[split.id] = self.stream.sink.session(write, split)
        return self.sessions[split.id]

    def _tell(self, behind: int) -> None:
        self.emit(Followed(self.started.run, self.stream.name, None, {}, lag_rows=behind))


def _more(so_far: Counts | None, after: Counts, before: Counts) -> Counts:
    """What this process counted of a part, whose checkpoint counts what all did."""
    found = so_far or Counts()
    for name, number in after.to_json().items():
        if isinstance(number, int):
            setattr(found, name, getattr(found, name) + number - int(getattr(before, name)))
    return found


def _sum(own: dict[str, Counts]) -> Counts:
    total = Counts()
    for counts in own.values():
        total.add(counts)
    return total
