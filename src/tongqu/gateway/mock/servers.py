"""A server that never asks a source: it answers from made-up tables, in a small database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import BusyError
from tongqu.core.server import Change, Cost, Format, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.gateway.mock.tables import Making, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from sqlglot import exp

    from tongqu.core.data import Dataset
    from tongqu.meaning.masks import Mask

OpenFile = Callable[[Path], Server]
"""Makes the server of a DuckDB file; it is opened afterwards."""
MOST_WRITTEN = 5000
"""Rows added by calls, after which the tables begin anew."""
_REFERENCE = "the sandbox begins anew"


class Shelf:
    """The made-up tables of one group of APIs, made when they are first asked for."""

    def __init__(self, path: Path, making: Making, open_file: OpenFile) -> None:
        self._path, self._making, self._open_file = path, making, open_file
        self._lock = asyncio.Lock()
        self._server: Server | None = None
        self._closed = False
        self.busy = 0
        """Calls that are being answered."""
        self.written = 0
        """Rows added by calls."""

    async def server(self) -> Server:
        """What answers; raises BusyError once it is closed."""
        async with self._lock:
            if self._closed:
                raise BusyError(_REFERENCE, hint="try again")
            if self._server is None:
                await asyncio.to_thread(build, self._path, self._making)
                server = self._open_file(self._path)
                await server.open()
                self._server = server
            return self._server

    @contextmanager
    def using(self) -> Iterator[None]:
        """A context in which it is not closed."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def close(self) -> None:
        """Close the file."""
        async with self._lock:
            self._closed = True
            server, self._server = self._server, None
            if server is not None:
                await server.close()


class MockServer(Server):
    """Stands for `real` with the made-up tables of `shelf`, which its queries name; `pause` is awaited before each
    answer. Of `real` only what needs no source is asked: which masks its dialect has."""

    dialect = "duckdb"

    def __init__(self, shelf: Shelf, real: Server, pause: Callable[[], Awaitable[None]] | None = None) -> None:
        self._shelf, self._real, self._pause = shelf, real, pause

    async def open(self) -> None:
        """See Server.open; nothing is made before it is asked for."""

    async def describe(self, name: str) -> Dataset:
        """See Server.describe."""
        return await (await self._shelf.server()).describe(name)

    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """See Server.columns."""
        return await (await self._shelf.server()).columns(sql, params)

    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """See Server.query."""
        with self._shelf.using():
            server = await self._shelf.server()
            if self._pause is not None:
                await self._pause()
            return await server.query(query, format, limits)

    async def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """See Server.stream."""
        with self._shelf.using():
            server = await self._shelf.server()
            async for piece in server.stream(query, format, limits):
                yield piece

    async def explain(self, query: Query) -> Cost:
        """See Server.explain: what DuckDB expects of the made-up tables."""
        with self._shelf.using():
            return await (await self._shelf.server()).explain(query)

    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None = None,
        answer: Callable[[Outcome], bytes] | None = None,
    ) -> Outcome:
        """See Server.transact: the made-up rows are changed."""
        with self._shelf.using():
            server = await self._shelf.server()
            if self._pause is not None:
                await self._pause()
            outcome = await server.transact(changes, limits, idempotency, answer)
            self._shelf.written += sum(outcome.inserted)
            return outcome

    def mask(self, mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
        """See Server.mask: none that the real server could not compare by."""
        from tongqu.kit.serving.duck import hidden

        return hidden(mask, column) if self._real.mask(mask, column) is not None else None

    async def close(self) -> None:
        """See Server.close; the tables are others' too."""
