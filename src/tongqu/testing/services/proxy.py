"""A TCP proxy on loopback that delays, throttles, cuts, resets or swallows what passes, switched while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit

from tongqu.testing.services.errors import ServiceError
from tongqu.testing.services.process import HOST, free_port

After = bytes | Callable[[bytes], bool]

_PIECE = 64 * 1024
_QUEUE = 64  # pieces in transit each way; beyond that the sender feels it
_TAIL = 256  # a pattern may straddle two pieces
_STEPS_PER_SECOND = 50
_DRAIN_SECONDS = 10.0


class FaultProxy:
    """Forwards connections to `upstream_host:upstream_port`; a context manager that closes everything at exit.

    Every fault holds for the connections there are and for later ones, is in force when its method returns,
    and lasts until `heal`. Faults combine (slow and delayed), and `heal` takes all of them back. Methods may
    be called from any thread.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self.host = HOST
        self.port = 0
        self.upstream = (upstream_host, upstream_port)
        self.toxics = _Toxics()
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except ServiceError:
            self.close()
            raise

    @property
    def connections(self) -> int:
        """How many connections pass through now."""
        return len(self._links)

    @property
    def lost(self) -> int:
        """How many replies `drop_replies(after=…)` has made its clients lose, since the proxy was made."""
        return self.toxics.lost

    def url(self, of: str) -> str:
        """The same URL (user, password, path, query) but through this proxy."""
        parts = urlsplit(of)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{self.host}:{self.port}"))

    def latency(self, ms: float) -> None:
        """Every reply (server to client) arrives `ms` later; order is kept and throughput is not reduced."""
        self._set(delay=ms / 1000)

    def bandwidth(self, bytes_per_s: float) -> None:
        """Each direction of each connection passes at most `bytes_per_s`."""
        if bytes_per_s <= 0:
            raise ValueError("bytes_per_s must be positive; use half_open() to stop all bytes")
        self._set(rate=bytes_per_s)

    def half_open(self) -> None:
        """Nothing passes either way and nobody is told: sockets stay open, new connections are accepted too."""
        self._set(stalled=True)

    def drop_replies(self, after: After | None = None, times: int = 1) -> None:
        """Swallows replies (server to client).

        `after=None`: all of them from now on, connections stay open and clients wait.
        `after=b"COMMIT"` (or a predicate on each piece of request bytes): the lost commit reply. A connection
        works until its requests contain the pattern; that request still reaches the server, the server carries
        it out, its reply is swallowed and the client's connection closed. It happens to the first `times`
        such requests; then the proxy is healthy again.
        """
        if after is None:
            self._set(mute=True)
        else:
            self._set(after=after, times=times)

    def cut(self) -> None:
        """Closes all connections, both ends, and refuses new ones (ECONNREFUSED)."""
        self._run(self._cut())

    def reset(self) -> None:
        """Ends all connections, both ends, by RST (the peer sees ECONNRESET); new ones are welcome at once."""
        self._run(self._drop_all(by_reset=True))

    def heal(self) -> None:
        """Takes every fault back; what a stalled connection held up is delivered.

        A connection that lost bytes to `drop_replies` stays out of step: `reset` it before.
        """
        self._run(self._heal())

    def close(self) -> None:
        """Closes every connection and the port; harmless a second time."""
        if self._loop.is_closed():
            return
        self._run(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _set(self, **faults: object) -> None:
        async def switch() -> None:
            for name, value in faults.items():
                setattr(self.toxics, name, value)
            self.toxics.announce()

        self._run(switch())

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        port = self.port or free_port()
        try:
            listener.bind((self.host, port))
        except OSError as error:
            listener.close()
            raise ServiceError(f"the fault proxy can not listen on port {port}") from error
        self.port = port
        listener.listen(128)
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            link = _Link(client, self.toxics)
            self._links.add(link)
            link.task = asyncio.create_task(link.serve(self.upstream))
            link.task.add_done_callback(functools.partial(self._ended, link))

    def _ended(self, link: _Link, task: asyncio.Task[None]) -> None:
        self._links.discard(link)
        link.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "fault proxy", "exception": error, "task": task})

    async def _heal(self) -> None:
        self.toxics.clear()
        if self._listener is None:
            await self._listen()

    async def _cut(self) -> None:
        if self._listener is not None and self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._listener.close()
            self._listener = None
        await self._drop_all(by_reset=False)

    async def _drop_all(self, by_reset: bool) -> None:
        links = list(self._links)
        for link in links:
            if by_reset:
                link.arm_reset()
            link.task.cancel()
        if links:
            await asyncio.wait([link.task for link in links])


