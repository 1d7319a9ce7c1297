"""One pyodbc connection, with the drivers' habits evened out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.odbc.columns import OdbcColumns, failures, told
from tongqu.connectors.odbc.settings import OdbcSettings
from tongqu.core.errors import AuthError, ConnectError, NotFoundError, TongquError
from tongqu.kit.drivers import driver
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.dialects import dialect, named_by
from tongqu.kit.tables.failing import by_state
from tongqu.kit.tables.values import as_asked

_HABITS: tuple[tuple[str, dict[str, str]], ...] = (
    # fetch through a cursor instead of holding the whole result, tell booleans and bytes as what they are, and let our
    # own savepoints decide what an error undoes
    ("psql", {"UseDeclareFetch": "1", "Fetch": "10000", "BoolsAsChar": "0", "ByteaAsLongVarBinary": "1",
              "MaxVarcharSize": "4000", "MaxLongVarcharSize": "0", "Protocol": "7.4-0"}),
    ("postgres", {"UseDeclareFetch": "1", "Fetch": "10000", "BoolsAsChar": "0", "ByteaAsLongVarBinary": "1",
                  "MaxVarcharSize": "4000", "MaxLongVarcharSize": "0", "Protocol": "7.4-0"}),
    ("maria", {"FORWARDONLY": "1", "NO_CACHE": "1", "CHARSET": "utf8mb4"}),
    ("mysql", {"FORWARD_CURSOR": "1", "NO_CACHE": "1", "CHARSET": "utf8mb4"}),
    ("sqlite", {"NoWCHAR": "0", "LongNames": "0"}),
)  # fmt: skip
_NARROW = ("maria", "mysql")
"""Drivers that garble long texts when they take them as UTF-16 in pieces: these get the bytes and say so."""
_HOLES = re.compile(r"\?|`[^`]*`|'(?:[^'\\]|\\.)*'")
"""Places for values in the words of these drivers; a `?` in a name or text is none."""
_LOGIN = re.compile(
    r"password authentication failed|access denied|login failed|no password supplied|authentication", re.I
)
_NO_DATABASE = re.compile(r'database "[^"]*" does not exist|unknown database|cannot open database', re.I)
_UNREACHED = re.compile(
    r"could not connect|can't connect|connection refused|timeout expired|unreachable|translate host", re.I
)
_NO_DRIVER = re.compile(r"can't open lib|data source name not found|file not found", re.I)


def connection_string(settings: OdbcSettings, host: str | None, port: int | None) -> str:
    """The driver's connection string; a value with a special character stands in braces."""
    words = settings.words(host, port)
    lower = {name.lower() for name in words}
    habits = next((more for part, more in _HABITS if part in (settings.driver or "").lower()), {})
    words |= {name: text for name, text in habits.items() if name.lower() not in lower}
    return ";".join(f"{name}={_braced(text)}" for name, text in words.items())


def _braced(text: str) -> str:
    plain = not re.search(r"[;{}\[\]()?*=!@ ]", text)
    return text if plain else "{" + text.replace("}", "}}") + "}"


class OdbcDb(TableDb):
    """A connection through the driver manager. Rows go in by statements of many rows each."""

    cuts_at_nul = True

    def __init__(self, settings: OdbcSettings, address: tuple[str | None, int | None], *, reading: bool):
        self._odbc = driver("pyodbc", "odbc")
        self._odbc.pooling = False
        self._settings = settings
        self.where = settings.display()
        self.reading = reading
        self._columns: OdbcColumns | None = None
        self._words = connection_string(settings, *address)
        try:
            made = self._odbc.connect(self._words, autocommit=False, timeout=settings.connect_seconds)
        except self.failures as error:
            raise self.meaning(error) from None
        self._narrow = any(part in (settings.driver or "").lower() for part in _NARROW)
        super().__init__(made, self._dialect(made), settings.display(), reading=reading)
        self.greet()

    def _dialect(self, made: Any) -> Dialect:
        if self._settings.dialect != "auto":
            return dialect(self._settings.dialect)
        return dialect(named_by(str(made.getinfo(self._odbc.SQL_DBMS_NAME))))

    @property
    def failures(self) -> tuple[type[BaseException], ...]:
        """See TableDb.failures."""
        return (self._odbc.Error,)

    def meaning(self, error: BaseException) -> TongquError:
        """See TableDb.meaning. Some drivers say 08001 or HY000 for everything: then their words decide."""
        state, said = (str(error.args[0]), str(error.args[-1])) if error.args else ("", str(error))
        if not isinstance(error, self.failures):
            state, said = told(error)
        text = _clean(said)
        if self._settings.password:
            text = text.replace(self._settings.password.get_secret_value(), "•")
        if state[:2] in ("08", "28", "HY", "IM", "01") or state.startswith("S1"):
            if _NO_DATABASE.search(text):
                return NotFoundError(text, path=self.where, hint="check the name of the database")
            if _LOGIN.search(text):
                hint = "check user, password and database"
                return AuthError(f"the server refused the login: {text}", path=self.where, hint=hint)
            if _NO_DRIVER.search(text):
                found = ", ".join(self._odbc.drivers()) or "none"
                return NotFoundError(text, path=self.where, hint=f"installed ODBC drivers: {found}")
            if _UNREACHED.search(text):
                hint = "check host, port and the server's log"
                return ConnectError(f"the connection failed: {text}", path=self.where, hint=hint)
        return self._known(state, text) or by_state(state, text, self.where, reading=self.reading)

    def _known(self, state: str, text: str) -> TongquError | None:
        """What only this dialect's server can mean."""
        found = self.dialect.meaning(state, text) if hasattr(self, "dialect") else None
        return found(text, path=self.where) if found else None

    def bound(self, sql: str, params: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """See TableDb.bound."""
        if not self._narrow or not any(isinstance(value, str) for value in params):
            return sql, params
        values = iter(params)

        def hole(found: re.Match[str]) -> str:
            if found[0] != "?":
                return found[0]
            return "CONVERT(? USING utf8mb4)" if isinstance(next(values), str) else "?"

        return _HOLES.sub(hole, sql), [value.encode() if isinstance(value, str) else value for value in params]

    def batches(self, sql: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
        """See TableDb.batches: in the driver's own columns where the dialect tells how long their values are, else row
        by row. A second connection reads the columns, at the instant of the first."""
        width = 0
        try:
            columns = self._opened()
            width = columns.fits(sql, schema) if columns is not None else 0
            for rows in columns.batches(sql, width, size) if columns is not None and width else ():
                yield as_asked(rows.columns, schema)
        except failures() as error:
            failed = self.meaning(error)
            self.broken = self.broken or failed.retryable
            raise failed from None
        if not width:
            yield from super().batches(sql, schema, size)

    def _opened(self) -> OdbcColumns | None:
        """The connection for columns, where there can be one."""
        if self._columns is None and self.reading and self.dialect.sharing[0]:
            instant = str(self.rows(self.dialect.sharing[0])[0][0])
            self._columns = OdbcColumns(self._words, self._settings.connect_seconds, self.dialect, instant)
        return self._columns

    def close(self) -> None:
        """See Db.close."""
        if self._columns is not None:
            self._columns.close()
            self._columns = None
        super().close()

    def insert(self, table: str, names: Sequence[str], holes: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
        """See TableDb.insert."""
        if self.dialect.parameters:
            self._insert_at_once(table, names, holes, columns)
        else:
            super().insert(table, names, holes, columns)


def _clean(text: str) -> str:
    """The driver's message without the brackets that name each layer it came through."""
    return re.sub(r"^(\[[^\]]*\]\s*)+", "", text).strip() or text
