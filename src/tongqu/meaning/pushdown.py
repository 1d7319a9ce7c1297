"""Writes a checked expression in a source's own SQL, where the result is known to be exactly DuckDB's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tongqu.core.arrow import pa
from tongqu.core.data import Meta
from tongqu.core.errors import ExpressionError
from tongqu.meaning.dialects import DIALECTS, Dialect
from tongqu.meaning.expressions import FITS, type_of
from tongqu.meaning.fields import metadata
from tongqu.meaning.widening import always_fits, decimal_digits

if TYPE_CHECKING:
    from sqlglot import exp

_COMPARE = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<=",
            "NullSafeEQ": "IS NOT DISTINCT FROM", "NullSafeNEQ": "IS DISTINCT FROM"}  # fmt: skip
_EQUALITY = ("EQ", "NEQ", "NullSafeEQ", "NullSafeNEQ")
_MATH = {"Add": "+", "Sub": "-", "Mul": "*"}
_INSTANT = {
    "date": (re.compile(r"\d{4}-\d\d-\d\d"), "DATE '{}'"),
    "timestamp": (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?"), "TIMESTAMP '{}'"),
    "timestamptz": (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?"), "TIMESTAMPTZ '{}+00'"),
}
_ZONED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d)?")


class _NotExact(Exception):  # noqa: N818  it never leaves this module
    """Why a part cannot be pushed down."""


def push(tree: exp.Expr, schema: pa.Schema, dialect: str) -> tuple[str | None, str]:
    """The SQL of a checked tree over a source's columns, or None with the reason.

    Only constructs listed in `meaning.dialects` are written; anything else, and any doubt, is None.
    """
    known = DIALECTS.get(dialect)
    if known is None:
        return None, f"nothing is pushed into {dialect or 'this source'}"
    try:
        return _Writer(known, schema, tree).value(tree)[0], ""
    except _NotExact as error:
        return None, str(error)


def push_column(tree: exp.Expr, schema: pa.Schema, kind: pa.DataType, dialect: str) -> tuple[str | None, str]:
    """As `push`, for an output column: the result is cast to the database's type of the Arrow type `kind`."""
    known = DIALECTS.get(dialect)
    sql, reason = push(tree, schema, dialect)
    if known is None or sql is None:
        return None, reason
    wanted = _type_name(known, kind)
    return (f"CAST({sql} AS {wanted})", "") if wanted else (None, f"{known.name} has no exact type for {kind}")


def identifier(name: str, dialect: str) -> str:
    """The name quoted for the dialect."""
    quote = DIALECTS[dialect].quote
    return quote + name.replace(quote, quote * 2) + quote


def _type_name(dialect: Dialect, kind: pa.DataType) -> str | None:
    if pa.types.is_decimal(kind) and dialect.types:
        return f"numeric({kind.precision},{kind.scale})"
    return dialect.types.get(str(kind))


def family(kind: pa.DataType) -> str | None:
    """The family of a type, or None for one that is never pushed."""
    if str(kind) in ("int16", "int32", "int64"):
        return "int"
    if pa.types.is_decimal(kind):
        return "decimal"
    return {
        "string": "text",
        "bool": "bool",
        "date32[day]": "date",
        "timestamp[us]": "timestamp",
        "timestamp[us, tz=UTC]": "timestamptz",
        "null": "null",
    }.get(str(kind))


