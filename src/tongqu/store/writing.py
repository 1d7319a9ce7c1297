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
            database.execute("ROLLBACK")
            raise


def durable(path: Path, schema: tuple[str, ...]) -> sqlite3.Connection:
    """A connection for several threads to a file that only its owner may read, made if it is not there: what is
    committed survives a loss of power. Raises sqlite3.Error, OSError."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL"):
        database.execute(f"PRAGMA {pragma}")
    migrate(database, schema)
    return database
