"""The listening side: sockets, TLS, the sweep for what takes too long, and leaving in order."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import ConnectError, InvalidSettingsError
from tongqu.gateway.serving.bounds import Bounds
from tongqu.gateway.serving.connection import Connection
from tongqu.gateway.serving.door import ready_of
from tongqu.gateway.serving.wire import Clock

if TYPE_CHECKING:
    from tongqu.gateway.serving.door import Answering

BACKLOG = 2_048


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on one address (port 0: any free one); raises ConnectError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConnectError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="is another `tongqu serve` running? --port 0 takes any free one",
            path="--port",
        ) from None
    made.setblocking(False)
    return made


def tls(cert: str, key: str, client_ca: str = "") -> ssl.SSLContext:
    """TLS 1.2 and later with this certificate; with `client_ca` callers may show a certificate of that authority.
    Raises InvalidSettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    for option, file in (("--tls-cert", cert), ("--tls-key", key), ("--client-ca", client_ca)):
        if file and not Path(file).is_file():
            raise InvalidSettingsError(f"there is no file {file}", path=option, hint="a PEM file")
    try:
        context.load_cert_chain(cert, key or None)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettingsError(
            f"the certificate cannot be used: {error.strerror or type(error).__name__}",
            path="--tls-cert",
            hint="PEM files: --tls-cert the chain, --tls-key its key, --client-ca the callers' authority",
        ) from None
    return context


class HttpServer:
    """Serves a site on sockets of one event loop. Not thread-safe; `start` and `drain` are called in the loop."""

    def __init__(self, site: Answering, bounds: Bounds | None = None, context: ssl.SSLContext | None = None):
        self.site = site
        self.bounds = bounds or Bounds()
        self.clock = Clock()
        self.draining = False
        self.ready = ready_of(site)
        """Answers that are given without asking the site."""
        self.idle_until = 0.0
        """The deadline of a connection that was answered now."""
        self._context = context
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._left: asyncio.Event = asyncio.Event()
        self._gone: asyncio.Event = asyncio.Event()

    async def start(self, *sockets: socket.socket) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._sweep()
        handshake: dict[str, Any] = {"ssl": self._context}
        if self._context is not None:
            handshake |= {"ssl_handshake_timeout": self.bounds.header_seconds, "ssl_shutdown_timeout": 2.0}
        for one in sockets:
            self._servers.append(
                await loop.create_server(lambda: Connection(self), sock=one, backlog=BACKLOG, **handshake)
            )

    def now(self) -> float:
        """The loop's clock."""
        return time.monotonic()

    def entered(self, connection: Connection) -> bool:
        """A connection was made; False when there are too many."""
        if len(self._connections) >= self.bounds.connections:
            return False
        self._connections.add(connection)
        return True

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._settle()

    def track(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Remember a task until it is done, so that leaving can wait for it."""
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._settle()

    def _settle(self) -> None:
        if self.draining and not self._tasks:
            self._left.set()
        if self.draining and not any(connection.leaving for connection in self._connections):
            self._gone.set()

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    async def drain(self) -> bool:
        """Take no more connections, let what runs finish for so long, cut the rest; True if all of it finished."""
        self.draining = True
        self.ready = None
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.retire()
        whole = True
        if self._tasks:
            try:
                async with asyncio.timeout(self.bounds.drain_seconds):
                    await self._left.wait()
            except TimeoutError:
                whole = False
        await self._cut()
        return whole

    async def _cut(self) -> None:
        tasks = list(self._tasks)
        for connection in list(self._connections):
            connection.retire() if not tasks else connection.end()
        if not tasks:
            await self._read()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.end()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            await server.wait_closed()
        await asyncio.sleep(0)

    async def _read(self) -> None:
        """Let callers read the answers that are written."""
        self._gone.clear()
        self._settle()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.bounds.linger_seconds):
                await self._gone.wait()

    def _sweep(self) -> None:
        """The date, and whoever takes too long."""
        self.clock.tick(time.time())
        now = self.now()
        self.idle_until = now + self.bounds.idle_seconds
        for connection in [found for found in self._connections if 0 < found.deadline < now]:
            connection.expire()
        self._sweeper = asyncio.get_running_loop().call_later(self.bounds.sweep_seconds, self._sweep)
