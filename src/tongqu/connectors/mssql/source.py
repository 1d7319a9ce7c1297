"""Reads SQL Server's tables as any system of tables, and follows their changes."""

from __future__ import annotations

from collections.abc import Sequence

from tongqu.connectors.mssql.reach import MssqlReach
from tongqu.core.data import Dataset
from tongqu.core.log import Log
from tongqu.kit.tables.source import TableSource


class MssqlSource(TableSource):
    """See TableSource; the log is change tables or change tracking."""

    def __init__(self, reach: MssqlReach):
        super().__init__(reach)
        self._settings = reach.settings

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        from tongqu.connectors.mssql.log.following import MssqlLog

        del name  # the server keeps changes for everybody
        return MssqlLog(self.reach, self._settings, [(one, self._table(one.name)) for one in datasets])
