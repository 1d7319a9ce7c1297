"""One request while it arrives: its head, and its body as it comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.stages import Head

HIGH_WATER = 262_144
declare({"body.slow": Kind(408, "the body did not arrive in time", "请求体未能及时到达", retryable=True)})


class Incoming:
    """A request of one connection. `complete` once its whole body arrived; `resume` lets more of it come."""

    __slots__ = ("_buffer", "_failure", "_waiter", "close", "complete", "expects", "head", "old", "read", "resume")

    def __init__(self, head: Head, resume: Callable[[], None], *, close: bool, old: bool, expects: bool):
        self.head = head
        self.resume = resume
        self.close = close
        """The connection ends with the answer."""
        self.old = old
        """The caller speaks HTTP/1.0."""
        self.expects = expects
        """The caller waits for `100 Continue` before it sends the body."""
        self.complete = False
        self.read = False
        """Somebody wants the body."""
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Problem | None = None

    @property
    def full(self) -> bool:
        """More has come than is kept for somebody who may never read it."""
        return not self.read and len(self._buffer) > HIGH_WATER

    @property
    def size(self) -> int:
        """Bytes that wait to be read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        self._buffer += data
        self._wake()

    def finish(self) -> None:
        """The body is complete."""
        self.complete = True
        self._wake()

    def fail(self, problem: Problem) -> None:
        """The body will not come; whoever reads it gets this refusal."""
        self._failure = problem
        self._wake()

    async def body(self, limit: int) -> bytes:
        """The whole body; raises Problem `body.too_large`, before it is read where its length was told."""
        self.read = True
        told = self.head.headers.get("content-length", "")
        if told.isdigit() and int(told) > limit:
            self._too_large(limit)
        while not self.complete:
            if self._failure is not None:
                raise self._failure
            if len(self._buffer) > limit:
                self._too_large(limit)
            self.resume()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if len(self._buffer) > limit:
            self._too_large(limit)
        body = bytes(self._buffer)
        self._buffer = bytearray()
        return body

    def _too_large(self, limit: int) -> None:
        self.read = False
        self._buffer = bytearray()
        raise Problem("body.too_large", f"at most {limit} bytes are taken here")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
