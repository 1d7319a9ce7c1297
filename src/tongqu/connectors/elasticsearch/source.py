"""Reads the documents of Elasticsearch and OpenSearch indices as datasets."""

from __future__ import annotations

from collections.abc import Iterator

from tongqu.connectors.elasticsearch.cluster import Cluster
from tongqu.connectors.elasticsearch.searching import SLICE, Indices, Search
from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings
from tongqu.core.data import Dataset, Position, Read, Split
from tongqu.core.errors import SchemaError
from tongqu.kit.answers.increments import Cursor, IncrementalSettings
from tongqu.kit.lists.catalog import Catalog, Listed
from tongqu.kit.lists.source import ListSource

_SPLIT_ROWS = 50_000


class ElasticsearchSource(ListSource):
    """See ListSource. A full read sees one instant where the server has points in time; incremental reads ask by a
    range query, and the greatest cursor is asked for by sorting."""

    def __init__(self, settings: ElasticsearchSettings):
        super().__init__(settings.identity())
        self._settings = settings
        self._cluster: Cluster | None = None

    def _connected(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._settings, self.folder)
        return self._cluster

    def open(self) -> Catalog:
        """See ListSource.open."""
        return Indices(self._settings, self._connected())

    def check(self) -> Iterator[str]:
        """dns, tcp and tls where they apply, login, the mappings, then some documents of the first dataset."""
        cluster = self._connected()
        yield from cluster.stages()
        distribution, version = cluster.about()
        yield f"login ({distribution} {version})"
        catalog = self._catalog
        yield "mappings"
        first = next(iter(catalog.names()), None)
        if first is not None:
            catalog.rows(catalog.listed(first))
            yield f"sample {first}"

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: slices of one point in time, which ends when it was not read for `keep_alive`."""
        endpoint = self._search(dataset.name)
        asked = endpoint.question()
        parts = endpoint.sliced(wanted, _SPLIT_ROWS)
        if not parts:
            return super().splits(dataset, wanted)
        return [Split(str(at), dataset.name, {"asked": asked, SLICE: part}) for at, part in enumerate(parts)]

    def narrowed(self, read: Read) -> tuple[tuple[str, str], ...]:
        """See ListSource.narrowed."""
        part = read.split.spec.get(SLICE)
        self._search(read.dataset.name).shared = bool(part)
        return ((SLICE, part),) if part else ()

    def _search(self, name: str) -> Search:
        endpoint = self._need(name).endpoint
        assert isinstance(endpoint, Search)  # noqa: S101  # this catalogue has no others
        return endpoint

    def _cursor(self, listed: Listed, dataset: Dataset, cursor: str) -> Cursor:
        told = listed.endpoint.settings.incremental
        settings = told if told is not None and told.cursor == cursor else IncrementalSettings(cursor=cursor)
        more = {"param": f"gte:{cursor}", "until_param": f"lte:{cursor}"}
        if listed.endpoint.settings.fields.get(cursor) == "date":
            more["format"] = "date"
        return Cursor(settings.model_copy(update=more), dataset.schema.field(cursor).type)

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon: the greatest value that can be searched. Raises SchemaError where a document has none,
        since it would never be read."""
        listed = self._need(dataset.name)
        marks = self._cursor(listed, dataset, cursor)
        endpoint = self._search(dataset.name)
        if missing := endpoint.without(cursor):
            raise SchemaError(
                f"{missing} documents of {listed.name} have no {cursor!r} and would never be read", field=cursor,
                hint="choose another cursor, or mode full",
            )  # fmt: skip
        rows, _ = self._catalog.rows(listed).parse(endpoint.greatest(cursor))
        greatest, before = marks.greatest(rows), after["cursor"] if after else None
        if greatest is None or (before is not None and not marks.greater(greatest, before)):
            return None if before is None or not ties else {"cursor": before}
        return {"cursor": greatest}

    def close(self) -> None:
        """See Source.close."""
        super().close()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
