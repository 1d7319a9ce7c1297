"""Turns the lists of a schema into lists of records as every API has them: a query a page, where its records stand."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from graphql import GraphQLInputObjectType, GraphQLSchema, get_named_type

from tongqu.connectors.graphql.query import Chosen, checked, chosen, document
from tongqu.connectors.graphql.schema import OFFSETS, PAGES, SIZES, Listing, listings
from tongqu.connectors.graphql.settings import DatasetSettings, GraphqlSettings, Paging
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.answers.paging import PagingSettings
from tongqu.kit.lists.settings import ListSettings
from tongqu.kit.patterns import nearest

_INFO = "pageInfo { hasNextPage endCursor }"
_TOTALS = ("totalCount", "total", "count", "totalElements")


def lists(schema: GraphQLSchema, settings: GraphqlSettings) -> dict[str, ListSettings]:
    """The datasets by name: those of the settings, or else all that the schema has and that need no argument."""
    if settings.datasets:
        return {name: _list(schema, name, one, settings) for name, one in settings.datasets.items()}
    found: dict[str, ListSettings] = {}
    for name, _ in listings(schema):
        try:
            found[name] = _list(schema, name, DatasetSettings(field=name), settings)
        except InvalidSettingsError:  # a record without a field that can be asked for
            continue
    return found


def _list(schema: GraphQLSchema, name: str, one: DatasetSettings, settings: GraphqlSettings) -> ListSettings:
    where = f"datasets.{name}"
    try:
        listing = Listing(schema, tuple((one.field or name).split(".")))
        fields = chosen(listing.record, (*one.select, *(k for k in one.key if one.select)), one.depth or settings.depth)
    except InvalidSettingsError as error:
        error.path = f"{where}.{error.path}" if error.path else where
        raise
    paging = one.paging or _kind(listing)
    size = one.page_size or settings.page_size
    pages, passed = _paging(listing, paging, size, where)
    incremental = one.incremental
    variables = deepcopy(one.arguments)
    if incremental and incremental.param:
        passed.append(incremental.param.partition(".")[0])
        _place(variables, incremental.param, _blank(listing, incremental.param, where))
        incremental = incremental.model_copy(update={"param": f"variables.{incremental.param}"})
    if incremental and incremental.until_param:
        passed.append(incremental.until_param.partition(".")[0])
        _place(variables, incremental.until_param, _blank(listing, incremental.until_param, where))
        incremental = incremental.model_copy(update={"until_param": f"variables.{incremental.until_param}"})
    kinds = {n: _argument(listing, n, where) for n in dict.fromkeys([*one.arguments, *passed])}
    text = checked(schema, document(listing.keys, _selected(listing, fields, paging), kinds), where)
    return ListSettings(
        path="", method="POST", body={"query": text, "variables": variables}, records=_records(listing),
        format="json", paging=pages, incremental=incremental, key=one.key or _key(fields), trust=False,
        fields={} if one.nested == "children" else {**fields.types, **one.types},
        types={name: kind for name, kind in {**fields.types, **one.types}.items() if kind != "json"},
        titles=dict(fields.titles), nested=one.nested, others="ignore",
        cache_seconds=one.cache_seconds, title=one.title or (listing.field.description or "").partition("\n")[0],
        errors="errors",
    )  # fmt: skip


def _kind(listing: Listing) -> Paging:
    if listing.relay:
        return "relay"
    if listing.argument(SIZES):
        return "offset" if listing.argument(OFFSETS) else "page" if listing.argument(PAGES) else "none"
    return "none"


def _paging(listing: Listing, kind: Paging, size: int, where: str) -> tuple[PagingSettings, list[str]]:
    """How its pages go on, and the arguments that takes."""
    sized = listing.argument(SIZES)
    told: dict[str, Any] = {"size": size, "size_param": f"variables.{sized}"} if sized else {}
    passed = [sized] if sized else []
    at = ".".join(("data", *listing.keys))
    if kind == "none":
        if sized and listing.argument((*OFFSETS, *PAGES, "after")):
            passed, told = [], {}
        return PagingSettings(kind="none", **told), passed
    if kind == "relay":
        if not listing.relay:
            raise InvalidSettingsError(
                f"{'.'.join(listing.keys)} has no pageInfo and `after`", path=f"{where}.paging",
                hint="use offset, page or none",
            )  # fmt: skip
        return (
            PagingSettings(kind="cursor", param="variables.after", next=f"{at}.pageInfo.endCursor",
                           more=f"{at}.pageInfo.hasNextPage", **told),
            ["after", *passed],
        )  # fmt: skip
    name = listing.argument(OFFSETS if kind == "offset" else PAGES)
    if not name:
        raise InvalidSettingsError(
            f"{'.'.join(listing.keys)} has no argument for {kind}", path=f"{where}.paging",
            hint=f"its arguments: {', '.join(listing.field.args) or 'none'}",
        )  # fmt: skip
    total = _total(listing)
    return (
        PagingSettings(kind=kind, param=f"variables.{name}", total=f"{at}.{total}" if total else "", **told),
        [name, *passed],
    )


def _total(listing: Listing) -> str:
    held = listing.holder.fields if listing.holder and listing.inside else {}
    return next((name for name in _TOTALS if name in held), "")


def _argument(listing: Listing, name: str, where: str) -> str:
    """The type of an argument."""
    if name not in listing.field.args:
        names = list(listing.field.args)
        raise InvalidSettingsError(
            f"{'.'.join(listing.keys)} has no argument {name!r}", path=f"{where}.arguments",
            hint=f"near are: {nearest(name, names) or ', '.join(names) or 'none'}",
        )  # fmt: skip
    return str(listing.field.args[name].type)


def _blank(listing: Listing, path: str, where: str) -> Any:
    """What stands in the variables until a value does: a number where the schema wants one."""
    first, *rest = path.split(".")
    _argument(listing, first, where)
    kind = get_named_type(listing.field.args[first].type)
    for key in rest:
        fields = kind.fields if isinstance(kind, GraphQLInputObjectType) else {}
        if key not in fields:
            raise InvalidSettingsError(
                f"the argument {path!r} does not exist: {kind.name} has no {key!r}", path=f"{where}.incremental.param",
                hint=f"it has: {', '.join(fields) or 'no fields'}",
            )  # fmt: skip
        kind = get_named_type(fields[key].type)
    return 0 if kind.name in ("Int", "Float", "Long", "BigInt") else None


def _place(variables: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        variables = variables.setdefault(key, {})
    if value is not None:
        variables.setdefault(last, value)


def _selected(listing: Listing, fields: Chosen, paging: Paging) -> str:
    text = fields.text
    for name in reversed(listing.inside):
        text = f"{name} {{ {text} }}"
    if paging == "relay":
        text = f"{text} {_INFO}"
    total = _total(listing) if paging in ("offset", "page") else ""
    return f"{text} {total}" if total else text


def _records(listing: Listing) -> str:
    """Keys that lead to the array; of edges a JMESPath, since each record stands in one of its own."""
    at = ".".join(("data", *listing.keys))
    return f"{at}.edges[].node" if listing.inside == ("edges", "node") else ".".join((at, *listing.inside))


def _key(fields: Chosen) -> tuple[str, ...]:
    return ("id",) if "id" in fields.required else ()
