"""One connection: bytes in, requests one after the other, answers out; strict about what is a request at all."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from tongqu.gateway.exchange import Reply
from tongqu.gateway.problems import Problem
from tongqu.gateway.serving import wire
from tongqu.gateway.serving.heads import MALFORMED, RefusedHeadError, RequestLine, head_of, len_of
from tongqu.gateway.serving.incoming import Incoming
from tongqu.gateway.serving.outlet import Outlet
from tongqu.gateway.serving.websocket import WebSocket, is_websocket

if TYPE_CHECKING:
    from tongqu.gateway.serving.server import HttpServer

_HEADERS = wire.bare(431, "headers.too_large", "the headers are too large, or too many")
_EMPTY = b"\r\n\r\n"
_MORE = 2  # requests that wait behind the one that is being answered, before reading pauses


class Connection(asyncio.Protocol):
    """The protocol of one TCP or TLS connection. The server sweeps it once a second for `deadline`."""

    def __init__(self, server: HttpServer):
        self.server = server
        self.deadline = 0.0
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = None
        self._peer = ""
        self._scheme = "http"
        self._certificate: bytes | None = None
        self._target = b""
        self._lines: list[tuple[str, str]] = []
        self._size = 0
        self._bytes = 0
        self._source = ""
        self._first = b""  # a head that came whole and alone, where nothing was left over from the request before
        self._end = 0
        self._fed = 0
        self._between = True
        self._stalled = False
        self._replaying = False
        self._arriving: Incoming | None = None
        self._queue: deque[Incoming] = deque()
        self._task: asyncio.Task[None] | None = None
        self._current: Incoming | None = None
        self._outlet: Outlet = cast("Outlet", None)
        self._lingering = 0
        self._paused = False
        self._socket: WebSocket | None = None

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it at once when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if not self.server.entered(self):
            self._transport.abort()
            return
        self._outlet = Outlet(self.server, self._transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._scheme = "https"
            self._certificate = tls.getpeercert(binary_form=True)
        self._source = f"{self._scheme} {self._peer}"
        self._transport.set_write_buffer_limits(high=262_144)
        self._parser = httptools.HttpRequestParser(self)
        self.deadline = self.server.now() + self.server.bounds.header_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever works for this caller is told to stop."""
        del exc
        self.server.left(self)
        if self._socket is not None:
            self._socket.lost()
        if self._outlet is not None:
            self._outlet.resume()
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()
        self._parser = None

    def data_received(self, data: bytes) -> None:
        """Answer what came if its answer stands ready, else parse it."""
        if self._between and self._task is None and not self._stalled:
            ready = self.server.ready
            if ready is not None and self._certificate is None:
                answer = ready.answer(data, self._source, self.server.clock.line)
                if answer is not None:
                    self.deadline = self.server.idle_until
                    self._transport.write(answer)
                    return
            self._end, self._fed = data.find(_EMPTY) + len(_EMPTY), 0
            self._first = data if self._end == len(data) else b""
        self._between = False
        self._fed += len(data)
        if self._lingering:
            self._lingering -= len(data)
            if self._lingering <= 0:
                self._transport.abort()
            return
        if self._socket is not None:
            self._socket.feed(data)
            return
        if self._arriving is None:
            if not self._size and not self._lines:
                self.deadline = self.server.now() + self.server.bounds.header_seconds
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause.reply if isinstance(cause, RefusedHeadError) else MALFORMED)
            return
        except httptools.HttpParserError:
            self._refuse(MALFORMED)
            return
        if self._arriving is None and self._size > self.server.bounds.header_bytes + self.server.bounds.target_bytes:
            self._refuse(_HEADERS)

    def eof_received(self) -> bool:
        """The caller sends no more; what it asked is still answered."""
        if self._socket is not None or self._task is None:
            return False
        if self._arriving is not None:
            self._arriving.fail(Problem("body.invalid", "the body ended early"))
        return True

    def pause_writing(self) -> None:
        """The caller reads slower than we write."""
        self._stalled = True
        self._outlet.pause()

    def resume_writing(self) -> None:
        """The caller has caught up."""
        self._stalled = False
        self._outlet.resume()

    # the parser's side

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url
        if len(self._target) > self.server.bounds.target_bytes:
            raise RefusedHeadError(wire.bare(414, "uri.too_long", "the address is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._lines.append((name.decode("latin-1").lower(), value.decode("latin-1")))
        self._bytes += len(name) + len(value) + 4
        if self._bytes > self.server.bounds.header_bytes or len(self._lines) > self.server.bounds.headers:
            raise RefusedHeadError(_HEADERS)

    def on_headers_complete(self) -> None:
        """The head is whole: the gate judges it, and only then does anybody work for it."""
        if self._replaying:
            self._lines, self._target = [], b""
            return
        version = self._parser.get_http_version()
        line = RequestLine(self._parser.get_method().decode("ascii"), self._target, version)
        head = head_of(line, self._lines, self._peer, self._scheme)
        head.certificate, head.size = self._certificate, self._bytes
        old = version == "1.0"
        close = not self._parser.should_keep_alive() or self.server.draining
        expects = head.headers.get("expect", "").lower() == "100-continue" and not old
        incoming = Incoming(head, self._resume, close=close, old=old, expects=expects)
        if head.headers.get("content-length", "0") == "0" and "transfer-encoding" not in head.headers:
            incoming.finish()
            if incoming.complete and not (close or old or expects) and self._whole(0):
                head.raw, head.source = self._first, self._source
        self._target, self._lines, self._size, self._bytes = b"", [], 0, 0
        self._arriving = incoming
        self.deadline = self.server.now() + self.server.bounds.body_seconds
        self._queue.append(incoming)
        if self._task is None:
            self._next()
        elif len(self._queue) > _MORE:
            self._pause()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        incoming = self._arriving
        if incoming is None:
            return
        incoming.feed(data)
        self.deadline += len(data) / 65_536
        if incoming.size > self.server.bounds.body_bytes:
            incoming.fail(Problem("body.too_large", f"at most {self.server.bounds.body_bytes} bytes are taken"))
            raise RefusedHeadError(wire.bare(413, "body.too_large", "the body is too large"))
        if incoming.full:
            self._pause()

    def on_message_complete(self) -> None:
        """The body is whole; that of a request that wishes to upgrade is still to come."""
        if self._arriving is not None and (self._arriving.complete or not self._parser.should_upgrade()):
            self._arriving.finish()
            self._between = self._whole(len_of(self._arriving.head))
            self._arriving = None
            self.deadline = 0.0 if self._task is not None else self.server.now() + self.server.bounds.idle_seconds

    def _whole(self, body: int) -> bool:
        """Whether all bytes that came are one request with a body of that length: the next bytes begin another one."""
        return self._end >= len(_EMPTY) and body >= 0 and self._fed == self._end + body

    # requests, one after the other

    def _next(self) -> None:
        """Answer the request that waits longest, at once where it is refused at the gate."""
        while self._queue and not self._transport.is_closing():
            incoming = self._current = self._queue.popleft()
            refusal = self.server.site.refuse(incoming.head)
            if refusal is None:
                loop = asyncio.get_running_loop()
                self._task = self.server.track(loop.create_task(self._answer(incoming)))
                return
            self._outlet.write(incoming, refusal)
            if not self._ended(incoming):
                return
            if self._outlet.full and self._queue:
                self._task = self.server.track(asyncio.get_running_loop().create_task(self._later()))
                return
        if len(self._queue) <= _MORE:
            self._resume()

    async def _later(self) -> None:
        """Go on once the caller has read what was refused."""
        try:
            await self._outlet.drained()
        except (asyncio.CancelledError, ConnectionError):
            self._transport.abort()
            return
        self._task = None
        self._next()

    async def _answer(self, incoming: Incoming) -> None:
        try:
            if is_websocket(incoming.head):
                await self._converse(incoming)
                return
            reply = await self.server.site.answer(incoming.head, self._body(incoming))
            if isinstance(reply.body, bytes):
                self._outlet.write(incoming, reply)
                if self._outlet.full:
                    await self._outlet.drained()
            else:
                await self._outlet.stream(incoming, reply, reply.body)
        except (asyncio.CancelledError, ConnectionError):
            self._transport.abort()
            return
        except ValueError:
            self.server.site.broke(incoming.head)
            self._outlet.write(incoming, wire.bare(500, "internal", "something went wrong inside"))
        self._task = None
        if self._ended(incoming):
            self._next()

    def _body(self, incoming: Incoming) -> Any:
        async def body(limit: int) -> bytes:
            if incoming.expects and not incoming.complete:
                incoming.expects = False
                self._transport.write(wire.CONTINUE)
            return await incoming.body(limit)

        return body

    def _ended(self, incoming: Incoming) -> bool:
        """Whether the connection goes on after this answer."""
        self._current = None
        if incoming.close:
            if incoming.complete:
                self._close()
            else:
                self._linger()
            return False
        if not self._queue and self._arriving is None:
            self.deadline = self.server.now() + self.server.bounds.idle_seconds
        return True

    def _refuse(self, reply: Reply) -> None:
        """Answer what is no request, and end the connection. An answer that is on its way is not mixed with it."""
        if self._task is not None:
            if self._arriving is not None:
                self._arriving.fail(Problem("body.invalid", "the body is broken"))
            self._lingering = self.server.bounds.body_bytes
            self.deadline = 0.0
            if self._current is not None:
                self._current.close = True
            return
        reply = Reply(reply.status, list(reply.headers), reply.body)  # the one given stays as it is for the next
        self.server.site.malformed(self._peer, reply)
        data, _ = wire.start(reply, self.server.clock.line, close=True, head=False, old=False)
        self._transport.write(data)
        self._linger()

    def _close(self) -> None:
        """Close once the caller has read what is written, which it has so long for."""
        self.deadline = self.server.now() + self.server.bounds.write_seconds
        self._transport.close()

    def _linger(self) -> None:
        """Throw away what still comes for a moment: a connection that is cut while bytes arrive loses the answer."""
        self._lingering = 4 << 20
        self.deadline = self.server.now() + self.server.bounds.linger_seconds
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # upgrades

    def _upgraded(self, rest: bytes) -> None:
        """A WebSocket takes the connection over; any other wish to upgrade is ignored, as RFC 9110 allows. The parser
        stops there: another one goes on, which is told how the body that is still to come is framed."""
        last = self._arriving or (self._queue[-1] if self._queue else self._current)
        if last is not None and is_websocket(last.head):
            last.close = True
            return
        if self._parser is None or self._transport.is_closing():
            return
        self._parser = httptools.HttpRequestParser(self)
        self._first, self._end = b"", 0
        if self._arriving is not None:
            headers = self._arriving.head.headers
            framed = [f"{name}: {headers[name]}" for name in ("content-length", "transfer-encoding") if name in headers]
            self._replaying = True
            self._parser.feed_data("\r\n".join(["POST / HTTP/1.1", *framed, "", ""]).encode())
            self._replaying = False
        if rest:
            self.data_received(rest)

    async def _converse(self, incoming: Incoming) -> None:
        self.deadline = 0.0
        socket = WebSocket(incoming.head, self._transport, self._outlet.drained, self._take)
        reply = await self.server.site.converse(incoming.head, self._body(incoming), socket)
        if reply is not None:
            self._outlet.write(incoming, reply)
            self._task = None
            self._ended(incoming)
            return
        await socket.close()
        self._transport.close()

    def _take(self, socket: WebSocket) -> None:
        self._socket = socket

    # time

    def idle(self) -> bool:
        """Nobody works for it and nothing has begun to come."""
        return self._task is None and self._arriving is None and not self._size

    def expire(self) -> None:
        """Its deadline has passed: a body that does not come is refused, all else is cut."""
        self.deadline = 0.0
        if self._arriving is not None and self._task is not None and not self._lingering:
            self._arriving.fail(Problem("body.slow", "the body did not arrive in time"))
            return
        self._transport.abort()

    @property
    def leaving(self) -> bool:
        """It closes as soon as the caller has read what is written."""
        return self._transport.is_closing()

    def end(self) -> None:
        """Close now, whatever runs."""
        if self._transport is not None:
            self._transport.abort()

    def retire(self) -> None:
        """The server goes: close when nothing runs, else after the answer; a WebSocket is told that we leave."""
        if self._socket is not None:
            self._socket.going()
        elif self.idle():
            self._close()
        elif self._current is not None:
            self._current.close = True

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
