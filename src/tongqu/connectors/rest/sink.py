"""Writes rows to a REST API call by call, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.source import Opened, opened
from tongqu.connectors.rest.writer import RestWriter
from tongqu.core.data import Write
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.lists.sink import ApiSink, stages, writable
from tongqu.kit.patterns import nearest
from tongqu.kit.remote.writer import Writer


class RestSink(ApiSink[Opened]):
    """See ApiSink. A dataset is written by the operations under its `write`."""

    def __init__(self, settings: RestSettings):
        super().__init__(settings.identity(), settings.calls)
        self._settings = settings

    def connect(self) -> Opened:
        """See ApiSink.connect."""
        return opened(self._settings, self.folder)

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, then each dataset that can be written, with what it can. Writes
        nothing: whether the login may write shows with the first row."""
        yield from self.connected.catalog.http.stages()
        yield from stages(self.connected.settings.datasets)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        settings, name = self.connected.settings, write.dataset.name
        if name not in settings.datasets:
            near = nearest(name, writable(settings.datasets))
            raise InvalidPlanError(
                f"{self.name} has no dataset {name!r} that rows could go to", path=write.stream,
                hint=f"those that are written: {near or 'none; see write: under datasets'}",
            )  # fmt: skip
        return RestWriter(name, settings.datasets[name], settings, self.connected.catalog.http, write)
