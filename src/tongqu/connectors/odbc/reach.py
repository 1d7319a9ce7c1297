"""The way to a server through an ODBC driver."""

from __future__ import annotations

from tongqu.connectors.odbc.catalogue import OdbcCatalogue
from tongqu.connectors.odbc.db import OdbcDb
from tongqu.connectors.odbc.settings import OdbcSettings
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.queried import QueriedCatalogue
from tongqu.kit.tables.system import Reach


class OdbcReach(Reach):
    """Connects by the settings; the dialect is the server's."""

    def __init__(self, settings: OdbcSettings):
        self.settings: OdbcSettings = settings
        self.host, self.port = settings.host or "", settings.port or 0
        self.connect_seconds = settings.connect_seconds
        self.lag_seconds = settings.lag_seconds
        self.wait_seconds = settings.wait_seconds
        self.timezone = settings.timezone

    def connect(self, *, reading: bool) -> TableDb:
        """See Reach.connect."""
        known = self.host and self.port
        return OdbcDb(self.settings, self.address() if known else (self.settings.host, None), reading=reading)

    def catalogue(self, db: TableDb) -> Catalogue:
        """See Reach.catalogue."""
        schema = self.settings.db_schema or ""
        if db.dialect.words is not None:
            return QueriedCatalogue(db, db.dialect.words, schema)
        return OdbcCatalogue(db, schema)
