"""A vendor's API as a place of the conformance kit: every dataset that is written is there, with the fields it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from tongqu.connectors.rest.settings import DatasetSettings, RestSettings
from tongqu.connectors.rest.sink import RestSink
from tongqu.connectors.rest.source import RestSource
from tongqu.core.connector import Can, Connector, Sink, Source
from tongqu.core.data import Dataset, Meta, Write
from tongqu.kit.remote.writer import Writer
from tongqu.testing.api_places import ApiPlaces
from tongqu.testing.services.vendor_api import VendorApi

PLACES: ApiPlaces[VendorApi, DatasetSettings] = ApiPlaces()
_PAGED = {"kind": "page", "size_param": "size", "size": 10, "total": "data.total"}
_NAMES: dict[pa.DataType, str] = {
    pa.bool_(): "bool", pa.float32(): "float", pa.float64(): "double", pa.binary(): "binary", pa.date32(): "date",
    pa.time64("us"): "time", pa.timestamp("us"): "timestamp", pa.timestamp("us", "UTC"): "timestamptz",
    pa.uint64(): "decimal(20,0)",
}  # fmt: skip


class PlaceSource(RestSource):
    """Reads the datasets that were written to this address."""

    def __init__(self, settings: RestSettings):
        super().__init__(settings.model_copy(update={"datasets": dict(PLACES.said(settings.base_url))}))


class PlaceSink(RestSink):
    """Says of each dataset that is written how, before it is."""

    def writer(self, write: Write) -> Writer:
        """See RestSink.writer."""
        self.say(PLACES.said(self._settings.base_url), write.dataset, write.key)
        return super().writer(write)

    def say(self, said: dict[str, DatasetSettings], dataset: Dataset, key: tuple[str, ...]) -> None:
        """Take the dataset into the settings, and make it at the API."""
        api = PLACES.api(self._settings.base_url)
        key = key or dataset.key
        with api.lock:
            api.tables.setdefault(dataset.name, {})
            api.key_of.setdefault(dataset.name, key or ("id",))
        before = said.get(dataset.name)
        now = described(dataset, key)
        fields = {**(before.fields if before else {}), **now.fields}
        said[dataset.name] = now.model_copy(update={"fields": fields})
        self._settings = self._settings.model_copy(update={"datasets": dict(said)})
        self.disconnect()


def described(dataset: Dataset, key: tuple[str, ...]) -> DatasetSettings:
    """The settings of a dataset of the vendor API."""
    one = f"/rows/{dataset.name}/{'/'.join(f'{{{name}}}' for name in key)}"
    values: dict[str, Any] = {
        "path": f"/page/{dataset.name}",
        "paging": _PAGED,
        "key": list(key),
        "fields": {field.name: type_name(field) for field in dataset.schema},
        "incremental": {"cursor": "at", "param": "since", "format": "plain"},
        "write": {
            "create": {"method": "POST", "path": f"/rows/{dataset.name}"},
            "upsert": {"method": "PUT", "path": one},
            "delete": {"method": "DELETE", "path": one},
            "key_honoured": True,
        },
    }
    return DatasetSettings.parse(values)


def type_name(field: pa.Field[Any]) -> str:
    """What a field is called in settings."""
    kind, logical = field.type, (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"").decode()
    if logical in ("json", "uuid"):
        return logical
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if kind in _NAMES:
        return _NAMES[kind]
    return "int64" if pa.types.is_integer(kind) else "json" if pa.types.is_nested(kind) else "string"


def _source(settings: RestSettings) -> Source:
    return PlaceSource(settings)


def _sink(settings: RestSettings) -> Sink:
    return PlaceSink(settings)


def fitted(connector: Connector) -> Connector:
    """The connector with ends that know the place."""
    can = connector.can | Can.TRANSACTIONS | Can.EVOLVES
    return replace(connector, source=_source, sink=_sink, can=can, from_url=_from_url)


def _from_url(url: str) -> RestSettings:
    return RestSettings.parse({"base_url": url, "calls": {"pause_seconds": 0}})
