"""One java.sql.Connection as a DB-API connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.jdbc import columns, rows
from tongqu.connectors.jdbc.compiling import columns as compiled
from tongqu.connectors.jdbc.machine import java, loaded
from tongqu.connectors.jdbc.settings import JdbcSettings
from tongqu.core.errors import ConnectError, InvalidSettingsError, TongquError
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialects import dialect, named_by
from tongqu.kit.tables.failing import by_state
from tongqu.kit.tables.values import as_asked

_FORWARD_ONLY, _READ_ONLY = 1003, 1007
_FETCH = 10_000
"""Rows that the driver asks its server for at once."""


class Cursor:
    """The part of PEP 249's cursor that `TableDb` needs. `made` is the Java class of columns; None: rows pass one by
    one."""

    def __init__(self, connection: Any, made: Any):
        self._connection = connection
        self._made = made
        self._statement: Any = None
        self._found: Any = None
        self._kinds: list[int] = []
        self.rowcount = -1
        self.arraysize = 1000

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """See PEP 249."""
        self.close()
        if not params:
            self._statement = self._connection.createStatement(_FORWARD_ONLY, _READ_ONLY)
            self._statement.setFetchSize(self.arraysize)
            returns = self._statement.execute(sql)
        else:
            self._statement = self._connection.prepareStatement(sql)
            rows.bind(self._statement, params)
            returns = self._statement.execute()
        if not returns:
            self.rowcount = int(self._statement.getUpdateCount())
            return
        self._found = self._statement.getResultSet()
        self._kinds = columns.kinds(self._found.getMetaData())

    def send(self, sql: str, arrays: Sequence[pa.Array[Any]]) -> None:
        """Run a statement once for each row of columns, as one batch."""
        self.close()
        self._statement = self._connection.prepareStatement(sql)
        if self._made is None:
            rows.send(self._statement, arrays)
        else:
            columns.send(self._made, self._statement, arrays)
        self.rowcount = len(arrays[0])

    def columns(self, most: int) -> Iterator[list[pa.Array[Any]]]:
        """The rows that are left, as columns of at most so many."""
        if self._found is None:
            return
        if self._made is None:
            yield from rows.taken(self._found, self._kinds, most)
        else:
            yield from columns.taken(self._made, self._found, self._kinds, most)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """See PEP 249."""
        blocks = ([column.to_pylist() for column in block] for block in self.columns(1000))
        return [row for block in blocks for row in zip(*block, strict=True)]

    def close(self) -> None:
        """See PEP 249."""
        if self._statement is not None:
            self._statement.close()
        self._statement = self._found = None


class Connection:
    """The part of PEP 249's connection that `TableDb` needs."""

    def __init__(self, connection: Any, made: Any):
        self.java = connection
        self._made = made
        connection.setAutoCommit(False)

    def cursor(self) -> Cursor:
        """See PEP 249."""
        return Cursor(self.java, self._made)

    def commit(self) -> None:
        """See PEP 249."""
        self.java.commit()

    def rollback(self) -> None:
        """See PEP 249."""
        self.java.rollback()

    def close(self) -> None:
        """See PEP 249."""
        self.java.close()


class JdbcDb(TableDb):
    """A connection through a driver's jar. Rows pass between Java and Python as columns, by a class that is kept in
    the folder `kept`."""

    def __init__(self, settings: JdbcSettings, *, reading: bool, kept: Path | None = None):
        jpype = java()
        self._exceptions: tuple[type[BaseException], ...] = (jpype.JException,)
        self._settings, self.where, self.reading = settings, settings.display(), reading
        given = loaded(tuple(settings.jars), settings.driver_class)
        properties = jpype.JClass("java.util.Properties")()
        words = settings.properties | {"user": settings.user or ""}
        if settings.password:
            words["password"] = settings.password.get_secret_value()
        for name, text in words.items():
            if text:
                properties.setProperty(name, text)
        try:
            jpype.JClass("java.sql.DriverManager").setLoginTimeout(settings.connect_seconds)
            made = given.connect(settings.url, properties)
        except self.failures as error:
            raise self.meaning(error) from None
        if made is None:
            hint = "check the URL, or name another jar or driver_class"
            raise InvalidSettingsError("the driver does not know this URL", path="url", hint=hint)
        named: str = settings.dialect
        if named == "auto":
            named = named_by(str(made.getMetaData().getDatabaseProductName()))
        self.columns = compiled(kept)
        super().__init__(Connection(made, self.columns.kind), dialect(named), self.where, reading=reading)
        self.cuts_at_nul = False
        self.greet()

    def batches(self, sql: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
        """See TableDb.batches."""
        with self.cursor() as cursor:
            cursor.arraysize = min(size, _FETCH)
            cursor.execute(sql)
            for block in cursor.columns(size):
                yield as_asked(block, schema)

    def fill(
        self, table: str, names: Sequence[str], holes: Sequence[str], arrays: Sequence[pa.Array[Any]]
    ) -> None:  # fmt: skip
        """See TableDb.fill."""
        if self.dialect.arrays:
            super().fill(table, names, holes, arrays)
            return
        with self.cursor() as cursor:
            cursor.send(self.holes(self.inserting(table, names, holes)), arrays)

    def insert(self, table: str, names: Sequence[str], holes: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
        """See TableDb.insert; all columns are texts here."""
        self.fill(table, names, holes, [pa.array(values, pa.string()) for values in columns])

    @property
    def failures(self) -> tuple[type[BaseException], ...]:
        """See TableDb.failures."""
        return self._exceptions

    def meaning(self, error: BaseException) -> TongquError:
        """See TableDb.meaning."""
        found: Any = error
        while type(found).__name__.endswith("BatchUpdateException") and found.getNextException() is not None:
            found = found.getNextException()
        state = str(found.getSQLState() or "") if hasattr(found, "getSQLState") else ""
        text = str(found.getMessage() if hasattr(found, "getMessage") else found).strip()
        if self._settings.password:
            text = text.replace(self._settings.password.get_secret_value(), "•")
        number = found.getErrorCode() if hasattr(found, "getErrorCode") else 0
        own = self.dialect.meaning(state, f"{text} ({number})") if hasattr(self, "dialect") else None
        if own is not None:
            return own(text, path=self.where)
        if not state:
            return ConnectError(
                f"the driver failed: {text}", path=self.where, hint="check the URL and the server's log"
            )
        return by_state(state, text, self.where, reading=self.reading)
