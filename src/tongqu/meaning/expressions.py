"""Expressions of project files: DuckDB's scalar SQL, held to an allow-list and typed before anything runs.

Text becomes a tree (sqlglot), the tree is held to `meaning.functions`, and only SQL written from the checked tree is
ever given to a database. Comparison of text is by code point, nulls follow SQL's three-valued logic, `/` is double
division, decimals stay exact under `+ - *`, NaN equals itself and is the largest number.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from tongqu.core.arrow import pa
from tongqu.core.data import Meta
from tongqu.core.errors import ExpressionError
from tongqu.meaning.functions import AGGREGATES, CAST_TYPES, SCALARS, allowed
from tongqu.meaning.refusals import named, reason
from tongqu.meaning.sandbox import open_sandbox, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from sqlglot import exp

FITS = "tongqu.fits"
"""Mark in a cast's `meta`: the author of the tree proved that every value fits."""

_LONGEST = 20_000
_REFUSED_TOKENS = {"~": "regexp_full_match(a, 'pattern')", "!~": "not regexp_full_match(a, 'pattern')"}
_UNKEPT = re.compile(r"INTERVAL|BIT|TIME WITH TIME ZONE|UHUGEINT|BIGNUM|VARIANT|UNION.*|GEOMETRY.*")


@dataclass(frozen=True)
class Typed:
    """A checked expression: its tree over quoted exact column names, the columns it reads, and what it gives.

    `duckdb_type` is DuckDB's name of the result type; `logical` is the `tongqu.logical` of a string that is one.
    """

    text: str
    tree: exp.Expr
    columns: tuple[str, ...]
    type: pa.DataType
    duckdb_type: str
    logical: str | None = None

    def field(self, name: str) -> pa.Field[Any]:
        """The Arrow field of a column computed by this expression."""
        return pa.field(name, self.type, metadata={Meta.LOGICAL: self.logical} if self.logical else None)


def typed(text: str, schema: pa.Schema, *, path: str = "", aggregate: bool = False) -> Typed:
    """Parse, check and type one expression over a schema.

    Raises ExpressionError with line, column and a caret for text that does not parse, a name that does not exist (with
    the nearest), something outside the allow-list, or types that do not fit.
    """
    try:
        return _typed(str(text), tuple((f.name, f.type) for f in schema), aggregate)
    except ExpressionError as error:
        raise ExpressionError(error.message, hint=error.hint, path=path, params=error.params) from None


def parsed(text: str, *, aggregate: bool = False) -> None:
    """Raise ExpressionError for what is wrong with an expression whatever the columns are: syntax, functions."""
    _parse(text, aggregate)


def outlined(text: str, names: Sequence[str], *, outer: Sequence[str] = (), path: str = "") -> exp.Expr:
    """The tree of an expression over columns of these names, held to the allow-list but not typed.

    A name with a prefix of `outer` (`actor.plant`) is left as it stands. Raises ExpressionError as `typed` does.
    """
    try:
        return _resolve(_parse(str(text), False, outer), str(text), names)
    except ExpressionError as error:
        raise ExpressionError(error.message, hint=error.hint, path=path, params=error.params) from None


def misplaced(text: str, node: exp.Expr, message: str, hint: str = "", path: str = "") -> ExpressionError:
    """The error that points with a caret at a part of a tree that `outlined` gave."""
    at = _span(node)
    return ExpressionError(f"{message}\n{_caret(text, at)}", hint=hint, path=path, params=_place(text, at))


def predicate(text: str, schema: pa.Schema, *, path: str = "") -> Typed:
    """As `typed`, for a condition: anything but a boolean is an ExpressionError."""
    made = typed(text, schema, path=path)
    if made.duckdb_type != "BOOLEAN":
        raise ExpressionError(
            f"the condition gives {made.duckdb_type}, not BOOLEAN\n{_caret(made.text, 0)}",
            hint="write a comparison, such as `weight is not null`",
            path=path,
        )
    return made


def render(tree: exp.Expr, names: Mapping[str, str]) -> str:
    """DuckDB SQL of a tree, with each column written as `names` has it (see `relation_names`)."""
    from sqlglot import exp

    def rename(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column):
            return exp.column(names.get(node.name, node.name), quoted=True)
        return node

    return str(tree.transform(rename).sql("duckdb", comments=False))


