"""A bounded pool of connections of one event loop: the fewest steps between a query and a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from tongqu.core.errors import BusyError, ConnectError

C = TypeVar("C")


class Pool(Generic[C]):
    """At most `size` connections, made when they are needed and kept. Who waits longest is served first: it is handed a
    connection, which nobody who comes later can take before.

    `alive` tells without talking whether a kept connection can still be used, `drop` ends one at once.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[C]], alive: Callable[[C], bool], drop: Callable[[C], None], size: int
    ):
        self._connect = connect
        self._alive = alive
        self._drop = drop
        self._size = size
        self._idle: list[C] = []
        self._used: set[int] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[C | None]] = deque()
        self._closed = False

    async def take(self, seconds: float) -> C:
        """A connection, to be given back. Raises what connecting raises; BusyError after waiting so long."""
        if self._closed:
            raise _closed()
        if not self._waiting:
            kept = self._kept()
            if kept is not None:
                return kept
            if self._room:
                self._opening += 1
                return await self._open(seconds)
        kept = await self._turn(seconds)
        return kept if kept is not None else await self._open(seconds)

    @property
    def _room(self) -> bool:
        return len(self._used) + self._opening < self._size

    def _kept(self) -> C | None:
        """An idle connection that is still good, from now on used."""
        while self._idle:
            kept = self._idle.pop()
            if self._alive(kept):
                self._used.add(id(kept))
                return kept
            self._drop(kept)
        return None

    async def _open(self, seconds: float) -> C:
        """A new connection in the place that is counted as opening."""
        try:
            made = await asyncio.wait_for(self._connect(), max(seconds, 1.0))
        except TimeoutError:
            raise ConnectError("no connection could be opened in time", hint="check that the system answers") from None
        else:
            self._used.add(id(made))
            return made
        finally:
            self._opening -= 1
            self._wake()

    async def _turn(self, seconds: float) -> C | None:
        """Wait in the queue. A connection that was handed over, or None: a place to open one is kept for us."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[C | None] = loop.create_future()
        self._waiting.append(turn)
        late = loop.call_later(seconds, _late, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # it was our turn, and we are gone
                self._back(turn.result())
            raise
        finally:
            late.cancel()
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _back(self, handed: C | None) -> None:
        if handed is not None:
            self.give(handed)
        else:
            self._opening -= 1
            self._wake()

    def give(self, connection: C, *, broken: bool = False) -> None:
        """Take a connection back; it goes to who waits longest."""
        self._used.discard(id(connection))
        if broken or self._closed or not self._alive(connection):
            self._drop(connection)
        else:
            self._idle.append(connection)
        self._wake()

    @property
    def numbers(self) -> tuple[int, int]:
        """How many connections are in use or being opened, and how many there may be."""
        return len(self._used) + self._opening, self._size

    def forget(self) -> None:
        """Drop the connections that nobody uses: they are to be made anew."""
        while self._idle:
            self._drop(self._idle.pop())

    def _wake(self) -> None:
        """Hand what there is to those who wait, the longest first."""
        while self._waiting and (self._idle or self._room or self._closed):
            turn = self._waiting.popleft()
            if turn.done():
                continue
            if self._closed:
                turn.set_exception(_closed())
                continue
            kept = self._kept()
            if kept is None:
                self._opening += 1
            turn.set_result(kept)

    def close(self) -> None:
        """Drop all; those in use when they are given back."""
        self._closed = True
        self.forget()
        self._wake()


def _closed() -> ConnectError:
    return ConnectError("the server was closed")


def _late(turn: asyncio.Future[Any]) -> None:
    if not turn.done():
        turn.set_exception(BusyError("all connections are in use", hint="try again in a moment"))
