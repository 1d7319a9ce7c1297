"""The small language of access rules: comparisons that mean the same in every database, checked before anything runs.

What is read here becomes a tree of a few plain records, which `writing` turns into SQL with bound values and `judging`
evaluates in Python; both follow SQL's three-valued logic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from tongqu.core.errors import ExpressionError
from tongqu.gateway.policy.values import family, fitted
from tongqu.meaning.expressions import misplaced, outlined

if TYPE_CHECKING:
    from sqlglot import exp

OUTER = "actor"
_HINT = (
    "rules know = <> < <= > >= in between is null like starts_with and or not coalesce is distinct from, texts, "
    "numbers, dates, true and false, the fields and actor.NAME"
)
_COMPARISONS = {
    "EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<=", "NullSafeEQ": "same", "NullSafeNEQ": "other"
}  # fmt: skip
_NUMBERS = ("int", "decimal", "float")
_CONSTANT_TYPES = {"DATE": pa.date32(), "TIMESTAMPNTZ": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us"),
                   "TIMESTAMPTZ": pa.timestamp("us", "UTC")}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A field of the row."""

    name: str
    field: pa.Field[Any]


@dataclass(frozen=True)
class Attribute:
    """An attribute of the actor, read as a value of `field`'s type; null if it is missing or does not fit. `place` is
    that of an item where the attribute is a list."""

    name: str
    field: pa.Field[Any]
    place: int = -1


@dataclass(frozen=True)
class Constant:
    """A value of `field`'s type."""

    value: Any
    field: pa.Field[Any]


@dataclass(frozen=True)
class First:
    """The first of several that is not null."""

    parts: tuple[Operand, ...]


Operand = Named | Attribute | Constant | First


@dataclass(frozen=True)
class Truth:
    """True, false or unknown."""

    value: bool | None


@dataclass(frozen=True)
class Holds:
    """A boolean operand as a condition."""

    operand: Operand


@dataclass(frozen=True)
class Compared:
    """Two operands compared: `= <> > >= < <= same other`."""

    sign: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class Among:
    """An operand among others; an attribute there may be a list."""

    operand: Operand
    others: tuple[Operand, ...]


@dataclass(frozen=True)
class Pattern:
    """Text against a constant pattern with `%` and `_` (`escape` before one makes it plain), or, where `start`, against
    what it must begin with."""

    operand: Operand
    pattern: Operand
    escape: str = ""
    start: bool = False


@dataclass(frozen=True)
class Tested:
    """Whether a condition is true, or is false; never unknown."""

    part: Rule
    value: bool


@dataclass(frozen=True)
class Missing:
    """Whether an operand is null."""

    operand: Operand


@dataclass(frozen=True)
class Not:
    """The contrary."""

    part: Rule


@dataclass(frozen=True)
class Both:
    """All of the parts (`and`) or one of them (`or`)."""

    word: str
    parts: tuple[Rule, ...]


Rule = Truth | Holds | Compared | Among | Pattern | Tested | Missing | Not | Both


def rule(text: str, schema: pa.Schema, path: str = "") -> Rule:
    """Read a condition over a schema's fields and `actor.NAME`. Raises ExpressionError with a caret."""
    return _Reader(text, schema, path).rule(outlined(text, schema.names, outer=(OUTER,), path=path))


def joined(word: str, parts: Sequence[Rule]) -> Rule:
    """`and` or `or` of conditions, without those that decide nothing."""
    decisive = word == "or"
    kept: list[Rule] = []
    for part in parts:
        if isinstance(part, Truth) and part.value is decisive:
            return part
        if not (isinstance(part, Truth) and part.value is (not decisive)) and part not in kept:
            kept.append(part)
    if not kept:
        return Truth(not decisive)
    return kept[0] if len(kept) == 1 else Both(word, tuple(kept))


def operands(part: Rule) -> list[Operand]:
    """Every operand of a condition."""
    if isinstance(part, Both):
        return [one for inner in part.parts for one in operands(inner)]
    if isinstance(part, Not | Tested):
        return operands(part.part)
    if isinstance(part, Truth):
        return []
    if isinstance(part, Compared):
        direct: tuple[Operand, ...] = (part.left, part.right)
    elif isinstance(part, Among):
        direct = (part.operand, *part.others)
    elif isinstance(part, Pattern):
        direct = (part.operand, part.pattern)
    else:
        direct = (part.operand,)
    return [leaf for one in direct for leaf in _leaves(one)]


