"""Writes rows to a SOAP service operation by operation, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from tongqu.connectors.soap.service import Service
from tongqu.connectors.soap.settings import SoapSettings
from tongqu.connectors.soap.source import SoapSource
from tongqu.connectors.soap.writer import SoapWriter
from tongqu.core.data import Read, Write
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.patterns import nearest
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Writer


class SoapSink(RemoteSink):
    """See RemoteSink. A dataset is written by the operations under its `write`."""

    def __init__(self, settings: SoapSettings):
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
        """dns, tcp, tls and login where they apply, the WSDL, then each dataset that can be written, with what it can.
        Writes nothing: whether the login may write shows with the first row."""
        service = self._connected()
        yield from service.stages()
        yield f"wsdl ({len(service.description.operations())} operations)"
        for name, dataset in self._settings.datasets.items():
            told = dataset.write
            if told is not None:
                can = [op for op in ("create", "update", "upsert", "delete") if getattr(told, op) is not None]
                yield f"write {name} ({', '.join(can)})"

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        name = write.dataset.name
        if name not in self._settings.datasets:
            writable = [one for one, told in self._settings.datasets.items() if told.write is not None]
            raise InvalidPlanError(
                f"the connection has no dataset {name!r} to write", path=name,
                hint=f"near are: {nearest(name, writable) or ', '.join(writable) or 'none; give it under datasets'}",
            )  # fmt: skip
        dataset = self._settings.datasets[name]
        return SoapWriter(name, dataset, self._connected(), write=write, keys=partial(self._keys, write))

    def _keys(self, write: Write) -> Iterator[pa.Table]:
        source = SoapSource(self._settings)
        told = self._settings.datasets[write.dataset.name].write
        called = next((one.fields for one in (told.upsert, told.update, told.create) if one), {}) if told else {}
        theirs = [called.get(name, name) for name in write.key]
        schema = pa.schema([write.dataset.schema.field(name) for name in write.key])
        try:
            (dataset,) = source.datasets([write.dataset.name])
            for split in source.splits(dataset, 1):
                for batch in source.read(Read(dataset, split, columns=tuple(theirs))):
                    yield pa.Table.from_batches([batch.rows]).rename_columns(list(write.key)).cast(schema)
        finally:
            source.close()

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None
