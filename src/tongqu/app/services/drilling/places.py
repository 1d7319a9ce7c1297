"""Where a drill plays: tables of its own in files of its own, or in a schema of its own that is dropped afterwards."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from tongqu.app.services.drilling.work import TABLES, Op
from tongqu.core.errors import ConnectError
from tongqu.kit.drivers import driver

Statement = tuple[str, tuple[Any, ...]]
Query = Callable[[str], list[tuple[Any, ...]]]


class Place(ABC):
    """One side of a drill. `url` is what `tongqu sync` is given, `before` what stands before a table's name."""

    kind: str
    url: str
    before = ""
    poison = False
    """Whether a column of numbers takes a text."""
    follows = False
    """Whether it has a change log."""

    @abstractmethod
    def do(self, statements: Sequence[Statement]) -> None:
        """Do these in one transaction; raises what the driver raises."""

    @abstractmethod
    def asking(self) -> AbstractContextManager[Query]:
        """A connection to look at rows; SQL has `{}` before tables. A table that is not there has no rows."""

    @abstractmethod
    def lock(self, wait: Callable[[], object]) -> None:
        """Keep writers out while `wait` runs."""

    def widen(self, number: int) -> None:
        """Give a table a column more."""
        self.do([(f"ALTER TABLE {{}}seen ADD COLUMN more{number} bigint", ())])

    def build(self, *, write: bool = False) -> None:
        """Make the tables of a source; a target (`write`) is left to Tongqu."""
        if not write:
            self.do([(f"CREATE TABLE {{}}{name} ({', '.join(f'{column} bigint' for column in columns)}, "
                      "PRIMARY KEY (id))", ()) for name, columns in TABLES.items()])  # fmt: skip

    def perform(self, op: Op) -> None:
        """Do an operation; raises what the driver raises."""
        self.do(op.statements())

    def drop(self) -> None:
        """Leave nothing behind."""


class SqlitePlace(Place):
    """A file of its own."""

    kind = "sqlite"
    poison = True

    def __init__(self, path: Path):
        self._path = path
        self.url = f"sqlite:///{path.absolute()}"

    def do(self, statements: Sequence[Statement]) -> None:
        """See Place."""
        with closing(self._opened()) as database:
            database.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                database.execute(sql.format(self.before), values)
            database.execute("COMMIT")

    @contextmanager
    def asking(self) -> Iterator[Query]:
        """See Place."""
        with closing(self._opened()) as database:

            def query(sql: str) -> list[tuple[Any, ...]]:
                try:
                    return database.execute(sql.format(self.before)).fetchall()
                except sqlite3.OperationalError as error:
                    if "no such table" in str(error):
                        return []
                    raise

            yield query

    def lock(self, wait: Callable[[], object]) -> None:
        """See Place."""
        with closing(self._opened()) as database:
            database.execute("BEGIN IMMEDIATE")
            wait()
            database.execute("ROLLBACK")

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        return database


class DuckdbPlace(Place):
    """A DuckDB file of its own; a target, which one process has open at a time."""

    kind = "duckdb"

    def __init__(self, path: Path):
        self._path = path
        self.url = f"duckdb:///{path.absolute()}"

    def do(self, statements: Sequence[Statement]) -> None:
        """See Place."""
        with closing(driver("duckdb", "duckdb").connect(str(self._path))) as database:
            database.begin()
            for sql, values in statements:
                database.execute(sql.format(self.before), values)
            database.commit()

    @contextmanager
    def asking(self) -> Iterator[Query]:
        """See Place."""
        duckdb = driver("duckdb", "duckdb")
        with closing(duckdb.connect(str(self._path))) as database:

            def query(sql: str) -> list[tuple[Any, ...]]:
                try:
                    found: list[tuple[Any, ...]] = database.execute(sql.format(self.before)).fetchall()
                except duckdb.CatalogException:
                    return []
                return found

            yield query

    def lock(self, wait: Callable[[], object]) -> None:
        """See Place; where somebody else has the file already, it is locked as it is."""
        duckdb = driver("duckdb", "duckdb")
        try:
            database = duckdb.connect(str(self._path))
        except duckdb.IOException:
            wait()
            return
        with closing(database):
            wait()


class PostgresPlace(Place):
    """A schema of its own in a PostgreSQL database, with what Tongqu remembers in it too. `shown` is the reference that
    stands in command lines instead of the URL; its value is `schema_url`."""

    kind = "postgres"
    follows = True

    def __init__(self, url: str, schema: str, shown: str):
        self._real = url
        self._schema = schema
        self.before = f"{schema}."
        self.url = shown
        self.schema_url = f"{url}{'&' if '?' in url else '?'}schema={schema}"

    def build(self, *, write: bool = False) -> None:
        """See Place."""
        with self._opened() as connection:
            connection.execute(f"CREATE SCHEMA {self._schema}")
        super().build(write=write)

    def do(self, statements: Sequence[Statement]) -> None:
        """See Place."""
        with self._opened() as connection, connection.transaction():
            for sql, values in statements:
                connection.execute(sql.format(self.before).replace("?", "%s"), values or None)

    @contextmanager
    def asking(self) -> Iterator[Query]:
        """See Place."""
        psycopg = driver("psycopg", "postgres")
        with self._opened() as connection:

            def query(sql: str) -> list[tuple[Any, ...]]:
                try:
                    found: list[tuple[Any, ...]] = connection.execute(sql.format(self.before)).fetchall()
                except psycopg.errors.UndefinedTable:
                    return []
                return found

            yield query

    def lock(self, wait: Callable[[], object]) -> None:
        """See Place."""
        with self._opened() as connection, connection.transaction():
            names = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", (self._schema,)
            ).fetchall()
            if names:
                tables = ", ".join(f"{self._schema}.{name}" for (name,) in names)
                connection.execute(f"LOCK TABLE {tables} IN SHARE MODE")
            wait()

    def drop(self) -> None:
        """Drop the schema, and the slot and publication that followed it (one name for both)."""
        with self._opened() as connection:
            names = connection.execute(
                "SELECT DISTINCT pubname FROM pg_publication_tables WHERE schemaname = %s", (self._schema,)
            ).fetchall()
            for (name,) in names:
                connection.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                    "WHERE slot_name = %s AND database = current_database() AND NOT active",
                    (name,),
                )
                connection.execute(f'DROP PUBLICATION IF EXISTS "{name}"')
            connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")

    def _opened(self) -> Any:
        psycopg = driver("psycopg", "postgres")
        try:
            return psycopg.connect(self._real, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise ConnectError("the drill's database cannot be reached", hint="check URL and login") from error
