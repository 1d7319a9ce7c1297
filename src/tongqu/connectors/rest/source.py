"""Reads the lists of a REST API as datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tongqu.connectors.rest.imports import imported
from tongqu.connectors.rest.settings import RestSettings
from tongqu.kit.http.client import Http
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.lists.source import ListSource


@dataclass(frozen=True)
class Opened:
    """A connection in use: its datasets, and its settings with those of its document."""

    catalog: Catalog
    settings: RestSettings

    def close(self) -> None:
        """Close its connections."""
        self.catalog.close()


def opened(settings: RestSettings, folder: Path | None) -> Opened:
    """The datasets of a connection; its document is read now."""
    whole = imported(settings)
    return Opened(Catalog(whole.datasets, Http(whole, folder=folder), whole.paging, whole.sample_pages), whole)


class RestSource(ListSource):
    """See ListSource. The document that the settings name is read when datasets are first asked for."""

    def __init__(self, settings: RestSettings):
        super().__init__(settings.identity())
        self._settings = settings

    def open(self) -> Catalog:
        """See ListSource.open."""
        return opened(self._settings, self.folder).catalog
