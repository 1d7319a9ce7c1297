"""Runs a job: per stream open, cut into splits, move them side by side, finish; then the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Event

from tongqu.core.connector import Sink
from tongqu.core.data import Checkpoint, Counts, Mode, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.errors import QualityError, TongquError
from tongqu.core.events import Emit, SchemaChanged, StreamEnded, StreamPlanned
from tongqu.engine.job import Job, Limits, Stream, Surroundings
from tongqu.engine.lanes import route
from tongqu.engine.lending import Elsewhere, lend, lendable
from tongqu.engine.patience import Patience
from tongqu.engine.pump import Pump, Tally
from tongqu.engine.report import Report, StreamReport
from tongqu.engine.sharing import sharable, share
from tongqu.engine.wanting import write_of
from tongqu.kit.faults import crash_point

_SPLITS = 4


def run(job: Job, emit: Emit, around: Surroundings) -> Report:
    """Run every stream; one that fails does not stop the others. Never raises for what a stream met."""
    if job.shared and sharable(job):
        return share(job, emit, around)
    if any(stream.mode in (Mode.CDC, Mode.STREAM) for stream in job.streams):
        from tongqu.engine.following.run import follow

        return follow(job, emit, around, lambda loads, told: _Runner(loads, told, around).run())
    return _Runner(job, emit, around).run()


@dataclass
class _Runner:
    job: Job
    emit: Emit
    around: Surroundings
    started: dict[int, Started] = field(default_factory=dict)
    writes: dict[int, list[Write]] = field(default_factory=dict)

    def run(self) -> Report:
        run_id = self.job.run or self.around.new_id()
        try:
            for stream in self.job.streams:
                if id(stream.sink) not in self.started:
                    self.started[id(stream.sink)] = stream.sink.start(stream.sync, run_id, self.job.restart)
        except TongquError as error:
            first = self.job.streams[0]
            failed = StreamReport(first.name, first.mode.value, first.write.value, status="failed")
            failed.problem = _problem(error, first.name)
            return Report(run_id, [failed])
        attempt = max((s.attempt for s in self.started.values()), default=1)
        run_id = next((s.run for s in self.started.values()), run_id)
        tasks = [self._task(stream) for stream in self.job.streams]
        self._move(tasks)
        for task in tasks:  # parents of foreign keys first, when all rows of all streams are there
            self._finish(task)
        reports = [task.report for task in tasks]
        if all(r.status in ("succeeded", "attention") for r in reports):
            self._end(reports)
        return Report(run_id, reports, attempt, self.around.stop.is_set())

    def _task(self, stream: Stream) -> _StreamTask:
        report = StreamReport(stream.name, stream.mode.value, stream.write.value, read_from=stream.read_from)
        started = self.started[id(stream.sink)]
        return _StreamTask(
            stream, self.job.limits, self.emit, self.around, started, self.job.restart, report, self.job.elsewhere
        )

    def _move(self, tasks: Sequence[_StreamTask]) -> None:
        """Move all streams side by side. Rows that become visible at once wait for the rows they refer to."""
        workers = 1 if any(not s.sink.parallel for s in self.job.streams) else self.job.limits.streams
        running: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="tongqu-stream") as pool:
            for task in tasks:
                parents = {foreign.target for foreign in task.stream.source_dataset.foreign_keys}
                direct = task.stream.write is not WriteMode.REPLACE
                first = [running[name] for name in parents if direct and name in running]
                running[task.stream.name] = pool.submit(self._guarded, task, task.move, first)
        for future in running.values():  # a defect, which no stream's report can tell, must not pass for success
            future.result()

    def _finish(self, task: _StreamTask) -> None:
        if task.moved:
            self._guarded(task, task.finish, ())
        if task.report.status in ("succeeded", "attention"):
            self.writes.setdefault(id(task.stream.sink), []).append(task.write)
        report = task.report
        report.seconds = (self.around.now() - task.begun).total_seconds()
        ended = StreamEnded(
            task.started.run, task.stream.name, report.status, replace(report.counts), report.problem or {}
        )
        self.emit(ended)

    def _guarded(self, task: _StreamTask, step: Callable[[], None], first: Sequence[Future[None]]) -> None:
        """Run a step of a task; what it meets ends up in its report."""
        wait(first)
        try:
            step()
        except TongquError as error:
            task.give_up(error)
            cancelled = error.code == "run.cancelled"
            task.report.status = "stopped" if cancelled else "failed"
            task.report.problem = None if cancelled else _problem(error, task.stream.name)
            task.moved = False

    def _end(self, reports: Sequence[StreamReport]) -> None:
        sinks: dict[int, tuple[Sink, Stream]] = {id(s.sink): (s.sink, s) for s in self.job.streams}
        for key, (sink, stream) in sinks.items():
            try:
                run, writes = self.started[key].run, self.writes.get(key, [])
                patience = Patience(run, stream.name, self.job.limits, self.around, self.emit)
                patience.asking(partial(sink.end, stream.sync, run, writes))
            except TongquError as error:
                reports[0].status = "failed"
                reports[0].problem = _problem(error, stream.name)


def _problem(error: TongquError, stream: str) -> dict[str, str]:
    problem = error.problem()
    problem["path"] = problem["path"] or stream
    return problem


@dataclass
class _StreamTask:
    stream: Stream
    limits: Limits
    emit: Emit
    around: Surroundings
    started: Started
    restart: bool
    report: StreamReport
    elsewhere: Elsewhere | None = None

    def __post_init__(self) -> None:
        stream = self.stream
        self.write = write_of(stream, self.started.run, self.around.now().isoformat(), restart=self.restart)
        self._patience = Patience(self.started.run, stream.name, self.limits, self.around, self.emit)
        self.tally = Tally(self.limits)
        self.begun = self.around.now()
        self.moved = False
        """Whether all rows are at the sink and `finish` is due."""
        self._position: Position | None = None

    def move(self) -> None:
        """Open and move all rows; the report is filled in whatever happens."""
        self.begun = self.around.now()
        sink, report = self.stream.sink, self.report
        if self.around.stop.is_set():
            report.status = "stopped"
            return
        opened = self._patience.asking(lambda: sink.open(self.write))
        report.schema = opened.changes
        for change in opened.changes:
            self.emit(SchemaChanged(self.started.run, self.stream.name, change))
        crash_point("after_open")
        if opened.finished:
            report.counts, report.lane = opened.counts, "done"
            return
        chosen = route(self.stream, self.write)
        report.lane = chosen.lane.value
        checkpoints, position = self._splits(opened)
        crash_point("after_begin")
        for checkpoint in checkpoints:
            self.tally.set(checkpoint.split.id, checkpoint.counts)
        rows = self.stream.source_dataset.rows
        plan = StreamPlanned(
            self.started.run, self.stream.name, lane=chosen.lane.value, mode=self.stream.mode.value,
            write=self.write.mode.value, splits=len(checkpoints), rows=rows, attempt=self.started.attempt,
            reason=chosen.reason,
        )  # fmt: skip
        self.emit(plan)
        pump = Pump(self.stream, self.write, chosen, self.limits, self.tally, self.emit, self.around)
        left = [c for c in checkpoints if not c.done]
        try:
            if self._elsewhere is not None and len(left) > 1:
                report.runner = self._elsewhere.hands.name
                lend(pump, left, opened.fence, self._elsewhere, self._patience)
            else:
                self._move(pump, left)
        finally:
            report.counts = self.tally.total()
        if self.around.stop.is_set() and not self._all_done(checkpoints):
            report.status = "stopped"
            return
        self.tally.check(report.counts, ended=True)
        if noted := self.stream.source.notices.get(self.stream.source_dataset.name):
            report.warnings.append(_problem(noted, self.stream.name) | {"level": "warning"})
        if self.write.mode is WriteMode.REPLACE:  # what fails here never becomes visible
            self._judge()
        learns = self.stream.source.learns and self.stream.mode is Mode.INCREMENTAL
        self._position = self._learnt() if learns else position
        self.moved = True

    def give_up(self, error: TongquError) -> None:
        """After too many bad rows, or too few rows at all, the staged ones are of no use: the next attempt reads all
        rows anew, from a source that may have been mended."""
        if isinstance(error, QualityError) and self.write.mode is WriteMode.REPLACE:
            with suppress(TongquError):
                self.stream.sink.begin(self.write, [])

    def finish(self) -> None:
        """Make the rows visible."""
        report = self.report
        crash_point("before_finish")
        self._finish(self._position)
        crash_point("after_finish")
        self.stream.source.finished(self.stream.source_dataset, self._position)
        if self.write.mode is not WriteMode.REPLACE and report.lane != "done":
            self._judge()
        if report.counts.quarantined or report.warnings:
            report.status = "attention"

    def _judge(self) -> None:
        """Note the rules about all rows that do not hold; raises QualityError for those that are errors."""
        if self.stream.judge is None:
            return
        for verdict in self.stream.judge(self.report.counts):
            hint = "look at the source; the rule stands in the data dictionary"
            if verdict.error:
                raise QualityError(verdict.message, path=self.stream.name, hint=hint)
            problem = {"path": self.stream.name, "code": verdict.code, "message": verdict.message, "hint": hint}
            self.report.warnings.append(problem | {"level": "warning"})

    def _finish(self, position: Position | None) -> None:
        """Finish at the sink; again after a lost connection, unless the commit whose reply was lost had done it."""
        sink, report = self.stream.sink, self.report
        asked = False

        def ask() -> None:
            nonlocal asked
            opened = sink.reopen(self.write) if asked else None
            asked = True
            if opened is not None and opened.finished:
                report.counts = opened.counts
            else:
                _correct(report.counts, sink.finish(self.write, report.counts, position))

        self._patience.asking(ask)
        if self.stream.chain is not None:
            self.stream.chain.ended(whole=self.stream.mode is Mode.FULL)

    def _all_done(self, checkpoints: Sequence[Checkpoint]) -> bool:
        stored = self.stream.sink.reopen(self.write).checkpoints
        return all(stored[c.split.id].done for c in checkpoints)

    def _learnt(self) -> Position | None:
        """The position that the one split of an incremental read came to."""
        stored = self._patience.asking(lambda: self.stream.sink.reopen(self.write)).checkpoints
        return next((one.position for one in stored.values()), None)

    def _splits(self, opened: Opened) -> tuple[list[Checkpoint], Position | None]:
        """The splits to move, and the position that a finished run leaves."""
        stream = self.stream
        if opened.checkpoints:
            checkpoints = list(opened.checkpoints.values())
            return checkpoints, checkpoints[0].split.spec.get("until", opened.previous)
        position: Position | None = None
        if stream.mode is Mode.INCREMENTAL:
            ties = self.write.mode in (WriteMode.UPSERT, WriteMode.HISTORY)
            position = stream.source.horizon(stream.source_dataset, stream.cursor or "", opened.previous, ties=ties)
            if position is None:
                return [], opened.previous
            splits = [Split("0", stream.source_dataset.name, {"after": opened.previous, "until": position})]
        else:
            splits = stream.source.splits(stream.source_dataset, self._wanted())
        self._patience.asking(lambda: stream.sink.begin(self.write, splits))
        return [Checkpoint(split, None, Counts()) for split in splits], position

    def _wanted(self) -> int:
        if not self.stream.sink.parallel:
            return 1
        if self._elsewhere is not None and not self.limits.splits:
            return max(_SPLITS, 2 * self._elsewhere.hands.width())
        return self.limits.splits or min(_SPLITS, os.cpu_count() or 1)

    @cached_property
    def _elsewhere(self) -> Elsewhere | None:
        """Other processes, if they can move this stream."""
        return self.elsewhere if self.elsewhere is not None and lendable(self.stream) else None

    def _move(self, pump: Pump, checkpoints: Sequence[Checkpoint]) -> None:
        """Move the splits side by side; the first failure stops the others at their next commit."""
        if len(checkpoints) <= 1:
            for checkpoint in checkpoints:
                pump.move(checkpoint)
            return
        halt = _Either(self.around.stop)
        pump.around = replace(self.around, stop=halt)
        with ThreadPoolExecutor(max_workers=len(checkpoints), thread_name_prefix="tongqu-split") as pool:
            futures: list[Future[None]] = [pool.submit(pump.move, checkpoint) for checkpoint in checkpoints]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((f.exception() for f in done if f.exception() is not None), None)
            if failed is not None:
                halt.set()
                wait(futures)
                raise failed


class _Either(Event):
    """An event that is set when it or another one is."""

    def __init__(self, other: Event):
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()


def _correct(counts: Counts, written: Written) -> None:
    """Staged rows count as what `finish` did with them."""
    if written == Written():
        return
    counts.inserted, counts.updated = written.inserted, written.updated
    counts.unchanged, counts.merged = written.unchanged, written.merged
    counts.deleted = written.deleted
    counts.generated += written.deleted
    counts.quarantined += len(written.refused)
