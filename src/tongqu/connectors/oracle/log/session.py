"""One connection over which an Oracle database is asked about its redo, and what its answers mean."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import ConnectError, NotFoundError, ReadError, TongquError
from tongqu.core.log import AT, OP
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.shape import Table
from tongqu.kit.tables.system import Reach

RESYNC = "run it again with --restart, which reads all rows anew; archived logs that are kept longer keep more changes"
MOMENT: pa.DataType = pa.timestamp("us", "UTC")
_SAID = (
    "ALTER SESSION SET NLS_DATE_FORMAT = 'YYYY-MM-DD HH24:MI:SS'",
    "ALTER SESSION SET NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF9'",
    "ALTER SESSION SET NLS_TIMESTAMP_TZ_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF9 TZH:TZM'",
)
"""LogMiner writes dates as the session does (Utilities, "Examples Using LogMiner"); numbers and the zone are set by
every session already."""
_WHERE = "SELECT SYS_CONTEXT('USERENV', 'CDB_NAME'), SYS_CONTEXT('USERENV', 'CON_NAME') FROM DUAL"
_ROOT = "CDB$ROOT"
_FILE_GONE = re.compile(r"ORA-0*(308|310|334|1281|1284|1291|1292|27037|19870|19505)\b")
"""What ADD_LOGFILE, START_LOGMNR and the view say of files that are no longer there, or have other redo by now."""


class GoneFileError(ConnectError):
    """A redo file that was to be read is not there, or holds other redo: the list of files is looked at again."""


class Session:
    """A connection that is made when it is needed, and anew after it broke. One that mines lives in the container that
    has the redo; `container` is then the pluggable database whose tables are followed, empty where there is none."""

    def __init__(self, reach: Reach, *, mining: bool = False):
        self._reach, self._mining = reach, mining
        self._db: TableDb | None = None
        self._lock = threading.RLock()
        self.container = ""
        self.made = 0
        """How many connections there have been: what a connection was told before is gone with it."""

    @contextmanager
    def look(self) -> Iterator[TableDb]:
        """The connection, for one transaction that only reads."""
        with self._lock:
            try:
                if self._db is None:
                    self._db = self._connected()
                yield self._db
            except TongquError as error:
                meant = _meant(error)
                if isinstance(meant, ConnectError):
                    self.close()
                raise meant from None
            finally:
                if self._db is not None:
                    self._db.rollback()

    def _connected(self) -> TableDb:
        db = self._reach.connect(reading=True)
        try:
            db.rollback()  # the instant that a session sees first would be that of all its answers
            if self._mining:
                whole, here = db.rows(_WHERE)[0]
                if whole and here != _ROOT:
                    self.container = str(here)
                    db.say([f"ALTER SESSION SET CONTAINER = {_ROOT}"])
                db.say(_SAID)
        except TongquError:
            db.close()
            raise
        self.made += 1
        return db

    def close(self) -> None:
        """Let the connection go; the next look makes another."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _meant(error: TongquError) -> TongquError:
    if _FILE_GONE.search(error.message) and not isinstance(error, GoneFileError):
        return GoneFileError(f"redo cannot be read: {error.message}", path=error.path, hint="run it again")
    return error


@dataclass
class Followed:
    """A table whose changes are wanted, as the catalogue describes it now, and the columns that were told last."""

    dataset: Dataset
    table: Table
    fields: list[pa.Field[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.afresh()

    def afresh(self) -> None:
        """Reading begins at some place: whoever reads knows the dataset's columns."""
        self.fields = list(self.dataset.schema)

    @property
    def place(self) -> tuple[str, str]:
        """Owner and name, as the redo has them."""
        return self.table.schema, self.table.table

    def natives(self) -> dict[str, Native]:
        """The native types of the columns that are told."""
        found = {column.name: Native.parse(column.native) for column in self.table.columns}
        missing = [one.name for one in self.fields if one.name not in found]
        if missing:
            raise NotFoundError(f"{self.dataset.name!r} has no column {missing[0]!r}", path=self.dataset.name)
        return {one.name: found[one.name] for one in self.fields}

    def seen(self, db: TableDb, table: Table) -> bool:
        """Take the table as it is now; whether its columns are others than those that were told last."""
        told = {one.name: one for one in self.fields}
        found = {one.name: one for one in table.dataset(db.dialect.field).schema}
        kept = [name for name in told if name in found] + [name for name in found if name not in told]
        fields = [told[name] if name in told and told[name].type == found[name].type else found[name] for name in kept]
        altered = [(one.name, one.type) for one in fields] != [(one.name, one.type) for one in self.fields]
        self.table, self.fields = table, fields
        return altered

    def schema(self) -> pa.Schema:
        """The columns as the catalogue has them."""
        return pa.schema(self.fields)

    def changes(self) -> pa.Schema:
        """The columns of a batch of changes: any may be null, since a log tells what there was."""
        cells = [one.with_nullable(True) for one in self.fields]
        return pa.schema([*cells, pa.field(OP, pa.string()), pa.field(AT, MOMENT)])


def number(value: object) -> int:
    """A NUMBER that the driver may give as any type of number, or as text."""
    if value is None:
        raise ReadError("the server gave nothing where a number was expected")
    return int(str(value).partition(".")[0])


def within(column: str, values: Sequence[str]) -> str:
    """A condition that a column is one of these (SQL texts), in lists of at most 1,000, which is what Oracle takes."""
    parts = [values[at : at + 1000] for at in range(0, len(values), 1000)]
    return "(" + " OR ".join(f"{column} IN ({', '.join(part)})" for part in parts) + ")" if parts else "1 = 0"
