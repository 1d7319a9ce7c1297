"""Runs a job and writes down what happens: the run store, progress, and the document at the end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Protocol, TypeVar

from tongqu.app.services.flows import Names, flows
from tongqu.catalog.lineage import Flow
from tongqu.core.data import Counts, Mode
from tongqu.core.errors import TongquError
from tongqu.core.events import (
    Committed,
    Emit,
    Event,
    Followed,
    LaneChanged,
    Retrying,
    StreamEnded,
    StreamPlanned,
    Warned,
)
from tongqu.engine.governing import Valves
from tongqu.engine.job import Job, Stream, Surroundings
from tongqu.engine.report import Report
from tongqu.store.runs import Runs, Started
from tongqu.store.scrub import Scrubber

_THIN_SECONDS = 10.0
_NOTE_SECONDS = 1.0


class Closes(Protocol):
    """Something that holds connections."""

    def close(self) -> None:
        """Release them."""


Kept = TypeVar("Kept", bound=Closes)


@dataclass(frozen=True)
class Run:
    """What is written down about a run before it starts; nothing here holds a secret."""

    kind: str
    command: str
    sinks: Sequence[str] = ()
    names: Names = field(default_factory=Names)


@dataclass(frozen=True)
class Outcome:
    """The document that is printed and the exit code that goes with it."""

    document: dict[str, Any]
    exit_code: int


@dataclass
class Runner:
    """Executes jobs with `engine` (`engine.run.run`). What `keep` was given is closed when the run is over."""

    engine: Callable[[Job, Emit, Surroundings], Report]
    around: Surroundings
    scrubber: Scrubber
    runs: Callable[[], Runs | None]
    """Opens the run store; None if this home cannot hold one (a person was told so)."""
    listeners: list[Emit] = field(default_factory=list)
    notice: Callable[[TongquError], None] = lambda error: None
    """Told of an error that becomes part of the document."""
    govern: Callable[[Sequence[str]], Valves] = lambda names: Valves()
    """The budgets of connections that have one; what it gives is closed when the run is over."""
    took: Callable[[Mapping[str, str]], None] = lambda taken: None
    """Told the alternatives that a run reads, by the connection that they stand in for."""
    touched: Callable[[str, Sequence[str]], None] = lambda sink, tables: None
    """Told the sink's name and the tables whenever rows of them became durable."""
    _open: ExitStack = field(default_factory=ExitStack)

    def finished(self, stream: str, last: int) -> list[dict[str, Any]]:
        """The newest finished streams of that name, as run documents show them; none if no store can be opened."""
        runs = _opened(self.runs)
        if runs is None:
            return []
        try:
            return list(runs.streams(stream, last))
        except (sqlite3.Error, OSError):
            return []
        finally:
            runs.close()

    def keep(self, end: Kept) -> Kept:
        """Close this end after the run."""
        self._open.callback(end.close)
        return end

    def execute(self, run: Run, plan: Callable[[], Job]) -> Outcome:
        """Plan and run; every TongquError after this point becomes part of the document."""
        recorder = Recorder(run, self.runs, self.scrubber)
        listeners: list[Emit] = [recorder, *self.listeners]

        def emit(event: Event) -> None:
            for listener in listeners:
                listener(event)
            if isinstance(event, Committed | StreamEnded) and job is not None:
                self.touched(run.names.sink, [one.target for one in job.streams if one.name == event.stream])

        job: Job | None = None
        with self._open:
            try:
                job = plan()
                report = self.engine(job, emit, self.around)
            except TongquError as error:
                self.notice(error)
                problem = self.scrubber.problem(error.problem())
                document = {"ok": False, "problems": [problem]}
                id = recorder.run_id or (job.run if job else None)
                if id:
                    document = {"run": id, "status": "failed", "attempts": 1, "lane": "", "streams": [], **document}
                recorder.finish(id or self.around.new_id(), document)
                return Outcome(document, error.exit_code)
            except Exception as error:
                what = self.scrubber.text(f"{type(error).__name__}: {error}")
                internal = {"path": "", "code": "internal", "message": what, "hint": ""}
                recorder.finish(recorder.run_id or self.around.new_id(), {"problems": [internal]})
                raise
        document = self._document(report)
        ended = ("succeeded", "attention", "stopped") if report.follows else ("succeeded", "attention")
        good = {stream.name for stream in report.streams if stream.status in ended}
        recorder.flows([stream for stream in job.streams if stream.name in good], report.run)
        recorder.finish(report.run, document)
        return Outcome(document, report.exit_code)

    def _document(self, report: Report) -> dict[str, Any]:
        document = report.to_json()
        if report.exit_code in (1, 2):
            problems = [self.scrubber.problem(problem) for problem in document.get("problems", [])]
            stopped = {"path": report.run, "code": "run.cancelled", "message": "stopped by a signal",
                       "hint": "the same command goes on where it stopped"}  # fmt: skip
            document |= {"ok": False, "problems": problems or [stopped]}
        return document


