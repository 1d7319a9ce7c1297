"""A loopback port that leads through the hops, for drivers with sockets of their own; only this process may use it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tongqu.core.errors import TongquError
from tongqu.kit.egress.loop import background, run
from tongqu.kit.egress.own_ports import announce, withdraw
from tongqu.kit.egress.relay import couple

HOST = "127.0.0.1"
_START_SECONDS = 5.0
_FIRST_SECONDS = 60.0
_LAST_SECONDS = 3.0
_AT_ONCE = 8


class Forward:
    """A port on 127.0.0.1 whose connections are passed on to what `dial` opens.

    The kernel is asked whose the other end of each connection is (/proc/net/tcp and /proc/self/fd): one that is not
    this process's own is closed unread. Closes itself a few seconds after its last connection has ended, or when none
    came within a minute; at most eight connections at a time.
    """

    def __init__(self, dial: Callable[[], socket.socket], first: socket.socket):
        self.port = 0
        self._dial = dial
        self._first: socket.socket | None = first
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        run(self._listen(), time.monotonic() + _START_SECONDS)

    def close(self) -> None:
        """Take no more connections; those that are open go on. May be called twice."""
        background().call_soon_threadsafe(self._end)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0, backlog=_AT_ONCE)
        self.port = int(self._server.sockets[0].getsockname()[1])
        announce(self.port)
        self._timer = asyncio.get_running_loop().call_later(_FIRST_SECONDS, self._end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if self._open >= _AT_ONCE or peer is None or not is_own(int(peer[1]), self.port):
            writer.transport.abort()
            return
        self._open += 1
        if self._timer is not None:
            self._timer.cancel()
        try:
            opened, self._first = self._first, None
            if opened is None:
                opened = await asyncio.get_running_loop().run_in_executor(None, self._dial)
            await couple((reader, writer), await asyncio.open_connection(sock=opened))
        except (OSError, TongquError, asyncio.CancelledError):  # the driver learns by the end of its connection
            writer.transport.abort()
        finally:
            self._open -= 1
            if self._open == 0:
                self._timer = asyncio.get_running_loop().call_later(_LAST_SECONDS, self._end)

    def _end(self) -> None:
        if self._server is not None and self._server.is_serving():
            self._server.close()
            withdraw(self.port)
        if self._timer is not None:
            self._timer.cancel()
        if self._first is not None:
            self._first.close()
            self._first = None


def is_own(client: int, server: int) -> bool:
    """Whether the loopback connection from port `client` to port `server` was made by this very process. False where
    the kernel does not tell (another system than Linux)."""
    wanted = (_hexadecimal(client), _hexadecimal(server))
    with suppress(OSError):
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if (words[1], words[2]) == wanted:
                return f"socket:[{words[9]}]" in _sockets()
    return False


def _hexadecimal(port: int) -> str:
    return f"{int.from_bytes(socket.inet_aton(HOST), 'little'):08X}:{port:04X}"


def _sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names, not paths
        with suppress(OSError):  # closed meanwhile
            found.add(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
    return found
