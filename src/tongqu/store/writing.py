"""A home's database: opened so that it lasts, and one write transaction of it, shared by threads that take turns."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from tongqu.store.migrations import migrate


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
            if database.in_transaction:  # a full disk has rolled it back already
                database.execute("ROLLBACK")
            raise


def opened(path: Path, schema: tuple[str, ...], *pragmas: str, seconds: float = 5.0) -> sqlite3.Connection:
    """A connection for several threads, in autocommit, to a file (WAL) that only its owner may read, made if it is not
    there; it waits so many seconds for other writers. What is committed survives the process, not always a loss of
    power. Raises sqlite3.Error, OSError."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    database = sqlite3.connect(path, timeout=seconds, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", *pragmas):
            database.execute(f"PRAGMA {pragma}")
        migrate(database, schema)
    except BaseException:
        database.close()
        raise
    return database


def durable(path: Path, schema: tuple[str, ...], *pragmas: str, seconds: float = 5.0) -> sqlite3.Connection:
    """As `opened`; what is committed survives a loss of power, also where the file cannot have a WAL: EXTRA is as FULL,
    and syncs the folder when a journal was unlinked."""
    return opened(path, schema, "synchronous = EXTRA", *pragmas, seconds=seconds)
