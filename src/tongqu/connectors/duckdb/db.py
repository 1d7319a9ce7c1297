"""Connections to a DuckDB file, one shared database per process, with DuckDB's errors in our own words."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.connectors.duckdb.turns import Turns
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
from tongqu.kit import lasting
from tongqu.kit.db import Db, Row
from tongqu.kit.drivers import driver
from tongqu.kit.file_holder import described
from tongqu.kit.files import translated as files_translated
from tongqu.kit.fresh_duckdb import fresh_duckdb
from tongqu.kit.local_path import FULL_DISK, absolute, sink_folder
from tongqu.kit.patterns import nearest

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


_TEXTS = "_tongqu_texts"
TURN_SECONDS = 10.0
"""How long a writer waits for a gateway that serves the file."""
_LOOK_SECONDS = 0.02
_MANY = 480_000
"""Rows in whose insertion the unfinished row groups of each thread do not count any more."""


def quoted(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text literal."""
    return "'" + value.replace("'", "''") + "'"


FILE = quoted("_tongqu_file")
"""The catalogue that the file is attached as. DuckDB's own choice is the file's name, which makes every schema of that
name ambiguous; a fixed one also lets no schema be taken for DuckDB's `temp`, `system` or `memory`."""


def parts(name: str) -> tuple[str, str]:
    """Schema and table of a dataset's name `schema.table` or `table`; a dot at an end belongs to the table."""
    schema, _, table = name.rpartition(".")
    return (schema, table) if schema and table else ("main", name)


def place(name: str) -> str:
    """A dataset's name, quoted, in the file's catalogue."""
    schema, table = parts(name)
    return f"{FILE}.{quoted(schema)}.{quoted(table)}"


class DuckDb(Db):
    """One connection of the process's database."""

    def __init__(self, connection: DuckDBPyConnection, shared: Shared, *, writes: bool):
        self._connection = connection
        self._shared: Shared | None = shared
        self._settings = shared.settings
        self._failure: type[ConnectorError] = WriteError if writes else ReadError
        self._open = False

    @property
    def connection(self) -> DuckDBPyConnection:
        """The driver's connection, for Arrow in and out."""
        return self._connection

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        with self.translated():
            return self._connection.execute(sql, list(params)).fetchall()

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        with self.translated():
            found = self._connection.execute(sql, list(params)).fetchall()
        return int(found[0][0]) if len(found) == 1 and isinstance(found[0][0], int) else -1

    def sql(self, sql: str) -> DuckDBPyRelation:
        """A lazy query, to be read as Arrow."""
        with self.translated():
            return self._connection.sql(sql)

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        names = ", ".join(quoted(name) for name in texts.column_names)
        with self.translated():
            self._connection.register(_TEXTS, texts)
        try:
            self.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM {_TEXTS}")
        finally:
            self._connection.unregister(_TEXTS)

    @property
    def alone(self) -> bool:
        """Whether no other connection of this process uses the database."""
        return self._shared is not None and self._shared.users == 1

    @contextmanager
    def inserting(self, rows: int) -> Iterator[None]:
        """A context in which the whole database inserts so many rows in the cheapest way.

        Many are inserted by all threads in no order. Of few, or by several threads in order, each thread would leave
        row groups unfinished that are written a second time, at twice the processor time: then one thread works.

        Whoever merges a chunk relies on the order of insertion, so it is left alone while others use the database, and
        who wants to write it meanwhile waits.
        """
        shared = self._shared
        with _lock:
            ours = shared is not None and shared.users == 1 and not shared.unordered
            if ours and shared is not None:
                shared.unordered = True
        if not ours or shared is None:
            yield
            return
        try:
            with self._set(rows):
                yield
        finally:
            with _ordered:
                shared.unordered = False
                _ordered.notify_all()

    @contextmanager
    def _set(self, rows: int) -> Iterator[None]:
        """The settings of the whole database for the insertion of so many rows."""
        setting, value = ("preserve_insertion_order", "false") if rows >= _MANY else ("threads", "1")
        with self.translated(), self._connection.cursor() as aside:  # a failed transaction would not let us set it back
            (before,) = aside.execute(f"SELECT current_setting('{setting}')").fetchall()[0]
            aside.execute(f"SET GLOBAL {setting} = {value}")
            try:
                yield
            finally:
                aside.execute(f"SET GLOBAL {setting} = {str(before).lower()}")

    def begin(self) -> None:
        """See Db.begin."""
        if not self._open:
            self.run("BEGIN TRANSACTION")
            self._open = True

    def commit(self) -> None:
        """See Db.commit."""
        if self._open:
            self._open = False
            self.run("COMMIT")
            if self._shared is not None and self._shared.writes:  # DuckDB syncs its log, but not that log's name
                lasting.sync(Path(self._shared.path).parent)

    def rollback(self) -> None:
        """See Db.rollback."""
        if self._open:
            self._open = False
            duckdb = _duckdb()
            try:
                self._connection.execute("ROLLBACK")
            except duckdb.Error:
                return  # a failed commit has ended the transaction already

    def close(self) -> None:
        """See Db.close. The database itself is closed with its last connection."""
        if self._shared is not None:
            self._connection.close()
            shared, self._shared = self._shared, None
            shared.release()

    def savepoint(self, name: str) -> None:
        """DuckDB has none: whoever loads must find bad rows before it touches the table."""

    def rollback_to(self, name: str) -> None:
        """Nothing was done since the mark, see `savepoint`."""

    def release(self, name: str) -> None:
        """Nothing to forget."""

    @contextmanager
    def translated(self) -> Iterator[None]:
        """A context in which DuckDB's errors become ours."""
        with translated(self._settings, self._failure):
            yield


