"""Reads the lists of a REST API as datasets."""

from __future__ import annotations

from pathlib import Path

from tongqu.connectors.rest.imports import imported
from tongqu.connectors.rest.settings import RestSettings
from tongqu.kit.http.client import Http
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.lists.source import ListSource


def opened(settings: RestSettings, folder: Path | None) -> tuple[Catalog, RestSettings]:
    """The datasets of a connection, and its settings with those of its document, which is read now."""
    whole = imported(settings)
    return Catalog(whole.datasets, Http(whole, folder=folder), whole.paging, whole.sample_pages), whole


class RestSource(ListSource):
    """See ListSource. The document that the settings name is read when datasets are first asked for."""

    def __init__(self, settings: RestSettings):
        super().__init__(settings.identity())
        self._settings = settings

    def open(self) -> Catalog:
        """See ListSource.open."""
        return opened(self._settings, self.folder)[0]
