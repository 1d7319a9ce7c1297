"""Pages of documents: searches that go on after the last document's sort values, in a point in time if there is one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from threading import Event
from typing import Any

from tongqu.connectors.elasticsearch.cluster import Cluster, named
from tongqu.connectors.elasticsearch.generations import shown
from tongqu.connectors.elasticsearch.mapping import ID, Mapped
from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings
from tongqu.core.data import Position
from tongqu.core.errors import AnswerError, ConnectorError, LostPositionError, NotFoundError
from tongqu.kit.answers.cutting import Cutting
from tongqu.kit.answers.paging import Answer, Pager, PagingSettings
from tongqu.kit.answers.rows import Rows, Shape
from tongqu.kit.answers.selecting import Selection, parsed, written
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.lists.endpoint import Bounds, Endpoint
from tongqu.kit.lists.settings import ListSettings

_log = logging.getLogger(__name__)
_HITS = Selection("hits.hits", ("hits", "hits"))
_KEPT = "hits.hits._id,hits.hits._source,hits.hits.sort,pit_id,timed_out,_shards.failed"
_HIT = re.compile(rb'^\{"_id":("(?:[^"\\\n]|\\.)*"),"_source":\{([^\n]*)\},"sort":\[[^\n]*\]\}$', re.MULTILINE)
"""A hit as servers write it. No text in it can look like its keys, since quotes in texts are escaped."""
_SAMPLE = 100
SLICE = "slice"
"""The parameter of a part of a read: the point in time that all parts share, the part's number and how many there
are, as JSON."""


class Search(Endpoint):
    """Reads the documents of one dataset. A position holds the last sort values, and the point in time if there is
    one."""

    def __init__(self, name: str, settings: ListSettings, cluster: Cluster, connection: ElasticsearchSettings):
        super().__init__(name, settings, cluster, PagingSettings(), 1)
        self._cluster, self._told = cluster, connection.dataset(name)
        self._size, self._keep_alive = connection.page_size, connection.keep_alive
        self._index = named(self._told.index or name)
        self._with_id = ID in settings.fields
        self._shown: list[bytes] | None = None
        self.shared = False
        """The point in time serves other parts too, and ends by itself."""
        self._points = not self._told.order and cluster.has_points()

    def call(self, state: Position, bounds: Bounds, pager: Pager, stop: Event | None = None) -> Call:
        """See Endpoint.call. The first page's opens the point in time."""
        del pager
        at = json.loads(state["at"]) if state["at"] else {}
        body: dict[str, Any] = {"size": self._size, "track_total_hits": False, "query": self.query(bounds.params)}
        path = f"/{self._index}/_search"
        part = dict(bounds.params).get(SLICE)
        if self._points:
            point, number, parts = json.loads(part) if part else (None, 0, 1)
            if parts > 1:
                body["slice"] = {"id": number, "max": parts}
            body["pit"] = {"id": at.get("pit") or point or self._point(), "keep_alive": self._keep_alive}
            body["sort"], path = [{"_shard_doc": "asc"}], "/_search"
        else:
            body["sort"] = [{name: {"order": "asc"}} for name in self._told.order or (ID,)]
        if at:
            body["search_after"] = at["after"]
        return self._search(path, body, stop)

    def _search(self, path: str, body: Any, stop: Event | None = None) -> Call:
        params = [("filter_path", _KEPT), ("allow_partial_search_results", "false")]
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        content = json.dumps(body, ensure_ascii=False).encode()
        return Call("POST", self._cluster.url(path), params, headers, content, Repeat.SAFE, stop=stop, keep_seconds=0)

    def query(self, params: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
        """The query, narrowed by parameters `gte:FIELD` and `lte:FIELD` of an incremental read."""
        conditions = [self._told.query] if self._told.query else []
        for name, value in params:
            if name == SLICE:
                continue
            how, _, field = name.partition(":")
            limit: dict[str, Any] = {how: value}
            if self.settings.fields.get(field, "").startswith(("timestamp", "date")):
                limit["format"] = "strict_date_optional_time"
            conditions.append({"range": {field: limit}})
        return {"bool": {"filter": conditions}} if conditions else {"match_all": {}}

    def sliced(self, wanted: int, rows: int) -> list[str]:
        """The parts of a read, where the server can cut one and there are so many documents; they see one instant."""
        if not self._points or wanted < 2 or self._count() < rows:
            return []
        point = self._point()
        return [json.dumps([point, number, wanted]) for number in range(wanted)]

    def _count(self) -> int:
        return int(self._cluster.ask("POST", f"/{self._index}/_count", {"query": self.query()})["count"])

    def _point(self) -> str:
        path = f"/{self._index}/_pit?keep_alive={self._keep_alive}"
        return str(self._cluster.ask("POST", path)["id"])

    def _page(
        self, state: Position, bounds: Bounds, pager: Pager, stop: Event | None, *, texts: bool
    ) -> tuple[bytes, Answer]:
        try:
            return super()._page(state, bounds, pager, stop, texts=texts)
        except NotFoundError as error:
            if not state["at"] and not self.shared:
                raise
            raise LostPositionError(
                f"{self.where}: the cluster has dropped the point in time that was read", path=self.where,
                hint="run with --restart; name a unique field as `order`, or a longer keep_alive, to avoid this",
            ) from error  # fmt: skip

    def _cut(self, reply: Reply, texts: bool) -> tuple[bytes, Answer]:
        hits, count, told = self._hits(reply.content)
        lines, following = self._documents(hits, count), None
        if count >= self._size:
            last = hits[hits.rfind(b"\n", 0, len(hits) - 1) + 1 :]
            following = {"after": json.loads(last)["sort"], **({"pit": told["pit_id"]} if self._points else {})}
        elif self._points and told.get("pit_id") and not self.shared:
            self._close(told["pit_id"])
        lines = Shape().lines(lines) if texts else lines
        return lines, Answer(count, {"next": following}, reply.headers, reply.url, b"", lines)

    def _hits(self, body: bytes) -> tuple[bytes, int, Mapping[str, Any]]:
        """The hits of an answer, one a line, how many they are, and what it says beside them. Raises AnswerError for
        an answer in part."""
        if b'"hits"' in body:
            cut = Cutting([body], _HITS, self.where)
            hits, count, told = b"".join(cut), cut.count, cut.envelope
        else:  # filtered by path, an empty list is left out
            try:
                hits, count, told = b"", 0, json.loads(body)
            except ValueError:
                told = None
        if not isinstance(told, Mapping) or "timed_out" not in told:
            raise AnswerError(f"{self.where}: the answer is none of a search", path=self.where)
        if told["timed_out"] or told.get("_shards", {}).get("failed"):
            raise AnswerError(
                f"{self.where}: the cluster answered in part only", path=self.where,
                hint="some of its shards failed or timed out",
            )  # fmt: skip
        return hits, count, told

    def _documents(self, hits: bytes, count: int) -> bytes:
        """The documents of hits, one a line, with `_id` where that is a column."""
        found, seen = _HIT.subn(rb'{"_id":\1,\2}' if self._with_id else rb"{\2}", hits)
        if seen == count:
            return found.replace(b",}\n", b"}\n")  # of a document without any field
        held = [parsed(line) for line in hits.splitlines() if line.strip()]
        own = [{ID: one[ID]} if self._with_id else {} for one in held]
        return b"".join(written({**a, **b.get("_source", {})}).encode() + b"\n" for a, b in zip(own, held, strict=True))

    def _close(self, point: str) -> None:
        try:
            self._cluster.ask("DELETE", "/_pit", {"id": point})
        except ConnectorError as error:
            _log.info("the point in time of %s ends by itself: %s", self.where, error.message)

    def rows(self, bounds: Bounds | None) -> Rows:
        """See Endpoint.rows. No mapping tells which fields hold lists: those that do in the sample are JSON."""
        settings = self.settings
        if self._rows is None and not settings.trust:
            nested = self.shape().held(b"".join(self.sample(Bounds()))) - set(self._told.types)
            fields = {name: "json" if name in nested else kind for name, kind in settings.fields.items()}
            self.settings = settings.model_copy(update={"fields": fields})
        return super().rows(bounds)

    def sample(self, bounds: Bounds) -> list[bytes]:
        """See Endpoint.sample: some documents, in any order; asked for once."""
        del bounds
        if self._shown is None:
            self._shown = [self._some({"size": _SAMPLE, "sort": ["_doc"]})]
        return self._shown

    def greatest(self, cursor: str) -> bytes:
        """The document with the greatest value of a field, as a line; empty if there is none."""
        order = {cursor: {"order": "desc", "missing": "_last"}}
        return self._some({"size": 1, "sort": [order]})

    def _some(self, body: Mapping[str, Any]) -> bytes:
        call = self._search(f"/{self._index}/_search", {**body, "query": self.query()})
        hits, count, _ = self._hits(self._cluster.send(call).content)
        return self._documents(hits, count)

    def without(self, field: str) -> int:
        """How many documents have no value of a field."""
        query = {"bool": {"filter": [self.query()], "must_not": [{"exists": {"field": field}}]}}
        return int(self._cluster.ask("POST", f"/{self._index}/_count", {"query": query})["count"])


class Indices(Catalog):
    """The datasets of a cluster, typed by its mappings."""

    def __init__(self, settings: ElasticsearchSettings, cluster: Cluster):
        super().__init__({}, cluster)
        self._endpoints = dict(_searches(settings, cluster))


def _searches(settings: ElasticsearchSettings, cluster: Cluster) -> Iterator[tuple[str, Endpoint]]:
    told = settings.datasets
    if not told:
        every = shown(cluster)
        for name in sorted(every):
            if not name.startswith("."):
                yield name, _search(settings, cluster, name, Mapped.of({name: every[name]}))
    for name, one in told.items():
        yield name, _search(settings, cluster, name, Mapped.of(cluster.mappings(one.index or name)))


def _search(settings: ElasticsearchSettings, cluster: Cluster, name: str, mapped: Mapped) -> Search:
    one = settings.dataset(name)
    known = tuple(one.key) or mapped.key
    with_id = one.with_id if one.with_id is not None else known is None or ID in known
    fields = {**({ID: "string"} if with_id else {}), **mapped.fields}
    fields |= {field: kind for field, kind in one.types.items() if field in fields}
    key = known or ((ID,) if with_id else ())
    incremental = one.incremental
    body = {"query": one.query, "order": list(one.order)}
    held = ListSettings(
        path=f"/{named(one.index or name)}/_search", method="POST", body=body, records="hits.hits", format="json",
        fields=fields or {ID: "string"}, trust=mapped.key is not None, key=key, others="ignore", title=one.title,
        incremental=incremental,
        paging=PagingSettings(kind="cursor", next="next", size=settings.page_size, same_page="keep"),
    )  # fmt: skip
    return Search(name, held, cluster, settings)
