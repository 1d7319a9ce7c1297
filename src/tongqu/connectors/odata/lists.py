"""Turns the entity sets of a service into lists of records as every API has them."""

from __future__ import annotations

from typing import Any

from tongqu.connectors.odata.model import EntitySet, Model
from tongqu.connectors.odata.service import BOUND
from tongqu.connectors.odata.settings import DatasetSettings, ODataSettings
from tongqu.connectors.odata.values import type_name
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.answers.paging import PagingSettings
from tongqu.kit.lists.settings import ListSettings
from tongqu.kit.patterns import nearest

REMOVED = "@removed"
"""The column that says why an entity is gone."""


def lists(model: Model, settings: ODataSettings) -> dict[str, ListSettings]:
    """The datasets by name: those of the settings, or else all entity sets."""
    told = settings.datasets or {name: DatasetSettings() for name in model.sets}
    return {name: _list(model, name, one, settings) for name, one in told.items()}


def entity_set(model: Model, name: str, one: DatasetSettings) -> EntitySet:
    """The entity set of a dataset; raises InvalidSettingsError."""
    wanted = one.path.strip("/") or name
    if wanted not in model.sets:
        near = nearest(wanted, list(model.sets))
        raise InvalidSettingsError(
            f"the service has no entity set {wanted!r}", path=f"datasets.{name}",
            hint=f"near are: {near or ', '.join(list(model.sets)[:20])}",
        )  # fmt: skip
    return model.sets[wanted]


def _list(model: Model, name: str, one: DatasetSettings, settings: ODataSettings) -> ListSettings:
    held = entity_set(model, name, one)
    properties = held.type.properties
    _known(one.expand, held.type.navigations, f"datasets.{name}.expand", "navigation property")
    _known(one.select, properties, f"datasets.{name}.select", "property")
    key = tuple(one.key) or held.type.key
    _known(key, properties, f"datasets.{name}.key", "property")
    chosen = tuple(dict.fromkeys((*key, *one.select))) if one.select else tuple(properties)
    cursor = one.incremental.cursor if one.incremental else ""
    if cursor:
        _known((cursor,), properties, f"datasets.{name}.incremental.cursor", "property")
        chosen = tuple(dict.fromkeys((*chosen, cursor)))
    fields = {n: type_name(properties[n]) for n in chosen if properties[n].edm != "Edm.Stream"}
    fields |= dict.fromkeys(one.expand, "json")
    fields |= {n: kind for n, kind in one.types.items() if n in fields}
    if settings.delta:
        fields[REMOVED] = "string"
    params: dict[str, str | int | float | bool] = dict(one.params)
    if one.select:
        params["$select"] = ",".join((*chosen, *one.expand) if model.version == 2 else chosen)
    if one.expand:
        params["$expand"] = ",".join(one.expand)
    if one.filter:
        params["$filter"] = one.filter
    paging, headers = _paging(model, one, settings, key, params)
    incremental = one.incremental
    if incremental is not None:
        edm = properties[cursor].edm
        told: dict[str, Any] = {"param": f"{BOUND}{edm}:{cursor}"}
        if edm == "Edm.DateTime" and incremental.latest is None:
            told["latest"] = "scan"  # it has no zone, and is often only a day
        if incremental.format == "iso" and edm == "Edm.Date":
            told["format"] = "date"
        incremental = incremental.model_copy(update=told)
    children = one.nested == "children"
    return ListSettings(
        path=held.name, params=params, headers=headers, records="d.results" if model.version == 2 else "value",
        format="json", paging=paging, incremental=incremental, key=key, fields={} if children else fields,
        types={n: kind for n, kind in fields.items() if not children or kind != "json"},
        titles={n: p.label for n, p in properties.items() if p.label}, nested=one.nested, others="ignore",
        title=one.title or held.title,
    )  # fmt: skip


def _known(names: Any, held: Any, where: str, what: str) -> None:
    for name in names:
        if name not in held:
            raise InvalidSettingsError(
                f"there is no {what} {name!r}", path=where,
                hint=f"near are: {nearest(name, list(held)) or ', '.join(list(held)[:20]) or 'none'}",
            )  # fmt: skip


def _paging(
    model: Model, one: DatasetSettings, settings: ODataSettings, key: tuple[str, ...], params: dict[str, Any]
) -> tuple[PagingSettings, dict[str, str]]:
    """How its pages go on, and the headers of every call; `params` get their order."""
    size = one.page_size or settings.page_size
    headers = {"Accept": "application/json"}
    if model.version == 2:
        headers |= {"DataServiceVersion": "2.0", "MaxDataServiceVersion": "2.0"}
    else:
        headers["OData-MaxVersion"] = "4.01"
    if one.order:
        params["$orderby"] = one.order
    if (one.paging or settings.paging) == "client":
        if not one.order and key:
            params["$orderby"] = ",".join(key)
        return PagingSettings(kind="offset", param="$skip", size_param="$top", size=size, end="empty"), headers
    headers["Prefer"] = f"odata.maxpagesize={size}"
    following = "d.__next" if model.version == 2 else "@odata.nextLink"
    return PagingSettings(kind="next_url", next=following), headers
