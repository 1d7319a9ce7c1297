"""Streams COPY … TO STDOUT as raw blocks from a thread of its own, range after range, ahead of whoever writes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

from tongqu.connectors.postgres.db import SESSION, translate
from tongqu.connectors.postgres.ranges import Bound, Ordering
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.data import Bytes
from tongqu.core.errors import CancelledError, ConnectError, TongquError
from tongqu.kit.drivers import driver

_BLOCK = 512 * 1024
_QUEUED = 8


@dataclass(frozen=True)
class CopyPlan:
    """What one split's copy reads: `select` up to and without its WHERE, the ranges, and the snapshot to read in."""

    select: str
    columns: tuple[str, ...]
    table: str
    ordering: Ordering | None
    lower: Bound | None
    upper: Bound | None
    closed: bool
    where: str | None
    snapshot: str | None
    format: str
    chunk_rows: int
    kind: str
    """The position's name for a bound: `key` or `cursor`."""


@dataclass
class _Range:
    upper: Bound | None
    last: bool


@dataclass
class _Ended:
    rows: int
    read: int


class CopyReader:
    """One split's copy. Iterate it; every `Bytes` must be drained before the next is asked for."""

    def __init__(self, settings: PostgresSettings, plan: CopyPlan, stop: threading.Event):
        self._settings = settings
        self._plan = plan
        self._stop = stop
        self._gone = threading.Event()
        self._queue: Queue[Any] = Queue(maxsize=_QUEUED)
        self._thread = threading.Thread(target=self._work, name="tongqu-copy-out", daemon=True)

    def __iter__(self) -> Iterator[Bytes]:
        self._thread.start()
        try:
            while (item := self._take()) is not None:
                yield self._bytes(item)
                if item.last:
                    return
        finally:
            self._gone.set()
            self._thread.join(timeout=5)

    def _bytes(self, item: _Range) -> Bytes:
        ended: list[_Ended] = []

        def blocks() -> Iterator[bytes]:
            while not isinstance(block := self._take(), _Ended):
                yield block
            ended.append(block)

        position: dict[str, Any] = {self._plan.kind: item.upper} if item.upper is not None else {}
        if item.last:
            position["end"] = True
        return Bytes(
            format=self._plan.format,
            columns=self._plan.columns,
            chunks=blocks(),
            rows=lambda: ended[0].rows,
            read=lambda: ended[0].read,
            position=position,
            last=item.last,
        )

    def _take(self) -> Any:
        while True:
            try:
                item = self._queue.get(timeout=0.5)
            except Empty:
                if self._stop.is_set() and not self._thread.is_alive():
                    raise CancelledError("stopped while reading") from None
                if not self._thread.is_alive() and self._queue.empty():
                    raise ConnectError("the reading thread ended without a result", hint="run again") from None
                continue
            if isinstance(item, TongquError):
                raise item
            return item

    # ---- in the thread

    def _put(self, item: Any) -> None:
        while not self._gone.is_set():
            try:
                self._queue.put(item, timeout=0.5)
            except Full:
                continue
            return
        raise CancelledError("the writer is gone")

    def _work(self) -> None:
        asyncpg = driver("asyncpg", "postgres")
        try:
            asyncio.run(self._read(asyncpg))
        except CancelledError:
            return
        except TongquError as error:
            self._fail(error)
        except asyncpg.PostgresError as error:
            self._fail(translate(self._settings, getattr(error, "sqlstate", "") or "", str(error)))
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError, EOFError) as error:
            self._fail(translate(self._settings, "08006", str(error) or type(error).__name__))

    def _fail(self, error: TongquError) -> None:
        try:
            self._put(error)
        except CancelledError:
            return

    async def _read(self, asyncpg: Any) -> None:
        plan, settings = self._plan, self._settings
        password = settings.password.get_secret_value() if settings.password else None
        connection = await asyncpg.connect(
            settings.asyncpg_url(),
            password=password,
            timeout=settings.connect_seconds,
            statement_cache_size=0,
            server_settings={**SESSION, "application_name": "tongqu source"},
        )
        try:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if settings.schema_name:
                await connection.execute(f'SET LOCAL search_path TO "{settings.schema_name}"')
            if plan.snapshot:
                await connection.execute(f"SET TRANSACTION SNAPSHOT '{plan.snapshot}'")
            lower, closed = plan.lower, plan.closed
            while True:
                upper, last = await self._next(connection, lower, closed)
                self._put(_Range(upper, last))
                await self._copy(connection, lower, upper, closed)
                if last:
                    return
                lower, closed = upper, False
        finally:
            connection.terminate()

    async def _next(self, connection: Any, lower: Bound | None, closed: bool) -> tuple[Bound | None, bool]:
        """The next range's upper bound, and whether it is the last."""
        plan = self._plan
        if plan.ordering is None or plan.chunk_rows <= 0:
            return plan.upper, True
        found = await connection.fetch(plan.ordering.probe(lower, plan.upper, plan.chunk_rows, closed=closed))
        if not found:
            return plan.upper, True
        bound = [str(value) for value in found[0].values()]
        return bound, bound == plan.upper

    async def _copy(self, connection: Any, lower: Bound | None, upper: Bound | None, closed: bool) -> None:
        plan = self._plan
        bounds = plan.ordering.condition(lower, upper, closed=closed) if plan.ordering else "TRUE"
        condition = f"({bounds}) AND ({plan.where})" if plan.where else bounds
        pending: list[bytes] = []
        size = 0

        async def output(data: bytes) -> None:
            nonlocal size
            pending.append(bytes(data))
            size += len(data)
            if size >= _BLOCK:
                self._put(b"".join(pending))
                pending.clear()
                size = 0

        wire = "binary" if plan.format == "pgcopy-binary" else "text"
        status = await connection.copy_from_query(
            f"SELECT {plan.select} FROM {plan.table} WHERE {condition}", output=output, format=wire
        )
        if pending:
            self._put(b"".join(pending))
        rows = int(status.split()[-1])
        read = rows
        if plan.where:
            counted = await connection.fetch(f"SELECT count(*) FROM {plan.table} WHERE {bounds}")
            read = int(counted[0][0])
        self._put(_Ended(rows, read))
