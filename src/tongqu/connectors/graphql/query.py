"""Makes the query that reads a list: its fields, its arguments as variables, and what tells the pages apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_required_argument,
    parse,
    validate,
)

from tongqu.connectors.graphql.schema import Record
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.patterns import nearest

_TYPES = {
    "Int": "int64", "Float": "double", "Boolean": "bool", "String": "string", "ID": "string", "Date": "date",
    "DateTime": "timestamptz", "Timestamp": "timestamptz", "ISO8601DateTime": "timestamptz", "ISO8601Date": "date",
    "Long": "int64", "BigInt": "int64", "Int64": "int64", "UUID": "uuid", "JSON": "json", "JSONObject": "json",
    "Time": "time", "LocalDate": "date",
}  # fmt: skip
"""Scalars by name; of the vendor's own ones the first page shows what they are."""


@dataclass(frozen=True)
class Chosen:
    """Fields to ask for: the selection as text, and the columns with their types and titles."""

    text: str
    types: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    """Columns that cannot be null."""


def chosen(record: Record, select: Iterable[str], depth: int) -> Chosen:
    """The fields of a record: those that are named (`customer.name`), or all scalars and those of single objects down
    to `depth`. Fields that need arguments are only asked for where they are named, and then refused."""
    wanted = tuple(select)
    for name in wanted:
        _known(record, name)
    types, titles, texts, required = dict[str, str](), dict[str, str](), list[str](), list[str]()
    for name, one in record.fields.items():
        below = tuple(w.partition(".")[2] for w in wanted if w == name or w.startswith(f"{name}."))
        if wanted and not below:
            continue
        if any(is_required_argument(argument) for argument in one.args.values()):
            if wanted:
                raise InvalidSettingsError(f"the field {name!r} needs arguments", path="select", hint="leave it out")
            continue
        text = _field(name, one.type, tuple(b for b in below if b), depth, named=bool(wanted))
        if text is None:
            continue
        texts.append(text)
        types[name] = _type(one.type)
        if one.description:
            titles[name] = one.description.strip().partition("\n")[0][:120]
        if isinstance(one.type, GraphQLNonNull):
            required.append(name)
    if not texts:
        raise InvalidSettingsError(f"{record.name} has no field that can be asked for", hint="set select or depth")
    return Chosen(" ".join(texts), types, titles, tuple(required))


def _field(name: str, kind: Any, below: tuple[str, ...], depth: int, *, named: bool) -> str | None:
    """The text that asks for a field; None for one that is not asked for."""
    held = get_named_type(kind)
    if isinstance(held, GraphQLScalarType | GraphQLEnumType):
        return name
    if not isinstance(held, GraphQLObjectType | GraphQLInterfaceType):
        return f"{name} {{ __typename }}" if named else None
    several = isinstance(get_nullable_type(kind), GraphQLList)
    if not named and (depth <= 1 or several or held.name.endswith("Connection")):
        return None
    try:
        inner = chosen(held, below, depth - 1 if not below else depth)
    except InvalidSettingsError:
        if named:
            raise
        return None
    return f"{name} {{ {inner.text} }}"


def _known(record: Record, name: str) -> None:
    first = name.partition(".")[0]
    if first not in record.fields:
        raise InvalidSettingsError(
            f"{record.name} has no field {first!r}", path="select",
            hint=f"near are: {nearest(first, list(record.fields)) or ', '.join(list(record.fields)[:20])}",
        )  # fmt: skip


def _type(kind: Any) -> str:
    held = get_named_type(kind)
    if isinstance(get_nullable_type(kind), GraphQLList) or not isinstance(held, GraphQLScalarType | GraphQLEnumType):
        return "json"
    return "string" if isinstance(held, GraphQLEnumType) else _TYPES.get(held.name, "string")


def document(keys: tuple[str, ...], selection: str, arguments: Mapping[str, Any], *, operation: str = "query") -> str:
    """An operation on the field that the keys lead to; `arguments` become variables of these types."""
    variables = ", ".join(f"${name}: {kind}" for name, kind in arguments.items())
    passed = ", ".join(f"{name}: ${name}" for name in arguments)
    inner = f" {{ {selection} }}" if selection else ""
    text = f"{keys[-1]}{f'({passed})' if passed else ''}{inner}"
    for key in reversed(keys[:-1]):
        text = f"{key} {{ {text} }}"
    return f"{operation} Tongqu{f'({variables})' if variables else ''} {{ {text} }}"


def checked(schema: GraphQLSchema, text: str, where: str) -> str:
    """The document, if the schema allows it; raises InvalidSettingsError with what is wrong."""
    try:
        wrong = validate(schema, parse(text))
    except GraphQLError as error:
        wrong = [error]
    if wrong:
        raise InvalidSettingsError(f"{where}: {wrong[0].message}", path=where, hint=f"the query is: {text[:300]}")
    return text
