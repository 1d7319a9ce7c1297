"""Reads Oracle's tables as any system of tables, as of one SCN where that is asked for, and follows their changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tongqu.connectors.oracle.reach import OracleReach
from tongqu.core.data import Batch, Dataset, Read
from tongqu.core.errors import ConnectorError, ReadError
from tongqu.core.log import Log
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.ordering import Ordering
from tongqu.kit.tables.source import TableSource

_TOO_OLD = ("ORA-01555", "ORA-01466", "ORA-08180", "ORA-08181", "ORA-22924")
"""What a flashback query says where its undo is gone, or the table was altered since."""


class OracleSource(TableSource):
    """See TableSource; the log is the redo, mined by LogMiner. `as_of` is the SCN that all reads see."""

    def __init__(self, reach: OracleReach, as_of: int | None = None):
        super().__init__(reach)
        self._way, self._as_of = reach, as_of
        self._folder: Path | None = None

    def lodge(self, folder: Path) -> None:
        """See Source.lodge: where open transactions wait that are too large for memory."""
        self._folder = folder

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.oracle.log.following import OracleLog

        del name  # the server keeps redo for everybody
        tables = [(one, self._table(one.name)) for one in datasets]
        return OracleLog(
            self.reach, self._way.settings, tables, self._folder, lambda scn: OracleSource(self._way, as_of=scn)
        )

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        try:
            yield from super().read(read)
        except ConnectorError as error:
            if self._as_of is not None and any(one in error.message for one in _TOO_OLD):
                hint = "ALTER SYSTEM SET UNDO_RETENTION = 86400, or flashback: false, which reads the rows of now"
                text = f"rows as of SCN {self._as_of} cannot be read any more: {error.message}"
                raise ReadError(text, path=read.dataset.name, hint=hint) from None
            raise

    def _place(self, db: TableDb, name: str) -> str:
        return self._then(super()._place(db, name))

    def _ordering(self, dataset: Dataset, columns: tuple[str, ...]) -> Ordering:
        made = super()._ordering(dataset, columns)
        return Ordering(made.dialect, self._then(made.table), made.columns, made.types)

    def _then(self, table: str) -> str:
        return table if self._as_of is None else f"{table} AS OF SCN {self._as_of}"
