"""One connection of mssql-python: Arrow out, parameter arrays or bulk copy in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pyarrow as pa

from tongqu.connectors.mssql.settings import MssqlSettings
from tongqu.core.errors import AuthError, ConnectError, NotFoundError, PrivilegeError, TongquError
from tongqu.kit.drivers import driver
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialects.tsql import dialect
from tongqu.kit.tables.failing import by_state
from tongqu.kit.tables.values import as_asked

_STATES = ("08001", "08S01", "08004", "28000", "42S02", "42S22", "22001", "22003", "22007", "22008", "22018", "22012",
           "23000", "40001", "HYT00", "HYT01")  # fmt: skip


@cache
def _words() -> dict[str, str]:
    """The driver's text for a SQLSTATE → the SQLSTATE, which its exceptions do not keep."""
    told = driver("mssql_python.exceptions", "mssql").sqlstate_to_exception
    found = {state: told(state, "") for state in _STATES}
    return {error.driver_error: state for state, error in found.items() if error is not None}


class MssqlDb(TableDb):
    """A session with XACT_ABORT off, so that our own savepoints decide what an error undoes."""

    able_in_bulk = True

    def __init__(self, settings: MssqlSettings, address: tuple[str, int], *, reading: bool):
        self._driver = driver("mssql_python", "mssql")
        self._settings = settings
        self.where = settings.display()
        self.reading = reading
        self._driver.pooling(enabled=False)
        try:
            made = self._driver.connect(
                settings.connection_string(*address), autocommit=False, timeout=settings.connect_seconds
            )
        except self.failures as error:
            raise self.meaning(error) from None
        super().__init__(made, dialect, settings.display(), reading=reading)
        self.greet()
        self.say([f"SET LOCK_TIMEOUT {settings.lock_seconds * 1000}"])
        self.rollback()

    @property
    def failures(self) -> tuple[type[BaseException], ...]:
        """See TableDb.failures."""
        return (self._driver.Error,)

    def meaning(self, error: BaseException) -> TongquError:
        """See TableDb.meaning."""
        said = str(getattr(error, "driver_error", ""))
        text = str(getattr(error, "ddbc_error", "") or error).removeprefix("[Microsoft]").strip()
        if self._settings.password:
            text = text.replace(self._settings.password.get_secret_value(), "•")
        if "Login failed" in text:
            hint = "check user, password and database"
            return AuthError(f"the server refused the login: {text}", path=self.where, hint=hint)
        if "Cannot open database" in text:
            return NotFoundError(text, path=self.where, hint="check the name of the database")
        if "permission was denied" in text:
            return PrivilegeError(f"not allowed: {text}", path=self.where, hint="grant the missing right to this login")
        if "Lock request time out" in text:
            return by_state("HYT00", text, self.where, reading=self.reading)
        if "deadlock" in text.lower():
            return by_state("40001", text, self.where, reading=self.reading)
        state = _words().get(said, "")
        if not state and isinstance(error, self._driver.OperationalError):
            hint = "check host, port, tls and the server's log"
            return ConnectError(f"the connection failed: {said or text}", path=self.where, hint=hint)
        if not state and isinstance(error, self._driver.IntegrityError | self._driver.DataError):
            state = "23000"
        return by_state(state, text, self.where, reading=self.reading)

    def batches(self, sql: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
        """See TableDb.batches: the driver's own Arrow batches, their columns brought to the schema's types."""
        with self.cursor() as cursor:
            cursor.execute(sql)
            while True:
                found: pa.RecordBatch = cursor.arrow_batch(size)
                if found.num_rows:
                    yield as_asked(found.columns, schema)
                if found.num_rows < size:
                    return

    def bulk(self, table: tuple[str, str], rows: pa.Table) -> None:
        """See TableDb.bulk."""
        place = self.dialect.place(*table)
        with self.cursor() as cursor:
            cursor.bulkcopy_arrow(
                place, rows, timeout=0, column_mappings=rows.column_names, keep_nulls=True, table_lock=True
            )
