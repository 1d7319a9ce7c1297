"""One connection of python-oracledb in thin mode: Arrow out, array binding or direct path in."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pyarrow as pa

from tongqu.connectors.oracle.settings import OracleSettings
from tongqu.core.errors import (
    AuthError,
    BusyError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    RefusedRowsError,
    TongquError,
    WriteError,
)
from tongqu.kit.drivers import driver
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialects.oracle import dialect
from tongqu.kit.tables.values import as_asked

_AUTH = {1005, 1017, 1045, 28000, 28001}
_DENIED = {1031, 1720, 1950, 41900}
_MISSING = {904, 942, 2289, 4043, 12514, 12505}
_DATA = {1, 1400, 1401, 1407, 1438, 1461, 1722, 1830, 1839, 1841, 1843, 1847, 1850, 1858, 1861, 2290, 2291, 2292, 12899,
         22835, 6502, 1426, 1480}  # fmt: skip
_RAISED = range(20000, 21000)
"""What triggers raise themselves (`raise_application_error`)."""
_BUSY = {54, 30006, 4021}
_FULL = {1536, 1652, 1653, 1654, 1658, 19502}
_BROKEN = {28, 60, 1012, 1033, 1034, 1089, 3113, 3114, 3135, 8177, 12170, 12537, 12541, 12543, 12545, 12570, 25408}
_LONG = 4000
_HOLE = re.compile(r"\?")


def meaning(code: int, text: str, where: str, *, reading: bool) -> TongquError:
    """The error for an ORA number, or 0 for what the driver itself says."""
    if code in _AUTH:
        return AuthError(f"the server refused the login: {text}", path=where, hint="check user, password and service")
    if code in _DENIED:
        return PrivilegeError(f"not allowed: {text}", path=where, hint="grant the missing right to this login")
    if code in _MISSING:
        return NotFoundError(text, path=where, hint="check the names; what may not be seen is said not to be there")
    if code in _DATA or code in _RAISED:
        return RefusedRowsError(text, path=where, params={"code": code})
    if code in _BUSY:
        return BusyError(f"waited too long for a lock: {text}", path=where, hint="run later")
    if code in _FULL:
        return WriteError(text, path=where, hint="give the tablespace or the quota more room, and run the same again")
    if code in _BROKEN or (code == 0 and text.startswith(("DPY-4", "DPY-6", "DPI-1080"))):
        return ConnectError(f"the connection failed: {text}", path=where, hint="check host, port and the listener")
    return (ReadError if reading else WriteError)(text, path=where)


class OracleDb(TableDb):
    """A session in UTC that compares texts by their bytes."""

    able_in_bulk = True

    def __init__(self, settings: OracleSettings, address: tuple[str, int], *, reading: bool):
        self._driver = driver("oracledb", "oracle")
        self._settings = settings
        self.where = settings.display()
        self.reading = reading
        secure: dict[str, Any] = {}
        if settings.tls == "verify":
            context = ssl.create_default_context(cafile=settings.ca_file)
            secure = {"protocol": "tcps", "ssl_context": context, "ssl_server_dn_match": True}
        try:
            made = self._driver.connect(
                user=settings.user, password=settings.password.get_secret_value() if settings.password else None,
                host=address[0], port=address[1], service_name=settings.service,
                tcp_connect_timeout=settings.connect_seconds, expire_time=1, **secure,
            )  # fmt: skip
        except (self._driver.Error, OSError) as error:
            raise self.meaning(error) from None
        super().__init__(made, dialect, settings.display(), reading=reading)
        self.greet()
        if not reading:
            known = self.rows("SELECT value FROM nls_database_parameters WHERE parameter = 'NLS_CHARACTERSET'")
            self.codec = str(known[0][0]) if known else ""

    @property
    def failures(self) -> tuple[type[BaseException], ...]:
        """See TableDb.failures."""
        return (self._driver.Error, OSError)

    def meaning(self, error: BaseException) -> TongquError:
        """See TableDb.meaning."""
        found = error.args[0] if error.args else error
        text = str(getattr(found, "message", "") or found).split("\nHelp:")[0].strip()
        if isinstance(error, OSError):
            return ConnectError(f"the connection failed: {text}", path=self.where, hint="check host, port and listener")
        return meaning(int(getattr(found, "code", 0) or 0), text, self.where, reading=self.reading)

    def holes(self, sql: str) -> str:
        """See TableDb.holes."""
        numbers = count(1)
        return _HOLE.sub(lambda _: f":{next(numbers)}", sql)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Db.rows. Long texts are fetched as texts, not as handles."""
        self._driver.defaults.fetch_lobs = False
        return super().rows(sql, params)

    def insert(self, table: str, names: Sequence[str], holes: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
        """See TableDb.insert. Long values are bound as what they are, last, as the server demands."""
        kinds = [_long(values) for values in columns]
        order = sorted(range(len(names)), key=lambda at: kinds[at] is not None)
        sizes: dict[type, Any] = {str: self._driver.DB_TYPE_CLOB, bytes: self._driver.DB_TYPE_BLOB}
        listed, said = ", ".join(names[at] for at in order), ", ".join(holes[at] for at in order)
        rows = list(zip(*(columns[at] for at in order), strict=True))
        with self.cursor() as cursor:
            if any(kinds):
                cursor.setinputsizes(*(sizes[kind] if (kind := kinds[at]) else None for at in order))
            cursor.executemany(self.holes(f"INSERT INTO {table} ({listed}) VALUES ({said})"), rows)

    def batches(self, sql: str, schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
        """See TableDb.batches: the driver's own Arrow batches, their columns brought to the schema's types."""
        frames = self.connection.fetch_df_batches(statement=sql, size=size, fetch_decimals=True)
        while True:
            try:
                frame = next(frames, None)
            except self.failures as error:
                raise self.meaning(error) from None
            if frame is None:
                return
            for found in pa.table(frame).to_batches():
                if found.num_rows:
                    yield as_asked(found.columns, schema)

    def bulk(self, table: tuple[str, str], rows: pa.Table) -> None:
        """See TableDb.bulk."""
        try:
            self.connection.direct_path_load(
                schema_name=self.quote(table[0]), table_name=self.quote(table[1]),
                column_names=[self.quote(name) for name in rows.column_names], data=rows,
            )  # fmt: skip
        except self.failures as error:
            raise self.meaning(error) from None
        self.commit()


def _long(values: Sequence[Any]) -> type | None:
    """`str` or `bytes` where a value is too long to be bound as it is."""
    found = next((value for value in values if isinstance(value, str | bytes) and len(value) > _LONG), None)
    return None if found is None else str if isinstance(found, str) else bytes
