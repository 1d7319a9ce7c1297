"""A gateway's site on a real port of this process, for tests that speak HTTP to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tongqu.gateway.serving.bounds import Bounds
from tongqu.gateway.serving.server import HttpServer, listening
from tongqu.gateway.site import Site

T = TypeVar("T")


class RunningSite:
    """The site that `make` builds inside the server's own event loop, in a thread, on a random loopback port.

    `with RunningSite(make) as running: running.url`. `do` runs a coroutine in the server's loop.
    """

    def __init__(self, make: Callable[[], Site], bounds: Bounds | None = None, context: ssl.SSLContext | None = None):
        self._make = make
        self._bounds = bounds
        self._context = context
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="site", daemon=True)
        self.site: Site
        self.server: HttpServer
        self.port = 0
        self.whole = False
        """Whether everything that ran at the end finished in time."""

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A new TCP connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def raw(self, data: bytes, timeout: float = 10.0) -> bytes:
        """Everything that comes back for these bytes until the connection is closed from the other side."""
        with self.connect(timeout) as line:
            line.sendall(data)
            return self.rest(line)

    @staticmethod
    def rest(line: socket.socket) -> bytes:
        """What still comes until the other side closes."""
        got = b""
        while piece := line.recv(65_536):
            got += piece
        return got

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(30)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Drain and end; may be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # told to whoever waits in __enter__
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.site = self._make()
        self.server = HttpServer(self.site, self._bounds, self._context)
        place = listening("127.0.0.1", 0)
        self.port = place.getsockname()[1]
        await self.server.start(place)
        self._ready.set()
        await self._stop.wait()
        self.whole = await self.server.drain()
