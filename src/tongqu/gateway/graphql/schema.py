"""Builds a GraphQL schema of what one caller may see and do; nothing else has a name in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    DirectiveLocation,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDirective,
    GraphQLField,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    specified_directives,
)

from tongqu.core.data import Meta
from tongqu.gateway.graphql.exposed import Exposed
from tongqu.gateway.graphql.inputs import Inputs
from tongqu.gateway.graphql.meanings import Asked, Change, Changed, Meaning, Part, Reached, Value, means
from tongqu.gateway.graphql.names import free, graphql_name
from tongqu.gateway.graphql.scalars import DECIMAL, DOUBLE, INT64, type_of
from tongqu.gateway.rewrite.views import Seen
from tongqu.meaning.fields import metadata

_NUMBERS = frozenset(("int", "decimal", "float"))
_SORTED = _NUMBERS | {"text", "date", "timestamp", "instant", "time"}
_GROUPED = _SORTED | {"bool", "uuid"}
_SCALARS = (
    "String", "Int", "Float", "Boolean", "ID", "Int64", "Decimal", "Double", "Date", "DateTime", "LocalDateTime",
    "Time", "UUID", "Bytes", "JSON",
)  # fmt: skip
_BUILT_IN = {"Query", "Mutation", "PageInfo", "Direction"}.union(
    *((name, f"{name}Filter", f"{name}ListFilter") for name in _SCALARS)
)
TEXT = GraphQLDirective(
    "text", [DirectiveLocation.FIELD],
    description="Gives a whole or decimal number as text, for callers whose numbers hold fewer digits.",
)  # fmt: skip


def _must(kind: Any) -> Any:
    return GraphQLNonNull(kind)


def _each(kind: Any) -> Any:
    return GraphQLNonNull(GraphQLList(GraphQLNonNull(kind)))


def _field(kind: Any, meaning: Meaning, **more: Any) -> GraphQLField:
    return GraphQLField(kind, extensions=means(meaning), **more)


PAGE_INFO = GraphQLObjectType(
    "PageInfo",
    {
        "hasNextPage": _field(_must(GraphQLBoolean), Part("hasNextPage"), description="Whether there may be more."),
        "endCursor": _field(GraphQLString, Part("endCursor"), description="What `after` takes to go on behind."),
    },
)


def schema_for(apis: Mapping[str, Exposed]) -> GraphQLSchema | None:
    """The schema of these APIs; None if nothing can be asked. The same APIs make the same schema."""
    return _Building(apis).schema()


class _Building:
    """One schema in the making."""

    def __init__(self, apis: Mapping[str, Exposed]) -> None:
        self._taken = set(_BUILT_IN)
        self._apis = apis
        self._names = {name: free(graphql_name(name), self._taken) for name in apis}
        self._inputs: dict[str, Inputs] = {
            name: Inputs(one, self._names[name], self._taken, self._inputs_of) for name, one in apis.items()
        }
        self._rows: dict[str, GraphQLObjectType] = {}
        self._groups: dict[str, GraphQLObjectType] = {}

    def _inputs_of(self, name: str) -> Inputs | None:
        return self._inputs.get(name)

    def schema(self) -> GraphQLSchema | None:
        readable = {name: one for name, one in self._apis.items() if one.view is not None}
        for name, one in readable.items():
            self._rows[name] = self._row_type(name, one)
        for name, one in readable.items():
            self._groups[name] = self._group_type(name, one)
        queries: dict[str, GraphQLField] = {}
        taken: set[str] = {graphql_name(name) for name in readable}
        for name, one in readable.items():
            queries |= self._queries(name, one, taken)
        changes: dict[str, GraphQLField] = {}
        for name, one in self._apis.items():
            changes |= self._mutations(name, one, changes)
        if not queries and not changes:
            return None
        nothing = {"nothing": _field(GraphQLBoolean, Part("nothing"), description="Nothing can be read.")}
        return GraphQLSchema(
            GraphQLObjectType("Query", queries or nothing),
            GraphQLObjectType("Mutation", changes) if changes else None,
            directives=[*specified_directives, TEXT],
        )

    def _row_type(self, name: str, one: Exposed) -> GraphQLObjectType:
        def fields() -> dict[str, GraphQLField]:
            made: dict[str, GraphQLField] = {}
            for key, seen in one.shown.items():
                kind = type_of(seen.field)
                made[graphql_name(key)] = _field(
                    kind if seen.nullable else _must(kind), Value(key), description=_about(key, seen)
                )
            taken = set(made)
            for relation, to in one.relations.items():
                if to.api in self._rows:
                    made |= self._related(relation, to.many, to.api, taken)
            return made

        entry = one.api.entry
        titles = dict.fromkeys(text for text in (*entry.title.values(), entry.description) if text)
        return GraphQLObjectType(self._names[name], fields, description="\n\n".join(titles) or None)

    def _related(self, relation: str, many: bool, name: str, taken: set[str]) -> dict[str, GraphQLField]:
        to, inputs, shown = self._apis[name], self._inputs[name], graphql_name(relation)
        reached = Reached(relation, to, groups=False)
        if not many:
            return {free(shown, taken): _field(self._rows[name], reached, args=inputs.arguments())}
        args = inputs.choosing() | inputs.placing()
        made = {free(shown, taken): _field(_each(self._rows[name]), reached, args=args)}
        meaning = Reached(relation, to, groups=True)
        made[free(f"{shown}_groups", taken)] = _field(_each(self._groups[name]), meaning, args=inputs.choosing())
        return made

    def _queries(self, name: str, one: Exposed, taken: set[str]) -> dict[str, GraphQLField]:
        inputs, shown = self._inputs[name], graphql_name(name)
        row, gone = self._rows[name], _gone(one)
        page = GraphQLObjectType(
            free(f"{self._names[name]}_page", self._taken),
            {
                "nodes": _field(_each(row), Part("nodes")),
                "pageInfo": _field(_must(PAGE_INFO), Part("pageInfo")),
                "totalCount": _field(_must(INT64), Part("totalCount"), description="All rows, not only these."),
            },
        )
        args = inputs.choosing() | inputs.placing() | {"after": GraphQLArgument(GraphQLString)}
        made = {shown: _field(page, Asked("page", one), args=args, deprecation_reason=gone)}
        if key := inputs.key():
            made[free(f"{shown}_by_key", taken)] = _field(row, Asked("one", one), args=key, deprecation_reason=gone)
        args = inputs.choosing() | inputs.placing()
        made[free(f"{shown}_groups", taken)] = _field(
            GraphQLList(_must(self._groups[name])), Asked("groups", one), args=args, deprecation_reason=gone,
            description="Rows counted and summed up by the fields that are chosen in `by`; without, all together.",
        )  # fmt: skip
        return made

    def _group_type(self, name: str, one: Exposed) -> GraphQLObjectType:
        fields = {key: seen for key, seen in one.shown.items() if seen.after is None}
        parts: dict[str, Any] = {
            "by": {key: type_of(seen.field) for key, seen in fields.items() if seen.family in _GROUPED},
            "sum": {key: _sum(seen) for key, seen in fields.items() if seen.family in _NUMBERS},
            "avg": {key: DOUBLE for key, seen in fields.items() if seen.family in _NUMBERS},
            "min": {key: type_of(seen.field) for key, seen in fields.items() if seen.family in _SORTED},
        }
        parts["max"] = parts["min"]
        made = {"count": _field(_must(INT64), Part("count"), description="Rows of the group.")}
        for word, kinds in parts.items():
            if kinds:
                inner = {graphql_name(key): _field(kind, Value(key)) for key, kind in kinds.items()}
                kept = GraphQLObjectType(free(f"{self._names[name]}_{word}", self._taken), inner)
                made[word] = _field(_must(kept), Part(word))
        return GraphQLObjectType(free(f"{self._names[name]}_group", self._taken), made)

    def _mutations(self, name: str, one: Exposed, before: Mapping[str, GraphQLField]) -> dict[str, GraphQLField]:
        found = self._changes(name, one)
        if not found:
            return {}
        fields = {"touched": _field(_must(GraphQLInt), Part("touched"), description="Rows that were changed."),
                  "inserted": _field(_must(GraphQLInt), Part("inserted"), description="Rows that are new."),
                  "replayed": _field(_must(GraphQLBoolean), Part("replayed"),
                                     description="Whether an earlier call of the same key did it.")}  # fmt: skip
        if name in self._rows:
            fields["rows"] = _field(_each(self._rows[name]), Part("rows"), description="The rows as they are now.")
        told = GraphQLObjectType(free(f"{self._names[name]}_changed", self._taken), fields)
        key = _must(GraphQLString) if one.api.entry.write.idempotency == "required" else GraphQLString
        once = {"idempotencyKey": GraphQLArgument(key, description="Calls of the same key have one effect.")}
        taken, shown = set(before), graphql_name(name)
        made: dict[str, GraphQLField] = {}
        for kind, args in found.items():
            word, _, by_key = kind.partition("_")
            title = free(f"{word}_{shown}{'_by_key' if by_key else ''}", taken)
            made[title] = _field(told, Changed(kind, one), args=args | once, deprecation_reason=_gone(one))
        return made

    def _changes(self, name: str, one: Exposed) -> dict[Change, dict[str, GraphQLArgument]]:
        inputs, made = self._inputs[name], dict[Change, dict[str, GraphQLArgument]]()
        free_to_change = not one.api.entry.write.conditional
        if fields := one.settable("insert"):
            made["insert"] = {"rows": GraphQLArgument(_each(inputs.row("insert", fields, whole=True)))}
        fields = one.settable("insert", "update")
        if fields and free_to_change and one.api.dataset.key and set(one.api.dataset.key) <= set(fields):
            made["upsert"] = {"rows": GraphQLArgument(_each(inputs.row("upsert", fields, whole=True)))}
        if one.view is None or not free_to_change:
            return made
        where, key = {"where": GraphQLArgument(_must(inputs.where))}, inputs.key()
        if fields := one.settable("update"):
            row = {"set": GraphQLArgument(_must(inputs.row("set", fields, whole=False)))}
            made["update"] = where | row
            if key:
                made["update_one"] = _beside(key, row)
        if one.deletable:
            made["delete"] = where
            if key:
                made["delete_one"] = _beside(key, {})
        return made


def _beside(key: Mapping[str, GraphQLArgument], more: Mapping[str, GraphQLArgument]) -> dict[str, GraphQLArgument]:
    """The key's arguments with others, whose names stay as they are."""
    taken = {*more, "idempotencyKey"}
    return {free(name, taken): one for name, one in key.items()} | dict(more)


def _sum(seen: Seen) -> Any:
    return DOUBLE if seen.family == "float" else DECIMAL


def _about(name: str, seen: Seen) -> str | None:
    told = metadata(seen.field)
    unit = told.get(Meta.UNIT, "")
    words = [told.get(Meta.TITLE, ""), f"in {unit}" if unit else "", "masked" if seen.mask is not None else ""]
    if graphql_name(name) != name:
        words.insert(0, f"`{name}`")
    return ", ".join(word for word in words if word) or None


def _gone(one: Exposed) -> str | None:
    entry = one.api.entry
    if not entry.deprecated:
        return None
    words = [f"deprecated since {entry.deprecated}"]
    words += [f"withdrawn on {entry.sunset}"] if entry.sunset else []
    words += [f"use {entry.successor}"] if entry.successor else []
    return ", ".join(words)