def column(name: str) -> exp.Expr:
    """The tree of a plain column."""
    from sqlglot import exp

    return exp.column(name, quoted=True)


def literal(value: str | int | float | bool | None) -> exp.Expr:
    """The tree of a constant."""
    from sqlglot import exp

    return exp.convert(value)


def cast(tree: exp.Expr, duckdb_type: str, *, trying: bool = False) -> exp.Expr:
    """CAST or TRY_CAST of a tree to a DuckDB type name; raises ExpressionError for an unknown type."""
    from sqlglot import exp

    kind = parse_type(duckdb_type)
    return exp.TryCast(this=tree.copy(), to=kind) if trying else exp.Cast(this=tree.copy(), to=kind)


def rounded(number: str, duckdb_type: str) -> str:
    """SQL that brings SQL text of a double to a type of numbers: half away from zero, null where it does not fit."""
    kind = parse_type(duckdb_type)
    name = kind.this.name if kind.this is not None else ""
    if name in ("FLOAT", "DOUBLE"):
        return f"TRY_CAST({number} AS {duckdb_type})"
    scale = int(kind.expressions[1].name) if name == "DECIMAL" and len(kind.expressions) > 1 else 0
    return f"TRY_CAST(round({number}, {scale}) AS {duckdb_type})"


def parse_type(text: str) -> exp.DataType:
    """A type name in DuckDB's spelling (`decimal(12,2)`, `string`, `timestamptz`); raises ExpressionError."""
    import sqlglot
    from sqlglot import exp

    try:
        kind = exp.DataType.build(str(text), dialect="duckdb", udt=False)
    except (sqlglot.errors.SqlglotError, ValueError, RecursionError):
        kind = None
    if kind is None or not isinstance(kind.this, exp.DType) or kind.this.name not in CAST_TYPES:
        raise ExpressionError(f"unknown type {text!r}", hint=f"types: {', '.join(sorted(CAST_TYPES))}")
    return kind


def is_column(tree: exp.Expr) -> bool:
    """Whether the tree is nothing but a column."""
    from sqlglot import exp

    return isinstance(tree, exp.Column)


