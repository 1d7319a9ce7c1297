"""Where jobs are kept: a SQLite file for the processes of one host, or PostgreSQL for several hosts."""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import CheckpointError, ConnectError, InvalidSettingsError, MissingDriverError
from tongqu.store.jobs.bell import Bell, Fifos
from tongqu.store.jobs.schema import STEPS

_LOCK = 0x746F6E67
"""The advisory lock that takes turns in PostgreSQL."""
_APART = 3600.0
"""Seconds that the clocks of two hosts may be apart."""


class Database(ABC):
    """SQL with `?` for values. `turn` is a transaction; of all processes one is in its turn at a time, so what it read
    is true when it writes. Not for two threads at once except through `turn`."""

    @abstractmethod
    def turn(self) -> Any:
        """A context: a transaction alone, committed at its end, undone by an error."""

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    @abstractmethod
    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Do it; how many rows were touched."""

    @abstractmethod
    def moment(self) -> float:
        """A clock for leases, in seconds: the same for all processes that use this database, and never set back."""

    def agrees(self, now: float) -> bool:
        """Whether a time of day is about the one of all processes that use this database."""
        del now
        return True

    @abstractmethod
    def bell(self) -> Bell:
        """A bell of one's own, which `ring` of others rings."""

    @abstractmethod
    def ring(self) -> None:
        """Wake everybody who waits at a bell; call it after the turn."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it; may be called twice."""

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Let go of everything if the store cannot be opened."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _migrate(self, version: int, note: str) -> None:
        if version > len(STEPS):
            raise CheckpointError(
                f"this store of jobs has version {version}, this Tongqu knows {len(STEPS)}", hint="use the newer Tongqu"
            )
        for number, step in enumerate(STEPS[version:], start=version + 1):
            for statement in step:
                self.run(statement)
            self.run(note.format(number))


class SqliteJobs(Database):
    """Jobs in a SQLite file in WAL mode; leases run by the machine's own clock, which counts from its start."""

    def __init__(self, path: Path, bells: Path):
        self._lock = RLock()
        self._fifos = Fifos(bells)
        self._database = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = EXTRA"):
            self._database.execute(f"PRAGMA {pragma}")
        with self._whole(), self.turn():
            self._migrate(int(self.rows("PRAGMA user_version")[0][0]), "PRAGMA user_version = {}")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """See Database.turn."""
        with self._lock, _usable():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # a full disk has rolled it back already
                    self._database.execute("ROLLBACK")
                raise

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Database.rows."""
        with self._lock, _usable():
            return self._database.execute(sql, tuple(values)).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """See Database.run."""
        with self._lock, _usable():
            return self._database.execute(sql, tuple(values)).rowcount

    def moment(self) -> float:
        """See Database.moment."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def bell(self) -> Bell:
        """See Database.bell."""
        return self._fifos.bell()

    def ring(self) -> None:
        """See Database.ring."""
        self._fifos.ring()

    def close(self) -> None:
        """See Database.close."""
        with self._lock, suppress(sqlite3.ProgrammingError):
            self._database.close()


@contextmanager
def _usable() -> Iterator[None]:
    """A file that is locked for long, or on a full disk, is like a server that does not answer."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise ConnectError(f"the store of jobs cannot be used: {error}", path="jobs.db") from None


class PostgresJobs(Database):
    """Jobs in PostgreSQL, for processes on several hosts; leases run by the server's clock. A connection that broke is
    made again with the next turn."""

    def __init__(self, url: str):
        self._url = url
        self._lock = RLock()
        self._connection: Any = None
        with self._whole(), self.turn():
            self.run("CREATE TABLE IF NOT EXISTS tongqu_store (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
            self.run("INSERT INTO tongqu_store VALUES ('jobs', 0) ON CONFLICT DO NOTHING")
            version = self.rows("SELECT version FROM tongqu_store WHERE name = 'jobs'")[0][0]
            self._migrate(version, "UPDATE tongqu_store SET version = {} WHERE name = 'jobs'")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """See Database.turn."""
        import psycopg

        with self._lock:
            try:
                with self._connected().transaction():
                    self.run(f"SELECT pg_advisory_xact_lock({_LOCK})")
                    yield
            except psycopg.OperationalError as error:
                raise self._lost(error) from None

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Database.rows."""
        import psycopg

        with self._lock:
            try:
                return list(self._connected().execute(sql.replace("?", "%s"), tuple(values)).fetchall())
            except psycopg.OperationalError as error:
                raise self._lost(error) from None

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """See Database.run."""
        import psycopg

        with self._lock:
            try:
                return int(self._connected().execute(sql.replace("?", "%s"), tuple(values)).rowcount)
            except psycopg.OperationalError as error:
                raise self._lost(error) from None

    def moment(self) -> float:
        """See Database.moment."""
        return float(self.rows("SELECT extract(epoch FROM clock_timestamp())")[0][0])

    def agrees(self, now: float) -> bool:
        """See Database.agrees."""
        return abs(self.moment() - now) < _APART

    def bell(self) -> Bell:
        """See Database.bell."""
        from tongqu.store.jobs.notices import Notices

        return Notices(self._open)

    def ring(self) -> None:
        """See Database.ring."""
        with self._lock:
            self.run("NOTIFY tongqu_jobs")

    def close(self) -> None:
        """See Database.close."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self._open()
        return self._connection

    def _open(self) -> Any:
        try:
            import psycopg
        except ImportError:
            raise MissingDriverError(
                "a store in PostgreSQL needs the extra `postgres`", hint="pip install 'tongqu[postgres]'"
            ) from None
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=10, application_name="tongqu-jobs")
        except psycopg.OperationalError as error:
            raise self._lost(error) from None
        except psycopg.ProgrammingError:  # its text may hold the password
            raise InvalidSettingsError(
                "the address of the store of jobs cannot be read", path="run.store",
                hint="postgresql://user:password@host/database; percent-encode special characters of the password",
            ) from None  # fmt: skip

    @staticmethod
    def _lost(error: Exception) -> ConnectError:
        return ConnectError(f"the store of jobs cannot be reached: {str(error).splitlines()[0]}", path="run.store")
