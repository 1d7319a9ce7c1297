"""An OData service as a place of the conformance kit: its metadata grows with every dataset that is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tongqu.connectors.odata.settings import DatasetSettings, ODataSettings
from tongqu.connectors.odata.sink import ODataSink
from tongqu.connectors.odata.source import ODataSource
from tongqu.core.connector import Can, Connector, Sink, Source
from tongqu.core.data import Dataset, Write
from tongqu.kit.remote.writer import Writer
from tongqu.testing.api_places import ApiPlaces
from tongqu.testing.rest_place import type_name
from tongqu.testing.services.odata_api import ODataApi

PLACES: ApiPlaces[ODataApi, DatasetSettings] = ApiPlaces()
_EDM = {
    "bool": "Edm.Boolean", "int64": "Edm.Int64", "float": "Edm.Single", "double": "Edm.Double", "uuid": "Edm.Guid",
    "binary": "Edm.Binary", "date": "Edm.Date", "time": "Edm.TimeOfDay", "timestamptz": "Edm.DateTimeOffset",
    "json": "Edm.Untyped",
}  # fmt: skip
"""A time without zone is no type of version 4: it is kept as text."""


class PlaceSource(ODataSource):
    """Reads the datasets that were written to this address."""

    def __init__(self, settings: ODataSettings):
        super().__init__(settings.model_copy(update={"datasets": dict(PLACES.said(settings.base_url))}))


class PlaceSink(ODataSink):
    """Makes each entity set that is written, before it is."""

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        said = PLACES.said(self._settings.base_url)
        self._say(said, write.dataset, write.key or write.dataset.key)
        self._settings = self._settings.model_copy(update={"datasets": dict(said)})
        self.disconnect()
        return super().writer(write)

    def _say(self, said: dict[str, DatasetSettings], dataset: Dataset, key: tuple[str, ...]) -> None:
        api = PLACES.api(self._settings.base_url)
        names = {field.name: type_name(field) for field in dataset.schema}
        with api.lock:
            api.table(dataset.name, {name: _edm(kind) for name, kind in names.items()}, key)
        types = {name: kind for name, kind in names.items() if kind == "timestamp"}
        before = said.get(dataset.name)
        told: dict[str, Any] = {
            "types": {**(before.types if before else {}), **types},
            "key": list(key),
            "write": {"upsert": True, "delete": True},
        }
        if "at" in names:
            told["incremental"] = {"cursor": "at"}
        said[dataset.name] = DatasetSettings.parse(told)


def _edm(kind: str) -> str:
    if kind.startswith("decimal("):
        return "Edm.Decimal;" + kind[8:-1].replace(",", ";")
    return _EDM.get(kind, "Edm.String")


def _source(settings: ODataSettings) -> Source:
    return PlaceSource(settings)


def _sink(settings: ODataSettings) -> Sink:
    return PlaceSink(settings)


def fitted(connector: Connector) -> Connector:
    """The connector with ends that know the place."""
    can = (connector.can | Can.TRANSACTIONS | Can.EVOLVES) & ~Can.TRACKS
    return replace(connector, source=_source, sink=_sink, can=can, from_url=_from_url)


def _from_url(url: str) -> ODataSettings:
    return ODataSettings.parse({"base_url": url, "page_size": 10, "calls": {"pause_seconds": 0}})
