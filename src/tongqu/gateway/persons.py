"""Notes whose rows a caller was given, as keyed digests, so that one can tell later which persons were concerned."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tongqu.core.server import Format, Limits, Page, Query
from tongqu.gateway.publication import Api
from tongqu.gateway.rendering import rendered
from tongqu.gateway.rewrite import Rewritten

if TYPE_CHECKING:
    from sqlglot import exp

    from tongqu.gateway.asking import Ask

Digest = Callable[[str, Any], str]
"""The digest of a person, of an identity and its value."""
_KEPT = 512
NOTED: ContextVar[set[str] | None] = ContextVar("noted", default=None)
"""Where the digests of the rows that are being read go."""


class Persons:
    """Asks for the fields that tell whose a row is beside what a caller asked, and never gives them."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._kept: OrderedDict[int, tuple[exp.Query, exp.Query]] = OrderedDict()

    async def page(self, api: Api, ask: Ask, rewritten: Rewritten, format: Format, limits: Limits) -> Page:
        """The page as the server gives it; the digests of the persons in it are added to `NOTED`.

        Of groups of rows only those persons are noted that a group names. The very rows that are given are noted; only
        of Arrow the persons are asked for by a second query.
        """
        noted = NOTED.get()
        query, server = rewritten.query, api.server
        if noted is None or not api.subjects:
            return await server.query(query, format, limits)
        names = tuple(field.name for field in query.columns)
        if any(item.aggregate for item in ask.wanted or ()):
            found = {item.name or item.field: item.field for item in ask.wanted or () if not item.aggregate}
            told = {i: names.index(out) for i, own in api.subjects.items() for out, field in found.items()
                    if field == own.name and field not in rewritten.masks}  # fmt: skip
            if not told:
                return await server.query(query, format, limits)
            page = await server.query(query, "rows", limits)
            self._note(noted, told, page.values)
            return _as(page, page.values, names, format)
        more = self._with(query, api)
        if format == "arrow":
            page = await server.query(query, format, limits)
            beside = await server.query(more, "rows", limits)
            self._note(noted, _places(api, len(names)), beside.values)
            return page
        page = await server.query(more, "rows", limits)
        self._note(noted, _places(api, len(names)), page.values)
        return _as(page, [row[: len(names)] for row in page.values], names, format)

    def _note(self, noted: set[str], places: dict[str, int], values: Sequence[Sequence[Any]]) -> None:
        for identity, place in places.items():
            for value in {row[place] for row in values}:
                if value is not None:
                    noted.add(self._digest(identity, value))

    def _with(self, query: Query, api: Api) -> Query:
        kept = self._kept.get(id(query.tree))
        if kept is None or kept[0] is not query.tree:
            kept = self._kept[id(query.tree)] = (query.tree, _widened(query, api))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        fields = [field.with_name(f"_person_{n}") for n, field in enumerate(api.subjects.values())]
        return replace(query, tree=kept[1], columns=(*query.columns, *fields))


def _places(api: Api, start: int) -> dict[str, int]:
    return {identity: start + n for n, identity in enumerate(api.subjects)}


def _widened(query: Query, api: Api) -> exp.Query:
    """The tree with the fields that tell whose a row is behind its columns, before the keys."""
    from sqlglot import exp

    tree = query.tree.copy()
    source: Any = tree.find(exp.From)
    inner = source.this.this
    added = []
    for number, field in enumerate(api.subjects.values()):
        inner.select(exp.alias_(exp.column(field.name, quoted=True), f"_person_{number}", quoted=True), copy=False)
        column = exp.column(f"_person_{number}", table=source.this.alias, quoted=True)
        added.append(exp.alias_(column, f"_person_{number}", quoted=True))
    own = len(query.columns)
    tree.set("expressions", [*tree.expressions[:own], *added, *tree.expressions[own:]])
    return tree


def _as(page: Page, values: Sequence[Sequence[Any]], names: tuple[str, ...], format: Format) -> Page:
    """The page in the format that was asked for."""
    if format == "rows":
        return replace(page, values=values)
    body, _ = rendered([dict(zip(names, row, strict=True)) for row in values], names, format)
    return replace(page, body=body, values=())
