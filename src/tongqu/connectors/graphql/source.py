"""Reads the lists of a GraphQL API as datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphql import GraphQLSchema

from tongqu.connectors.graphql.lists import lists
from tongqu.connectors.graphql.schema import schema_of
from tongqu.connectors.graphql.settings import GraphqlSettings
from tongqu.kit.http.client import Http
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.lists.source import ListSource


@dataclass(frozen=True)
class Opened:
    """A connection in use: its datasets and its schema."""

    catalog: Catalog
    schema: GraphQLSchema

    def close(self) -> None:
        """Close its connections."""
        self.catalog.close()


def opened(settings: GraphqlSettings, folder: Path | None) -> Opened:
    """The datasets and the schema of a connection, which is asked for it."""
    http = Http(settings, folder=folder)
    try:
        schema = schema_of(http, settings.schema_file)
        return Opened(Catalog(lists(schema, settings), http), schema)
    except BaseException:
        http.close()
        raise


class GraphqlSource(ListSource):
    """See ListSource. `errors` in an answer fail the read, also beside data."""

    def __init__(self, settings: GraphqlSettings):
        super().__init__(settings.identity())
        self._settings = settings

    def open(self) -> Catalog:
        """See ListSource.open."""
        return opened(self._settings, self.folder).catalog
