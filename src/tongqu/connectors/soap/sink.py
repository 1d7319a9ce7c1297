"""Writes rows to a SOAP service operation by operation, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tongqu.connectors.soap.service import Service
from tongqu.connectors.soap.settings import SoapSettings
from tongqu.connectors.soap.source import SoapSource
from tongqu.connectors.soap.writer import SoapWriter
from tongqu.core.data import Write
from tongqu.kit.lists.sink import ApiSink, called, keys_of, stages, target
from tongqu.kit.remote.writer import Writer


class SoapSink(ApiSink[Service]):
    """See ApiSink. A dataset is written by the operations under its `write`."""

    def __init__(self, settings: SoapSettings):
        super().__init__(settings.identity(), settings.calls)
        self._settings = settings

    def connect(self) -> Service:
        """See ApiSink.connect."""
        return Service(self._settings, self.folder)

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, the WSDL, then each dataset that can be written, with what it can.
        Writes nothing: whether the login may write shows with the first row."""
        yield from self.connected.stages()
        yield f"wsdl ({len(self.connected.description.operations())} operations)"
        yield from stages(self._settings.datasets)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        dataset = target(self._settings.datasets, write)
        keys = partial(keys_of, SoapSource(self._settings), write, called(dataset.write))
        return SoapWriter(write.dataset.name, dataset, self.connected, write=write, keys=keys)
