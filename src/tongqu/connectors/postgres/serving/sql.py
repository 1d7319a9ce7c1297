"""The rewriter's trees as PostgreSQL's text: numbered parameters, text by code point, rows as JSON by the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.postgres.db import quoted
from tongqu.core.data import Meta
from tongqu.core.server import Query
from tongqu.kit.serving.trees import COMPARISONS, Texts, holes, operands, put, tables, text_of

Resolve = Callable[[str], Awaitable[tuple[str, str]]]
"""The schema and table of a dataset's name."""

_ORDERING = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.Min, exp.Max, exp.Ordered)
_SAYING = frozenset(("text", "varchar", "bpchar", "name", "uuid", "date", "time", "timestamp", "timestamptz", "timetz",
                     "interval", "bytea", "inet", "cidr", "macaddr", "macaddr8", "xml", "bit", "varbit"))  # fmt: skip
"""Types whose values are JSON texts already."""
_RANK = {"int2": "int", "int4": "int", "int8": "int", "oid": "int", "float4": "float", "float8": "float",
         "numeric": "decimal", "bool": "bool", "date": "date", "time": "time", "timestamp": "timestamp",
         "timestamptz": "timestamptz", "bytea": "bytea", "text": "text", "varchar": "text", "bpchar": "text",
         "name": "text", "json": "json", "jsonb": "json"}  # fmt: skip
_NO_NUMBERS = {"money": "numeric", "oid": "int8"}
"""Types whose JSON is a text although they are numbers, and what they are cast to."""
_CASTS = {"int": "int8", "float": "float8", "decimal": "numeric", "text": "text"}


@dataclass(frozen=True)
class Statement:
    """SQL with `$n`, and the names of the parameters in that order."""

    sql: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Attribute:
    """A column that a statement gives: its name, and its type as pg_type has it with its kind."""

    name: str
    type: str
    kind: str = "scalar"


async def placed(tree: exp.Expr, resolve: Resolve) -> exp.Expr:
    """The tree with its datasets named by schema and table where the name holds both; the tree is changed in place."""
    for node in tables(tree):
        if "." in node.name:
            schema, name = await resolve(node.name)
            node.set("this", exp.to_identifier(name, quoted=True))
            node.set("db", exp.to_identifier(schema, quoted=True))
    return tree


def by_code_point(tree: exp.Expr, is_text: Texts, *, equality: bool) -> exp.Expr:
    """Text is put in order and compared with the collation "C", in place. Equal texts are the same in every
    deterministic collation, so that equality keeps its index; `equality` where there are others."""
    kinds = (*_ORDERING, *COMPARISONS, exp.In, exp.Like, exp.ILike, exp.RegexpLike) if equality else _ORDERING
    for node in list(tree.find_all(*kinds)):
        single = isinstance(node, exp.Min | exp.Max | exp.Ordered)
        for part in [node.this] if single else operands(node):
            if is_text(part) and not isinstance(part, exp.Collate):
                put(part, exp.Collate(this=part.copy(), expression=exp.to_identifier("C", quoted=True)))
    if equality:
        for group in list(tree.find_all(exp.Group)):
            for part in group.expressions:
                if is_text(part):
                    part.replace(exp.Collate(this=part.copy(), expression=exp.to_identifier("C", quoted=True)))
    return tree


def numbered(tree: exp.Expr, wide: frozenset[str] = frozenset(), names: Sequence[str] = ()) -> Statement:
    """The statement of a tree, which is changed in place. `wide` are parameters whose numbers do not fit the column's
    type; `names` are parameters that stand before these."""
    known = {name: number for number, name in enumerate(names, 1)}
    for hole in list(holes(tree)):
        name = hole.name
        number = exp.Parameter(this=exp.Literal.number(known.setdefault(name, len(known) + 1)))
        made = exp.Cast(this=number, to=exp.DataType.build("decimal")) if name in wide else number
        if hole is tree:
            tree = made
        else:
            put(hole, made)
    return Statement(text_of(tree, "postgres"), tuple(known))


def doubled_keys(query: Query) -> tuple[exp.Query, tuple[int, ...]] | None:
    """The tree without its keys, and the columns that they are the same as; None if they are not all columns."""
    selects = query.tree.selects
    count = len(selects) - query.keys
    plain = [one.unalias().sql() for one in selects[:count]]
    keys = selects[count:]
    if not isinstance(query.tree, exp.Select) or any(one.unalias().sql() not in plain for one in keys):
        return None
    aliases = {one.alias for one in keys if isinstance(one, exp.Alias)}
    tree = query.tree.copy()
    tree.set("expressions", tree.expressions[:count])
    if any(column.name in aliases and not column.table for column in tree.find_all(exp.Column)):
        return None
    return tree, tuple(plain.index(one.unalias().sql()) for one in keys)


