"""What a connection says: answers go out whole or in pieces, no faster than the caller reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from tongqu.gateway.exchange import Reply
from tongqu.gateway.serving import wire
from tongqu.gateway.serving.incoming import Incoming

if TYPE_CHECKING:
    from tongqu.gateway.serving.server import HttpServer

_STEADY = 65_536  # bytes that a caller takes in `write_seconds` if it reads at all


class Outlet:
    """The way out of one connection. The transport says when the caller falls behind (`pause`) and has caught up
    (`resume`), which closing does too."""

    def __init__(self, server: HttpServer, transport: asyncio.Transport):
        self._server = server
        self._transport = transport
        self._writable: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """The caller reads slower than we write."""
        return self._writable is not None

    def pause(self) -> None:
        """The caller has fallen behind."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """The caller has caught up, or has left."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def write(self, incoming: Incoming, reply: Reply) -> None:
        """Write a whole answer."""
        incoming.close = incoming.close or not incoming.complete or self._server.draining
        is_head = incoming.head.method == "HEAD"
        date = self._server.clock.line
        data, _ = wire.start(reply, date, close=incoming.close, head=is_head, old=incoming.old)
        if not self._transport.is_closing():
            self._transport.write(data)

    async def stream(self, incoming: Incoming, reply: Reply, pieces: AsyncIterator[bytes]) -> None:
        """Write pieces as they come; waits while the caller reads slowly, for so long. Raises ConnectionError where the
        answer cannot be finished."""
        incoming.close = incoming.close or not incoming.complete or incoming.old or self._server.draining
        is_head = incoming.head.method == "HEAD"
        try:
            date = self._server.clock.line
            data, chunked = wire.start(reply, date, close=incoming.close, head=is_head, old=incoming.old)
            self._transport.write(data)
            if is_head or reply.status in wire.BODILESS:
                return
            async for piece in pieces:
                if piece:
                    self._transport.write(wire.chunk(piece) if chunked else piece)
                    await self.drained()
            if chunked:
                self._transport.write(wire.LAST_CHUNK)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001  # the status is out: all that can be told is that the answer is not whole
            self._server.site.broke(incoming.head)
            raise ConnectionResetError("the answer broke off") from None
        finally:
            await wire.close_body(pieces)

    async def drained(self) -> None:
        """Wait until the caller has read most of what was written; raises ConnectionError when it never does."""
        while self._writable is not None and not self._transport.is_closing():
            before = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._server.bounds.write_seconds):
                    await asyncio.shield(self._writable)
            except TimeoutError:
                if before - self._transport.get_write_buffer_size() < _STEADY:
                    raise ConnectionResetError("the caller does not read") from None
        if self._transport.is_closing():
            raise ConnectionResetError("the caller has left")
