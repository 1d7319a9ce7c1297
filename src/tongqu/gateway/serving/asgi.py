"""Lets an ASGI application (the management API) answer as one handler of the gateway, behind all its stages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from tongqu.gateway.exchange import Reply, Request

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
REQUEST = "tongqu.request"
"""Key of the scope under which the application finds the gateway's request: its actor, notes and publication."""
_WAITING = 8


class AsgiHandler:
    """`exchange.Handler` for an ASGI 3 application; HTTP only, without lifespan. Bodies of at most `body_bytes` are
    read whole before it is called, so it never waits for a slow caller; what it sends is passed on as it comes."""

    def __init__(self, app: App, *, body_bytes: int = 4 << 20):
        self._app = app
        self._most = body_bytes

    async def handle(self, request: Request) -> Reply:
        """The application's answer; what it raises before it answers is raised."""
        exchange = _Exchange(await request.body(self._most))
        exchange.start(self._app, _scope(request))
        try:
            start = await exchange.begin()
        except BaseException:
            await exchange.aclose()
            raise
        if exchange.whole is None:
            return Reply(start["status"], _headers(start), exchange)
        await exchange.aclose()
        return Reply(start["status"], _headers(start), exchange.whole)


class _Exchange:
    """One call of the application; iterated, the pieces of its body."""

    def __init__(self, body: bytes):
        self._body: bytes | None = body
        self._sent: asyncio.Queue[Message | BaseException | None] = asyncio.Queue(_WAITING)
        self._first: bytes | None = None
        self._more = True
        self._task: asyncio.Task[None] | None = None
        self.whole: bytes | None = None

    def start(self, app: App, scope: Message) -> None:
        """Call it."""
        self._task = asyncio.get_running_loop().create_task(self._run(app, scope))

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  # handed to whoever waits for the answer
            await self._sent.put(error)
        else:
            await self._sent.put(None)

    async def begin(self) -> Message:
        """The start of the answer; `whole` is its body where that came in one piece."""
        start = await self._taken("http.response.start")
        piece = await self._taken("http.response.body")
        self._first, self._more = piece.get("body", b""), piece.get("more_body", False)
        if not self._more:
            self.whole = self._first
        return start

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        if first is not None:
            return first
        if not self._more:
            raise StopAsyncIteration
        piece = await self._taken("http.response.body")
        self._more = piece.get("more_body", False)
        return bytes(piece.get("body", b""))

    async def aclose(self) -> None:
        """Nobody reads on: what the application still does is cancelled, unless its answer is complete."""
        if self._task is not None:
            if self._more:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _taken(self, kind: str) -> Message:
        found = await self._sent.get()
        if isinstance(found, BaseException):
            raise found
        if found is None or found["type"] != kind:
            raise RuntimeError(f"the application did not send {kind}")
        return found

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()  # a caller that leaves cancels the task
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._sent.put(message)


def _headers(start: Message) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]


def _scope(request: Request) -> Message:
    host, _, port = request.host.rpartition(":")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.target.encode("ascii"),
        "query_string": request.query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()],
        "client": (request.address, 0),
        "server": (host or request.host, int(port) if port.isdigit() else None),
        REQUEST: request,
    }
