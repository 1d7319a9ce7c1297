"""One connection of a driver after Python's DB-API: the kit's statements in the dialect's words, errors in ours."""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from tongqu.core.errors import ConnectorError, TongquError
from tongqu.kit.db import Db, Row
from tongqu.kit.tables.arrays import element, literal, slices
from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.values import arrived, binds

_EMPTY = re.compile(r"(?<=[=<>] )''(?!')")


class TableDb(Db):
    """A connection without autocommit; a transaction is open from the first statement on.

    Drivers say what their exceptions are and mean, and may bring faster ways to read and to load.
    """

    cuts_at_nul = False
    """The driver ends a text at a NUL character."""
    able_in_bulk = False
    """Whether `bulk` can fill a table faster than `insert`, in a transaction of its own."""

    def __init__(self, connection: Any, dialect: Dialect, where: str, *, reading: bool):
        self.connection = connection
        self.dialect = dialect
        self.where = where
        self.reading = reading
        self.ledger_types = dialect.ledger_types  # type: ignore[misc]  # one per dialect here
        self.for_update = "FOR UPDATE"  # type: ignore[misc]  # the dialect puts it in its own words
        self.loader: TableDb | None = None
        """A second connection, which loads work tables in bulk."""
        self.leftovers: list[str] = []
        """Work tables (quoted) whose rows this connection's transaction reads; dropped once it has ended."""
        self.codec = ""
        """Character set of the database as `Dialect.codec` takes it; empty if it is not known or has them all."""
        self.broken = False
        """A statement has failed for a reason that may have ended the connection."""
        self.overriding = ""
        """What an INSERT says behind its columns' names, while identity columns take the values that arrive."""
        self.superseded = 0
        """Rows of the loaded chunk that a later one of the same key has replaced."""
        self._sequence = time.time_ns() // 1000

    # ---- what drivers fill in

    @property
    @abstractmethod
    def failures(self) -> tuple[type[BaseException], ...]:
        """What the driver raises."""

    @abstractmethod
    def meaning(self, error: BaseException) -> TongquError:
        """The Tongqu error for one of them."""

    def holes(self, sql: str) -> str:
        """The statement with `?` in the driver's own style."""
        return sql

    def bound(self, sql: str, params: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Statement and parameters as the driver takes them."""
        return self.holes(sql), params

    def bulk(self, table: tuple[str, str], rows: pa.Table) -> None:
        """Fill a table (schema and name, unquoted) over a connection of its own and commit there."""
        raise NotImplementedError(f"{type(self).__name__} cannot load {rows.num_rows} rows into {table}")

    # ---- statements

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor for the block; what the driver raises in it becomes ours."""
        made = None
        try:
            made = self.connection.cursor()
            yield made
        except self.failures as error:
            failed = self.meaning(error)
            self.broken = self.broken or failed.retryable
            raise failed from None
        finally:
            if made is not None:
                with suppress(*self.failures):
                    made.close()

    def execute(self, cursor: Any, sql: str, params: Sequence[Any] = ()) -> None:
        """Run one of the kit's own statements, in the dialect's words."""
        for statement in self.dialect.portable(self._marked(sql)):
            if params:
                cursor.execute(*self.bound(statement, [self._stored(value) for value in params]))
            else:
                cursor.execute(statement)

    def _marked(self, sql: str) -> str:
        """Empty texts as the dialect stores them in our own tables."""
        return _EMPTY.sub(self.dialect.literal(self.dialect.empty), sql) if self.dialect.empty else sql

    def _stored(self, value: Any) -> Any:
        return self.dialect.empty if value == "" and isinstance(value, str) else value

    def _given(self, value: Any) -> Any:
        return "" if self.dialect.empty and value == self.dialect.empty else value

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """See Db.rows."""
        with self.cursor() as cursor:
            self.execute(cursor, sql, params)
            return [tuple(self._given(value) for value in row) for row in cursor.fetchall()]

    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """See Db.run."""
        with self.cursor() as cursor:
            self.execute(cursor, sql, params)
            return int(cursor.rowcount)

    def count(self, table: str, where: str = "1 = 1") -> int:
        """How many rows of a quoted table, which the condition calls `t`, it holds for."""
        return int(self.rows(f"SELECT COUNT(*) FROM {table} t WHERE {where}")[0][0])

    def say(self, statements: Sequence[str]) -> None:
        """See Db.say."""
        for statement in filter(None, statements):
            with self.cursor() as cursor:
                cursor.execute(statement)

    def greet(self) -> None:
        """What every session says first; a system that does not know a variable keeps its own default. One that reads
        begins to see one instant."""
        for statement in self.dialect.session(reading=self.reading):
            try:
                self.say([statement])
            except ConnectorError as error:
                self.rollback()
                if error.retryable:
                    raise
            else:
                self.commit()
        if self.reading:
            self.say(self.dialect.snapshot)

    # ---- rows

    def batches(self, sql: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query in batches of at most `size`, each column in the schema's type."""
        with self.cursor() as cursor:
            cursor.arraysize = size
            cursor.execute(sql)
            while block := cursor.fetchmany(size):
                columns = zip(*block, strict=True)
                arrays = [arrived(values, field) for values, field in zip(columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def fill(
        self, table: str, names: Sequence[str], holes: Sequence[str], arrays: Sequence[pa.Array[Any]]
    ) -> None:  # fmt: skip
        """Insert rows given as columns; table and names are quoted. Fails for all if it fails for one."""
        if not self.dialect.arrays:
            self.insert(table, names, holes, [binds(array) for array in arrays])
            return
        cells = [element(f"u.c{at}", hole, arrays[at].type) for at, hole in enumerate(holes)]
        columns = ", ".join(f"unnest(CAST(? AS text[])) AS c{at}" for at in range(len(names)))
        sql = (
            f"INSERT INTO {table} ({', '.join(names)}){self.overriding} "
            f"SELECT {', '.join(cells)} FROM (SELECT {columns}) u"
        )
        with self.cursor() as cursor:
            for some in slices(arrays):
                cursor.execute(self.holes(sql), [literal(array) for array in some])

    def insert(self, table: str, names: Sequence[str], holes: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
        """Insert rows given as columns of values; table and names are quoted. Fails for all if it fails for one."""
        rows = list(zip(*columns, strict=True))
        with self.cursor() as cursor:
            cursor.executemany(self.holes(self.inserting(table, names, holes)), rows)

    def inserting(self, table: str, names: Sequence[str], holes: Sequence[str]) -> str:
        """The statement that inserts one row."""
        return f"INSERT INTO {table} ({', '.join(names)}){self.overriding} VALUES ({', '.join(holes)})"

    def _insert_at_once(
        self, table: str, names: Sequence[str], holes: Sequence[str], columns: Sequence[Sequence[Any]]
    ) -> None:
        """`insert` by statements of many rows each, for drivers that would send them one by one."""
        begin, row = f"INSERT INTO {table} ({', '.join(names)}){self.overriding} VALUES ", f"({', '.join(holes)})"
        step = max(1, min(self.dialect.parameters // len(names), 1000))
        rows = list(zip(*columns, strict=True))
        with self.cursor() as cursor:
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                sql = begin + ", ".join([row] * len(some))
                cursor.execute(*self.bound(sql, [value for one in some for value in one]))

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """See Db.insert_texts."""
        names = [self.word(name) for name in texts.column_names]
        columns = [[self._stored(value) for value in column.to_pylist()] for column in texts.columns]
        if texts.num_rows:
            self.insert(table, names, ["?"] * texts.num_columns, columns)

    def sequence(self, rows: int) -> list[int]:
        """Numbers for so many rows, greater than all given before: microseconds since 1970 and counting, so that a
        later attempt of the same split goes on above them."""
        first = max(self._sequence + 1, time.time_ns() // 1000)
        self._sequence = first + rows
        return list(range(first, first + rows))

    # ---- transactions

    def begin(self) -> None:
        """See Db.begin; the driver begins by itself."""

    def commit(self) -> None:
        """See Db.commit."""
        try:
            self.connection.commit()
        except self.failures as error:
            raise self.meaning(error) from None
        self._tidy()

    def rollback(self) -> None:
        """See Db.rollback."""
        with suppress(*self.failures):
            self.connection.rollback()
        self._tidy()

    def _tidy(self) -> None:
        """Drop work tables that nobody reads any more; what cannot be dropped now is left for the next time."""
        while self.loader is not None and self.leftovers:
            try:
                self.loader.say(self.dialect.drop(self.leftovers[-1]))
                self.loader.commit()
            except ConnectorError:
                self.loader.rollback()
                return
            self.leftovers.pop()

    def close(self) -> None:
        """See Db.close."""
        self.rollback()
        if self.loader is not None:
            self.loader.close()
            self.loader = None
        with suppress(*self.failures):
            self.connection.close()

    def quote(self, name: str) -> str:
        """See Db.quote."""
        return self.dialect.quote(name)

    def word(self, name: str) -> str:
        """See Db.word."""
        return self.dialect.word(name)

    def savepoint(self, name: str) -> None:
        """See Db.savepoint."""
        self.say([self.dialect.savepoint(name)])

    def rollback_to(self, name: str) -> None:
        """See Db.rollback_to."""
        self.say([self.dialect.rollback_to(name)])

    def release(self, name: str) -> None:
        """See Db.release."""
        self.say([self.dialect.release(name)])
