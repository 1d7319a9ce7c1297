"""Writes rows to an OData service entity by entity, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tongqu.connectors.odata.carrying import Carrier
from tongqu.connectors.odata.lists import entity_set
from tongqu.connectors.odata.service import Service
from tongqu.connectors.odata.settings import DatasetSettings, ODataSettings
from tongqu.connectors.odata.source import ODataSource
from tongqu.connectors.odata.writer import ODataWriter
from tongqu.core.data import Write
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.kit.lists.sink import ApiSink, keys_of
from tongqu.kit.remote.writer import Writer


class ODataSink(ApiSink[Service]):
    """See ApiSink. Every entity set can be a target; `write` of its dataset says what may be done."""

    def __init__(self, settings: ODataSettings):
        super().__init__(settings.identity(), settings.calls)
        self._settings = settings

    def connect(self) -> Service:
        """See ApiSink.connect."""
        return Service(self._settings, self.folder)

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, the metadata, then the token for changes where the service gives
        one. Writes nothing: whether the login may write shows with the first row."""
        service = self.connected
        yield from service.stages()
        yield f"metadata (OData {service.model.version}, {len(service.model.sets)} entity sets)"
        if service.welcomed():
            yield "csrf"

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        service, name = self.connected, write.dataset.name
        dataset = self._settings.datasets.get(name, DatasetSettings())
        try:
            held = entity_set(service.model, name, dataset)
        except InvalidSettingsError as error:
            raise InvalidPlanError(error.message, path=name, hint=error.hint) from error
        source = ODataSource(self._settings.model_copy(update={"delta": False}))
        keys = partial(keys_of, source, write, dataset.write.fields)
        changeset = dataset.write.changeset
        carrier = Carrier(service, self._settings.batch, dataset.write.batch_size, changeset)
        return ODataWriter(held, dataset.write, service, carrier, write=write, keys=keys)
