"""Masks as PostgreSQL's SQL, made of the trees that DuckDB is given, so that both give the same."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.core.data import Meta
from tongqu.meaning.masks import KEYED, Mask, masked

_EXACT_DIGITS = 15
"""Decimals of more digits are not made of a double."""
_TEXTS = ("text", "character varying")


def mask_sql(mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
    """The masked column; None for what can only be done after. Raises InvalidPlanError for a mask that does not fit."""
    if mask.with_ in KEYED:
        return None
    kind = column.type
    if mask.with_ in ("round", "bucket") and pa.types.is_decimal(kind) and kind.precision > _EXACT_DIGITS:
        return None
    tree = masked(mask, column.name, pa.schema([column])).copy()
    if mask.with_ in ("null", "constant"):
        return tree
    if mask.with_ in ("round", "bucket"):
        return _guarded(tree, kind)
    native = (column.metadata or {}).get(Meta.NATIVE.value.encode(), b"").decode().removeprefix("postgres:")
    plain = native.split("(")[0] in _TEXTS or not native
    if pa.types.is_string(kind) and not plain:
        for node in list(tree.find_all(exp.Column)):
            node.replace(exp.Cast(this=node.copy(), to=exp.DataType.build("text")))
    return tree.transform(_pattern)


def _guarded(tree: exp.Expr, kind: Any) -> exp.Expr:
    """Null where the number does not fit the type, as TRY_CAST gives."""
    if not isinstance(tree, exp.TryCast):
        return tree
    inner, to = tree.this, tree.args["to"]
    plain = exp.Cast(this=inner.copy(), to=to.copy())
    if pa.types.is_floating(kind):
        return plain
    bound = (
        float(10 ** (kind.precision - kind.scale)) if pa.types.is_decimal(kind) else float(2 ** (kind.bit_width - 1))
    )
    fits = exp.LT(this=exp.Abs(this=inner.copy()), expression=exp.Literal.number(repr(bound)))
    return exp.Case(ifs=[exp.If(this=fits, true=plain)])


def _pattern(node: exp.Expr) -> exp.Expr:
    """Regular expressions in PostgreSQL's spelling (its documentation, 9.7.3.3)."""
    if isinstance(node, exp.RegexpFullMatch):
        return exp.RegexpLike(this=node.this, expression=exp.Literal.string(f"^(?:{_spelled(node.expression.name)})$"))
    if isinstance(node, exp.RegexpReplace):
        node.set("expression", exp.Literal.string(_spelled(node.expression.name)))
    return node


def _spelled(pattern: str) -> str:
    return re.sub(r"\\x\{([0-9a-f]+)\}", lambda found: f"\\U{int(found[1], 16):08x}", pattern)