def _leaves(operand: Operand) -> list[Operand]:
    return [leaf for part in operand.parts for leaf in _leaves(part)] if isinstance(operand, First) else [operand]


class _Reader:
    def __init__(self, text: str, schema: pa.Schema, path: str) -> None:
        self.text, self.schema, self.path = text, schema, path

    def refused(self, node: exp.Expr, message: str, hint: str = _HINT) -> ExpressionError:
        """The error that points at a part."""
        return misplaced(self.text, node, message, hint, self.path)

    def refuse(self, node: exp.Expr, message: str, hint: str = _HINT) -> NoReturn:
        """Raise it."""
        raise self.refused(node, message, hint)

    def rule(self, node: exp.Expr) -> Rule:
        """A condition."""
        name = type(node).__name__
        if name in _COMPARISONS:
            left, right = self._alike(node, (node.this, node.expression))
            return Compared(_COMPARISONS[name], left, right)
        if name in ("And", "Or"):
            return joined(name.lower(), [self.rule(node.this), self.rule(node.expression)])
        if name in _RULES:
            return _RULES[name](self, node)
        if name in ("Column", "Coalesce"):
            (operand,) = self._alike(node, (node,), pa.field("", pa.bool_()))
            return Holds(operand)
        raise self.refused(node, "this is not a condition that every database decides the same way")

    def _not(self, node: exp.Expr) -> Rule:
        return Not(self.rule(node.this))

    def _paren(self, node: exp.Expr) -> Rule:
        return self.rule(node.this)

    def _null(self, node: exp.Expr) -> Rule:
        del node
        return Truth(None)

    def _boolean(self, node: exp.Expr) -> Rule:
        return Truth(bool(node.this))

    def _is(self, node: exp.Expr) -> Rule:
        word = type(node.expression).__name__
        if word == "Boolean":
            return Tested(self.rule(node.this), bool(node.expression.this))
        if word != "Null":
            self.refuse(node.expression, "`is` takes null, true or false")
        (operand,) = self._alike(node, (node.this,), None)
        return Missing(operand)

    def _in(self, node: exp.Expr) -> Rule:
        field = node.args.get("field")
        items = [field] if field is not None else node.expressions
        if not items or node.args.get("query") is not None:
            self.refuse(node, "`in` takes a list: plant in ('A', 'B'), plant in actor.plants")
        operand, *others = self._alike(node, (node.this, *items))
        return Among(operand, tuple(others))

    def _between(self, node: exp.Expr) -> Rule:
        if node.args.get("symmetric"):
            self.refuse(node, "`between symmetric` is not the same everywhere")
        value, low, high = self._alike(node, (node.this, node.args["low"], node.args["high"]))
        return joined("and", [Compared(">=", value, low), Compared("<=", value, high)])

    def _like(self, node: exp.Expr, escape: str = "") -> Rule:
        if type(node.expression).__name__ != "Literal":
            self.refuse(node.expression, "the pattern of `like` must be a text that stands here")
        operand, pattern = self._alike(node, (node.this, node.expression), pa.field("", pa.string()))
        text = pattern.value if isinstance(pattern, Constant) else ""
        if not escape and "\\" in text:
            self.refuse(node.expression, "a backslash in a pattern is not the same everywhere", "name it: escape '!'")
        return Pattern(operand, pattern, escape)

    def _escape(self, node: exp.Expr) -> Rule:
        if type(node.this).__name__ != "Like" or len(node.expression.name) != 1:
            self.refuse(node, "`escape` takes one character and follows `like`")
        return self._like(node.this, node.expression.name)

    def _starts(self, node: exp.Expr) -> Rule:
        if type(node.expression).__name__ not in ("Literal", "Column") or self._fields(node.expression):
            self.refuse(node.expression, "`starts_with` takes a text or an attribute: starts_with(code, actor.prefix)")
        operand, start = self._alike(node, (node.this, node.expression), pa.field("", pa.string()))
        return Pattern(operand, start, start=True)

    def _alike(
        self, node: exp.Expr, parts: Sequence[exp.Expr], wanted: pa.Field[Any] | None = None
    ) -> tuple[Operand, ...]:
        """Operands of one family: that of the fields among them, else of the constants, else text."""
        fields = [found for part in parts for found in self._fields(part)]
        kinds = {self._class(field) for field in fields}
        if len(kinds) > 1 or (wanted is not None and kinds - {self._class(wanted)}):
            self.refuse(node, f"values of different kinds are compared: {', '.join(sorted(kinds))}")
        for field in fields:
            if family(field) in ("other", "json", "list", "binary", "time") and not self._is_null_test(node):
                self.refuse(node, f"the field {field.name!r} ({field.type}) cannot be compared in a rule")
        of = _widest(fields) if fields else wanted or self._of_constants(parts)
        return tuple(self._operand(part, of) for part in parts)

    @staticmethod
    def _is_null_test(node: exp.Expr) -> bool:
        return type(node).__name__ == "Is"

    @staticmethod
    def _class(field: pa.Field[Any]) -> str:
        found = family(field)
        return "number" if found in _NUMBERS else found

    def _fields(self, node: exp.Expr) -> list[pa.Field[Any]]:
        if type(node).__name__ == "Column":
            return [] if node.args.get("table") else [self.schema.field(node.name)]
        return [field for part in _inner(node) for field in self._fields(part)]

    def _of_constants(self, parts: Sequence[exp.Expr]) -> pa.Field[Any]:
        for part in parts:
            name, inner = type(part).__name__, _inner(part)
            if name == "Literal" and not part.args.get("is_string"):
                return pa.field("", pa.decimal128(38, 10))
            if name == "Boolean":
                return pa.field("", pa.bool_())
            if name == "Cast" and part.args["to"].this.name in _CONSTANT_TYPES:
                return pa.field("", _CONSTANT_TYPES[part.args["to"].this.name])
            if inner:
                return self._of_constants(inner)
        return pa.field("", pa.string())

    def _operand(self, node: exp.Expr, of: pa.Field[Any]) -> Operand:
        name = type(node).__name__
        if name == "Paren":
            return self._operand(node.this, of)
        if name == "Column":
            return (
                Attribute(node.name, of) if node.args.get("table") else Named(node.name, self.schema.field(node.name))
            )
        if name == "Coalesce":
            return First(tuple(self._operand(part, of) for part in _inner(node)))
        if name == "Null":
            return Constant(None, of)
        return self._constant(node, name, of)

    def _constant(self, node: exp.Expr, name: str, of: pa.Field[Any]) -> Constant:
        value: Any = None
        if name == "Literal":
            value = node.name
            if bool(node.args.get("is_string")) == (self._class(of) == "number"):
                self.refuse(node, f"this is compared with {of.type}")
        elif name == "Neg" and type(node.this).__name__ == "Literal" and not node.this.args.get("is_string"):
            value = f"-{node.this.name}"
        elif name == "Boolean":
            value = bool(node.this)
        elif name == "Cast" and type(node.this).__name__ == "Literal":
            if node.args["to"].this.name not in _CONSTANT_TYPES:
                self.refuse(node, "casts are not the same everywhere; date '2026-01-31' is")
            value = node.this.name
        else:
            self.refuse(node, "this is not the same in every database")
        number = pa.field("", pa.decimal128(38, 10)) if family(of) == "int" else of
        try:
            made = fitted(value, number)
        except ValueError as error:
            self.refuse(node, f"this is compared with {of.type}: {error}")
        return Constant(int(made) if family(of) == "int" and made == int(made) else made, of)


_RULES: dict[str, Callable[[_Reader, Any], Rule]] = {
    "Not": _Reader._not, "Paren": _Reader._paren, "Is": _Reader._is, "In": _Reader._in, "Between": _Reader._between,
    "Like": _Reader._like, "Escape": _Reader._escape, "StartsWith": _Reader._starts, "Null": _Reader._null,
    "Boolean": _Reader._boolean,
}  # fmt: skip


def _inner(node: exp.Expr) -> list[exp.Expr]:
    name = type(node).__name__
    return [node.this, *node.expressions] if name == "Coalesce" else [node.this] if name == "Paren" else []


def _widest(fields: Sequence[pa.Field[Any]]) -> pa.Field[Any]:
    """The field whose type takes the values of all of them."""
    order: Mapping[str, int] = {"int": 0, "decimal": 1, "float": 2}
    kinds = [(order.get(family(field), 0), field.type.bit_width if family(field) == "int" else 0) for field in fields]
    return fields[kinds.index(max(kinds))]
