"""One java.sql.Connection as a DB-API connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tongqu.connectors.jdbc.machine import java, loaded
from tongqu.connectors.jdbc.settings import JdbcSettings
from tongqu.core.errors import ConnectError, InvalidSettingsError, TongquError
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialects import dialect, named_by
from tongqu.kit.tables.failing import by_state

_LONGS = {-7, -6, 5, 4, -5}  # BIT TINYINT SMALLINT INTEGER BIGINT
_DOUBLES = {6, 7, 8}  # FLOAT REAL DOUBLE
_TRUTHS = {16, -7}  # BOOLEAN BIT
_BYTES = {-2, -3, -4, 2004}  # BINARY VARBINARY LONGVARBINARY BLOB
_FORWARD_ONLY, _READ_ONLY = 1003, 1007


class Cursor:
    """The part of PEP 249's cursor that `TableDb` needs."""

    def __init__(self, connection: Any, failures: tuple[type[BaseException], ...]):
        self._connection = connection
        self._failures = failures
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
            _bind(self._statement, params)
            returns = self._statement.execute()
        if not returns:
            self.rowcount = int(self._statement.getUpdateCount())
            return
        self._found = self._statement.getResultSet()
        about = self._found.getMetaData()
        self._kinds = [int(about.getColumnType(at)) for at in range(1, int(about.getColumnCount()) + 1)]

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See PEP 249; one batch."""
        self.close()
        self._statement = self._connection.prepareStatement(sql)
        for row in rows:
            _bind(self._statement, row)
            self._statement.addBatch()
        self._statement.executeBatch()
        self.rowcount = len(rows)

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """See PEP 249."""
        rows: list[tuple[Any, ...]] = []
        while self._found is not None and len(rows) < size:
            if not self._found.next():
                break
            rows.append(tuple(self._value(at, kind) for at, kind in enumerate(self._kinds, 1)))
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """See PEP 249."""
        rows: list[tuple[Any, ...]] = []
        while block := self.fetchmany(1000):
            rows += block
        return rows

    def _value(self, at: int, kind: int) -> Any:
        found = self._found
        if kind in _TRUTHS:
            value: Any = bool(found.getBoolean(at))
        elif kind in _LONGS:
            value = int(found.getLong(at))
        elif kind in _DOUBLES:
            value = float(found.getDouble(at))
        elif kind in _BYTES:
            read = found.getBytes(at)
            return None if read is None else bytes(read)
        else:
            text = found.getString(at)
            return None if text is None else str(text)
        return None if found.wasNull() else value

    def close(self) -> None:
        """See PEP 249."""
        if self._statement is not None:
            self._statement.close()
        self._statement = self._found = None


def _bind(statement: Any, params: Sequence[Any]) -> None:
    for at, value in enumerate(params, 1):
        if value is None:
            statement.setNull(at, 0)
        elif isinstance(value, bool):
            statement.setBoolean(at, value)
        elif isinstance(value, int):
            statement.setLong(at, value)
        elif isinstance(value, float):
            statement.setDouble(at, value)
        elif isinstance(value, bytes):
            statement.setBytes(at, value)
        else:
            statement.setString(at, value)


class Connection:
    """The part of PEP 249's connection that `TableDb` needs."""

    def __init__(self, connection: Any, failures: tuple[type[BaseException], ...]):
        self.java = connection
        self._failures = failures
        connection.setAutoCommit(False)

    def cursor(self) -> Cursor:
        """See PEP 249."""
        return Cursor(self.java, self._failures)

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
    """A connection through a driver's jar. Each value passes from Java to Python: slower than every other connector."""

    def __init__(self, settings: JdbcSettings, *, reading: bool):
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
        super().__init__(Connection(made, self.failures), dialect(named), self.where, reading=reading)
        self.cuts_at_nul = False
        self.greet()

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
