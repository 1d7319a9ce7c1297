"""Sends HTTP requests over kept connections, as fast as they are answered or at a pace, and counts the answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

GRACE_SECONDS = 5.0
"""How long the last answers are waited for."""
_TICK = 0.001
_AGAIN = 0.05


@dataclass(frozen=True)
class Volley:
    """What is sent. `request(n)` gives the bytes of the n-th one. With a `rate` they are due at a steady pace, whether
    the ones before are answered or not, and latencies count from when they were due; without, each connection sends its
    next request when it has its answer."""

    request: Callable[[int], bytes]
    connections: int = 16
    seconds: float = 5.0
    rate: float = 0.0


@dataclass
class Shots:
    """What came back. `latencies` are seconds, in the order of the answers; `broken` are requests whose connection
    ended or that were not answered in time, `unsent` those that were due and found no free connection."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: array[float] = field(default_factory=lambda: array("d"))
    kinds: array[int] = field(default_factory=lambda: array("H"))
    """The status of each latency."""
    bytes: int = 0
    broken: int = 0
    unsent: int = 0
    seconds: float = 0.0
    connect_seconds: float = 0.0
    """How long the first connection took."""

    def percentile(self, share: float, *, good: bool = True) -> float:
        """The latency below which this share of the answers lie (of those below 400, if `good`); 0 without any."""
        pairs = zip(self.latencies, self.kinds, strict=True)
        kept = sorted(one for one, status in pairs if not good or status < 400)
        return kept[min(len(kept) - 1, int(share * len(kept)))] if kept else 0.0


@dataclass(frozen=True)
class Place:
    """Where the requests go; `connect` gives a connected socket without TLS, and may block."""

    name: str
    connect: Callable[[], socket.socket]
    tls: ssl.SSLContext | None = None


async def fire(place: Place, volley: Volley) -> Shots:
    """Send the volley; raises what `place.connect` raises if not even one connection comes about."""
    firing = _Firing(place, volley)
    return await firing.run()


class _Line(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, firing: _Firing) -> None:
        self._firing = firing
        self._parser: Any = None
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._firing.lost(self)

    def fire(self, request: bytes, due: float) -> None:
        """Send one."""
        import httptools

        self._due, self.busy = due, True
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        import httptools

        if not self.busy:
            self.close()
            return
        self._firing.shots.bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.busy = False
        stays = self._parser.should_keep_alive()
        self._firing.answered(self, self._parser.get_status_code(), self._due, stays=stays)

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()


class _Firing:
    """One volley on its way."""

    def __init__(self, place: Place, volley: Volley) -> None:
        self.shots = Shots()
        self._place, self._volley = place, volley
        self._loop = asyncio.get_running_loop()
        self._lines: set[_Line] = set()
        self._free: deque[_Line] = deque()
        self._due: deque[float] = deque()
        self._number = 0
        self._begun = self._end = 0.0
        self._over = False
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self) -> Shots:
        """See `fire`."""
        began = self._loop.time()
        await self._open()
        self.shots.connect_seconds = self._loop.time() - began
        for _ in range(self._volley.connections - 1):
            await self._open()
        self._begun = self._loop.time()
        self._end = self._begun + self._volley.seconds
        if self._volley.rate:
            await self._pace()
        else:
            for line in list(self._free):
                self._next(line)
            await asyncio.sleep(self._volley.seconds)
        self._over = True
        self.shots.seconds = self._loop.time() - self._begun
        await self._finish()
        return self.shots

    async def _pace(self) -> None:
        due, step = self._begun, 1 / self._volley.rate
        while (now := self._loop.time()) < self._end:
            while due <= now:
                self._due.append(due)
                due += step
            while self._due and self._free:
                self._send(self._free.popleft(), self._due.popleft())
            await asyncio.sleep(_TICK)
        self.shots.unsent = len(self._due)
        self._due.clear()

    async def _finish(self) -> None:
        await asyncio.gather(*self._opening)
        until = self._loop.time() + GRACE_SECONDS
        while any(line.busy for line in self._lines) and self._loop.time() < until:
            await asyncio.sleep(0.01)
        for line in list(self._lines):
            line.close()
        while self._lines:
            await asyncio.sleep(_TICK)

    async def _open(self) -> None:
        opened = await asyncio.to_thread(self._place.connect)
        opened.setblocking(False)
        name = self._place.name if self._place.tls else None
        try:
            _, line = await self._loop.create_connection(
                lambda: _Line(self), sock=opened, ssl=self._place.tls, server_hostname=name
            )
        except BaseException:
            opened.close()
            raise
        self._lines.add(line)
        self._free.append(line)
        if self._begun and not self._over and not self._volley.rate:
            self._next(line)

    async def _reopen(self) -> None:
        while not self._over:
            try:
                await self._open()
                return
            except Exception:  # noqa: BLE001  # refused for whatever reason: counted, and tried again
                self.shots.broken += 1
                await asyncio.sleep(_AGAIN)

    def _next(self, line: _Line) -> None:
        if line in self._free:
            self._free.remove(line)
        self._send(line, self._loop.time())

    def _send(self, line: _Line, due: float) -> None:
        number, self._number = self._number, self._number + 1
        line.fire(self._volley.request(number), due)

    def answered(self, line: _Line, status: int, due: float, *, stays: bool) -> None:
        """A line has its answer."""
        now = self._loop.time()
        self.shots.statuses[status] += 1
        self.shots.latencies.append(now - due)
        self.shots.kinds.append(status)
        if not stays:
            line.close()
        elif self._over or now >= self._end:
            return
        elif not self._volley.rate:
            self._send(line, now)
        elif self._due:
            self._send(line, self._due.popleft())
        else:
            self._free.append(line)

    def lost(self, line: _Line) -> None:
        """A line has ended."""
        self._lines.discard(line)
        if line in self._free:
            self._free.remove(line)
        if line.busy:
            line.busy = False
            self.shots.broken += 1
        if not self._over and self._begun:
            task = self._loop.create_task(self._reopen())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
