"""The scalars of published GraphQL, which of them a field has, and the filters that can be asked of each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLString,
    value_from_ast_untyped,
)
from graphql.language import FloatValueNode, IntValueNode, StringValueNode, ValueNode

from tongqu.gateway.policy.values import family
from tongqu.gateway.rewrite.binding import OPERATORS

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,60}(\.[0-9]{0,60})?|\.[0-9]{1,60})([eE][+-]?[0-9]{1,3})?")
_NUMERIC = (IntValueNode, FloatValueNode)


def _scalar(name: str, about: str, value: Callable[[Any], Any], literals: tuple[type[ValueNode], ...]) -> Any:
    """A scalar whose values come as `value` reads them; a literal of the document is read with all its digits."""

    def literal(node: Any) -> Any:
        if not isinstance(node, literals):
            raise GraphQLError(f"{name} cannot represent this literal")
        return value(_exact(node))

    return GraphQLScalarType(name, description=about, coerce_input_value=value, coerce_input_literal=literal)


def _exact(node: Any) -> Any:
    if isinstance(node, IntValueNode):
        return int(node.value) if len(node.value) <= 60 else node.value
    return Decimal(node.value) if isinstance(node, FloatValueNode) and len(node.value) <= 100 else node.value


def _int64(value: Any) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and _WHOLE.fullmatch(value))):
        raise GraphQLError("Int64 is a whole number, or a text of one")
    return int(value)


def _decimal(value: Any) -> Decimal:
    if not isinstance(value, bool) and isinstance(value, int | Decimal):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    raise GraphQLError("Decimal is a number, or a text of one")


def _double(value: Any) -> float | str:
    if not isinstance(value, bool) and isinstance(value, int | float | Decimal) and math.isfinite(made := float(value)):
        return made
    if value in ("NaN", "Infinity", "-Infinity"):
        return str(value)
    raise GraphQLError("Double is a number, or `NaN`, `Infinity`, `-Infinity`")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError("a text is expected")
    return value


_TEXT = (StringValueNode,)
INT64 = _scalar("Int64", "A whole number of 64 bits, as a JSON number with all its digits; may be sent as text.",
                _int64, (IntValueNode, StringValueNode))  # fmt: skip
DECIMAL = _scalar("Decimal", "An exact decimal number, as a JSON number with all its digits; may be sent as text.",
                  _decimal, (*_NUMERIC, StringValueNode))  # fmt: skip
DOUBLE = _scalar("Double", "A binary floating point number; `NaN` and infinities are texts.",
                 _double, (*_NUMERIC, StringValueNode))  # fmt: skip
DATE = _scalar("Date", "A date: 2026-01-31.", _text, _TEXT)
DATETIME = _scalar("DateTime", "An instant with its zone: 2026-01-31T08:00:00+08:00.", _text, _TEXT)
LOCAL = _scalar("LocalDateTime", "A date and time without zone: 2026-01-31T08:00:00.", _text, _TEXT)
TIME = _scalar("Time", "A time of day: 08:00:00.", _text, _TEXT)
UUID = _scalar("UUID", "A UUID.", _text, _TEXT)
BYTES = _scalar("Bytes", r"Bytes as `\x` and hex digits.", _text, _TEXT)
JSON = GraphQLScalarType(
    "JSON", description="Any JSON value.", coerce_input_value=lambda value: value,
    coerce_input_literal=value_from_ast_untyped,
)  # fmt: skip
_OF: dict[str, Any] = {
    "int": INT64, "decimal": DECIMAL, "float": DOUBLE, "text": GraphQLString, "bool": GraphQLBoolean, "date": DATE,
    "instant": DATETIME, "timestamp": LOCAL, "time": TIME, "uuid": UUID, "binary": BYTES, "json": JSON,
}  # fmt: skip
_SMALL = 32

DIRECTION = GraphQLEnumType(
    "Direction",
    {
        "ASC": (False, None), "DESC": (True, None), "ASC_NULLS_FIRST": (False, True), "ASC_NULLS_LAST": (False, False),
        "DESC_NULLS_FIRST": (True, True), "DESC_NULLS_LAST": (True, False),
    },
    description="Nulls come last ascending and first descending unless said otherwise.",
)  # fmt: skip


def type_of(field: pa.Field[Any]) -> Any:
    """The type of a field's values, null allowed: of output and of input."""
    kind = family(field)
    if kind == "list":
        return GraphQLList(type_of(field.type.field(0)))
    if kind == "int" and field.type.bit_width <= (_SMALL if pa.types.is_signed_integer(field.type) else _SMALL // 2):
        return GraphQLInt
    return _OF.get(kind, JSON)


_LISTS = {"contains": "cs", "containedBy": "cd", "overlaps": "ov"}


def filter_of(field: pa.Field[Any]) -> GraphQLInputObjectType:
    """What can be asked of a field; each input's name on the way out is the operator."""
    kind = family(field)
    if kind == "list":
        inner = type_of(field.type.field(0))
        return _filter(f"{getattr(inner, 'name', 'JSON')}List", inner, tuple(_LISTS.items()), listed=True)
    operators = [word for word in _ORDER if word in OPERATORS.get(kind, ())]
    kept = type_of(field)
    return _filter(kept.name, kept, tuple((word, word) for word in operators), listed=False)


_ORDER = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "like", "ilike", "match", "imatch")


@cache
def _filter(
    name: str, kind: GraphQLInputType, words: Sequence[tuple[str, str]], *, listed: bool
) -> GraphQLInputObjectType:
    inner: Any = kind
    several = GraphQLList(GraphQLNonNull(inner))
    fields = {
        shown: GraphQLInputField(several if listed or word == "in" else kind, out_name=word) for shown, word in words
    }
    fields["isNull"] = GraphQLInputField(GraphQLBoolean, out_name="is")
    return GraphQLInputObjectType(f"{name}Filter", fields, description="All that is given must hold.")
