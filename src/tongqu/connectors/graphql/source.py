"""Reads the lists of a GraphQL API as datasets."""

from __future__ import annotations

from pathlib import Path

from graphql import GraphQLSchema

from tongqu.connectors.graphql.lists import lists
from tongqu.connectors.graphql.schema import schema_of
from tongqu.connectors.graphql.settings import GraphqlSettings
from tongqu.kit.http.client import Http
from tongqu.kit.lists.catalog import Catalog
from tongqu.kit.lists.source import ListSource


def opened(settings: GraphqlSettings, folder: Path | None) -> tuple[Catalog, GraphQLSchema]:
    """The datasets and the schema of a connection, which is asked for it."""
    http = Http(settings, folder=folder)
    try:
        schema = schema_of(http, settings.schema_file)
        return Catalog(lists(schema, settings), http), schema
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
        return opened(self._settings, self.folder)[0]