class _Toxics:
    """What is wrong with the network now; `announce` wakes everybody who waits because of it."""

    delay: float
    rate: float | None
    stalled: bool
    mute: bool
    after: After | None
    times: int

    def __init__(self) -> None:
        self.lost = 0
        self._changed = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        self.delay, self.rate, self.stalled, self.mute, self.after, self.times = 0.0, None, False, False, None, 0
        self.announce()

    def announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def flow(self) -> None:
        """Returns when bytes may pass."""
        while self.stalled:
            await self.change(None)

    async def change(self, seconds: float | None) -> None:
        """Returns at the next change, at the latest after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    def strikes(self, request: bytes, tail: bytes) -> bool:
        """Whether this piece of a request (`tail`: the end of the piece before) is one whose reply is lost."""
        if self.after is None or self.times <= 0:
            return False
        hit = (tail + request).find(self.after) >= 0 if isinstance(self.after, bytes) else self.after(request)
        self.times -= int(hit)
        return hit


class _Link:
    """One client's connection, the connection to the server behind it, and the two streams between."""

    task: asyncio.Task[None]

    def __init__(self, client: socket.socket, toxics: _Toxics) -> None:
        self._client = client
        self._server = socket.socket()
        self._toxics = toxics
        self._doomed = False  # a request was seen whose reply is to be lost
        self._sent = False  # … and it has reached the server completely
        client.setblocking(False)
        self._server.setblocking(False)
        for end in (client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def arm_reset(self) -> None:
        """From now on closing the sockets sends RST instead of FIN."""
        for end in (self._client, self._server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Closes both ends."""
        self._client.close()
        self._server.close()

    async def serve(self, upstream: tuple[str, int]) -> None:
        """Forwards until both streams have ended or one side broke."""
        requests: asyncio.Queue[_Piece] = asyncio.Queue(_QUEUE)
        replies: asyncio.Queue[_Piece] = asyncio.Queue(_QUEUE)
        try:
            await asyncio.get_running_loop().sock_connect(self._server, upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take_requests(requests))
                group.create_task(self._pass_requests(requests))
                group.create_task(self._take_replies(replies))
                group.create_task(self._pass_replies(replies))
        except* (OSError, _EndedError):
            pass  # a side that broke ends the whole connection, as a real network would show it

    async def _take_requests(self, queue: asyncio.Queue[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        tail = b""
        data = b"."
        while data:
            data = await loop.sock_recv(self._client, _PIECE)
            fatal = bool(data) and not self._doomed and self._toxics.strikes(data, tail)
            self._doomed = self._doomed or fatal
            tail = (tail + data)[-_TAIL:]
            await queue.put(_Piece(loop.time(), data, fatal))

    async def _pass_requests(self, queue: asyncio.Queue[_Piece]) -> None:
        while True:
            piece = await queue.get()
            await self._toxics.flow()
            if not piece.data:
                self._server.shutdown(socket.SHUT_WR)
                return
            await self._send(self._server, piece.data)
            self._sent = self._sent or piece.fatal

    async def _take_replies(self, queue: asyncio.Queue[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self._server, _PIECE)
            if self._doomed:
                if self._sent or not data:
                    await self._lose_reply()
            elif not data or not self._toxics.mute:
                await queue.put(_Piece(loop.time(), data))
            if not data:
                return

    async def _pass_replies(self, queue: asyncio.Queue[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        toxics = self._toxics
        while True:
            piece = await queue.get()
            await toxics.flow()
            while (rest := piece.arrived + toxics.delay - loop.time()) > 0:
                await toxics.change(rest)
                await toxics.flow()
            if not piece.data:
                self._client.shutdown(socket.SHUT_WR)
                return
            if not toxics.mute and not self._doomed:
                await self._send(self._client, piece.data)

    async def _send(self, target: socket.socket, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            await self._toxics.flow()
            rate = self._toxics.rate
            part = rest if rate is None else rest[: max(1, int(rate / _STEPS_PER_SECOND))]
            await asyncio.get_running_loop().sock_sendall(target, part)
            rest = rest[len(part) :]
            if rate is not None:
                await self._toxics.change(len(part) / rate)

    async def _lose_reply(self) -> None:
        """Hangs up on the client and lets the server finish what it has got in peace."""
        self._toxics.lost += 1
        self._client.shutdown(socket.SHUT_RDWR)
        # FIN after everything sent: the server carries out all requests before it sees the end; reading its
        # replies to the end keeps our kernel from answering them by RST, which could discard requests.
        self._server.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await asyncio.get_running_loop().sock_recv(self._server, _PIECE):
                    pass
        raise _EndedError


class _Piece(NamedTuple):
    """Bytes in transit; empty data is the end of the stream."""

    arrived: float
    data: bytes
    fatal: bool = False


class _EndedError(Exception):
    """The connection has served its purpose."""
