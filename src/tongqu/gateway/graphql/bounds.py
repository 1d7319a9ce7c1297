"""Measures an operation before it is looked at any further: nesting, fields, aliases, fragments that go in circles."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from graphql import DocumentNode, FieldNode, FragmentDefinitionNode, FragmentSpreadNode, OperationDefinitionNode

from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import GraphqlEntry

_INTROSPECTION_DEPTH = 24
_INTROSPECTION_FIELDS = 1000
_SAME = 10
"""Times that one name may stand in one place; comparing them grows with the square."""
_SPREADS = 30
"""Fragments inside fragments."""


@dataclass
class Measured:
    """What a request asks for so far; a batch is measured as one. Raises Problem `query.costly` at the first bound."""

    bounds: GraphqlEntry
    fields: int = 0
    aliases: int = 0
    roots: int = 0
    _hidden: int = 0
    _fragments: dict[str, FragmentDefinitionNode] = field(default_factory=dict)
    _places: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        """Measure one operation. No work is done beyond a bound, however much the document would come to."""
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self._places = Counter()
        self._level(operation.selection_set, (), 0, inside=False)

    def _level(self, selections: Any, place: tuple[str, ...], spread: int, *, inside: bool) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                self._field(node, place, spread, inside=inside)
            elif isinstance(node, FragmentSpreadNode):
                found = self._fragments.get(node.name.value)
                if spread >= _SPREADS:
                    raise costly("fragments nest too deep, or in a circle")
                if found is not None:
                    self._count(inside=inside)
                    self._level(found.selection_set, place, spread + 1, inside=inside)
            else:
                self._count(inside=inside)
                self._level(node.selection_set, place, spread + 1, inside=inside)

    def _field(self, node: FieldNode, place: tuple[str, ...], spread: int, *, inside: bool) -> None:
        name = node.name.value
        key = node.alias.value if node.alias is not None else name
        inside = inside or (not place and name in ("__schema", "__type"))
        self._count(inside=inside)
        if not inside:
            self.aliases += key != name
            self.roots += not place
        here = (*place, key)
        self._places[here] += 1
        bounds = self.bounds
        if len(here) > (_INTROSPECTION_DEPTH if inside else bounds.depth):
            raise costly(f"fields nest at most {bounds.depth} levels deep")
        if self.aliases > bounds.aliases:
            raise costly(f"more than {bounds.aliases} fields under another name")
        if self.roots > bounds.roots:
            raise costly(f"more than {bounds.roots} queries in one request")
        if self._places[here] > _SAME:
            raise costly(f"one field stands more than {_SAME} times in one place")
        if node.selection_set is not None:
            self._level(node.selection_set, here, spread, inside=inside)

    def _count(self, *, inside: bool) -> None:
        if inside:
            self._hidden += 1
        else:
            self.fields += 1
        if self.fields > self.bounds.fields or self._hidden > _INTROSPECTION_FIELDS:
            raise costly(f"more than {self.bounds.fields} fields")


def costly(detail: str) -> Problem:
    """The refusal of a request that asks for too much."""
    return Problem("query.costly", detail)
