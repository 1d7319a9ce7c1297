"""An answer in pieces that tells when it is over, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable


class Pieces:
    """The pieces of `body`. `over` is called once with the bytes that were given: after the last piece, after an error,
    or when it is closed early, even before its first piece."""

    def __init__(self, body: AsyncIterator[bytes], over: Callable[[int], None]):
        self._body = body
        self._over: Callable[[int], None] | None = over
        self._given = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._body.__anext__()
        except BaseException:  # StopAsyncIteration too: it is over in any case
            self._end()
            raise
        self._given += len(piece)
        return piece

    async def aclose(self) -> None:
        """Nobody will read on; may be called twice."""
        closing = getattr(self._body, "aclose", None)
        try:
            if closing is not None:
                await closing()
        finally:
            self._end()

    def _end(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over(self._given)
