"""The way to an Oracle service."""

from __future__ import annotations

from collections.abc import Iterator

from tongqu.connectors.oracle.db import OracleDb
from tongqu.connectors.oracle.settings import OracleSettings
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialects.oracle import dialect
from tongqu.kit.tables.queried import QueriedCatalogue
from tongqu.kit.tables.system import Reach


class OracleReach(Reach):
    """Connects by the settings."""

    def __init__(self, settings: OracleSettings):
        self.settings: OracleSettings = settings
        self.host, self.port = settings.host, settings.port
        self.connect_seconds = settings.connect_seconds
        self.lag_seconds, self.wait_seconds = settings.lag_seconds, settings.wait_seconds
        self.timezone, self.bulk_rows = settings.timezone, settings.bulk_rows
        self.keeps_empty = settings.empty_text == "refuse"

    def connect(self, *, reading: bool) -> TableDb:
        """See Reach.connect."""
        return OracleDb(self.settings, self.address(), reading=reading)

    def catalogue(self, db: TableDb) -> Catalogue:
        """See Reach.catalogue."""
        assert dialect.words is not None  # noqa: S101  # this dialect has them
        return QueriedCatalogue(db, dialect.words, self.settings.db_schema or "")

    def secured(self, db: TableDb) -> Iterator[str]:
        """See Reach.secured."""
        del db
        yield "tls: not used" if self.settings.tls == "disable" else "tls: verified"
