"""The schema of a GraphQL API: asked for by introspection or read from a file, and the lists it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLSchema,
    build_client_schema,
    build_schema,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_required_argument,
)

from tongqu.core.errors import AnswerError, InvalidSettingsError, NotFoundError
from tongqu.kit.answers.cutting import told_errors
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.patterns import nearest

Record = GraphQLObjectType | GraphQLInterfaceType
SIZES = ("first", "limit", "take", "pageSize", "page_size", "perPage", "per_page", "size")
OFFSETS = ("offset", "skip", "start")
PAGES = ("page", "pageNumber", "page_number", "pageNo", "pageNum", "current")
_LISTS = ("nodes", "items", "results", "records", "rows", "list", "data", "content", "edges")


def schema_of(http: Http, file: str | None) -> GraphQLSchema:
    """The API's schema. Raises InvalidSettingsError for a bad file, AnswerError where the API does not tell."""
    if file is None:
        return _asked(http)
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingsError(f"{file} cannot be read: {error}", path="schema_file") from error
    try:
        if not text.lstrip().startswith("{"):
            return build_schema(text)
        document = json.loads(text)
        return build_client_schema(document.get("data", document))
    except (GraphQLError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidSettingsError(
            f"{file} is no GraphQL schema: {str(error).splitlines()[0]}", path="schema_file",
            hint="SDL (type Query { … }) or the JSON answer of an introspection query",
        ) from error  # fmt: skip


def _asked(http: Http) -> GraphQLSchema:
    query = json.dumps({"query": get_introspection_query(descriptions=True)}).encode()
    call = Call("POST", http.url(""), headers={"Content-Type": "application/json"}, body=query, repeat=Repeat.SAFE,
                accepts=(400, 422))  # fmt: skip
    reply = http.send(call)
    hint = "the API may not answer introspection: give its schema with schema_file"
    try:
        document = json.loads(reply.content)
        told = document.get("errors")
    except (ValueError, AttributeError) as error:
        raise AnswerError(f"{http.url('')} does not answer as a GraphQL API", path=http.url(""), hint=hint) from error
    if told or not document.get("data"):
        raise AnswerError(f"introspection failed: {told_errors(told) or 'no data'}", path=http.url(""), hint=hint)
    try:
        return build_client_schema(document["data"])
    except (GraphQLError, TypeError, ValueError, KeyError) as error:
        cause = str(error).splitlines()[0]
        raise AnswerError(f"the API's own schema is wrong: {cause}", path=http.url(""), hint=hint) from error


class Listing:
    """A field that gives a list: its keys from the query type, and where in its value the records and pages are."""

    def __init__(self, schema: GraphQLSchema, keys: tuple[str, ...]):
        self.schema = schema
        self.keys = keys
        self.fields = _path(schema, keys)
        self.field = self.fields[-1]
        value = get_nullable_type(self.field.type)
        self.inside: tuple[str, ...] = ()
        if not isinstance(value, GraphQLList):
            self.inside, value = _listed(get_named_type(value))
        found = get_named_type(value) if value is not None else None
        if not isinstance(found, GraphQLObjectType | GraphQLInterfaceType):
            raise InvalidSettingsError(f"{'.'.join(keys)} gives no list of objects", path="field")
        self.record: Record = found
        holder = get_named_type(self.field.type)
        self.holder = holder if isinstance(holder, GraphQLObjectType | GraphQLInterfaceType) else None

    @property
    def relay(self) -> bool:
        """Whether it is a connection with a forward cursor (Relay's Cursor Connections specification)."""
        info = self.holder.fields.get("pageInfo") if self.holder and self.inside else None
        told = get_named_type(info.type) if info else None
        held = isinstance(told, GraphQLObjectType) and {"hasNextPage", "endCursor"} <= set(told.fields)
        return held and "after" in self.field.args

    def argument(self, names: tuple[str, ...]) -> str:
        """The first of these that it has as an argument; empty if none."""
        return next((name for name in names if name in self.field.args), "")

    def needs(self) -> list[str]:
        """Required arguments of the field, or of those on the way to it."""
        own = {*SIZES, *OFFSETS, *PAGES}
        found = [
            (field, name) for field in self.fields for name, one in field.args.items() if is_required_argument(one)
        ]
        return [name for field, name in found if not (field is self.field and name in own)]


def _path(schema: GraphQLSchema, keys: tuple[str, ...]) -> list[GraphQLField]:
    above: Any = schema.query_type
    found: list[GraphQLField] = []
    for key in keys:
        if above is None or not hasattr(above, "fields") or key not in above.fields:
            names = sorted(above.fields) if hasattr(above, "fields") else []
            raise NotFoundError(
                f"the schema has no field {'.'.join(keys)!r}", path="field",
                hint=f"near are: {nearest(key, names) or ', '.join(names[:20]) or 'none'}",
            )  # fmt: skip
        found.append(above.fields[key])
        above = get_named_type(above.fields[key].type)
    return found


def _listed(kind: Any) -> tuple[tuple[str, ...], Any]:
    """Where a page's type holds its records: `nodes`, the `node` of `edges`, or its only list of objects."""
    if not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        return (), None
    lists = {
        name: value.of_type
        for name, field in kind.fields.items()
        if isinstance(value := get_nullable_type(field.type), GraphQLList)
        and isinstance(get_named_type(value), GraphQLObjectType | GraphQLInterfaceType)
    }
    name = next((one for one in _LISTS if one in lists), next(iter(lists)) if len(lists) == 1 else "")
    if not name:
        return (), None
    edge = get_named_type(lists[name])
    if name == "edges" and isinstance(edge, GraphQLObjectType | GraphQLInterfaceType) and "node" in edge.fields:
        return ("edges", "node"), edge.fields["node"].type
    return (name,), lists[name]


def listings(schema: GraphQLSchema) -> Iterator[tuple[str, Listing]]:
    """The lists that can be read with nothing said about them: fields of the query type, and of single objects in it
    that need no argument (`viewer.orders`)."""
    if schema.query_type is None:
        return
    for name, field in schema.query_type.fields.items():
        try:
            found = Listing(schema, (name,))
        except InvalidSettingsError:
            yield from _below(schema, name, field)
            continue
        if not found.needs():
            yield name, found


def _below(schema: GraphQLSchema, above: str, field: GraphQLField) -> Iterator[tuple[str, Listing]]:
    held = get_named_type(field.type)
    if any(is_required_argument(one) for one in field.args.values()) or not isinstance(held, GraphQLObjectType):
        return
    for name in held.fields:
        try:
            found = Listing(schema, (above, name))
        except InvalidSettingsError:
            continue
        if not found.needs():
            yield f"{above}.{name}", found