def type_of(trees: Sequence[exp.Expr], schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """DuckDB's and Arrow's type of each checked tree; raises ExpressionError with DuckDB's words."""
    if not trees:
        return []
    items = ", ".join(f"{_sql(tree, schema)} AS r{n}" for n, tree in enumerate(trees))
    return _CHECKER.describe(f"SELECT {items} FROM input", {"input": schema})


def relation_types(query: str, relations: Mapping[str, pa.Schema]) -> list[tuple[str, str, pa.DataType]]:
    """Name, DuckDB type and Arrow type of each output column of a query over relations with these schemas."""
    return _CHECKER.columns(query, relations)


def arrow_type(duckdb_type: str, kind: pa.DataType) -> tuple[pa.DataType, str | None]:
    """The type in which a result column travels, and its `tongqu.logical`; raises ExpressionError if it cannot."""
    if _UNKEPT.fullmatch(duckdb_type) or pa.types.is_null(kind):
        name = "NULL" if pa.types.is_null(kind) else duckdb_type
        raise ExpressionError(f"a column cannot have type {name}", hint="cast it, for example `(…)::varchar`")
    if pa.types.is_dictionary(kind):
        return pa.string(), None
    logical = {"UUID": "uuid", "JSON": "json"}.get(duckdb_type)
    return kind, logical


@lru_cache(maxsize=512)
def _typed(text: str, fields: tuple[tuple[str, pa.DataType], ...], aggregate: bool) -> Typed:
    schema = pa.schema(list(fields))
    tree = _resolve(_parse(text, aggregate), text, schema.names)
    from sqlglot import exp

    columns = tuple(dict.fromkeys(node.name for node in tree.find_all(exp.Column)))
    try:
        ((duckdb_type, kind),) = type_of([tree], schema)
        found, logical = arrow_type(duckdb_type, kind)
    except ExpressionError as error:
        at = _span(_culprit(tree, schema, aggregate))
        raise ExpressionError(
            f"{error.message}\n{_caret(text, at)}", hint=error.hint, params=_place(text, at)
        ) from None
    return Typed(text, tree, columns, found, duckdb_type, logical)


def _parse(text: str, aggregate: bool, outer: Sequence[str] = ()) -> exp.Expr:
    import sqlglot
    from sqlglot import exp

    if not text.strip() or len(text) > _LONGEST:
        raise ExpressionError("the expression is empty" if not text.strip() else "the expression is too long")
    prefix = "SELECT "
    try:
        for token in sqlglot.tokenize(text, read="duckdb"):
            if token.text in _REFUSED_TOKENS:
                _refuse(text, token.start, f"the operator {token.text} is not allowed", _REFUSED_TOKENS[token.text])
        statements = sqlglot.parse(prefix + text, read="duckdb")
    except sqlglot.errors.ParseError as error:
        first: Any = error.errors[0] if error.errors else {}
        at = max(0, _offset(prefix + text, first.get("line") or 1, first.get("col") or 1) - len(prefix))
        at = max(0, at - len(first.get("highlight") or " "))
        raise _error(text, at, f"cannot parse the expression: {reason(error)}", "") from None
    except (sqlglot.errors.SqlglotError, RecursionError):
        raise _error(text, 0, "cannot parse the expression", "") from None
    select = statements[0] if len(statements) == 1 else None
    tree = select.expressions[0] if isinstance(select, exp.Select) and len(select.expressions) == 1 else None
    extra = [k for k, v in select.args.items() if v and k != "expressions"] if isinstance(select, exp.Select) else []
    if tree is None or extra or isinstance(tree, exp.Alias):
        raise _error(text, 0, "this is not one scalar expression", "no clauses, aliases or lists of expressions")
    _hold(tree, text, aggregate, outer)
    return _shift(tree, len(prefix))


def _shift(tree: exp.Expr, by: int) -> exp.Expr:
    for node in tree.walk():
        if "start" in node.meta:
            node.meta["start"] = max(0, node.meta["start"] - by)
    return tree


def _hold(tree: exp.Expr, text: str, aggregate: bool, outer: Sequence[str] = ()) -> None:
    from sqlglot import exp

    nodes, names = allowed(aggregate)
    inside: set[int] = set()
    for node in tree.walk():
        if isinstance(node, exp.Cast | exp.TryCast):
            kind = node.to
            if not isinstance(kind.this, exp.DType) or kind.this.name not in CAST_TYPES:
                types = ", ".join(sorted(CAST_TYPES))
                _refuse(text, _start(node) - 7, f"a cast to {kind.sql('duckdb')} is not allowed", f"types: {types}")
            inside.update(id(part) for part in kind.walk())
        if id(node) in inside:
            continue
        name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
        if (type(node) not in nodes and not isinstance(node, exp.DataType)) or (name and name not in names):
            shown = name or named(node)
            _refuse(text, _start(node) - 7, f"{shown!r} is not allowed in an expression", _functions(shown, aggregate))
        if isinstance(node, exp.Column) and node.table and (node.table not in outer or node.args.get("db")):
            hint = "columns have no prefix here; `actor.` belongs to access rules"
            _refuse(text, _start(node) - 7, f"{node.sql('duckdb')!r} is not a column", hint)
        if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            _refuse(text, 0, "'*' is only allowed in count(*)", "")


def _functions(name: str, aggregate: bool) -> str:
    valid = [s.name for s in (SCALARS + AGGREGATES if aggregate else SCALARS)]
    if not aggregate and name in {s.name for s in AGGREGATES}:
        return "aggregates belong in an `aggregate` step"
    close = get_close_matches(name, valid, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}functions: {', '.join(valid)}"


def _resolve(tree: exp.Expr, text: str, names: Sequence[str]) -> exp.Expr:
    from sqlglot import exp

    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), []).append(name)
    for node in list(tree.find_all(exp.Column)):
        if node.table:  # of a relation outside, which `_hold` let pass
            continue
        match = [node.name] if node.name in names else folded.get(node.name.casefold(), [])
        if len(match) != 1:
            close = get_close_matches(node.name.casefold(), list(folded), n=1)
            guess = f"did you mean {folded[close[0]][0]!r}? " if close else ""
            what = "could be several columns" if match else "is not a column"
            _refuse(text, _start(node), f"{node.name!r} {what}", f"{guess}columns: {', '.join(match or names)}")
        node.this.set("this", match[0])
        node.this.set("quoted", True)
    return tree


