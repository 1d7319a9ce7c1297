"""Writes rows to a REST API call by call, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.source import opened
from tongqu.connectors.rest.writer import RestWriter
from tongqu.core.data import Write
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.patterns import nearest
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Writer


class RestSink(RemoteSink):
    """See RemoteSink. A dataset is written by the operations under its `write`."""

    def __init__(self, settings: RestSettings):
        super().__init__(settings.calls)
        self.name = settings.identity()
        self._settings = settings
        self._folder: Path | None = None
        self._opened: tuple[Catalog, RestSettings] | None = None

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        super().lodge(folder)
        self._folder = folder

    def _connected(self) -> tuple[Catalog, RestSettings]:
        if self._opened is None:
            self._opened = opened(self._settings, self._folder)
        return self._opened

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, then each dataset that can be written, with what it can. Writes
        nothing: whether the login may write shows with the first row."""
        catalog, settings = self._connected()
        yield from catalog.http.stages()
        for name, dataset in settings.datasets.items():
            if dataset.write is not None:
                can = [op for op in ("create", "update", "upsert", "delete") if getattr(dataset.write, op) is not None]
                yield f"write {name} ({', '.join(can)})"

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        (catalog, settings), name = self._connected(), write.dataset.name
        if name not in settings.datasets:
            writable = [one for one, told in settings.datasets.items() if told.write is not None]
            raise InvalidPlanError(
                f"{self.name} has no dataset {name!r} that rows could go to", path=write.stream,
                hint=f"those that are written: {nearest(name, writable) or 'none; see write: under datasets'}",
            )  # fmt: skip
        return RestWriter(name, settings.datasets[name], settings, catalog.http, write)

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None