def _duckdb() -> Any:
    return driver("duckdb", "duckdb")


@contextmanager
def translated(settings: DuckdbSettings, failure: type[ConnectorError]) -> Iterator[None]:
    """Raise our errors for DuckDB's."""
    duckdb = _duckdb()
    try:
        yield
    except duckdb.Error as error:
        raise _error(settings, failure, error) from error


def _error(settings: DuckdbSettings, failure: type[ConnectorError], error: Exception) -> TongquError:
    duckdb = _duckdb()
    where = settings.display()
    said = str(error).split("\n")[0]
    if "Could not set lock" in said or "being used by another process" in str(error):
        return busy(settings, str(error))
    if isinstance(error, duckdb.ConstraintException):
        column = re.search(r"constraint failed: \S*?\.(\w+)", said)
        return RefusedRowsError(f"{where} refused a row: {said}", field=column[1] if column else "")
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return CastError(f"{where}: {said}")
    if isinstance(error, duckdb.CatalogException) and "does not exist" in said:
        return NotFoundError(f"{where}: {said}", hint=str(error).partition("\n")[2].strip().split("\n")[0])
    if "Permission denied" in said or "read-only" in said:
        return PrivilegeError(f"{where}: {said}", hint="check the rights on the file and on its folder")
    if "not a valid DuckDB database" in said:
        return failure(f"{where} is not a DuckDB database", hint="check the path")
    return failure(f"{where}: {said}", hint=FULL_DISK if "No space left on device" in said else "")


def busy(settings: DuckdbSettings, said: str = "") -> BusyError:
    """The error for a file that another process has open; DuckDB's own message knows its PID."""
    found = re.search(r"\(PID (\d+)\)", said)
    pid = int(found[1]) if found else None
    return BusyError(
        f"{settings.display()} is open in {described(pid)}; a DuckDB file has one owner",
        hint="close it there, or run this through the process that owns the file",
        params={"pid": pid, "path": settings.path},
    )


# ---- one database per file and process


