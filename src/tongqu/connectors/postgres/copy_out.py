"""Streams COPY … TO STDOUT as raw blocks from a thread of its own, range after range, ahead of whoever writes them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

from tongqu.connectors.postgres.db import SESSION, quoted, translate
from tongqu.connectors.postgres.ranges import Bound, Cuts, Ordering, chunk_end
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.data import Bytes
from tongqu.core.errors import CancelledError, ConnectError, TongquError
from tongqu.kit.drivers import driver
from tongqu.kit.egress.pinned_loop import PinnedLoop

_BLOCK = 512 * 1024
_QUEUED = 8
_PATIENCE = 0.5
_STOP_SECONDS = 5.0
"""How long a source that hangs is waited for once stopping was asked for."""


@dataclass(frozen=True)
class CopyPlan:
    """What one split's copy reads: `select` up to and without its WHERE, the ranges, and the snapshot to read in."""

    select: str
    columns: tuple[str, ...]
    table: str
    ordering: Ordering | None
    cuts: Cuts | None
    lower: Bound | None
    upper: Bound | None
    closed: bool
    where: str | None
    snapshot: str | None
    """An exported snapshot to read in, or None for one that is taken when the copy begins."""
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
    """One split's copy, done by a worker. Iterate it; every `Bytes` must be drained before the next is asked for."""

    def __init__(self, worker: Worker, plan: CopyPlan, stop: threading.Event):
        self.plan = plan
        self._worker = worker
        self._stop = stop
        self._gone = threading.Event()
        self._queue: Queue[Any] = Queue(maxsize=_QUEUED)
        self.drained = False
        """Whether all of the last range's blocks were taken: the worker may serve another reader."""

    def __iter__(self) -> Iterator[Bytes]:
        self._worker.start(self)
        try:
            while (item := self._take()) is not None:
                yield self._bytes(item)
                if item.last:
                    return
        finally:
            self._gone.set()
            if not self.drained:
                self._worker.stop()

    def _bytes(self, item: _Range) -> Bytes:
        ended: list[_Ended] = []

        def blocks() -> Iterator[bytes]:
            while not isinstance(block := self._take(), _Ended):
                yield block
            ended.append(block)
            self.drained = item.last

        position: dict[str, Any] = {self.plan.kind: item.upper} if item.upper is not None else {}
        if item.last:
            position["end"] = True
        return Bytes(
            format=self.plan.format,
            columns=self.plan.columns,
            chunks=blocks(),
            rows=lambda: ended[0].rows,
            read=lambda: ended[0].read,
            position=position,
            last=item.last,
        )

    def _take(self) -> Any:
        silent = 0.0
        while True:
            try:
                item = self._queue.get(timeout=_PATIENCE)
            except Empty:
                silent += _PATIENCE if self._stop.is_set() else 0.0
                if self._stop.is_set() and (not self._worker.alive or silent > _STOP_SECONDS):
                    raise CancelledError("stopped while reading") from None
                if not self._worker.alive and self._queue.empty():
                    raise ConnectError("the reading thread ended without a result", hint="run again") from None
                continue
            if isinstance(item, TongquError):
                raise item
            return item

    def put(self, item: Any) -> None:
        """Hand over an item, waiting for room; raises CancelledError when nobody takes any more."""
        while not self._gone.is_set():
            try:
                self._queue.put(item, timeout=0.5)
            except Full:
                continue
            return
        raise CancelledError("the writer is gone")