def as_json(inner: str, query: Query, found: Sequence[Attribute], keys: int) -> str:
    """Rows of one JSON text, and `keys` more columns."""
    own = found[: len(found) - keys]
    shown = [_said(field, attribute) for field, attribute in zip(query.columns, own, strict=True)]
    if not keys and all(text is None for text in shown):
        return f"SELECT row_to_json(q) FROM ({inner}) q"
    parts = [text or f"q.{quoted(attribute.name)}" for text, attribute in zip(shown, own, strict=True)]
    made = ", ".join(f"{part} AS {quoted(one.name)}" for part, one in zip(parts, own, strict=True))
    more = "".join(f", q.{quoted(one.name)}" for one in found[len(own) :])
    return f"SELECT row_to_json(r){more} FROM ({inner}) q CROSS JOIN LATERAL (SELECT {made}) r"


SEPARATOR = b"\x1e"
"""Between the rows of a page: JSON holds this character only escaped."""


def as_page(rows: str, most: int) -> str:
    """At most so many of these rows of one JSON text as one value in UTF-8, null without rows."""
    return f"SELECT convert_to(string_agg(_j::text, chr({SEPARATOR[0]})), 'UTF8') FROM ({rows} LIMIT {most}) AS _a(_j)"


def _said(field: pa.Field[Any], attribute: Attribute) -> str | None:
    """The column as text, where its own JSON would be something else than what the field says."""
    if attribute.type in _NO_NUMBERS:
        return f"q.{quoted(attribute.name)}::{_NO_NUMBERS[attribute.type]}"
    if not pa.types.is_string(field.type) or attribute.type in _SAYING or attribute.kind == "enum":
        return None
    logical = (field.metadata or {}).get(Meta.LOGICAL.value.encode(), b"").decode()
    fits = {"json": ("json", "jsonb"), "decimal": ("numeric", "int8", "int4", "int2")}.get(logical, ())
    return None if attribute.type in fits else f"q.{quoted(attribute.name)}::text"


def as_records(
    inner: str, query: Query, found: Sequence[Attribute], keys: int
) -> tuple[str, tuple[pa.Field[Any], ...]]:
    """Rows of columns that Arrow takes as the announced types, and the fields of all of them, keys behind."""
    own = found[: len(found) - keys]
    parts: list[str] = []
    fields: list[pa.Field[Any]] = []
    for field, attribute in zip(query.columns, own, strict=True):
        name = f"q.{quoted(attribute.name)}"
        parts.append(_fitted(name, _cast(field, attribute), attribute) + f" AS {quoted(attribute.name)}")
        fields.append(field)
    for attribute in found[len(own) :]:
        field = key_field(attribute)
        parts.append(_fitted(f"q.{quoted(attribute.name)}", _cast(field, attribute), attribute))
        fields.append(field)
    return f"SELECT {', '.join(parts)} FROM ({inner}) q", tuple(fields)


def _fitted(name: str, cast: str, attribute: Attribute) -> str:
    """The column cast; as text it is what its JSON says (`10.0.0.1`, of which a cast makes `10.0.0.1/32`)."""
    if cast == "text" and attribute.type in _NO_NUMBERS:
        name = f"{name}::{_NO_NUMBERS[attribute.type]}"
    if cast == "text" and attribute.type in _SAYING:
        return f"(to_json({name}) #>> '{{}}')"
    return f"{name}::{cast}" if cast else name


def key_field(attribute: Attribute) -> pa.Field[Any]:
    """The field of a column that only its type tells of."""
    plain: Mapping[str, pa.DataType] = {
        "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "date": pa.date32(), "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"), "bytea": pa.binary(),
    }  # fmt: skip
    rank = _RANK.get(attribute.type, "")
    logical = {"decimal": "decimal", "json": "json"}.get(rank)
    metadata = {str(Meta.LOGICAL): logical} if logical else None
    return pa.field(attribute.name, plain.get(rank, pa.string()), metadata=metadata)


def _cast(field: pa.Field[Any], attribute: Attribute) -> str:
    """What the column is cast to so that the driver gives what the field's type takes; empty where it does."""
    kind, have, t = field.type, _RANK.get(attribute.type, ""), pa.types
    if t.is_list(kind):
        return "text[]" if t.is_string(kind.value_type) and attribute.type not in ("text[]", "varchar[]") else ""
    rules = (
        (t.is_integer(kind), "int", "int8"), (t.is_floating(kind), "float", "float8"),
        (t.is_decimal(kind), "decimal", f"numeric({getattr(kind, 'precision', 0)},{getattr(kind, 'scale', 0)})"),
        (t.is_boolean(kind), "bool", "bool"), (t.is_date(kind), "date", "date"), (t.is_time(kind), "time", "time"),
        (t.is_timestamp(kind) and kind.tz is not None, "timestamptz", "timestamptz"),
        (t.is_timestamp(kind) and kind.tz is None, "timestamp", "timestamp"), (t.is_binary(kind), "bytea", "bytea"),
    )  # fmt: skip
    for fits, rank, cast in rules:
        if fits:
            return "" if have == rank else cast
    return "" if have == "text" else "text"


def patterned(tree: exp.Query) -> bool:
    """Whether a caller's regular expression is in it: such a question may be slow, and is nobody's neighbour."""
    found = tree.find_all(exp.RegexpLike, exp.RegexpILike)
    return any(isinstance(node.expression, exp.Placeholder) for node in found)
