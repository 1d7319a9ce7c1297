"""A bounded pool of connections of one event loop: the fewest steps between a query and a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tongqu.core.errors import BusyError, ConnectError

C = TypeVar("C")


class Pool(Generic[C]):
    """At most `size` connections, made when they are needed and kept. Who waits longest is served first.

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
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def take(self, seconds: float) -> C:
        """A connection, to be given back. Raises what connecting raises; BusyError after waiting so long."""
        while not self._closed:
            while self._idle:
                kept = self._idle.pop()
                if self._alive(kept):
                    self._used.add(id(kept))
                    return kept
                self._drop(kept)
            if len(self._used) + self._opening < self._size:
                return await self._open(seconds)
            await self._wait(seconds)
        raise ConnectError("the server was closed")

    async def _open(self, seconds: float) -> C:
        self._opening += 1
        try:
            made = await asyncio.wait_for(self._connect(), max(seconds, 1.0))
        except TimeoutError:
            raise ConnectError("no connection could be opened in time", hint="check that the system answers") from None
        finally:
            self._opening -= 1
            self._wake()
        self._used.add(id(made))
        return made

    async def _wait(self, seconds: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, seconds)
        except TimeoutError:
            raise BusyError("all connections are in use", hint="try again in a moment") from None
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.cancelled():  # it was our turn, and we are gone
                self._wake()

    def give(self, connection: C, *, broken: bool = False) -> None:
        """Take a connection back."""
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
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        """Drop all; those in use when they are given back."""
        self._closed = True
        self.forget()
        while self._waiting:
            self._wake()
