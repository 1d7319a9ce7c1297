"""A question in the gateway's own words: what REST, GraphQL, SOAP and live subscriptions are all turned into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Operator = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "match", "imatch", "in", "is", "isdistinct", "cs", "cd",
    "ov",
]  # fmt: skip
Aggregate = Literal["count", "sum", "avg", "min", "max"]
Count = Literal["none", "exact", "planned", "estimated"]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value goes that is told beside the question: the text at this place of those given. Questions that differ
    in such values only are one question, which is read and written once."""

    place: int


@dataclass(frozen=True)
class Compare:
    """One field against a value. `value` is text as it came, or already a value of the field's type; for `in`, `cs`,
    `cd` and `ov` a tuple of them; for `is` one of `null`, `not_null`, `true`, `false`, `unknown`. `quantifier` compares
    with any or all of a tuple. A field of a related API is named `relation.field`. `path` walks into JSON as in
    `Wanted`; the comparison is then of text, or of JSON where `text` is false."""

    field: str
    operator: Operator
    value: Any
    quantifier: Literal["", "any", "all"] = ""
    path: tuple[str, ...] = ()
    text: bool = False


@dataclass(frozen=True)
class Joined:
    """Conditions of which all (`and`) or one (`or`) must hold."""

    word: Literal["and", "or"]
    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Negated:
    """A condition that must not hold; what is unknown stays unknown."""

    part: Condition


Condition = Compare | Joined | Negated


@dataclass(frozen=True)
class Wanted:
    """One output: a field, its name in the answer (default: its own), a cast to a type's name, or an aggregate of it
    (`count` with an empty field counts rows). `path` walks into JSON: `("a", "b")`, `text` gives its end as text."""

    field: str
    name: str = ""
    cast: str = ""
    aggregate: Aggregate | None = None
    path: tuple[str, ...] = ()
    text: bool = False


@dataclass(frozen=True)
class Order:
    """One key of the order. Nulls come last ascending and first descending unless said otherwise."""

    field: str
    descending: bool = False
    nulls_first: bool | None = None
    path: tuple[str, ...] = ()
    text: bool = False


@dataclass(frozen=True)
class Related:
    """Rows of a related API beside each row. `inner` drops rows that have none, `none` those that have some. With
    `wanted` empty it only drops."""

    relation: str
    ask: Ask
    name: str = ""
    inner: bool = False
    spread: bool = False
    none: bool = False


@dataclass(frozen=True)
class Ask:
    """What is wanted of one API. `wanted` None: all fields the caller may see. `arguments` are the values of the
    parameters of an SQL source. `after` is an opaque cursor that an earlier answer gave."""

    wanted: tuple[Wanted, ...] | None = None
    where: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    after: str = ""
    count: Count = "none"
    related: tuple[Related, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