class Worker:
    """A thread with one connection that copies for one reader after the other."""

    def __init__(self, settings: PostgresSettings):
        self._settings = settings
        self._inbox: Queue[CopyReader | None] = Queue()
        self._thread = threading.Thread(target=self._work, name="tongqu-copy-out", daemon=True)
        self.idle = threading.Event()
        """Set when the last copy ended well and another may be given."""

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def prepare(self) -> None:
        """Begin to connect, if that was not done: a copy follows."""
        if not self._thread.is_alive():
            self._thread.start()

    def start(self, reader: CopyReader) -> None:
        """Begin a reader's copy."""
        self.idle.clear()
        self._inbox.put(reader)
        self.prepare()

    def stop(self) -> None:
        """Let the thread end after its copy; a copy whose reader is gone ends at once."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: PinnedLoop(self._settings.route)) as runner:
                runner.run(self._serve())
        except CancelledError:
            return

    async def _serve(self) -> None:
        connection: Any = None
        failed: TongquError | None = None
        try:
            with _translated(self._settings):
                connection = await self._connect()
        except TongquError as error:
            failed = error
        try:
            while (reader := self._inbox.get()) is not None:
                try:
                    if failed is not None:
                        raise failed
                    with _translated(self._settings):
                        await _Copy(connection, reader).run()
                except TongquError as error:
                    reader.put(error)
                    return
                self.idle.set()
        finally:
            if connection is not None:
                connection.terminate()

    async def _connect(self) -> Any:
        asyncpg = driver("asyncpg", "postgres")
        settings = self._settings
        connection = await asyncpg.connect(
            settings.asyncpg_url(),
            password=settings.password.get_secret_value() if settings.password else None,
            timeout=settings.connect_seconds,
            statement_cache_size=0,
            server_settings={**SESSION, "application_name": "tongqu source"},
        )
        _keep_alive(connection)
        if settings.schema_name:
            await connection.execute(f"SET search_path TO {quoted(settings.schema_name)}")
        return connection


@contextmanager
def _translated(settings: PostgresSettings) -> Iterator[None]:
    """Turn the streaming driver's errors into ours."""
    asyncpg = driver("asyncpg", "postgres")
    try:
        yield
    except asyncpg.PostgresError as error:
        raise translate(settings, getattr(error, "sqlstate", "") or "", str(error)) from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError, EOFError) as error:
        raise translate(settings, "08006", str(error) or type(error).__name__) from error


class _Copy:
    """One reader's ranges over one connection, in one transaction."""

    def __init__(self, connection: Any, reader: CopyReader):
        self._connection = connection
        self._reader = reader
        self._plan = reader.plan

    async def run(self) -> None:
        """Copy range after range; the reader gets `_Range`, blocks and `_Ended` for each."""
        plan, connection = self._plan, self._connection
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        if plan.snapshot:
            begin += f"; SET TRANSACTION SNAPSHOT '{plan.snapshot}'"
        await connection.execute(begin)
        lower, closed, last = plan.lower, plan.closed, False
        while not last:
            upper, last = await self._next(lower, closed)
            self._reader.put(_Range(upper, last))
            ended = await self._copy(lower, upper, closed)
            if last:
                await connection.execute("COMMIT")
            self._reader.put(ended)
            lower, closed = upper, False

    async def _next(self, lower: Bound | None, closed: bool) -> tuple[Bound | None, bool]:
        """The next range's upper bound, and whether it is the last."""
        plan = self._plan
        step = chunk_end(plan.ordering, plan.cuts, lower, plan.upper, plan.chunk_rows, closed=closed)
        try:
            query = next(step)
            while True:
                query = step.send([list(row.values()) for row in await self._connection.fetch(query)])
        except StopIteration as end:
            bound: tuple[Bound | None, bool] = end.value
            return bound

    async def _copy(self, lower: Bound | None, upper: Bound | None, closed: bool) -> _Ended:
        plan = self._plan
        bounds = plan.ordering.condition(lower, upper, closed=closed, within=plan.upper) if plan.ordering else "TRUE"
        condition = f"({bounds}) AND ({plan.where})" if plan.where else bounds
        pending: list[bytes] = []
        size = 0

        async def output(data: bytes) -> None:
            nonlocal size
            pending.append(bytes(data))
            size += len(data)
            if size >= _BLOCK:
                self._reader.put(b"".join(pending))
                pending.clear()
                size = 0

        wire = "binary" if plan.format == "pgcopy-binary" else "text"
        status = await self._connection.copy_from_query(
            f"SELECT {plan.select} FROM {plan.table} WHERE {condition}", output=output, format=wire
        )
        if pending:
            self._reader.put(b"".join(pending))
        rows = int(status.split()[-1])
        read = rows
        if plan.where:
            counted = await self._connection.fetch(f"SELECT count(*) FROM {plan.table} WHERE {bounds}")
            read = int(counted[0][0])
        return _Ended(rows, read)


def _keep_alive(connection: Any) -> None:
    """The driver's socket gets the limits that libpq sets for the others: a peer that vanished is noticed in 30 s."""
    peer = connection._transport.get_extra_info("socket")
    if peer is None or peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000)):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
