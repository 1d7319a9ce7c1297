"""Writes rows to an OData service entity by entity, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from tongqu.connectors.odata.lists import entity_set
from tongqu.connectors.odata.service import Service
from tongqu.connectors.odata.settings import DatasetSettings, ODataSettings
from tongqu.connectors.odata.source import ODataSource
from tongqu.connectors.odata.writer import ODataWriter
from tongqu.core.data import Read, Write
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Writer


class ODataSink(RemoteSink):
    """See RemoteSink. Every entity set can be a target; `write` of its dataset says what may be done."""

    def __init__(self, settings: ODataSettings):
        super().__init__(settings.calls)
        self.name = settings.identity()
        self._settings = settings
        self._folder: Path | None = None
        self._opened: Service | None = None

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        super().lodge(folder)
        self._folder = folder

    def _connected(self) -> Service:
        if self._opened is None:
            self._opened = Service(self._settings, self._folder)
        return self._opened

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, the metadata, then the token for changes where the service gives
        one. Writes nothing: whether the login may write shows with the first row."""
        service = self._connected()
        yield from service.stages()
        yield f"metadata (OData {service.model.version}, {len(service.model.sets)} entity sets)"
        if service.welcomed():
            yield "csrf"

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        service, name = self._connected(), write.dataset.name
        dataset = self._settings.datasets.get(name, DatasetSettings())
        try:
            held = entity_set(service.model, name, dataset)
        except InvalidSettingsError as error:
            raise InvalidPlanError(error.message, path=name, hint=error.hint) from error
        return ODataWriter(held, dataset.write, service, write=write, keys=partial(self._keys, write))

    def _keys(self, write: Write) -> Iterator[pa.Table]:
        source = ODataSource(self._settings.model_copy(update={"delta": False}))
        dataset = self._settings.datasets.get(write.dataset.name, DatasetSettings())
        theirs = [dataset.write.fields.get(name, name) for name in write.key]
        schema = pa.schema([write.dataset.schema.field(name) for name in write.key])
        try:
            (found,) = source.datasets([write.dataset.name])
            for split in source.splits(found, 1):
                for batch in source.read(Read(found, split, columns=tuple(theirs))):
                    yield pa.Table.from_batches([batch.rows]).rename_columns(list(write.key)).cast(schema)
        finally:
            source.close()

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None
