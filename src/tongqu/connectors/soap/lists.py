"""Turns the operations of a service that give lists into lists of records as every API has them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tongqu.connectors.soap.description import Description
from tongqu.connectors.soap.service import OPERATION
from tongqu.connectors.soap.settings import DatasetSettings, SoapSettings
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.answers.paging import PagingSettings
from tongqu.kit.lists.settings import ListSettings
from tongqu.kit.patterns import nearest

_ABOVE = "/*/*/*"
"""Envelope, body, and the answer's element."""


def lists(description: Description, settings: SoapSettings) -> dict[str, ListSettings]:
    """The datasets by name: those of the settings, or else the reading operations that need no argument."""
    told = settings.datasets or {name: DatasetSettings() for name in description.lists()}
    return {name: _list(description, name, one) for name, one in told.items()}


def _list(description: Description, name: str, one: DatasetSettings) -> ListSettings:
    where, operation = f"datasets.{name}", one.operation or name
    known = description.arguments(operation, where)
    paging = one.paging or PagingSettings(kind="none")
    incremental = one.incremental
    passed = [paging.param, paging.size_param]
    passed += [incremental.param, incremental.until_param] if incremental else []
    for path in (*one.arguments, *(path for path in passed if path)):
        first = path.partition(".")[0]
        if first not in known:
            raise InvalidSettingsError(
                f"{operation} has no argument {first!r}", path=f"{where}.arguments",
                hint=f"near are: {nearest(first, list(known)) or ', '.join(known) or 'none'}",
            )  # fmt: skip
    if paging.kind in ("page", "offset", "keyset") and not paging.param:
        raise InvalidSettingsError(
            f"paging of {operation} needs the name of an argument", path=f"{where}.paging.param",
            hint=f"its arguments: {', '.join(known) or 'none'}",
        )  # fmt: skip
    listing = description.listing(operation, one.records, where)
    fields = {**listing.fields, **one.types} if listing.fields else {}
    children = one.nested == "children"
    return ListSettings(
        path=description.address, method="POST", headers={"Accept": "text/xml"},
        body={OPERATION: operation, "arguments": deepcopy(one.arguments)},
        records=f"{_ABOVE}/{'/'.join(listing.path)}", format="xml", paging=_below(paging), key=one.key,
        incremental=_bounded(incremental), fields={} if children else fields, trust=False,
        types={n: kind for n, kind in (fields or one.types).items() if not children or kind != "json"},
        nested=one.nested, repeats=listing.lists, cache_seconds=one.cache_seconds, title=one.title,
    )  # fmt: skip


def _below(paging: PagingSettings) -> PagingSettings:
    """Paging whose parameters are arguments. Pages are asked for until one is empty, unless it says otherwise."""
    told: dict[str, Any] = {
        name: f"arguments.{held}" for name in ("param", "size_param") if (held := getattr(paging, name))
    }
    return paging.model_copy(update=told)


def _bounded(incremental: IncrementalSettings | None) -> IncrementalSettings | None:
    if incremental is None:
        return None
    names = ("param", "until_param")
    return incremental.model_copy(
        update={name: f"arguments.{held}" for name in names if (held := getattr(incremental, name))}
    )
