"""Says in a person's words why a text is no expression, and what a part of one is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp


def reason(error: Exception) -> str:
    """Why a text does not parse, of sqlglot's error; its place is not in it."""
    first: Any = next(iter(getattr(error, "errors", ())), {})
    what = str(first.get("description") or "").split(" for <")[0].split(" but got <")[0].rstrip(".")
    return "an operand is missing" if what.startswith("Required keyword") else what or "it is not complete"


def named(node: exp.Expr) -> str:
    """What a part of an expression is called: a function's name, an operator with its operands, else its kind."""
    from sqlglot import exp

    if isinstance(node, exp.Func):
        return str(node.sql_name()).lower()
    return node.sql("duckdb") if isinstance(node, exp.Binary) else type(node).__name__.lower()
