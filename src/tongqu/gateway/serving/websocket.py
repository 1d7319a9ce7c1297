"""A WebSocket over a connection that was HTTP: text messages both ways, with back-pressure, pings and goodbyes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from websockets.datastructures import Headers as WireHeaders
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol

from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.stages import Head

MAX_MESSAGE = 65_536
_MOST_WAITING = 64
_MOST_UNREAD = 1 << 20
declare({"socket.handshake": Kind(400, "this is not a WebSocket handshake", "不是有效的 WebSocket 握手")})


def is_websocket(head: Head) -> bool:
    """Whether the request asks for a WebSocket."""
    headers = head.headers
    return (
        headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in headers.get("connection", "").lower()
        and head.method == "GET"
    )


class WebSocket:
    """`exchange.Socket` over a transport. `taken` is called when the handshake is done and the bytes are ours."""

    def __init__(
        self,
        head: Head,
        transport: asyncio.Transport,
        drained: Callable[[], Awaitable[None]],
        taken: Callable[[WebSocket], None],
    ):
        self._head = head
        self._transport = transport
        self._drained = drained
        self._taken = taken
        self._protocol = ServerProtocol(max_size=MAX_MESSAGE)
        self._messages: deque[str | None] = deque()
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self.accepted = False

    @property
    def offered(self) -> tuple[str, ...]:
        """The subprotocols that the caller offers."""
        told = self._head.headers.get("sec-websocket-protocol", "")
        return tuple(name.strip() for name in told.split(",") if name.strip())

    async def accept(self, protocol: str = "") -> None:
        """Complete the handshake; raises Problem for a wrong one, ConnectionError when the caller has left."""
        head = self._head
        lines = [f"GET {head.target}{'?' + head.query if head.query else ''} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in head.headers.items() if name != "sec-websocket-extensions"]
        self._protocol.receive_data("\r\n".join([*lines, "", ""]).encode("latin-1"))
        request = next((event for event in self._protocol.events_received() if isinstance(event, Handshake)), None)
        if request is None:
            raise Problem("socket.handshake")
        response = self._protocol.accept(request)
        if response.status_code != 101:  # switching protocols
            raise Problem("socket.handshake")
        if protocol:
            response.headers = WireHeaders([*response.headers.raw_items(), ("Sec-WebSocket-Protocol", protocol)])
        self._protocol.send_response(response)
        self.accepted = True
        self._taken(self)
        self._flush()
        await self._drained()

    def feed(self, data: bytes) -> None:
        """Bytes from the caller; wrong ones end the conversation with the fitting code."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._flush()
        if self._transport.get_write_buffer_size() > _MOST_UNREAD:  # it asks for pongs and reads none
            self._transport.abort()
            self._end()
        if self._protocol.close_expected() and not self._over:
            self._end()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._end()
        elif frame.opcode is Opcode.BINARY:
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "text only")
            self._end()
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            if frame.data:  # empty ones count for nothing, and would be many
                self._pieces.append(bytes(frame.data))
            if frame.fin:
                whole, self._pieces = b"".join(self._pieces), []
                self._message(whole)

    def _message(self, whole: bytes) -> None:
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
            self._end()
            return
        if len(self._messages) >= _MOST_WAITING:
            self._protocol.fail(CloseCode.POLICY_VIOLATION, "too many messages")
            self._end()
            return
        self._messages.append(text)
        self._wake()

    async def receive(self) -> str | None:
        """The next message; None when the caller has left."""
        while not self._messages:
            if self._over:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._messages.popleft()

    async def send(self, text: str) -> None:
        """Send one message; waits while the caller is slow, raises ConnectionError when it has left."""
        if self._over or self._transport.is_closing():
            raise ConnectionResetError("the caller has left")
        self._protocol.send_text(text.encode())
        self._flush()
        await self._drained()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; may be called twice."""
        if self._over or not self.accepted:
            return
        try:
            self._protocol.send_close(code, reason[:120])
        except ProtocolError:
            self._protocol.fail(CloseCode.INTERNAL_ERROR)
        self._flush()
        self._end()

    def going(self) -> None:
        """The server goes away."""
        if not self._over and self.accepted:
            self._protocol.send_close(CloseCode.GOING_AWAY, "the server is stopping")
            self._flush()
            self._end()

    def lost(self) -> None:
        """The connection is gone."""
        self._end()

    def _end(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data and not self._transport.is_closing():
                self._transport.write(data)
