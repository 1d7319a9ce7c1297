"""Writes rows to a GraphQL API mutation by mutation, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tongqu.connectors.graphql.settings import GraphqlSettings
from tongqu.connectors.graphql.source import GraphqlSource, Opened, opened
from tongqu.connectors.graphql.writer import GraphqlWriter
from tongqu.core.data import Write
from tongqu.kit.lists.sink import ApiSink, called, keys_of, stages, target
from tongqu.kit.remote.writer import Writer


class GraphqlSink(ApiSink[Opened]):
    """See ApiSink. A dataset is written by the mutations under its `write`."""

    def __init__(self, settings: GraphqlSettings):
        super().__init__(settings.identity(), settings.calls)
        self._settings = settings

    def connect(self) -> Opened:
        """See ApiSink.connect."""
        return opened(self._settings, self.folder)

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, the schema, then each dataset that can be written, with what it
        can. Writes nothing: whether the login may write shows with the first row."""
        yield from self.connected.catalog.http.stages()
        yield "schema"
        yield from stages(self._settings.datasets)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        dataset = target(self._settings.datasets, write)
        keys = partial(keys_of, GraphqlSource(self._settings), write, called(dataset.write))
        here = self.connected
        return GraphqlWriter(write.dataset.name, dataset, here.schema, here.catalog.http, write=write, keys=keys)
