"""A small site that answers with what it was asked, to test transport and stages with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tongqu.gateway.exchange import Reply, Request, Socket
from tongqu.gateway.publication import Publication
from tongqu.gateway.site import Route, Site, Stages


class Echo:
    """Answers with what it was asked: `METHOD PATH ?QUERY BODY`; under `/echo/wait` only after `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[str] = []

    async def handle(self, request: Request) -> Reply:
        """See exchange.Handler."""
        self.asked.append(request.path)
        if request.path.startswith("/echo/wait"):
            await self.go.wait()
        if request.path == "/echo/broken":
            raise RuntimeError("the password is hunter2")
        if request.path == "/echo/unread":
            return Reply(200, body=b"unread")
        if request.path == "/echo/large":
            return Reply(200, body=b"x" * int(request.query))
        if request.path == "/echo/header":
            return Reply(200, [("x-name", "a\r\nset-cookie: stolen=1")])
        if request.path.startswith("/echo/pieces"):
            return Reply(200, body=pieces(int(request.query or 3)))
        body = await request.body(1000)
        return Reply(200, body=f"{request.method} {request.path} ?{request.query} ".encode() + body)

    async def talk(self, request: Request, socket: Socket) -> None:
        """Send every message back, with who sent it."""
        await socket.accept()
        while (text := await socket.receive()) is not None:
            await socket.send(f"{request.actor.id}: {text}")


async def pieces(count: int) -> AsyncIterator[bytes]:
    """So many pieces of text."""
    for at in range(count):
        yield b"piece %d\n" % at


def echo_site(stages: Stages | None = None) -> Site:
    """Serves `Echo` under `/echo`, as the publication `7.abc`."""
    return Site([Route("/echo", Echo(), "open")], Publication("7.abc"), stages)
