"""The way to a SQL Server."""

from __future__ import annotations

from collections.abc import Iterator

from tongqu.connectors.mssql.db import MssqlDb
from tongqu.connectors.mssql.settings import MssqlSettings
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialects.tsql import dialect
from tongqu.kit.tables.queried import QueriedCatalogue
from tongqu.kit.tables.system import Reach


class MssqlReach(Reach):
    """Connects by the settings."""

    def __init__(self, settings: MssqlSettings):
        self.settings: MssqlSettings = settings
        self.host, self.port = settings.host, settings.port
        self.connect_seconds = settings.connect_seconds
        self.lag_seconds, self.wait_seconds = settings.lag_seconds, settings.wait_seconds
        self.timezone, self.bulk_rows = settings.timezone, settings.bulk_rows

    def connect(self, *, reading: bool) -> TableDb:
        """See Reach.connect."""
        return MssqlDb(self.settings, self.address(), reading=reading)

    def catalogue(self, db: TableDb) -> Catalogue:
        """See Reach.catalogue."""
        assert dialect.words is not None  # noqa: S101  # this dialect has them
        return QueriedCatalogue(db, dialect.words, self.settings.db_schema or "")

    def secured(self, db: TableDb) -> Iterator[str]:
        """See Reach.secured."""
        del db
        yield "tls: not used" if self.settings.tls == "disable" else f"tls: {self.settings.tls}"
