"""Reads a query's tree: which expressions are text, which placeholders it has, where its tables are named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from tongqu.core.errors import ExpressionError, InvalidPlanError

Texts = Callable[[exp.Expr], bool]
"""Whether an expression gives text."""

WIDE = 200
"""Values of a question beyond which what is made for its shape is not kept: such shapes are many, and each is large."""


@dataclass(frozen=True)
class Known:
    """What is known of a column: whether it is text, and whether it is never null."""

    text: bool
    required: bool = False


Columns = Callable[[exp.Column], Known | None]
"""What is known of a column where it stands."""
Describe = Callable[[exp.Expr], Awaitable[Mapping[str, Known]]]
"""The columns of a table or subquery."""

_TEXT_TYPES = frozenset(("TEXT", "VARCHAR", "CHAR", "NCHAR", "NVARCHAR", "BPCHAR", "NAME"))
_GIVE_TEXT = (
    exp.Collate, exp.JSONExtractScalar, exp.Lower, exp.Upper, exp.Trim, exp.Concat, exp.DPipe, exp.Left, exp.Right,
    exp.Substring, exp.RegexpReplace, exp.Repeat, exp.JSONBExtractScalar,
)  # fmt: skip
_GIVE_THEIRS = (exp.Paren, exp.Alias, exp.Min, exp.Max, exp.Ordered, exp.Distinct)
COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)


def holes(tree: exp.Expr) -> Iterator[exp.Placeholder]:
    """The placeholders, in the order of the text."""
    for node in tree.walk(bfs=False):
        if isinstance(node, exp.Placeholder):
            yield node


def put(node: exp.Expr, made: exp.Expr) -> None:
    """`made` where `node` stands, below the root. In constant time, which `replace` is not among many siblings."""
    parent, key, index = node.parent, node.arg_key, node.index
    if parent is None or key is None or index is None:
        node.replace(made)
        return
    parent.args[key][index] = made
    made.parent, made.arg_key, made.index = parent, key, index
    node.parent = None


def tables(tree: exp.Expr) -> list[exp.Table]:
    """The tables that are named as datasets: one quoted identifier, which is no CTE's name."""
    local = {cte.alias for cte in tree.find_all(exp.CTE)}
    found = []
    for node in tree.find_all(exp.Table):
        name = node.this
        if isinstance(name, exp.Identifier) and name.quoted and not node.args.get("db") and name.name not in local:
            found.append(node)
    return found


def bind(sql: str, dialect: str) -> exp.Query:
    """The tree of an approved SELECT with `:name` parameters. Raises ExpressionError for what is not one SELECT that
    only reads."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        trees = sqlglot.parse(sql, read=dialect)
    except SqlglotError:
        raise ExpressionError(
            "the statement does not parse", hint="give one SELECT in the connection's own SQL"
        ) from None
    (tree,) = trees if len(trees) == 1 else (None,)
    changing = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Command, exp.Into, exp.Lock)
    if not isinstance(tree, exp.Query) or tree.find(*changing):
        raise ExpressionError("the statement is not one SELECT that only reads", hint="give one SELECT")
    return tree


def text_of(tree: exp.Expr, dialect: Any) -> str:
    """The SQL text; raises InvalidPlanError for what the dialect cannot say."""
    from sqlglot import ErrorLevel
    from sqlglot.errors import UnsupportedError

    try:
        return tree.sql(dialect=dialect, unsupported_level=ErrorLevel.RAISE, comments=False)
    except (UnsupportedError, ValueError) as error:
        raise InvalidPlanError(f"this database cannot do what is asked: {type(error).__name__}") from None


async def known_columns(tree: exp.Expr, describe: Describe) -> Columns:
    """Tells what the columns of the tree are. They are looked up where they are used, inside out."""
    found: dict[int, dict[str, Mapping[str, Known]]] = {}
    for select in tree.find_all(exp.Select):
        own: dict[str, Mapping[str, Known]] = {}
        for source in _sources(select):
            own[source.alias_or_name] = await describe(source)
        found[id(select)] = own

    def of_column(node: exp.Column) -> Known | None:
        parent: Any = node.parent
        while parent is not None:
            for alias, columns in found.get(id(parent), {}).items():
                if node.table in ("", alias) and node.name in columns:
                    return columns[node.name]
            parent = parent.parent
        return None

    return of_column


def texts(of_column: Columns) -> Texts:
    """Tells which expressions are text."""
    return lambda node: gives_text(node, of_column)


def gives_text(node: exp.Expr | None, of_column: Columns) -> bool:
    """Whether an expression is text, as far as its columns are known. What is bound or written out takes the type of
    what it is compared with, and counts as none."""
    if node is None:
        return False
    if isinstance(node, exp.Column):
        found = of_column(node)
        return found is not None and found.text
    if isinstance(node, exp.Cast):
        return node.to.this.name in _TEXT_TYPES
    if isinstance(node, _GIVE_TEXT):
        return True
    if isinstance(node, _GIVE_THEIRS):
        inner = node.expressions[0] if isinstance(node, exp.Distinct) and node.expressions else node.this
        return gives_text(inner, of_column)
    if isinstance(node, exp.Coalesce):
        return any(gives_text(part, of_column) for part in (node.this, *node.expressions))
    if isinstance(node, exp.Case):
        branches = [branch.args.get("true") for branch in node.args.get("ifs", ())] + [node.args.get("default")]
        return any(gives_text(branch, of_column) for branch in branches)
    return False


def _sources(select: exp.Select) -> Iterator[exp.Expr]:
    began = select.args.get("from_") or select.args.get("from")
    joined = [join.this for join in select.args.get("joins") or ()]
    for source in [*([began.this] if began is not None else []), *joined]:
        if isinstance(source, exp.Table | exp.Subquery):
            yield source


def operands(node: exp.Expr) -> list[exp.Expr]:
    """What a comparison, BETWEEN or IN compares, each element of a tuple by itself."""
    parts: list[Any]
    if isinstance(node, exp.Between):
        parts = [node.this, node.args["low"], node.args["high"]]
    elif isinstance(node, exp.In):
        parts = [node.this, *node.expressions]
    else:
        parts = [node.this, node.expression]
    made: list[exp.Expr] = []
    for part in parts:
        made += part.expressions if isinstance(part, exp.Tuple) else [part]
    return made
