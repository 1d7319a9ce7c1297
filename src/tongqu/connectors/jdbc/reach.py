"""The way to a server through a JDBC driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tongqu.connectors.jdbc.catalogue import JdbcCatalogue
from tongqu.connectors.jdbc.db import JdbcDb
from tongqu.connectors.jdbc.settings import JdbcSettings
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.queried import QueriedCatalogue
from tongqu.kit.tables.system import Reach


class JdbcReach(Reach):
    """Connects by the settings; the dialect is the server's."""

    def __init__(self, settings: JdbcSettings):
        self.jdbc = settings
        self.lag_seconds, self.wait_seconds = settings.lag_seconds, settings.wait_seconds
        self.timezone = settings.timezone
        self.kept: Path | None = None
        """The folder at home for what is compiled."""

    def connect(self, *, reading: bool) -> TableDb:
        """See Reach.connect."""
        return JdbcDb(self.jdbc, reading=reading, kept=self.kept)

    def catalogue(self, db: TableDb) -> Catalogue:
        """See Reach.catalogue."""
        schema = self.jdbc.db_schema or ""
        if db.dialect.words is not None:
            return QueriedCatalogue(db, db.dialect.words, schema)
        return JdbcCatalogue(db, schema)

    def secured(self, db: TableDb) -> Iterator[str]:
        """See Reach.secured."""
        yield "egress: not enforced, the driver opens its own connections"
        if isinstance(db, JdbcDb) and db.columns.kind is None:
            yield f"columns: rows pass one by one, which is slow: {db.columns.why_not}; a JDK has a compiler"
