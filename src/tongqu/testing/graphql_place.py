"""A GraphQL API as a place of the conformance kit: its schema grows with every dataset that is written."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any

from graphql import GraphQLError, GraphQLSchema, build_schema, graphql_sync

from tongqu.connectors.graphql.settings import DatasetSettings, GraphqlSettings
from tongqu.connectors.graphql.sink import GraphqlSink
from tongqu.connectors.graphql.source import GraphqlSource
from tongqu.core.connector import Can, Connector, Sink, Source
from tongqu.core.data import Dataset, Write
from tongqu.kit.answers.selecting import parsed, written
from tongqu.kit.remote.writer import Writer
from tongqu.testing.api_places import ApiPlaces
from tongqu.testing.rest_place import type_name
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

_SDL = """
scalar Any
type PageInfo {{ hasNextPage: Boolean!, endCursor: String }}
{types}
type Query {{ {queries} }}
type Mutation {{ {mutations} }}
"""
_TYPES = """
type R_{name} {{ {columns} }}
input I_{name} {{ {columns} }}
type C_{name} {{ nodes: [R_{name}], pageInfo: PageInfo! }}
"""


class Tables(HttpPeer):
    """A GraphQL API over tables of any columns: `NAME(first, after, since)`, `create_NAME`, `put_NAME`, `drop_NAME`.
    It honours idempotency keys."""

    name = "GraphQL tables"

    def __init__(self) -> None:
        self.columns: dict[str, dict[str, str]] = {}
        """Types of the columns of each table, as settings name them."""
        self.key_of: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
        self.known: dict[str, Any] = {}
        self._schema: GraphQLSchema | None = None
        self.lock = Lock()
        super().__init__({"/graphql": self._answer, "/": self._answer})

    def sdl(self) -> str:
        """The schema of the tables there are."""
        types, queries, mutations = [], ["nothing: Boolean"], ["nothing: Boolean"]
        for name, columns in self.columns.items():
            listed = ", ".join(f"{column}: Any" for column in columns)
            keys = ", ".join(f"{column}: Any" for column in self.key_of[name])
            types.append(_TYPES.format(name=name, columns=listed))
            queries.append(f"{name}(first: Int, after: String, since: Any): C_{name}!")
            mutations.append(f"create_{name}(input: I_{name}!): R_{name} put_{name}(input: I_{name}!): R_{name}")
            mutations += [f"drop_{name}({keys}): Boolean"] if keys else []
        return _SDL.format(types="\n".join(types), queries="\n".join(queries), mutations="\n".join(mutations))

    def _answer(self, asked: Asked, out: Out) -> None:
        sent, key = parsed(asked.body), asked.headers.get("idempotency-key", "")
        with self.lock:
            if not key or key not in self.known:
                if self._schema is None:
                    self._schema = build_schema(self.sdl())
                schema = self._schema
                done = graphql_sync(schema, sent["query"], self._root(), variable_values=sent.get("variables"))
                answer: dict[str, Any] = {"data": done.data}
                if done.errors:
                    answer["errors"] = [error.formatted for error in done.errors]
                self.known[key] = answer
            out.answer(200, written(self.known[key]).encode(), Content_Type="application/json")

    def table(self, name: str, columns: dict[str, str], key: tuple[str, ...]) -> dict[str, str]:
        """Make a table, or add columns to it; its columns."""
        with self.lock:
            self._schema = None
            self.key_of.setdefault(name, key)
            self.rows.setdefault(name, {})
            self.columns.setdefault(name, {}).update(columns)
            return self.columns[name]

    def _root(self) -> dict[str, Any]:
        root: dict[str, Any] = {}
        for name in self.columns:
            root[name] = self._lister(name)
            root[f"create_{name}"] = self._putter(name, new=True)
            root[f"put_{name}"] = self._putter(name, new=False)
            root[f"drop_{name}"] = self._dropper(name)
        return root

    def _lister(self, name: str) -> Any:
        def listed(_: Any, first: int = 20, after: str | None = None, since: Any = None) -> dict[str, Any]:
            rows = [row for row in self.rows[name].values() if since is None or _order(row["at"]) >= _order(since)]
            start = int(after or 0)
            end = min(start + first, len(rows))
            return {"nodes": rows[start:end], "pageInfo": {"hasNextPage": end < len(rows), "endCursor": str(end)}}

        return listed

    def _putter(self, name: str, *, new: bool) -> Any:
        def put(_: Any, **given: Any) -> dict[str, Any]:
            row = given["input"]
            key = tuple(str(row.get(column)) for column in self.key_of[name]) or (str(len(self.rows[name])),)
            if new and key in self.rows[name]:
                raise GraphQLError("there is a record of that key")
            self.rows[name][key] = {**self.rows[name].get(key, {}), **row}
            return self.rows[name][key]

        return put

    def _dropper(self, name: str) -> Any:
        def drop(_: Any, **given: Any) -> bool:
            key = tuple(str(given[column]) for column in self.key_of[name])
            return self.rows[name].pop(key, None) is not None

        return drop


def _order(value: Any) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return 0.0, str(value)


PLACES: ApiPlaces[Tables, DatasetSettings] = ApiPlaces()


class PlaceSource(GraphqlSource):
    """Reads the datasets that were written to this address."""

    def __init__(self, settings: GraphqlSettings):
        super().__init__(settings.model_copy(update={"datasets": dict(PLACES.said(settings.base_url))}))


class PlaceSink(GraphqlSink):
    """Says of each dataset that is written how, before it is."""

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        said = PLACES.said(self._settings.base_url)
        self._say(said, write.dataset, write.key or write.dataset.key)
        self._settings = self._settings.model_copy(update={"datasets": dict(said)})
        self.disconnect()
        return super().writer(write)

    def _say(self, said: dict[str, DatasetSettings], dataset: Dataset, key: tuple[str, ...]) -> None:
        columns = {field.name: type_name(field) for field in dataset.schema}
        columns = PLACES.api(self._settings.base_url).table(dataset.name, columns, key)
        told = {
            "key": list(key),
            "types": columns,
            "write": {
                "create": {"mutation": f"create_{dataset.name}"},
                "upsert": {"mutation": f"put_{dataset.name}"},
                "delete": {"mutation": f"drop_{dataset.name}"} if key else None,
                "key_honoured": True,
            },
        }
        if "at" in columns:
            told["incremental"] = {"cursor": "at", "param": "since", "format": "plain"}
        said[dataset.name] = DatasetSettings.parse(told)


def _source(settings: GraphqlSettings) -> Source:
    return PlaceSource(settings)


def _sink(settings: GraphqlSettings) -> Sink:
    return PlaceSink(settings)


def fitted(connector: Connector) -> Connector:
    """The connector with ends that know the place."""
    can = connector.can | Can.TRANSACTIONS | Can.EVOLVES
    return replace(connector, source=_source, sink=_sink, can=can, from_url=_from_url)


def _from_url(url: str) -> GraphqlSettings:
    return GraphqlSettings.parse({"base_url": url, "page_size": 10, "calls": {"pause_seconds": 0}})
