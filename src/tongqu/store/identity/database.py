"""The file of identities: transactions, and the counter by which other processes learn of a change within a second."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.store.identity.schema import IDENTITY
from tongqu.store.runs import now
from tongqu.store.writing import durable, opened, writing

POLL_SECONDS = 0.25
"""How often a process looks whether another one changed something."""
_PRAGMAS = ("foreign_keys = ON", "secure_delete = ON")


class Database:
    """One SQLite file (mode 0600) with two connections: what changes rights is on disk before `writing` returns, notes
    of a call (`noting`: seen nonces, last use) may be lost with the machine's power.

    Safe for several threads and processes. Raises sqlite3.Error, OSError and CheckpointError.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], datetime] = now, elapsed: Callable[[], float] = time.monotonic
    ):
        self.clock = clock
        self._elapsed = elapsed
        self._lock = RLock()
        self._durable = durable(path, IDENTITY, *_PRAGMAS)
        self._quick = opened(path, IDENTITY, *_PRAGMAS)
        self._durable.row_factory = self._quick.row_factory = sqlite3.Row
        self._polled = 0.0
        self._revision = self._read_revision()

    def seconds(self) -> float:
        """The time as Unix seconds."""
        return self.clock().timestamp()

    def rows(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._lock:
            return self._durable.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        """The first row that a query finds."""
        with self._lock:
            found: sqlite3.Row | None = self._durable.execute(sql, parameters).fetchone()
            return found

    @contextmanager
    def writing(self, *, rights: bool = True) -> Iterator[sqlite3.Connection]:
        """One durable transaction. With `rights` all processes soon forget what they knew of callers."""
        with self._lock:
            with writing(self._durable) as done:
                yield done
                if rights:
                    done.execute("UPDATE state SET revision = revision + 1")
            if rights:
                self._polled = self._elapsed()
                self._revision = self._read_revision()

    def noting(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction whose loss in a power cut takes no right away and gives none."""
        return writing(self._quick, self._lock)

    def revision(self) -> int:
        """A number that has changed at most `POLL_SECONDS` after any process changed clients, users or revocations."""
        at = self._elapsed()
        if at - self._polled >= POLL_SECONDS:
            with self._lock:
                self._polled = at
                self._revision = self._read_revision()
        return self._revision

    def _read_revision(self) -> int:
        return int(self._durable.execute("SELECT revision FROM state").fetchone()[0])

    def close(self) -> None:
        """Close both connections."""
        with self._lock:
            self._quick.close()
            self._durable.close()


def changed(done: sqlite3.Connection, sql: str, parameters: Sequence[Any]) -> bool:
    """Run a statement; whether it changed a row."""
    return done.execute(sql, parameters).rowcount > 0
