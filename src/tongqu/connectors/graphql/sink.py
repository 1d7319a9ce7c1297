"""Writes rows to a GraphQL API mutation by mutation, with a ledger of the calls at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from graphql import GraphQLSchema

from tongqu.connectors.graphql.settings import GraphqlSettings
from tongqu.connectors.graphql.source import GraphqlSource, opened
from tongqu.connectors.graphql.writer import GraphqlWriter
from tongqu.core.data import Read, Write
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.http.client import Http
from tongqu.kit.patterns import nearest
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Writer


class GraphqlSink(RemoteSink):
    """See RemoteSink. A dataset is written by the mutations under its `write`."""

    def __init__(self, settings: GraphqlSettings):
        super().__init__(settings.calls)
        self.name = settings.identity()
        self._settings = settings
        self._folder: Path | None = None
        self._opened: tuple[Http, GraphQLSchema] | None = None

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        super().lodge(folder)
        self._folder = folder

    def _connected(self) -> tuple[Http, GraphQLSchema]:
        if self._opened is None:
            catalog, schema = opened(self._settings, self._folder)
            self._opened = catalog.http, schema
        return self._opened

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, the schema, then each dataset that can be written, with what it
        can. Writes nothing: whether the login may write shows with the first row."""
        http, _ = self._connected()
        yield from http.stages()
        yield "schema"
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
        http, schema = self._connected()
        dataset = self._settings.datasets[name]
        return GraphqlWriter(name, dataset, schema, http, write=write, keys=partial(self._keys, write))

    def _keys(self, write: Write) -> Iterator[pa.Table]:
        source = GraphqlSource(self._settings)
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
            self._opened[0].close()
            self._opened = None