@dataclass
class Shared:
    """A database that is open in this process, and how many connections use it."""

    settings: DuckdbSettings
    database: Any
    path: str
    writes: bool
    users: int = 0
    unordered: bool = False
    """Whether its only user inserts rows under settings of its own (`DuckDb.inserting`)."""

    def release(self) -> None:
        """Close the database after its last user."""
        with _lock:
            self.users -= 1
            if self.users == 0:
                _open.pop(self.path, None)
                self.database.close()


_lock = threading.Lock()
_ordered = threading.Condition(_lock)
"""Told when a database has its own settings again."""
_open: dict[str, Shared] = {}


def open_source(settings: DuckdbSettings) -> DuckDb:
    """A connection for reading; NotFoundError if the file is missing, which is never created.

    If a sink of this process has the file open, its database is shared; otherwise the file is opened read-only.
    """
    path = Path(absolute(settings.path))
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        raise NotFoundError(
            f"there is no DuckDB file {settings.path!r}",
            hint=f"similar names: {near}" if near else f"looked for {path}",
            params={"path": str(path)},
        )
    return _connection(settings, str(path), writes=False)


def open_sink(settings: DuckdbSettings, files: Sequence[str] = ()) -> DuckDb:
    """A connection for writing; creates the file if it is missing. BusyError if it is open elsewhere, where a gateway
    that serves it is given the time to let go.

    If it opens the database, the database may read these files and no others.
    """
    path = Path(absolute(settings.path))
    sink_folder(settings.path)
    try:
        return _connection(settings, str(path), writes=True, files=files)
    except BusyError:
        turns = Turns(path)
        if not turns.kept:
            raise
    until = monotonic() + TURN_SECONDS
    with turns.taken(TURN_SECONDS):
        while True:
            try:
                return _connection(settings, str(path), writes=True, files=files)
            except BusyError:
                if monotonic() >= until:
                    raise
                sleep(_LOOK_SECONDS)


def _connection(settings: DuckdbSettings, path: str, *, writes: bool, files: Sequence[str] = ()) -> DuckDb:
    with _lock:
        while (shared := _open.get(path)) is not None and shared.unordered and writes:
            _ordered.wait()
        if shared is not None and writes and not shared.writes:
            raise BusyError(
                f"{settings.display()} is being read by this process, which cannot write it at the same time",
                hint="let the read end first",
            )
        if shared is None:
            shared = Shared(settings, _database(settings, path, writes, files), path, writes)
            _open[path] = shared
        shared.users += 1
        connection = shared.database.cursor()
        connection.execute(f"USE {FILE}")
        return DuckDb(connection, shared, writes=writes)


def _database(settings: DuckdbSettings, path: str, writes: bool, files: Sequence[str]) -> Any:
    """Open the file hardened: no extension is fetched or loaded by itself, no other host can be reached and no other
    file but those named, from which rows are loaded."""
    config: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "enable_external_file_cache": False,
        "memory_limit": settings.memory,
        "temp_directory": f"{path}.tmp",
    }
    if settings.threads:
        config["threads"] = settings.threads
    with translated(settings, WriteError if writes else ReadError):
        if writes:
            with files_translated(Path(path)):
                fresh_duckdb(Path(path))
        database = _duckdb().connect(":memory:", config=config)
        try:
            database.execute(f"ATTACH {literal(path)} AS {FILE} (TYPE duckdb, READ_{'WRITE' if writes else 'ONLY'})")
        except _duckdb().Error:
            database.close()
            raise
        if files:
            database.execute(f"SET GLOBAL allowed_paths = [{', '.join(map(literal, files))}]")
            database.execute("SET GLOBAL allowed_configs = ['threads', 'preserve_insertion_order']")
        database.execute("SET GLOBAL enable_external_access = false")
        database.execute("SET GLOBAL TimeZone = 'UTC'")
        database.execute("SET GLOBAL lock_configuration = true")
    return database
