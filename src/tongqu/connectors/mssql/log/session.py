"""One connection over which a SQL Server is asked about changes, and what its answers mean."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import ConnectError, LostPositionError, SchemaError, TongquError
from tongqu.core.log import AT, OP
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.shape import Table
from tongqu.kit.tables.system import Reach

RESYNC = "run it again with --restart, which reads all rows anew; a longer retention keeps more changes"
MOMENT: pa.DataType = pa.timestamp("us", "UTC")
_OUT_OF_RANGE = "insufficient number of arguments were supplied for the procedure or function cdc."
"""Error 313: what a change function says of a range that it does not have (cdc.fn_cdc_get_all_changes, Remarks)."""
_ALTERED = "Snapshot isolation transaction failed in database"
"""Error 3961: the table was altered since the transaction began; a new one sees it as it is."""
_LARGE = ("text", "ntext", "image", "xml")


class Session:
    """A connection that is made when it is needed, and anew after it broke. What is asked in one `look` is of one
    instant where the database allows snapshots."""

    def __init__(self, reach: Reach):
        self._reach = reach
        self._db: TableDb | None = None
        self._lock = threading.RLock()

    @contextmanager
    def look(self) -> Iterator[TableDb]:
        """The connection, for one transaction that only reads."""
        with self._lock:
            try:
                if self._db is None:
                    self._db = self._reach.connect(reading=True)
                yield self._db
            except TongquError as error:
                if isinstance(error, ConnectError):
                    self.close()
                raise _meant(error) from None
            finally:
                if self._db is not None:
                    self._db.rollback()

    def close(self) -> None:
        """Let the connection go; the next look makes another."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _meant(error: TongquError) -> TongquError:
    if _OUT_OF_RANGE in error.message:
        text = f"changes were cleaned up while they were read: {error.message}"
        return LostPositionError(text, path=error.path, hint=RESYNC)
    if _ALTERED in error.message:
        return ConnectError(f"a table was altered meanwhile: {error.message}", path=error.path, hint="run it again")
    return error


@dataclass
class Followed:
    """A table whose changes are wanted, as the catalogue describes it now, and the columns that were told last."""

    dataset: Dataset
    table: Table
    fields: list[pa.Field[Any]] = field(default_factory=list)
    marker: object = None
    """What the fields were found by; another one means that the table may have been altered."""
    told: bool = False
    """Whether columns other than the dataset's were told at any time."""

    def __post_init__(self) -> None:
        self.afresh()

    def afresh(self) -> None:
        """Reading begins at some place: whoever reads knows the dataset's columns, or those that were told."""
        self.fields, self.marker = list(self.dataset.schema), None

    def place(self, db: TableDb) -> str:
        """The table's name in a statement."""
        return db.dialect.place(self.table.schema, self.table.table)

    def native(self, name: str) -> Native:
        """The native type of a column."""
        column = self.table.column(name)
        if column is None:
            raise SchemaError(f"{self.dataset.name!r} has no column {name!r}", path=self.dataset.name, hint=RESYNC)
        return Native.parse(column.native)

    def read(self, db: TableDb, alias: str, name: str) -> str:
        """A column of some alias, as it is selected."""
        return db.dialect.readable(f"{alias}.{db.quote(name)}", self.native(name))

    def large(self, name: str) -> bool:
        """Whether the values may be left out of a change that did not touch them."""
        native = self.native(name)
        return native.unbounded or native.name.split(" ")[0] in _LARGE

    def seen(self, db: TableDb, table: Table, names: Sequence[str]) -> bool:
        """Take the table as it is now, with these columns of it; whether that must be told."""
        known = {one.name: one for one in self.dataset.schema}
        found = {one.name: one for one in table.dataset(db.dialect.field).schema if one.name in names}
        kept = [name for name in known if name in found] + [name for name in found if name not in known]
        fields = []
        for name in kept:
            same = name in known and known[name].type == found[name].type
            fields.append(known[name] if same else found[name])
        altered = [(one.name, one.type) for one in fields] != [(one.name, one.type) for one in self.fields]
        self.table, self.fields = table, fields
        self.told = self.told or altered
        return self.told

    def schema(self) -> pa.Schema:
        """The columns as the catalogue has them."""
        return pa.schema(self.fields)

    def cells(self) -> list[pa.Field[Any]]:
        """The columns of rows, which may be null in any: a delete does not tell all."""
        return [one.with_nullable(True) for one in self.fields]

    def changes(self, *, moments: bool) -> pa.Schema:
        """The columns of a batch of changes; `moments`: the log tells when they were committed."""
        more = [pa.field(OP, pa.string()), *([pa.field(AT, MOMENT)] if moments else [])]
        return pa.schema([*self.cells(), *more])
