"""Writes rows to Elasticsearch and OpenSearch indices, which are made where there are none, with a ledger at home."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from tongqu.connectors.elasticsearch.cluster import Cluster, named
from tongqu.connectors.elasticsearch.mapping import ID, Mapped, made, properties
from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings
from tongqu.connectors.elasticsearch.source import ElasticsearchSource
from tongqu.connectors.elasticsearch.writer import ElasticsearchWriter, ids
from tongqu.core.data import Counts, Opened, Position, Read, Write, WriteMode, Written
from tongqu.core.errors import CallRefusedError, InvalidPlanError, NotFoundError, PrivilegeError
from tongqu.kit.lists.sink import ApiSink
from tongqu.kit.remote.writer import Writer


class ElasticsearchSink(ApiSink[Cluster]):
    """See ApiSink. An index that is not there is made; one that is there gets the fields that it lacks."""

    def __init__(self, settings: ElasticsearchSettings):
        super().__init__(settings.identity(), settings.calls)
        self._settings = settings

    def connect(self) -> Cluster:
        """See ApiSink.connect."""
        return Cluster(self._settings, self.folder)

    def check(self) -> Iterator[str]:
        """dns, tcp and tls where they apply, then login. Writes nothing: whether the login may write shows with the
        first row."""
        cluster = self.connected
        yield from cluster.stages()
        distribution, version = cluster.about()
        yield f"login ({distribution} {version})"

    def _index(self, write: Write) -> str:
        return self._settings.dataset(write.dataset.name).index or write.dataset.name

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return ElasticsearchWriter(
            self._index(write), self.connected, key=write.key, batch=self._settings.bulk_rows,
            keys=partial(self._keys, write),
        )  # fmt: skip

    def open(self, write: Write) -> Opened:
        """See RemoteSink.open. Raises InvalidPlanError for names that no index or field can have."""
        opened = super().open(write)
        self._prepare(self._landings[write.stream].write)
        return opened

    def _prepare(self, write: Write) -> None:
        cluster, index = self.connected, self._index(write)
        key = write.key if write.mode is not WriteMode.APPEND else ()
        if key not in ((), (ID,)) and ID in write.dataset.columns:
            raise InvalidPlanError(
                f"the _id of documents written by {', '.join(key)} follows from that", path=write.stream,
                hint="take _id as the key, or leave the column out",
            )  # fmt: skip
        wanted = made(write.dataset.schema, key)
        try:
            there = cluster.mappings(index)
        except NotFoundError:
            there = {}
        try:
            if not there:
                cluster.ask("PUT", f"/{named(index)}", {"mappings": wanted})
                return
            mapped = Mapped.of(there)
            missing = [field for field in write.dataset.schema if field.name not in (*mapped.fields, ID)]
            more = {"properties": properties(pa.schema(missing))} if missing else {}
            if key and mapped.key is not None and mapped.key != key:
                more["_meta"] = wanted["_meta"]
            if more:
                cluster.ask("PUT", f"/{named(index)}/_mapping", more)
        except CallRefusedError as error:
            raise InvalidPlanError(
                f"the cluster refuses the index {index!r}", path=write.stream,
                hint=f"{error.hint}; datasets: {{NAME: {{index: …}}}} gives a dataset an index of another name",
            ) from error  # fmt: skip

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See RemoteSink.finish. Makes what was written visible to searches, where the login may."""
        written = super().finish(write, counts, position)
        try:
            self.connected.ask("POST", f"/{named(self._index(write))}/_refresh")
        except PrivilegeError:
            return written  # the index refreshes by itself, after a second unless it is told otherwise
        return written

    def _keys(self, write: Write) -> Iterator[pa.Table]:
        """The keys of all documents. Raises InvalidPlanError for one that is not under the `_id` of its key, which a
        replace would leave."""
        name, index = write.dataset.name, self._index(write)
        self.connected.ask("POST", f"/{named(index)}/_refresh")
        told = self._settings.dataset(name).model_copy(
            update={"index": index, "with_id": True, "query": None, "incremental": None, "key": (ID,)}
        )
        source = ElasticsearchSource(self._settings.model_copy(update={"datasets": {name: told}}))
        key = list(write.key)
        schema = pa.schema([write.dataset.schema.field(one) for one in key])
        try:
            (dataset,) = source.datasets([name])
            columns = (*dict.fromkeys((ID, *key)),)
            for batch in source.read(Read(dataset, source.splits(dataset, 1)[0], columns=columns)):
                rows = pa.Table.from_batches([batch.rows])
                keys = rows.select(key).cast(schema)
                if batch.bad or ids(keys, key) != rows.column(ID).to_pylist():
                    raise InvalidPlanError(
                        f"{index} holds documents that were not written by the key {', '.join(key)}", path=write.stream,
                        hint="write into an index of its own, or by upsert",
                    )  # fmt: skip
                yield keys
        finally:
            source.close()
