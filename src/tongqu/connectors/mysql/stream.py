"""Reads big results through asyncmy in an event loop of the reading thread, inside one consistent snapshot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tongqu.connectors.mysql.db import session
from tongqu.connectors.mysql.errors import translate
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.core.errors import CancelledError, ConnectError, ReadError
from tongqu.kit.drivers import driver
from tongqu.kit.egress.pinned_loop import PinnedLoop

if TYPE_CHECKING:
    from tongqu.kit.egress.dial import Route

T = TypeVar("T")
Cells = tuple[bytes | None, ...]


class _Loop(PinnedLoop):
    """A loop that can drop its connections at once; the driver's own close waits for a TLS farewell nobody reads."""

    def __init__(self, route: Callable[[], Route]) -> None:
        super().__init__(route)
        self.opened: list[Any] = []

    async def create_connection(self, *args: Any, **more: Any) -> Any:
        transport, protocol = await super().create_connection(*args, **more)
        self.opened.append(transport)
        return transport, protocol

    def drop(self) -> None:
        """Abort every connection and close the loop."""
        for transport in self.opened:
            transport.abort()
        self.opened.clear()
        for _ in range(3):  # the transports close their sockets in the loop's next rounds
            self.run_until_complete(asyncio.sleep(0))
        self.close()


class Stream:
    """One connection whose transaction sees one instant. Cells are the server's text (or raw bytes) or None.

    `encrypted` says whether to use TLS, as the catalog's connection found out; the driver never falls back by itself.
    Not for use by two threads. Waits look at `stop` twice a second and raise CancelledError.
    """

    def __init__(self, settings: MysqlSettings, stop: threading.Event, *, encrypted: bool):
        self._settings = settings
        self._encrypted = encrypted
        self._stop = stop
        self._driver = driver("asyncmy", "mysql")
        self._cursors = driver("asyncmy.cursors", "mysql")
        self._failures: tuple[type[BaseException], ...] = (
            driver("asyncmy.errors", "mysql").MySQLError, OSError, EOFError, TimeoutError,
            asyncio.IncompleteReadError,
        )  # fmt: skip
        self._loop = _Loop(lambda: settings.way().route(settings.host, settings.port, settings.connect_seconds))
        self._connection: Any = None
        try:
            self._wait(self._connect())
        except BaseException:
            self.close()
            raise

    async def _connect(self) -> None:
        settings = self._settings
        self._connection = await self._driver.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password.get_secret_value().encode() if settings.password else b"",
            database=settings.database,
            charset="utf8mb4",
            connect_timeout=settings.connect_seconds,
            read_timeout=settings.read_seconds,
            ssl=settings.context() if self._encrypted else None,
            conv={},
            use_unicode=False,
            local_infile=False,
        )
        must, may = session(settings)
        async with self._connection.cursor() as cursor:
            await cursor.execute(must)
            for statement in may:
                try:
                    await cursor.execute(statement)
                except self._failures as error:
                    if isinstance(translate(settings, error), ConnectError):
                        raise
            await cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def rows(self, sql: str) -> list[Cells]:
        """All rows of a small result, seen in the snapshot."""
        return self._wait(self._all(sql))

    async def _all(self, sql: str) -> list[Cells]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall())

    def blocks(self, sql: str, size: int) -> Iterator[list[Cells]]:
        """A big result in lists of at most `size` rows; it must be read to its end before the next query."""
        cursor = self._connection.cursor(self._cursors.SSCursor)
        self._wait(cursor.execute(sql))
        while found := self._wait(cursor.fetchmany(size)):
            yield list(found)
        self._wait(cursor.close())

    def _wait(self, work: Awaitable[T]) -> T:
        try:
            return self._loop.run_until_complete(self._watched(work))
        except self._failures as error:
            raise translate(self._settings, error, reading=True) from None
        except RuntimeError as error:  # how the driver refuses a server that asks for a local file
            raise ReadError(str(error), path=self._settings.display()) from None

    async def _watched(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        while True:
            done, _ = await asyncio.wait({task}, timeout=0.5)
            if done:
                return task.result()
            if self._stop.is_set():
                task.cancel()
                await asyncio.wait({task}, timeout=1)
                raise CancelledError("stopped while reading")

    def close(self) -> None:
        """Drop the connection without waiting for an unread result; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not self._loop.is_closed():
            self._loop.drop()
