"""The way to a ClickHouse server."""

from __future__ import annotations

from pathlib import Path

from tongqu.connectors.clickhouse.db import ClickhouseDb
from tongqu.connectors.clickhouse.dialect import WORDS
from tongqu.connectors.clickhouse.settings import ClickhouseSettings
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.queried import QueriedCatalogue
from tongqu.kit.tables.system import Reach


class ClickhouseReach(Reach):
    """Connects by the settings; `books` is the folder of the ledger, where something is written."""

    def __init__(self, settings: ClickhouseSettings, books: Path | None = None):
        self.settings: ClickhouseSettings = settings
        self.host, self.port = settings.host, settings.port
        self.connect_seconds = settings.connect_seconds
        self.lag_seconds, self.timezone = settings.lag_seconds, settings.timezone
        self.books = books

    def connect(self, *, reading: bool) -> TableDb:
        """See Reach.connect."""
        return ClickhouseDb(self.settings, self.address(), books=None if reading else self.books)

    def catalogue(self, db: TableDb) -> Catalogue:
        """See Reach.catalogue."""
        return QueriedCatalogue(db, WORDS, self.settings.database)
