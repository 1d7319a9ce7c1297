"""Reads the lists of a SOAP service as datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tongqu.connectors.soap.lists import lists
from tongqu.connectors.soap.service import Service
from tongqu.connectors.soap.settings import SoapSettings
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.lists.source import ListSource


def opened(settings: SoapSettings, folder: Path | None) -> tuple[Catalog, Service]:
    """The datasets and the service, whose WSDL is read."""
    service = Service(settings, folder)
    try:
        return Catalog(lists(service.description, settings), service), service
    except BaseException:
        service.close()
        raise


class SoapSource(ListSource):
    """See ListSource. A fault fails the read, whatever its status."""

    def __init__(self, settings: SoapSettings):
        super().__init__(settings.identity())
        self._settings = settings

    def open(self) -> Catalog:
        """See ListSource.open."""
        return opened(self._settings, self.folder)[0]

    def check(self) -> Iterator[str]:
        """dns, tcp, tls, login, the WSDL with its number of operations, then the first page of the first dataset."""
        service = Service(self._settings, self.folder)
        try:
            yield from service.stages()
            yield f"wsdl ({len(service.description.operations())} operations)"
        finally:
            service.close()
        *_, last = super().check()
        yield last
