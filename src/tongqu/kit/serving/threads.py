"""Blocking drivers beside an event loop: bounded workers, and calls that end when their time is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from tongqu.core.errors import BusyError, TimedOutError

T = TypeVar("T")
_AGAIN = 0.02
"""Seconds between two interrupts of a call that does not end: the first may have come before its statement began."""
_END = object()


class Running:
    """One call in a worker. Its driver is interrupted when the time is over or whoever waited has gone."""

    def __init__(self, seconds: float):
        self._lock = Lock()
        self._interrupt: Callable[[], object] | None = None
        self._seconds = seconds
        self._until = monotonic() + seconds
        self._stopped = False

    @property
    def left(self) -> float:
        """Seconds that are left, at least zero."""
        return max(0.0, self._until - monotonic())

    @property
    def over(self) -> bool:
        """Whether it must end now."""
        return self._stopped or monotonic() >= self._until

    @contextmanager
    def interruptible(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """A context in which `interrupt` (safe from any thread) makes the driver stop; it is not called outside.

        Raises TimedOutError instead of beginning, and for whatever the driver raises when it was stopped.
        """
        with self._lock:
            if self._stopped:
                raise self.timed_out()
            self._interrupt = interrupt
        try:
            yield
        except Exception as error:
            if self._stopped and not isinstance(error, TimedOutError):
                raise self.timed_out() from error
            raise
        finally:
            with self._lock:
                self._interrupt = None

    def stop(self) -> None:
        """Interrupt what runs, and let nothing more begin."""
        with self._lock:
            self._stopped = True
            if self._interrupt is not None:
                self._interrupt()

    def timed_out(self) -> TimedOutError:
        """The error for a call whose time is over."""
        return TimedOutError(
            f"the query took longer than {self._seconds:g} s and was ended", hint="ask for less, or filter by the key"
        )


class Workers:
    """Threads for one server. BusyError instead of a queue that grows for ever."""

    def __init__(self, count: int, name: str, waiting: int = 1000):
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._count = count
        self._most = count + waiting
        self._open: dict[Any, Running] = {}
        self._turn, self._alone = asyncio.Lock(), Lock()

    @property
    def numbers(self) -> tuple[int, int]:
        """How many threads work, and how many there may be."""
        return min(len(self._open), self._count), self._count

    async def run(self, call: Callable[[Running], T], seconds: float) -> T:
        """What the call gives. TimedOutError when its time is over, waiting for a worker counted in."""
        return await self._wait(call, Running(seconds))

    async def alone(self, call: Callable[[Running], T], seconds: float) -> T:
        """The same for a change, one after the other; who waits for its turn takes no worker from those who read.

        When its time is over it is stopped and waited for: what was committed is never told as if it were not.
        """

        def guarded(running: Running) -> T:
            with self._alone:  # one whose caller has gone may not have ended yet
                return call(running)

        running = Running(seconds)
        try:
            await asyncio.wait_for(self._turn.acquire(), seconds)
        except TimeoutError:
            raise running.timed_out() from None
        try:
            return await self._wait(guarded, running, finish=True)
        finally:
            self._turn.release()

    async def each(self, begin: Callable[[Running], Iterator[T]], seconds: float) -> AsyncIterator[T]:
        """The values of a blocking iterator, one call a value; it is closed however this ends."""
        running = Running(seconds)
        values = await self._wait(begin, running)
        try:
            while (value := await self._wait(lambda _: next(values, _END), running)) is not _END:
                yield value  # type: ignore[misc]  # no end mark
        finally:
            running.stop()
            close = getattr(values, "close", None)
            if close is not None:
                closing = self._submit(lambda _: close(), running)
                with contextlib.suppress(Exception):
                    await asyncio.shield(closing)

    async def close(self) -> None:
        """Stop what runs, wait for it and end the threads; may be called twice."""
        for running in list(self._open.values()):
            running.stop()
        while self._open:
            for running in list(self._open.values()):
                running.stop()
            await asyncio.wait(set(self._open), timeout=_AGAIN)
        self._pool.shutdown()

    async def _wait(self, call: Callable[[Running], T], running: Running, *, finish: bool = False) -> T:
        if len(self._open) >= self._most:
            raise BusyError("too many queries wait for this source", hint="try again later")
        work = self._submit(call, running)
        try:
            done, _ = await asyncio.wait({work}, timeout=running.left)
        except asyncio.CancelledError:
            self._insist(work, running)
            raise
        if not done:
            self._insist(work, running)
            if not finish:
                raise running.timed_out()
            await asyncio.wait({work})
        return work.result()

    def _submit(self, call: Callable[[Running], T], running: Running) -> asyncio.Future[T]:
        made: Future[T] = self._pool.submit(call, running)
        work = asyncio.wrap_future(made)
        self._open[work] = running
        work.add_done_callback(self._ended)
        return work

    def _ended(self, work: asyncio.Future[T]) -> None:
        self._open.pop(work, None)
        if not work.cancelled():
            work.exception()  # who waited may have gone

    def _insist(self, work: asyncio.Future[T], running: Running) -> None:
        if not work.done():
            running.stop()
            asyncio.get_running_loop().call_later(_AGAIN, self._insist, work, running)
