"""Whole SELECT statements of the `sql` step, held to the same allow-list as expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tongqu.core.errors import ExpressionError
from tongqu.meaning.functions import AGGREGATES, CAST_TYPES, SCALARS, allowed
from tongqu.meaning.refusals import reason

_STRUCTURE = (
    "Select", "Union", "Intersect", "Except", "Subquery", "With", "CTE", "TableAlias", "Alias", "From", "Join", "Where",
    "Group", "Having", "Qualify", "Order", "Ordered", "Limit", "Offset", "Table", "Window", "WindowSpec", "RowNumber",
    "Rank", "DenseRank", "PercentRank", "Ntile", "Lag", "Lead", "FirstValue", "LastValue", "Exists", "Star", "Tuple",
    "Distinct", "Filter", "DataType", "DataTypeParam",
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """A checked statement: its SQL written anew, the column names it mentions, whether it has a `*`, and which output
    columns are plain columns under their own name."""

    sql: str
    mentioned: frozenset[str]
    plain: frozenset[str]
    star: bool


def _functions(name: str) -> str:
    valid = [signature.name for signature in SCALARS + AGGREGATES]
    near = get_close_matches(name.lower(), valid, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"functions: {', '.join(valid)}"


def query(text: str, names: Sequence[str], relations: Mapping[str, str] | None = None) -> Query:
    """Check a statement over the named inputs; `relations` replaces their names by others (quoted identifiers).

    Raises ExpressionError for anything but one SELECT, for tables that are not inputs, and for functions or syntax
    outside the allow-list.
    """
    import sqlglot
    from sqlglot import exp

    try:
        statements = sqlglot.parse(text, read="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        places = getattr(error, "errors", ())
        at = f" (line {places[0]['line']}, column {places[0]['col']})" if places and places[0].get("line") else ""
        raise ExpressionError(f"cannot parse the query: {reason(error)}{at}", hint='"select … from input"') from None
    tree = statements[0] if len(statements) == 1 else None
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise ExpressionError("the query is not one SELECT", hint='"select … from input"')
    nodes, functions = allowed(aggregate=True)
    fine = nodes | {getattr(exp, name) for name in _STRUCTURE}
    inner = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    known = {name.casefold(): name for name in names}
    for node in tree.walk():
        if type(node) not in fine or (isinstance(node, exp.Anonymous) and node.name.lower() not in functions):
            shown = node.name or type(node).__name__.lower()
            raise ExpressionError(f"{shown!r} is not allowed in a query", hint=_functions(shown))
        if isinstance(node, exp.Cast | exp.TryCast) and node.to.this.name not in CAST_TYPES:
            raise ExpressionError(f"a cast to {node.to.sql('duckdb')} is not allowed")
        if isinstance(node, exp.Table):
            plain = isinstance(node.this, exp.Identifier) and not node.db and not node.catalog
            if not plain or node.name.casefold() not in {*known, *inner}:
                shown = node.sql("duckdb")
                raise ExpressionError(f"{shown!r} is not an input of the query", hint=f"inputs: {', '.join(names)}")
    output = tree.selects
    plain_columns = frozenset(c.name for c in output if isinstance(c, exp.Column))
    star = any(isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count) for node in tree.walk())
    mentioned = frozenset(node.name for node in tree.find_all(exp.Column))
    for table in list(tree.find_all(exp.Table)):
        original = known.get(table.name.casefold())
        if relations and original is not None and table.name.casefold() not in inner:
            alias = table.alias or table.name
            new = exp.to_table(relations[original], dialect="duckdb")
            table.replace(exp.alias_(new, alias, table=True))
    return Query(str(tree.sql("duckdb", comments=False)), mentioned, plain_columns, star)
