"""One connection shared by all sessions of a sink whose system takes a single writer: transactions take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tongqu.core.errors import BusyError
from tongqu.kit.db import Db, Row

if TYPE_CHECKING:
    import pyarrow as pa

D = TypeVar("D", bound=Db)


class OneWriter(Generic[D]):
    """Owns the connection, opened on first use, and gives out views of it.

    A view's transaction holds the connection from `begin` to `commit` or `rollback`; the others wait for it. A thread
    that would wait for itself gets BusyError instead of hanging.
    """

    def __init__(self, connect: Callable[[], D]):
        self._connect = connect
        self._db: D | None = None
        self._free = threading.Lock()
        self._thread = 0

    def view(self) -> Turn[D]:
        """A new view, which opens no transaction yet."""
        return Turn(self)

    def db(self) -> D:
        """The connection itself; only for the holder of the turn."""
        if self._db is None:
            self._db = self._connect()
        return self._db

    def take(self) -> None:
        """Wait until no other view has a transaction open."""
        if not self._free.acquire(blocking=False):
            if self._thread == threading.get_ident():
                raise BusyError(
                    "two sessions of a sink with one writer were used by one thread",
                    hint="commit or abort the first session's chunk before writing with the second",
                )
            self._free.acquire()
        self._thread = threading.get_ident()

    def give(self) -> None:
        """Let the next one in."""
        self._thread = 0
        self._free.release()

    def close(self) -> None:
        """Close the connection; an open transaction is lost."""
        if self._db is not None:
            self._db.close()
            self._db = None


class Turn(Db, Generic[D]):
    """One session's view of the shared connection."""

    def __init__(self, writer: OneWriter[D]):
        self._writer = writer
        self._mine = False

    @property
    def shared(self) -> D:
        """The connection, for bulk work inside our transaction."""
        return self._writer.db()

    @contextmanager
    def _turn(self) -> Iterator[D]:
        if self._mine:
            yield self._writer.db()
            return
        self._writer.take()
        try:
            yield self._writer.db()
        finally:
            self._writer.give()

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        with self._turn() as db:
            return db.rows(sql, params)

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        with self._turn() as db:
            return db.run(sql, params)

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        with self._turn() as db:
            db.insert_texts(table, texts)

    def begin(self) -> None:
        """See Db.begin."""
        if self._mine:
            return
        self._writer.take()
        try:
            self._writer.db().begin()
        except BaseException:
            self._writer.give()
            raise
        self._mine = True

    def commit(self) -> None:
        """See Db.commit."""
        if self._mine:
            self._writer.db().commit()
            self._release()

    def rollback(self) -> None:
        """See Db.rollback."""
        if self._mine:
            try:
                self._writer.db().rollback()
            finally:  # else all others would wait for ever
                self._release()

    def savepoint(self, name: str) -> None:
        """See Db.savepoint."""
        self._writer.db().savepoint(name)

    def rollback_to(self, name: str) -> None:
        """See Db.rollback_to."""
        self._writer.db().rollback_to(name)

    def release(self, name: str) -> None:
        """See Db.release."""
        self._writer.db().release(name)

    def _release(self) -> None:
        self._mine = False
        self._writer.give()

    def close(self) -> None:
        """Undo what is open; the connection stays for the others."""
        self.rollback()
