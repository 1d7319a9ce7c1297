"""Follows one log for all streams that share it: reads, hands over, acknowledges, and begins again after failures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import Any

from tongqu.core.data import Position, Started
from tongqu.core.errors import TongquError
from tongqu.core.events import Emit, Retrying
from tongqu.core.events import Followed as Told
from tongqu.core.log import Follow, Log
from tongqu.engine.following.first import LoadFailedError
from tongqu.engine.following.job import SPLIT, TOLD_SECONDS, Asked, Group, fail
from tongqu.engine.following.lag import since
from tongqu.engine.following.opening import Opening
from tongqu.engine.following.queue import Item
from tongqu.engine.following.stream import Followed, lowest
from tongqu.engine.following.writing import Writing
from tongqu.engine.job import Job
from tongqu.engine.report import Report
from tongqu.kit.faults import crash_point

_CHUNK_ROWS = 100_000
_LAG_SECONDS = 5.0
_TICK = 0.1
_LONGEST_WAIT = 30.0
_STOP_SECONDS = 5.0


class Follower:
    """All streams that follow one log."""

    def __init__(self, asked: Asked, group: Group, started: Started, load: Callable[[Job, Emit], Report], halt: Event):
        self._asked, self._group, self._started, self._load, self._halt = asked, group, started, load, halt
        self._around = asked.around
        self._log: Log | None = None
        self._followed: list[Followed] = []
        self._until: Position | None = None
        self._acknowledged: Position | None = None
        self._lag_at = 0.0
        self._progress = False

    def run(self) -> None:
        """Open, load what was never loaded, follow; the reports are filled in whatever happens."""
        opening = Opening(self._asked, self._group, self._started, self._load)
        try:
            self._followed = opening.run()
            assert opening.log is not None  # noqa: S101
            self._log = opening.log
            self._until = self._log.head() if self._asked.job.until_caught_up else None
            self._follow()
            for one in self._followed:
                self._asked.tell(one)
                one.stream.sink.finish(one.write, one.counts, one.position)
                one.report.status = "stopped" if self._stopped else "succeeded"
        except LoadFailedError as error:
            self._halt.set()
            self._say_stopped()
            report = next(r for r in self._group.reports if r.problem is None)
            report.status, report.problem = "failed", error.problem
        except TongquError as error:
            self._halt.set()
            if error.code == "run.cancelled":
                self._say_stopped()
                return
            self._blame(error)
        finally:
            self._measure(tell=True)
            for one in self._followed:
                one.close()
            if opening.log is not None:
                opening.log.close()

    @property
    def _stopped(self) -> bool:
        return self._around.stop.is_set() or self._halt.is_set()

    def _say_stopped(self) -> None:
        for report in self._group.reports:
            report.status = "stopped"

    def _blame(self, error: TongquError) -> None:
        """The stream that the error names has failed, or else the first; the others were stopped by it."""
        self._say_stopped()
        names = [report.name for report in self._group.reports]
        place = names.index(error.path) if error.path in names else 0
        fail(self._group.reports[place], error, names[place])

    def _follow(self) -> None:
        """Follow until the end; after lost connections from what is durable, waiting longer each time."""
        failures = 0
        while True:
            try:
                self._attempt()
            except TongquError as error:
                if not error.retryable:
                    raise
                failures = 1 if self._progress else failures + 1
                delay = min(0.2 * 2 ** min(failures, 10), _LONGEST_WAIT)
                first = self._followed[0].stream.name
                self._asked.emit(Retrying(self._asked.run, first, SPLIT, error.message, failures, delay))
                for one in self._followed:
                    one.forget()
                if self._wait(delay):
                    return
                while not self._again():
                    failures += 1
                    if self._wait(min(0.2 * 2 ** min(failures, 10), _LONGEST_WAIT)):
                        return
                continue
            return

    def _wait(self, delay: float) -> bool:
        return self._halt.is_set() or self._around.wait(delay)

    def _again(self) -> bool:
        """Read the stored positions; False if the sink does not answer yet."""
        try:
            for one in self._followed:
                one.opened(one.stream.sink.reopen(one.write), durable=False)
        except TongquError as error:
            if not error.retryable:
                raise
            first = self._followed[0].stream.name
            self._asked.emit(Retrying(self._asked.run, first, SPLIT, error.message, 0, 0.0))
            return False
        return True

    def _attempt(self) -> None:
        assert self._log is not None  # noqa: S101
        self._progress = False
        parallel = all(one.stream.sink.parallel for one in self._followed)
        number = min(len(self._followed), self._asked.job.limits.streams if parallel else 1, (os.cpu_count() or 1) + 1)
        rows = min(self._asked.job.limits.chunk_rows, _CHUNK_ROWS)
        writings = [Writing(self._followed[n::number], self._log.reached, rows) for n in range(number)]
        stop = Event()

        def ready(seconds: float) -> None:
            until = time.monotonic() + seconds
            for writing in writings:
                writing.queue.quiet(until)

        follow = Follow(self._lowest(), self._until, stop=stop, ready=ready)
        problems: list[BaseException] = []
        reader = Thread(
            target=_carried, args=(partial(self._read, follow, writings), problems), name="tongqu-log", daemon=True
        )
        threads = [
            Thread(target=_carried, args=(partial(w.run, keep=parallel), problems), name="tongqu-write", daemon=True)
            for w in writings
        ]
        for thread in (reader, *threads):
            thread.start()
        try:
            self._watch([reader, *threads], stop, problems)
        finally:
            stop.set()
            for writing in writings:
                writing.queue.close()
            for thread in (*threads, reader):
                thread.join(_STOP_SECONDS if thread is reader else None)
        if problems:
            raise problems[0]
        self._acknowledge()

    def _watch(self, threads: Sequence[Thread], stop: Event, problems: Sequence[BaseException]) -> None:
        """Until all threads are done or one has failed: acknowledge, and tell how far it is."""
        reader, writers = threads[0], threads[1:]
        while any(thread.is_alive() for thread in writers):
            if problems:
                return
            if self._stopped:
                stop.set()
            writers[0].join(_TICK) if writers[0].is_alive() else reader.join(_TICK)
            self._acknowledge()
            now = self._around.now().timestamp()
            for one in self._followed:
                if one.told != one.counts.read and now - one.told_at >= TOLD_SECONDS:
                    self._asked.tell(one)
            if abs(now - self._lag_at) >= _LAG_SECONDS:
                self._lag_at = now
                self._measure(tell=True)

    def _read(self, follow: Follow, writings: Sequence[Writing]) -> None:
        """Hand the log's batches to those who write their streams."""
        log = self._log
        assert log is not None  # noqa: S101
        number = len(writings)
        places = {
            one.stream.source_dataset.name: (one, writings[place % number]) for place, one in enumerate(self._followed)
        }
        with _closing(log.read(follow)) as batches:
            for batch in batches:
                found = places.get(batch.dataset)
                if found is not None and batch.kind != "heartbeat":
                    followed, writing = found
                    if not writing.queue.put(Item("batch", followed, batch)):
                        return
                if batch.position is not None:
                    for writing in writings:
                        if not writing.queue.put(Item("cut", position=batch.position)):
                            return
                if follow.stop.is_set():
                    break
        for writing in writings:
            writing.queue.put(Item("end"))

    def _lowest(self) -> Position:
        assert self._log is not None  # noqa: S101
        return lowest([one.position for one in self._followed], self._log.reached)

    def _acknowledge(self) -> None:
        """Let the source forget what is durable in every stream."""
        assert self._log is not None  # noqa: S101
        position = lowest([one.durable for one in self._followed], self._log.reached)
        if position != self._acknowledged:
            self._progress = self._progress or self._acknowledged is not None
            self._log.acknowledge(position)
            self._acknowledged = position
            crash_point("after_acknowledge")

    def _measure(self, *, tell: bool = False) -> None:
        """Note how far behind the streams are; what cannot be learnt now is left out."""
        if self._log is None or not self._followed:
            return
        try:
            lag = self._log.lag(self._lowest())
        except TongquError:
            return
        for one in self._followed:
            latency = one.latency.to_json()
            seconds = lag.seconds
            if seconds is None:
                seconds = 0.0 if not one.pieces else since(one.latency.newest)
            one.report.lag_seconds, one.report.latency_ms = seconds, latency
            if tell:
                told = Told(self._asked.run, one.stream.name, seconds, latency or {}, lag.bytes, lag.rows,
                            lag.until_loss)  # fmt: skip
                self._asked.emit(told)


def _carried(act: Callable[[], None], problems: list[BaseException]) -> None:
    try:
        act()
    except BaseException as error:  # noqa: BLE001  # carried to the thread that watches, which raises it
        problems.append(error)


@contextmanager
def _closing(batches: Any) -> Iterator[Any]:
    try:
        yield batches
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