def _culprit(tree: exp.Expr, schema: pa.Schema, aggregate: bool) -> exp.Expr:
    """The innermost part that DuckDB refuses while all its own parts are fine."""
    from sqlglot import exp

    skipped = (exp.Identifier, exp.DataType, exp.Var, exp.DataTypeParam, exp.Star, exp.If, exp.Interval, exp.Distinct)
    for node in reversed(list(tree.walk(bfs=True))):
        if aggregate or isinstance(node, skipped):
            continue
        try:
            type_of([node], schema)
        except ExpressionError:
            return node
    return tree


def _start(node: exp.Expr) -> int:
    return min((part.meta["start"] for part in node.walk() if "start" in part.meta), default=7)


def _span(node: exp.Expr) -> int:
    return min((part.meta["start"] for part in node.walk() if "start" in part.meta), default=0)


def _offset(text: str, line: int, col: int) -> int:
    return sum(len(part) + 1 for part in text.split("\n")[: line - 1]) + col


def _place(text: str, at: int) -> dict[str, int]:
    before = text[: max(0, at)]
    return {"line": before.count("\n") + 1, "column": len(before) - (before.rfind("\n") + 1) + 1}


def _caret(text: str, at: int) -> str:
    place = _place(text, at)
    line = text.split("\n")[place["line"] - 1]
    pad = "".join("　" if ord(c) > 0x2E7F else " " for c in line[: place["column"] - 1])
    return f"  line {place['line']}, column {place['column']}:\n  {line}\n  {pad}^"


def _error(text: str, at: int, message: str, hint: str) -> ExpressionError:
    at = max(0, at)
    return ExpressionError(f"{message}\n{_caret(text, at)}", hint=hint, params=_place(text, at))


def _refuse(text: str, at: int, message: str, hint: str) -> None:
    raise _error(text, at, message, hint)


def _sql(tree: exp.Expr, schema: pa.Schema) -> str:
    return render(tree, relation_names(schema.names))


class _Checker:
    """The one shared database. It only ever sees tables of one row of nulls, so constants that cannot work fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @cache  # noqa: B019  the checker lives as long as the process
    def _connection(self) -> DuckDBPyConnection:
        return open_sandbox(threads=1, memory_mb=128)

    def describe(self, query: str, relations: Mapping[str, pa.Schema]) -> list[tuple[str, pa.DataType]]:
        return [(kind, arrow) for _, kind, arrow in self.columns(query, relations)]

    def columns(self, query: str, relations: Mapping[str, pa.Schema]) -> list[tuple[str, str, pa.DataType]]:
        shapes = tuple((name, tuple((f.name, f.type) for f in schema)) for name, schema in relations.items())
        return list(self._columns(query, shapes))

    @lru_cache(maxsize=4096)  # noqa: B019  the checker lives as long as the process
    def _columns(
        self, query: str, shapes: tuple[tuple[str, tuple[tuple[str, pa.DataType], ...]], ...]
    ) -> tuple[tuple[str, str, pa.DataType], ...]:
        import duckdb

        relations = {name: pa.schema([pa.field(*field) for field in fields]) for name, fields in shapes}
        with self._lock:
            connection = self._connection()
            try:
                for name, schema in relations.items():
                    names = list(relation_names(schema.names).values())
                    nulls = [pa.nulls(1, field.type) for field in schema]
                    connection.register(name, pa.Table.from_arrays(nulls, names=names))
                relation = connection.sql(query)
                kinds = [str(kind).strip('"') for kind in relation.types]
                arrow = relation.to_arrow_table().schema
                return tuple((f.name, kind, f.type) for kind, f in zip(kinds, arrow, strict=True))
            except duckdb.Error as error:
                raise ExpressionError(_words(error)) from None
            finally:
                for name in relations:
                    connection.unregister(name)


def _words(error: Exception) -> str:
    first = str(error).split("\n\nLINE", maxsplit=1)[0]
    first = re.sub(r"^(Binder|Catalog|Conversion|Parser|Invalid Input|Out of Range) Error: ", "", first)
    return first.split("\n", maxsplit=1)[0].split(" You might need")[0].rstrip(".")


_CHECKER = _Checker()
