"""Follows one log for all streams that share it: reads, hands over, acknowledges, and begins again after failures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import Event, Lock, Thread
from typing import Any

from tongqu.core.data import Position, Started, WriteMode
from tongqu.core.errors import LostPositionError, RunError, TongquError
from tongqu.core.events import Emit, Retrying, Warned
from tongqu.core.events import Followed as Told
from tongqu.core.log import Follow, Lag, Log
from tongqu.engine.following.job import SPLIT, TOLD_SECONDS, Asked, Group, fail, isolated
from tongqu.engine.following.lag import since
from tongqu.engine.following.opening import LoadFailedError, Opening, keyed
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
_WARN_SECONDS = 600.0


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
        self._progress = self._unknown = False
        self._staged: Position | None = None
        """From where those that are behind have read alone, to the end."""
        self._lock = Lock()

    def run(self) -> None:
        """Open, load what was never loaded, follow; the reports are filled in whatever happens."""
        self._opening = opening = Opening(self._asked, self._group, self._started, self._load)
        try:
            self._followed = opening.run()
            assert opening.log is not None  # noqa: S101
            self._log, self._unknown = opening.log, opening.unknown
            for report in self._group.reports:
                if report.problem is not None:
                    self._asked.ended(report)
                    self._say_left_behind(report.name, None, lost=report.name in opening.paused)
            self._until = self._log.head() if self._asked.job.until_caught_up else None
            self._follow()
            for one in self._running:
                self._asked.tell(one)
                one.stream.sink.finish(one.write, one.counts, one.position)
                crash_point("after_finish")
                one.report.status = "stopped" if self._stopped else "succeeded"
        except LoadFailedError:
            self._say_stopped()
        except TongquError as error:
            if not isolated(error):
                self._halt.set()
            if error.code == "run.cancelled":
                self._say_stopped()
                return
            self._blame(error)
        finally:
            self._measure(tell=True)
            for one in self._followed:
                one.close()
            for log in (opening.log, self._log):
                if log is not None:
                    log.close()

    @property
    def _running(self) -> list[Followed]:
        return [one for one in self._followed if one.failed is None]

    @property
    def _stopped(self) -> bool:
        return self._around.stop.is_set() or self._halt.is_set()

    def _say_stopped(self) -> None:
        for report in self._group.reports:
            if report.problem is None:
                report.status = "stopped"

    def _blame(self, error: TongquError) -> None:
        """The stream that the error names has failed, or else the first; the others were stopped by it."""
        left = [report for report in self._group.reports if report.problem is None]
        self._say_stopped()
        if left:
            blamed = next((report for report in left if report.name == error.path), left[0])
            fail(blamed, error, blamed.name)

    def _fail(self, one: Followed, error: TongquError) -> None:
        """A stream has failed: the others go on without it, and the log is kept from its position. Raises the error if
        none is left."""
        with self._lock:
            one.failed = error
            fail(one.report, error, one.stream.name)
            left = bool(self._running)
        one.forget()
        if not left:
            raise error
        self._asked.ended(one.report)

    def _left_behind(self, error: LostPositionError) -> bool:
        """Fail the streams behind all others, whose position the log has lost; false if that is all of them."""
        assert self._log is not None  # noqa: S101
        lowest = self._lowest()
        behind = [one for one in self._running if self._log.reached(lowest, one.position)]
        if len(behind) == len(self._running):
            return False
        for one in behind:
            one.forget()
            with suppress(TongquError):
                error = one.lose(error)
            self._fail(one, error)
        return True

    def _follow(self) -> None:
        """Follow until the end; after lost connections from what is durable, waiting longer each time."""
        failures = 0
        while True:
            try:
                while self._attempt():
                    pass
            except TongquError as error:
                self._staged = None
                if isinstance(error, LostPositionError) and self._running and self._left_behind(error):
                    delay = 0.0
                elif not error.retryable:
                    raise
                else:
                    failures = 1 if self._progress else failures + 1
                    delay = min(0.2 * 2 ** min(failures, 10), _LONGEST_WAIT)
                    first = self._running[0].stream.name
                    self._asked.emit(Retrying(self._asked.run, first, SPLIT, error.message, failures, delay))
                for one in self._running:
                    one.forget()
                if delay and self._wait(delay):
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
            for one in self._running:
                one.opened(one.stream.sink.reopen(one.write), durable=False)
        except TongquError as error:
            if not error.retryable:
                raise
            first = self._running[0].stream.name
            self._asked.emit(Retrying(self._asked.run, first, SPLIT, error.message, 0, 0.0))
            return False
        return True

    def _stage(self) -> tuple[list[Followed], Position | None]:
        """Who reads the log next, and up to where: where changes are kept one by one, those that are behind read alone
        up to the next one, since a batch of the log may hold transactions from before and behind a place."""
        assert self._log is not None  # noqa: S101
        running, lowest, reached = self._running, self._lowest(), self._log.reached
        behind = [one for one in running if reached(lowest, one.position)]
        others = [one for one in running if not reached(lowest, one.position)]
        plain = all(one.write.mode is WriteMode.UPSERT and not one.rejoined for one in others)
        if plain or lowest == self._staged:
            return running, self._until
        self._staged = lowest
        until = self._lowest(others)
        return behind, until if self._until is None or not reached(until, self._until) else self._until

    def _attempt(self) -> bool:
        """Follow with all streams, or some; whether there is more to follow."""
        assert self._log is not None  # noqa: S101
        self._progress = self._opening.filling = False
        running, end = self._stage()
        before = len(self._running)
        parallel = all(one.stream.sink.parallel for one in running)
        number = min(len(running), self._asked.job.limits.streams if parallel else 1, (os.cpu_count() or 1) + 1)
        rows = min(self._asked.job.limits.chunk_rows, _CHUNK_ROWS)
        writings = [Writing(running[n::number], self._log.reached, rows, self._fail) for n in range(number)]
        stop = Event()

        def ready(seconds: float) -> None:
            until = time.monotonic() + seconds
            for writing in writings:
                writing.queue.quiet(until)

        follow = Follow(self._lowest(), end, stop=stop, ready=ready)
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
            if reader.is_alive():
                self._cut_off(reader)
        if problems:
            raise problems[0]
        self._acknowledge()
        return (len(running) < before or self._opening.filling) and not self._stopped

    def _cut_off(self, reader: Thread) -> None:
        """A reader does not end: take its log away, and open the log anew. Two would read the same log otherwise.
        Raises RunError if it does not end even then."""
        assert self._log is not None  # noqa: S101
        self._log.close()
        reader.join(_STOP_SECONDS)
        if reader.is_alive():
            raise RunError(
                "the reader of the log does not end, so nobody can go on with the log",
                path=self._followed[0].stream.name,
                hint="run the same command again: it goes on from what is durable",
            )
        self._log = self._group.source.log(self._group.name, [keyed(one.stream) for one in self._followed])

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
            for one in self._running:
                if one.told != one.counts.read and now - one.told_at >= TOLD_SECONDS:
                    self._asked.tell(one)
            if abs(now - self._lag_at) >= _LAG_SECONDS:
                self._lag_at = now
                self._measure(tell=True)

    def _read(self, follow: Follow, writings: Sequence[Writing]) -> None:
        """Hand the log's batches to those who write their streams."""
        log = self._log
        assert log is not None  # noqa: S101
        places = {one.stream.source_dataset.name: (one, writing) for writing in writings for one in writing.streams}

        def lost(dataset: str, error: TongquError) -> None:
            if dataset in places:
                followed, writing = places[dataset]
                writing.queue.put(Item("lost", followed, error=error))

        with _closing(log.read(replace(follow, lost=lost))) as batches:
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

    def _lowest(self, some: Sequence[Followed] = ()) -> Position:
        assert self._log is not None  # noqa: S101
        return lowest([one.position for one in some or self._running], self._log.reached)

    def _acknowledge(self) -> None:
        """Let the source forget what is durable in every stream, those among them that have failed."""
        assert self._log is not None  # noqa: S101
        if self._unknown:
            return
        kept = [one.durable for one in self._followed if not one.lost]
        if not kept:
            return
        position = lowest(kept, self._log.reached)
        if position != self._acknowledged:
            self._progress = self._progress or self._acknowledged is not None
            self._log.acknowledge(position)
            self._acknowledged = position
            crash_point("after_acknowledge")

    def _measure(self, *, tell: bool = False) -> None:
        """Note how far behind the streams are; what cannot be learnt now is left out."""
        if self._log is None or not self._running:
            return
        try:
            lag = self._log.lag(self._lowest())
            for one in self._followed:
                if one.failed is not None:
                    self._warn(one, Lag() if one.lost else self._log.lag(one.durable or one.position))
        except TongquError:
            return
        for one in self._running:
            latency = one.latency.to_json()
            seconds = lag.seconds
            if seconds is None:
                seconds = 0.0 if not one.pieces else since(one.latency.newest)
            one.report.lag_seconds, one.report.latency_ms = seconds, latency
            if tell:
                told = Told(self._asked.run, one.stream.name, seconds, latency or {}, lag.bytes, lag.rows,
                            lag.until_loss)  # fmt: skip
                self._asked.emit(told)

    def _warn(self, one: Followed, lag: Lag) -> None:
        """Say now and then that a stream has failed while the others go on, and how long the log is kept for it."""
        one.report.lag_seconds = lag.seconds
        now = self._around.now().timestamp()
        if one.warned_at and abs(now - one.warned_at) < _WARN_SECONDS:
            return
        one.warned_at = now
        self._say_left_behind(one.stream.name, lag.until_loss, lost=one.lost)

    def _say_left_behind(self, name: str, seconds: float | None, *, lost: bool) -> None:
        left = "" if seconds is None else f", which it is for about {seconds:.0f} s more"
        message = f"it has failed and the others go on; the log is kept from its position{left}: mend it and run again"
        if lost:
            message = "its changes are not in the log any more; the others go on: mend it and read it anew (--reload)"
        self._asked.emit(Warned(self._asked.run, name, "stream.lost" if lost else "stream.left_behind", message))


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
