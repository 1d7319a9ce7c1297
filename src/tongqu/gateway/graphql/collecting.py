"""The fields of a selection, with fragments opened, `@skip` and `@include` obeyed and equal names put together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSkipDirective,
    get_argument_values,
    get_directive_values,
    get_named_type,
)

from tongqu.gateway.graphql.schema import TEXT

_SIMPLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class Chosen:
    """A field under one name of the answer. `field` is the schema's, None for `__typename`; `parent`
    its type's name."""

    key: str
    name: str
    nodes: tuple[FieldNode, ...]
    field: Any
    parent: str
    arguments: dict[str, Any]

    @property
    def kind(self) -> GraphQLObjectType:
        """The type of objects that it gives."""
        return cast("GraphQLObjectType", get_named_type(self.field.type))


@dataclass(frozen=True)
class Collecting:
    """One operation's document and variables."""

    document: DocumentNode
    variables: Any
    fragments: dict[str, FragmentDefinitionNode] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.document.definitions:
            if isinstance(one, FragmentDefinitionNode):
                self.fragments[one.name.value] = one

    def below(self, chosen: Chosen) -> list[Chosen]:
        """The fields of the objects that a field gives."""
        return self.of(chosen.kind, [node.selection_set for node in chosen.nodes if node.selection_set is not None])

    def of(self, kind: GraphQLObjectType, selections: Sequence[Any]) -> list[Chosen]:
        """The fields of a type's selections, each name once. Raises GraphQLError for arguments that do not fit."""
        found: dict[str, list[FieldNode]] = {}
        for selection in selections:
            self._collect(selection, found)
        made = []
        for key, nodes in found.items():
            name = nodes[0].name.value
            defined = None if name.startswith("__") else kind.fields[name]
            arguments = get_argument_values(defined, nodes[0], self.variables, hide_suggestions=True) if defined else {}
            made.append(Chosen(key, name, tuple(nodes), defined, kind.name, arguments))
        return made

    def as_text(self, chosen: Chosen) -> bool:
        """Whether a value is wanted as text."""
        return get_directive_values(TEXT, chosen.nodes[0], self.variables) is not None

    def _collect(self, selection: Any, found: dict[str, list[FieldNode]]) -> None:
        for node in selection.selections:
            if self._left_out(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias is not None else node.name.value
                found.setdefault(key, []).append(node)
            elif isinstance(node, FragmentSpreadNode):
                self._collect(self.fragments[node.name.value].selection_set, found)
            else:
                self._collect(node.selection_set, found)

    def _left_out(self, node: Any) -> bool:
        skip = get_directive_values(GraphQLSkipDirective, node, self.variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self.variables)
        return bool(skip and skip["if"]) or bool(include is not None and not include["if"])


class Inner:
    """Names of outputs inside the gateway: those of the answer where a database can be asked for them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._taken = {key.lower() for key in keys}
        self._used: set[str] = set()

    def name(self, key: str) -> str:
        """The name for a field of the answer, or a new one for what the answer does not show (an empty key)."""
        if _SIMPLE.fullmatch(key) and key.lower() not in self._used:
            self._used.add(key.lower())
            return key
        number = len(self._used)
        while f"x{number}" in self._taken or f"x{number}" in self._used:
            number += 1
        self._used.add(f"x{number}")
        return f"x{number}"
