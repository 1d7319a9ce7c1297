"""Source and sink over JDBC, which keep what they compile at home."""

from __future__ import annotations

from pathlib import Path

from tongqu.connectors.jdbc.reach import JdbcReach
from tongqu.connectors.jdbc.settings import JdbcSettings
from tongqu.kit.tables.sink import TableSink
from tongqu.kit.tables.source import TableSource


class JdbcSource(TableSource):
    """Reads through a driver's jar."""

    def __init__(self, settings: JdbcSettings):
        self._jdbc = JdbcReach(settings)
        super().__init__(self._jdbc)

    def lodge(self, folder: Path) -> None:
        """See Source.lodge."""
        self._jdbc.kept = folder


class JdbcSink(TableSink):
    """Writes through a driver's jar."""

    def __init__(self, settings: JdbcSettings):
        self._jdbc = JdbcReach(settings)
        super().__init__(self._jdbc)

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        super().lodge(folder)
        self._jdbc.kept = folder
