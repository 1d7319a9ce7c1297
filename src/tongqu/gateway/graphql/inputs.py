"""The input types of one API for one caller: conditions, order, parameters, keys and rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
)

from tongqu.gateway.graphql.exposed import Exposed
from tongqu.gateway.graphql.names import free, graphql_name
from tongqu.gateway.graphql.scalars import DIRECTION, filter_of, type_of
from tongqu.gateway.validating import schema_of

FIELD = "="
"""Stands before a field's own name in a condition as it is read, to tell it from `and`, `or` and `not`."""
_ORDERABLE = frozenset(("int", "decimal", "float", "text", "bool", "date", "timestamp", "instant", "time", "uuid"))
Fields = dict[str, GraphQLInputField]


class Inputs:
    """The inputs of one API. `name` is its type's, `taken` are the names of all types, `other` gives the inputs of the
    API that a relation leads to."""

    def __init__(self, of: Exposed, name: str, taken: set[str], other: Callable[[str], Inputs | None]) -> None:
        self._of, self._other, self._taken = of, other, taken
        self._name = name

    def _input(self, suffix: str, fields: Any, **more: Any) -> GraphQLInputObjectType:
        return GraphQLInputObjectType(free(f"{self._name}_{suffix}", self._taken), fields, **more)

    @cached_property
    def where(self) -> GraphQLInputObjectType:
        """Conditions over the fields that the caller sees and the database can compare."""

        def fields() -> Fields:
            made: Fields = {}
            for name, seen in self._of.shown.items():
                if seen.after is None:
                    made[graphql_name(name)] = GraphQLInputField(filter_of(seen.field), out_name=FIELD + name)
            taken = set(made)
            several = GraphQLList(GraphQLNonNull(self.where))
            made[free("and", taken)] = GraphQLInputField(several, out_name="and")
            made[free("or", taken)] = GraphQLInputField(several, out_name="or")
            made[free("not", taken)] = GraphQLInputField(self.where, out_name="not")
            return made

        return self._input("where", fields, description="All that is given must hold.")

    @cached_property
    def order(self) -> GraphQLInputObjectType | None:
        """One key of an order."""
        made = {
            graphql_name(name): GraphQLInputField(DIRECTION, out_name=name)
            for name, seen in self._of.shown.items()
            if seen.after is None and seen.family in _ORDERABLE
        }
        return self._input("order", made, is_one_of=True) if made else None

    @cached_property
    def reaching(self) -> GraphQLInputObjectType | None:
        """Conditions on related rows, by relation."""
        found = {name: self._other(relation.api) for name, relation in self._of.relations.items()}
        if not found:
            return None
        made = {graphql_name(name): (name, one) for name, one in found.items() if one is not None}
        return self._input(
            "related",
            lambda: {key: GraphQLInputField(one.where, out_name=name) for key, (name, one) in made.items()},
            description="By relation: what holds for a related row.",
        )

    def arguments(self) -> dict[str, GraphQLArgument]:
        """`arguments`, where the API stands on an SQL text with parameters."""
        entries = self._of.api.entry.source.parameters
        if not entries:
            return {}
        fields: Fields = {}
        needed = False
        for name, entry in entries.items():
            must = entry.required and entry.default is None
            needed |= must
            kind = self._parameter(name)
            fields[graphql_name(name)] = GraphQLInputField(
                GraphQLNonNull(kind) if must else kind, out_name=name, description=entry.description or None
            )
        made = self._parameters(fields)
        return {"arguments": GraphQLArgument(GraphQLNonNull(made) if needed else made)}

    _made: GraphQLInputObjectType | None = None

    def _parameters(self, fields: Fields) -> GraphQLInputObjectType:
        if self._made is None:
            self._made = self._input("arguments", fields)
        return self._made

    def _parameter(self, name: str) -> Any:
        known = self._of.api.parameters.get(name)
        if isinstance(known, pa.DataType):
            known = pa.field(name, known)
        return type_of(known) if isinstance(known, pa.Field) else GraphQLString

    def choosing(self) -> dict[str, GraphQLArgument]:
        """The arguments that choose rows."""
        made = {"where": GraphQLArgument(self.where)}
        if self.reaching is not None:
            made["with"] = GraphQLArgument(self.reaching, description="Only rows that have such related rows.")
            made["without"] = GraphQLArgument(self.reaching, description="Only rows that have no such related rows.")
        return made | self.arguments()

    def placing(self) -> dict[str, GraphQLArgument]:
        """The arguments of order and part."""
        made: dict[str, GraphQLArgument] = {}
        if self.order is not None:
            made["orderBy"] = GraphQLArgument(GraphQLList(GraphQLNonNull(self.order)))
        return made | {"limit": GraphQLArgument(GraphQLInt), "offset": GraphQLArgument(GraphQLInt)}

    def key(self) -> dict[str, GraphQLArgument]:
        """The arguments that name one row; empty if the caller does not see the key as it is."""
        view = self._of.view
        if view is None or self._of.api.entry.source.parameters:
            return {}
        return {
            graphql_name(name): GraphQLArgument(GraphQLNonNull(type_of(view.fields[name].field)), out_name=FIELD + name)
            for name in view.key
        }

    def row(self, suffix: str, fields: Mapping[str, pa.Field[Any]], *, whole: bool) -> GraphQLInputObjectType:
        """A row that sets some of the fields; of a `whole` one those that must be there are."""
        needed = schema_of(self._of.api, fields, whole=whole).get("required", ())
        made = {
            graphql_name(name): GraphQLInputField(
                GraphQLNonNull(type_of(field)) if name in needed else type_of(field), out_name=name
            )
            for name, field in fields.items()
        }
        return self._input(suffix, made)
