"""Small HTTP CONNECT and SOCKS5 proxies on loopback that remember what they were asked for."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Coroutine
from typing import Any, Self
from urllib.parse import quote

from tongqu.testing.services.process import HOST

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ForwardProxy:
    """A proxy that a client asks for connections; a context manager that closes everything at exit.

    `asked` are the `host:port` it was asked for, in the words of the client. `login` is the `user:password` it demands.
    `names` answers for host names instead of the machine's resolver.
    """

    scheme = "http"

    def __init__(self, *, login: str = "", names: dict[str, str] | None = None, tls: ssl.SSLContext | None = None):
        self.host = HOST
        self.port = 0
        self.asked: list[str] = []
        self._login = login
        self._names = names or {}
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{self.scheme}-proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, HOST, 0, ssl=tls))
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The proxy's URL, with the login it demands."""
        return self.url_with(self._login)

    def url_with(self, login: str) -> str:
        """The proxy's URL with this `user:password`; empty for none."""
        scheme = "https" if self._tls else self.scheme
        user, _, password = login.partition(":")
        userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@" if login else ""
        return f"{scheme}://{userinfo}{self.host}:{self.port}"

    def close(self) -> None:
        """Close the port and every connection."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _close(self) -> None:
        self._server.close()
        await _rounds()  # whoever was just let in gets a task of its own
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # what is unsent, or a farewell inside TLS, would wait for the other side
        await _rounds()  # transports close their sockets in the loop's next rounds

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            target = await self._greet(reader, writer)
            if target is not None:
                await self._tunnel((reader, writer), *target)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        authority = head.split(" ")[1]
        self.asked.append(authority)
        token = base64.b64encode(self._login.encode()).decode()
        if self._login and f"proxy-authorization: basic {token}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        host, _, port = authority.rpartition(":")
        return host.strip("[]"), int(port)

    def _opened(self) -> bytes:
        return b"HTTP/1.1 200 Connection established\r\n\r\n"

    def _refused(self) -> bytes:
        return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

    async def _tunnel(self, client: Ends, host: str, port: int) -> None:
        try:
            target = await asyncio.open_connection(self._names.get(host, host), port)
        except OSError:
            client[1].write(self._refused())
            return
        self._writers.add(target[1])
        client[1].write(self._opened())
        tasks = [asyncio.create_task(_pass(client[0], target[1])), asyncio.create_task(_pass(target[0], client[1]))]
        self._tasks.update(tasks)  # a loop holds tasks only weakly, and streams their readers
        try:
            await asyncio.wait(tasks)
        finally:
            self._tasks.difference_update(tasks)
            for task in tasks:
                task.cancel()
            target[1].close()


class SocksProxy(ForwardProxy):
    """The same for SOCKS5; the scheme of its `url` is socks5h (the proxy resolves names)."""

    scheme = "socks5h"

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        wanted = 2 if self._login else 0
        if wanted not in methods:
            writer.write(b"\x05\xff")
            return None
        writer.write(bytes([5, wanted]))
        if self._login:
            user = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            good = user + b":" + password == self._login.encode()
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return None
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            import ipaddress

            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{host}:{port}")
        return host, port

    def _opened(self) -> bytes:
        return b"\x05\x00\x00\x01" + bytes(6)

    def _refused(self) -> bytes:
        return b"\x05\x05\x00\x01" + bytes(6)


async def _rounds() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65536):
        writer.write(block)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