class Recorder:
    """Writes a run into the run store as its events come; a store that fails never stops the run.

    The store is opened in a thread of its own while the run connects and plans.
    """

    def __init__(self, run: Run, opens: Callable[[], Runs | None], scrubber: Scrubber):
        self._run = run
        self._scrubber = scrubber
        self._runs: Runs | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tongqu-runs")
        self._opening = self._pool.submit(_opened, opens)
        self._lock = Lock()
        self._followed: dict[str, float] = {}
        self._numbers: dict[str, dict[str, Any]] = {}
        self._noted = 0.0
        self._lines: dict[tuple[str, str], float] = {}
        self.run_id = ""

    def __call__(self, event: Event) -> None:
        """Write the event down."""
        self._begin(event.run)
        if self._runs is None:
            return
        if isinstance(event, Committed | Followed):
            self._progress(event)
            if self._told_lately(event):
                return
        level = "warning" if isinstance(event, Retrying | LaneChanged | Warned) else "info"
        line = {"event": type(event).__name__, **_plain(event)}
        if isinstance(event, StreamEnded) and event.problem:
            level = "error"
            line["problem"] = self._scrubber.problem(event.problem)
        if isinstance(event, StreamPlanned):
            if event.mode in (Mode.CDC, Mode.STREAM):
                self._followed[event.stream] = monotonic()
                way = {"name": event.stream, "mode": event.mode, "lane": event.lane, "write": event.write}
                known = self._numbers.get(event.stream, {**way, **Counts().to_json(), "written": 0})
                self._numbers[event.stream] = known | way
            self._safely(lambda runs: runs.plan(event.run, event.stream, _plan(event)))
        clean = self._scrubber.problem(line)
        self._log(event.run, level, clean)

    def _progress(self, event: Committed | Followed) -> None:
        """Keep the numbers of streams that are followed, which have no end to wait for."""
        if event.stream not in self._followed:
            return
        known = self._numbers[event.stream]
        if isinstance(event, Committed):
            known |= {**event.counts.to_json(), "written": event.counts.written}
        else:
            known |= {"lag_seconds": event.lag_seconds, "latency_ms": dict(event.latency_ms) or None}
        now = monotonic()
        known["seconds"] = round(now - self._followed[event.stream], 3)
        if now - self._noted >= _NOTE_SECONDS or isinstance(event, Followed):
            self._noted = now
            self._safely(lambda runs: runs.progress(event.run, list(self._numbers.values())))

    def _told_lately(self, event: Event) -> bool:
        """Whether the log of a stream that is followed, which may run for months, has such a line already that is not
        10 s old."""
        if event.stream not in self._followed:
            return False
        kind, now = (event.stream, type(event).__name__), monotonic()
        if now - self._lines.get(kind, -_THIN_SECONDS) < _THIN_SECONDS:
            return True
        self._lines[kind] = now
        return False

    def flows(self, streams: Sequence[Stream], run: str) -> None:
        """Write down how the columns of streams that succeeded went."""
        self._begin(run)
        for flow in flows(streams, self._run.names, run):
            self._safely(partial(_keep, flow))

    def finish(self, run: str, document: dict[str, Any]) -> None:
        """Write the end down and close the store."""
        self._begin(run)
        for problem in document.get("problems", []):
            line = {"event": "Problem", **problem}
            self._log(run, str(problem.get("level", "error")), line)
        self._safely(lambda runs: runs.finish(run, {"status": "failed", **document}))
        self._safely(lambda runs: runs.close())

    def _log(self, run: str, level: str, line: dict[str, Any]) -> None:
        self._safely(lambda runs: runs.log(run, level, line))

    def _begin(self, run: str) -> None:
        with self._lock:
            if self.run_id or not run:
                return
            self.run_id = run
            self._runs = self._opening.result()
            self._pool.shutdown(wait=False)
            told, names = self._run, self._run.names
            started = Started(run, told.kind, told.command, told.sinks, names.project, names.version, names.hash)
            self._safely(lambda runs: runs.begin(started))

    def _safely(self, act: Callable[[Runs], None]) -> None:
        if self._runs is not None:
            try:
                act(self._runs)
            except (sqlite3.Error, OSError):
                self._runs = None


def _keep(flow: Flow, runs: Runs) -> None:
    runs.flow(flow.id, asdict(flow))


def _opened(opens: Callable[[], Runs | None]) -> Runs | None:
    runs = opens()
    if runs is not None:
        with suppress(sqlite3.Error, OSError):
            runs.warm_up()
    return runs


def _plain(event: Event) -> dict[str, Any]:
    values = asdict(event)
    if isinstance(event, Committed):
        counts = event.counts
        return {"stream": event.stream, "split": event.split, "read": counts.read, "written": counts.written}
    values.pop("run", None)
    if "counts" in values:
        values["counts"] = {name: number for name, number in values["counts"].items() if number}
    return values


def _plan(event: StreamPlanned) -> dict[str, Any]:
    values = asdict(event)
    return {name: value for name, value in values.items() if name not in ("run", "stream")}
