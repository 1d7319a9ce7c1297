"""One write transaction of a home's database, shared by threads that take turns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


@contextmanager
def writing(
    database: sqlite3.Connection, turn: AbstractContextManager[object] | None = None
) -> Iterator[sqlite3.Connection]:
    """The database inside a transaction that has the right to write from its beginning; committed at the end, undone by
    an error. `turn` is held meanwhile where several threads share the connection (which is in autocommit)."""
    with nullcontext() if turn is None else turn:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
