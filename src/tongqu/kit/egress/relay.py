"""Passes bytes between a socket that a caller holds and something that is no socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_relays: set[asyncio.Task[None]] = set()
"""Keeps the running relays: a loop holds its tasks only weakly, and so do streams their readers. A side that has said
all it will is in no selector any more, and the tasks that wait for the other side would be taken for garbage."""
_HOST = "127.0.0.1"
_PIECE = 256 * 1024


def pair() -> tuple[socket.socket, socket.socket]:
    """Two TCP sockets connected to each other over loopback. Nobody else can have got hold of either end. TCP, so that
    drivers may set TCP options on it."""
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        listener.listen(8)
        ours = socket.create_connection(listener.getsockname(), 5)
        ours.settimeout(None)
        while True:  # a stranger who came first is turned away
            theirs, peer = listener.accept()
            if peer == ours.getsockname():
                break
            theirs.close()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


async def as_socket(far: Streams) -> socket.socket:
    """A TCP socket that leads to the far end of what is no socket, as long as both are open."""
    ours, theirs = pair()
    _kept(couple(await asyncio.open_connection(sock=theirs), far))
    return ours


async def couple(one: Streams, other: Streams) -> None:
    """Pass bytes both ways until both sides have ended or one breaks; then close both."""
    tasks = [
        _kept(_pass(one[0], other[1])),
        _kept(_pass(other[0], one[1])),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.exception()  # a side that broke ends the other; its reader learns by the end of the stream
    finally:
        for task in tasks:
            task.cancel()
        for _, writer in (one, other):
            writer.close()


def _kept(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    _relays.add(task)
    task.add_done_callback(_relays.discard)
    return task


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(_PIECE):
        writer.write(block)
        await writer.drain()
    if writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()
    else:  # TLS has no half-closed connections
        writer.close()