class _Writer:
    def __init__(self, dialect: Dialect, schema: pa.Schema, tree: exp.Expr) -> None:
        from sqlglot import exp

        self.dialect, self.schema = dialect, schema
        skipped = (exp.Identifier, exp.DataType, exp.DataTypeParam, exp.Var, exp.If, exp.Star, exp.Interval)
        nodes = [n for n in tree.walk() if not isinstance(n, skipped) and not n.find_ancestor(exp.DataType)]
        try:
            self.kinds = {id(n): kind for n, (_, kind) in zip(nodes, type_of(nodes, schema), strict=True)}
        except ExpressionError as error:
            raise _NotExact(error.message) from None

    def value(self, node: exp.Expr) -> tuple[str, str]:
        """SQL and family of a node."""
        name = type(node).__name__
        if name == "Column":
            return self._column(node)
        if name not in self.dialect.nodes:
            raise _NotExact(f"{_shown(node)} is not the same in {self.dialect.name}")
        if name in _COMPARE:
            return self._compare(node, name), "bool"
        if name in _MATH:
            return self._math(node, name)
        return self._WRITERS[name](self, node)

    def _kind(self, node: exp.Expr) -> pa.DataType:
        return self.kinds[id(node)]

    def _column(self, node: exp.Expr) -> tuple[str, str]:
        column = self.schema.field(node.name)
        found = None if Meta.LOGICAL in metadata(column) else family(column.type)
        if found not in self.dialect.columns or found is None:
            raise _NotExact(f"column {column.name!r} ({column.type}) is not compared the same in {self.dialect.name}")
        native = metadata(column).get(Meta.NATIVE, "")
        if found == "text" and not native.startswith(self.dialect.text_types):
            raise _NotExact(f"column {column.name!r} is {native or 'of unknown type'}, not plain text")
        return identifier(column.name, self.dialect.name), found

    def _compare(self, node: exp.Expr, name: str) -> str:
        left, right = self._pair(node.this, node.expression, ordered=name not in _EQUALITY)
        return f"({left} {_COMPARE[name]} {right})"

    def _pair(self, a: exp.Expr, b: exp.Expr, *, ordered: bool) -> tuple[str, str]:
        """Two sides of a comparison in one family."""
        for one, other, swap in ((a, b, False), (b, a, True)):
            if type(other).__name__ == "Literal" and other.is_string and self._is_instant(one):
                sql, kind = self.value(one)
                found = self._instant(other.name, kind)
                return (found, sql) if swap else (sql, found)
        (left, first), (right, second) = self.value(a), self.value(b)
        if {first, second} == {"int", "decimal"}:
            self._room(a, b)
        elif first != second or first == "null":
            raise _NotExact(f"comparing {first} with {second}")
        if ordered and first not in self.dialect.order:
            raise _NotExact(f"the order of {first} is not the same in {self.dialect.name}")
        return (f"{left}{self.dialect.collate}", right) if first == "text" else (left, right)

    def _is_instant(self, node: exp.Expr) -> bool:
        return family(self._kind(node)) in _INSTANT

    def _instant(self, text: str, kind: str) -> str:
        pattern, form = _INSTANT[kind]
        if kind == "timestamptz" and _ZONED.fullmatch(text):
            return f"TIMESTAMPTZ '{text}'"
        if not pattern.fullmatch(text):
            raise _NotExact(f"{text!r} is not written as a {kind} everywhere")
        return form.format(f"{text} 00:00:00" if kind == "timestamptz" and len(text) == 10 else text)

    def _room(self, *nodes: exp.Expr) -> None:
        """Integer against decimal: both fit into one decimal of 38 digits."""
        kinds = [self._kind(node) for node in nodes]
        parts = [decimal_digits(kind) or (38, 38) for kind in kinds]
        if max(whole for whole, _ in parts) + max(scale for _, scale in parts) > 38:
            raise _NotExact("integer against decimal of many digits")

    def _math(self, node: exp.Expr, name: str) -> tuple[str, str]:
        (left, first), (right, second) = self.value(node.this), self.value(node.expression)
        if not {first, second} <= self.dialect.arithmetic:
            raise _NotExact(f"arithmetic on {first} and {second}")
        return self._fixed(node, f"({left} {_MATH[name]} {right})")

    def _fixed(self, node: exp.Expr, sql: str) -> tuple[str, str]:
        """The result in exactly DuckDB's result type, so that an overflow is an error in both."""
        kind = self._kind(node)
        found, wanted = family(kind), _type_name(self.dialect, kind)
        if found is None or wanted is None or (found == "decimal" and sum(decimal_digits(kind) or (38,)) >= 38):
            raise _NotExact(f"{_shown(node)} gives {kind}")
        return f"CAST({sql} AS {wanted})", found

    def _logic(self, node: exp.Expr) -> tuple[str, str]:
        word = "AND" if type(node).__name__ == "And" else "OR"
        return f"({self._bool(node.this)} {word} {self._bool(node.expression)})", "bool"

    def _bool(self, node: exp.Expr) -> str:
        sql, found = self.value(node)
        if found != "bool":
            raise _NotExact(f"{_shown(node)} is used as a truth value")
        return sql

    def _not(self, node: exp.Expr) -> tuple[str, str]:
        return f"(NOT {self._bool(node.this)})", "bool"

    def _paren(self, node: exp.Expr) -> tuple[str, str]:
        sql, found = self.value(node.this)
        return f"({sql})", found

    def _is(self, node: exp.Expr) -> tuple[str, str]:
        if type(node.expression).__name__ == "Boolean":
            word = "TRUE" if node.expression.this else "FALSE"
            return f"({self._bool(node.this)} IS {word})", "bool"
        if type(node.expression).__name__ != "Null":
            raise _NotExact(_shown(node))
        if type(node.this).__name__ == "Column":
            return f"({identifier(node.this.name, self.dialect.name)} IS NULL)", "bool"
        return f"({self.value(node.this)[0]} IS NULL)", "bool"

    def _in(self, node: exp.Expr) -> tuple[str, str]:
        if not node.expressions or {k for k, v in node.args.items() if v} != {"this", "expressions"}:
            raise _NotExact(_shown(node))
        pairs = [self._pair(node.this, item, ordered=False) for item in node.expressions]
        return f"({pairs[0][0]} IN ({', '.join(right for _, right in pairs)}))", "bool"

    def _between(self, node: exp.Expr) -> tuple[str, str]:
        if node.args.get("symmetric"):
            raise _NotExact(_shown(node))
        left, low = self._pair(node.this, node.args["low"], ordered=True)
        _, high = self._pair(node.this, node.args["high"], ordered=True)
        return f"({left} BETWEEN {low} AND {high})", "bool"

    def _null(self, node: exp.Expr) -> tuple[str, str]:
        return "NULL", "null"

    def _boolean(self, node: exp.Expr) -> tuple[str, str]:
        return ("TRUE" if node.this else "FALSE"), "bool"

    def _literal(self, node: exp.Expr) -> tuple[str, str]:
        if node.args.get("is_string"):
            if "\\" in node.name or "\0" in node.name or "text" not in self.dialect.columns:
                raise _NotExact(f"the text {node.name!r}")
            return "'" + node.name.replace("'", "''") + "'", "text"
        found = family(self._kind(node))
        if found not in ("int", "decimal") or not re.fullmatch(r"\d+(\.\d+)?", node.name):
            raise _NotExact(f"the number {node.name}")
        return node.name, found

    def _branches(self, node: exp.Expr, parts: list[exp.Expr]) -> tuple[list[str], str]:
        """Alternatives of one family, each in exactly the node's type."""
        kind = self._kind(node)
        found, wanted = family(kind), _type_name(self.dialect, kind)
        written = [self.value(part) for part in parts]
        if found is None or wanted is None or any(f not in (found, "null", "int") for _, f in written):
            raise _NotExact(f"{_shown(node)} mixes types")
        if found not in ("int", "decimal") and any(f == "int" for _, f in written):
            raise _NotExact(f"{_shown(node)} mixes types")
        if found == "decimal" and any(f == "int" for _, f in written):
            self._room(node, *[p for p, (_, f) in zip(parts, written, strict=True) if f == "int"])
        return [f"CAST({sql} AS {wanted})" for sql, _ in written], found

    def _coalesce(self, node: exp.Expr) -> tuple[str, str]:
        written, found = self._branches(node, [node.this, *node.expressions])
        return f"COALESCE({', '.join(written)})", found

    def _nullif(self, node: exp.Expr) -> tuple[str, str]:
        left, right = self._pair(node.this, node.expression, ordered=False)
        plain, found = self.value(node.this)
        if self._kind(node) != self._kind(node.this):
            raise _NotExact(_shown(node))
        return f"(CASE WHEN {left} = {right} THEN NULL ELSE {plain} END)", found

    def _case(self, node: exp.Expr) -> tuple[str, str]:
        arms = node.args["ifs"]
        default = node.args.get("default")
        results = [arm.args["true"] for arm in arms] + ([default] if default is not None else [])
        written, found = self._branches(node, results)
        tests = []
        for arm in arms:
            if node.this is None:
                tests.append(self._bool(arm.this))
            else:
                left, right = self._pair(node.this, arm.this, ordered=False)
                tests.append(f"{left} = {right}")
        whens = " ".join(f"WHEN {test} THEN {then}" for test, then in zip(tests, written, strict=False))
        tail = f" ELSE {written[-1]}" if default is not None else ""
        return f"(CASE {whens}{tail} END)", found

    def _signed(self, node: exp.Expr) -> tuple[str, str]:
        sql, found = self.value(node.this)
        if found not in self.dialect.arithmetic:
            raise _NotExact(f"arithmetic on {found}")
        return self._fixed(node, f"(- {sql})" if type(node).__name__ == "Neg" else f"ABS({sql})")

    def _text(self, node: exp.Expr) -> str:
        sql, found = self.value(node)
        if found != "text":
            raise _NotExact(f"{_shown(node)} is not text")
        return sql

    def _concat(self, node: exp.Expr) -> tuple[str, str]:
        return f"({self._text(node.this)} || {self._text(node.expression)})", "text"

    def _length(self, node: exp.Expr) -> tuple[str, str]:
        return f"CAST(LENGTH({self._text(node.this)}) AS bigint)", "int"

    def _substring(self, node: exp.Expr) -> tuple[str, str]:
        start, length = node.args.get("start"), node.args.get("length")
        numbers = [_whole(part, least) for part, least in ((start, 1), (length, 0))]
        return f"SUBSTRING({self._text(node.this)}, {numbers[0]}, {numbers[1]})", "text"

    def _left(self, node: exp.Expr) -> tuple[str, str]:
        return f"LEFT({self._text(node.this)}, {_whole(node.expression, 0)})", "text"

    def _replace(self, node: exp.Expr) -> tuple[str, str]:
        old = node.expression
        if type(old).__name__ != "Literal" or not old.name:
            raise _NotExact("replace of something that may be empty")
        return f"REPLACE({self._text(node.this)}, {self._text(old)}, {self._text(node.args['replacement'])})", "text"

    def _starts(self, node: exp.Expr) -> tuple[str, str]:
        return f"STARTS_WITH({self._text(node.this)}, {self._text(node.expression)})", "bool"

    def _like(self, node: exp.Expr) -> tuple[str, str]:
        if type(node.expression).__name__ != "Literal":
            raise _NotExact("like with a pattern that is not constant")
        return f"({self._text(node.this)}{self.dialect.collate} LIKE {self._text(node.expression)})", "bool"

    def _cast(self, node: exp.Expr) -> tuple[str, str]:
        kind = self._kind(node)
        found, inner = family(kind), node.this
        if type(inner).__name__ == "Literal" and inner.args.get("is_string") and found in _INSTANT:
            return self._instant(inner.name, str(found)), str(found)
        sql, before = self.value(inner)
        wanted = _type_name(self.dialect, kind)
        old, new = pa.field("v", self._kind(inner)), pa.field("v", kind)
        if (
            (before, found) not in self.dialect.casts
            or wanted is None
            or not (always_fits(old, new) or FITS in node.meta)
        ):
            raise _NotExact(f"the cast {_shown(node)}")
        return f"CAST({sql} AS {wanted})", str(found)

    _WRITERS: dict[str, Callable[[_Writer, Any], tuple[str, str]]] = {  # noqa: RUF012  a constant table of methods
        "And": _logic, "Or": _logic, "Not": _not, "Paren": _paren, "Is": _is, "In": _in, "Between": _between,
        "Null": _null, "Boolean": _boolean, "Literal": _literal, "Coalesce": _coalesce, "Nullif": _nullif,
        "Case": _case, "Neg": _signed, "Abs": _signed, "DPipe": _concat, "Length": _length,
        "Substring": _substring, "Left": _left, "Replace": _replace, "StartsWith": _starts, "Like": _like,
        "Cast": _cast, "TryCast": _cast,
    }  # fmt: skip


def _whole(node: exp.Expr | None, least: int) -> int:
    if type(node).__name__ != "Literal" or node is None or not node.name.isdigit() or int(node.name) < least:
        raise _NotExact("a position that is not a plain number")
    return int(node.name)


def _shown(node: exp.Expr) -> str:
    text = str(node.sql("duckdb", comments=False)).replace('"', "")
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}…`"
