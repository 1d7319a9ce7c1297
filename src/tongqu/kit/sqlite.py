"""A connection to a SQLite file, with SQLite's errors in our own words: for the connector and for ledgers at home."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

from tongqu.core.errors import (
    BusyError,
    CastError,
    ConnectorError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    RefusedRowsError,
    TongquError,
    WriteError,
)
from tongqu.kit.db import Db, Row
from tongqu.kit.file_holder import described, holder
from tongqu.kit.local_path import FULL_DISK, absolute
from tongqu.kit.patterns import nearest

if TYPE_CHECKING:
    import pyarrow as pa


class SqliteFile(Protocol):
    """Which file is meant, and how long to wait for somebody else who writes it."""

    @property
    def path(self) -> str:
        """Path of the file."""

    @property
    def busy_seconds(self) -> float:
        """Limit of the waiting."""

    def display(self) -> str:
        """The file as errors name it."""


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN}


def quoted(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """A text literal."""
    return "'" + value.replace("'", "''") + "'"


class SqliteDb(Db):
    """One connection; transactions begin as writers (IMMEDIATE) unless it is read-only."""

    def __init__(self, connection: sqlite3.Connection, settings: SqliteFile, *, writes: bool):
        self._connection = connection
        self._settings = settings
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED"
        self._failure: type[ConnectorError] = WriteError if writes else ReadError

    @property
    def connection(self) -> sqlite3.Connection:
        """The driver's connection, for cursors over many rows."""
        return self._connection

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        with self.translated():
            return self._connection.execute(sql, tuple(params)).fetchall()

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        with self.translated():
            return self._connection.execute(sql, tuple(params)).rowcount

    def bulk(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> int:
        """Run a statement for each row of values; returns the number of rows affected."""
        with self.translated():
            return self._connection.executemany(sql, rows).rowcount

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        names = ", ".join(quoted(name) for name in texts.column_names)
        holes = ", ".join("?" * texts.num_columns)
        rows = zip(*(column.to_pylist() for column in texts.columns), strict=True)
        self.bulk(f"INSERT INTO {table} ({names}) VALUES ({holes})", rows)

    def begin(self) -> None:
        """See Db.begin."""
        if not self._connection.in_transaction:
            self.run(self._begin)

    def commit(self) -> None:
        """See Db.commit."""
        if self._connection.in_transaction:
            self.run("COMMIT")

    def rollback(self) -> None:
        """See Db.rollback."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def close(self) -> None:
        """See Db.close."""
        self._connection.close()

    def translated(self) -> Translated:
        """A context in which SQLite's errors become ours."""
        return Translated(self._settings, self._failure, self._tables)

    def _tables(self) -> list[str]:
        try:
            found = self._connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            return [str(name) for (name,) in found]
        except sqlite3.Error:
            return []


class Translated:
    """Context manager that raises our errors for SQLite's."""

    def __init__(self, settings: SqliteFile, failure: type[ConnectorError], tables: Callable[[], list[str]] = list):
        self._settings = settings
        self._failure = failure
        self._tables = tables

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise our error for SQLite's; others pass."""
        if isinstance(error, sqlite3.Error):
            raise self._error(error) from error
        if isinstance(error, OverflowError):
            raise CastError(f"{self._settings.display()}: a number is beyond 64 bits") from error

    def _error(self, error: sqlite3.Error) -> TongquError:
        where = self._settings.display()
        said = str(error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, sqlite3.IntegrityError):
            return RefusedRowsError(f"{where} refused a row: {said}", field=_column(said))
        if isinstance(error, sqlite3.DataError) or code == sqlite3.SQLITE_TOOBIG:
            return RefusedRowsError(f"{where}: a value is too large for SQLite: {said}")
        if code in _BUSY:
            return busy(self._settings)
        if code == sqlite3.SQLITE_NOTADB:
            return self._failure(f"{where} is not a SQLite database", hint="check the path")
        if said.startswith("no such table"):
            name = said.partition(": ")[2]
            return NotFoundError(f"{where} has no table {name!r}", hint=_near(name, self._tables()))
        if code in _DENIED:
            return PrivilegeError(f"{where}: {said}", hint="check the rights on the file and on its folder")
        return self._failure(f"{where}: {said}", hint=FULL_DISK if code == sqlite3.SQLITE_FULL else "")


def _column(said: str) -> str:
    """The column in `NOT NULL constraint failed: t.c`; empty if there are several or none."""
    names = said.partition("constraint failed: ")[2]
    return names.rpartition(".")[2] if names and "," not in names and "." in names else ""


def _near(name: str, tables: Sequence[str]) -> str:
    return f"similar names: {nearest(name, tables)}" if tables else "the database is empty"


def busy(settings: SqliteFile) -> BusyError:
    """The error for a file that another process is writing, naming its PID where the system tells it."""
    path = absolute(settings.path)
    pid = holder((path, f"{path}-shm"))
    return BusyError(
        f"{settings.display()} is locked by {described(pid)}; gave up after {settings.busy_seconds:g} s",
        hint="let it finish and run this again, or raise busy_seconds; journal: wal lets readers and a writer coexist",
        params={"pid": pid, "path": settings.path},
    )


def connect(settings: SqliteFile, mode: Literal["ro", "rw", "rwc"]) -> SqliteDb:
    """A new connection; `rwc` creates the file if it is missing. What it commits survives a loss of power."""
    uri = f"file:{quote(absolute(settings.path))}?mode={mode}"
    writes = mode != "ro"
    with Translated(settings, WriteError if writes else ReadError):
        connection = sqlite3.connect(
            uri, uri=True, timeout=settings.busy_seconds, isolation_level=None, check_same_thread=False,
            cached_statements=32,
        )  # fmt: skip
    db = SqliteDb(connection, settings, writes=writes)
    try:
        db.rows("SELECT 1 FROM sqlite_master LIMIT 1")
        if writes:  # without a WAL a transaction is committed by unlinking its journal: EXTRA syncs the folder as well
            db.run("PRAGMA synchronous = extra")
    except BaseException:
        db.close()
        raise
    return db
