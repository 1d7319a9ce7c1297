"""Writes rows to Elasticsearch and OpenSearch indices, which are made where there are none, with a ledger at home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa

from tongqu.connectors.elasticsearch.cluster import Cluster, named
from tongqu.connectors.elasticsearch.generations import Generations, generation, told
from tongqu.connectors.elasticsearch.mapping import ID, OURS, Mapped, made, properties
from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings
from tongqu.connectors.elasticsearch.source import ElasticsearchSource
from tongqu.connectors.elasticsearch.writer import ElasticsearchWriter, ids
from tongqu.core.data import Counts, Opened, Position, Read, Write, WriteMode, Written
from tongqu.core.errors import CallRefusedError, InvalidPlanError, NotFoundError, PrivilegeError
from tongqu.kit.lists.sink import ApiSink
from tongqu.kit.remote.writer import Writer
from tongqu.kit.undoing import refuse_while_written


class ElasticsearchSink(ApiSink[Cluster]):
    """See ApiSink. An index that is not there is made; one that is there gets the fields that it lacks. A replace fills
    an index of its own, which an alias shows once it is whole."""

    def __init__(self, settings: ElasticsearchSettings):
        super().__init__(settings.identity(), settings.calls)
        self._settings = settings
        self._apart: dict[str, bool] = {}
        self._new: set[str] = set()

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

    def _filled(self, write: Write) -> str:
        """The index that rows go into: for a replace one of its own, where the present one is ours or there is none."""
        index = self._index(write)
        if write.mode is not WriteMode.REPLACE or write.replay:
            return index
        new = generation(index, write.run)
        if new not in self._apart:
            self._apart[new] = Generations(self.connected, index).apart()
        return new if self._apart[new] else index

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return ElasticsearchWriter(
            self._filled(write), self.connected, key=write.key, batch=self._settings.bulk_rows,
            keys=partial(self._keys, write),
        )  # fmt: skip

    def open(self, write: Write) -> Opened:
        """See RemoteSink.open. Raises InvalidPlanError for names that no index or field can have, CheckpointError where
        rows went into an index that is gone."""
        opened = super().open(write)
        filled = any(one.position is not None for one in opened.checkpoints.values())
        if not opened.finished:
            self._prepare(self._landings[write.stream].write, filled=filled)
        return opened

    def _prepare(self, write: Write, *, filled: bool) -> None:
        cluster, index = self.connected, self._filled(write)
        key = write.key if write.mode is not WriteMode.APPEND else ()
        if key not in ((), (ID,)) and ID in write.dataset.columns:
            raise InvalidPlanError(
                f"the _id of documents written by {', '.join(key)} follows from that", path=write.stream,
                hint="take _id as the key, or leave the column out",
            )  # fmt: skip
        wanted = made(write.dataset.schema, key)
        if index != self._index(write):
            self._begin(write, index, wanted, filled=filled)
            return
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
                held = told(next(iter(there.values())))
                more["_meta"] = {OURS: {**held, **wanted["_meta"][OURS]}}
            if more:
                cluster.ask("PUT", f"/{named(index)}/_mapping", more)
        except CallRefusedError as error:
            raise _refused(index, write, error) from error

    def _begin(self, write: Write, new: str, mapping: dict[str, Any], *, filled: bool) -> None:
        try:
            if Generations(self.connected, self._index(write)).create(new, mapping, filled=filled):
                self._new.add(new)
        except CallRefusedError as error:
            raise _refused(self._index(write), write, error) from error

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See RemoteSink.finish. Makes what was written visible to searches, where the login may."""
        written = super().finish(write, counts, position)
        self._refresh(self._index(write))
        return written

    def publish(self, write: Write) -> None:
        """See RemoteSink.publish: the alias moves to a generation that is whole."""
        new = self._filled(write)
        if new != self._index(write):
            self._refresh(new)
            Generations(self.connected, self._index(write)).publish(new)

    def _refresh(self, index: str) -> None:
        with suppress(PrivilegeError):  # it refreshes by itself, after a second unless it is told otherwise
            self.connected.ask("POST", f"/{named(index)}/_refresh")

    def undo(self, dataset: str) -> int:
        """See Sink.undo. A replace of an index that Tongqu did not make keeps none."""
        if self.journal.exists():
            with self.journal.transaction() as books:
                refuse_while_written(dataset, books.ledger.writer(dataset))
        return Generations(self.connected, self._settings.dataset(dataset).index or dataset).undo(dataset)

    def _keys(self, write: Write) -> Iterator[pa.Table]:
        """The keys of all documents. Raises InvalidPlanError for one that is not under the `_id` of its key, which a
        replace would leave."""
        name, index = write.dataset.name, self._filled(write)
        if index in self._new:
            return  # nothing stood in it before this attempt
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


def _refused(index: str, write: Write, error: CallRefusedError) -> InvalidPlanError:
    return InvalidPlanError(
        f"the cluster refuses the index {index!r}", path=write.stream,
        hint=f"{error.hint}; datasets: {{NAME: {{index: …}}}} gives a dataset an index of another name",
    )  # fmt: skip
