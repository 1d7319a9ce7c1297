"""Masks as the SQL of MariaDB and MySQL, made of the trees that DuckDB is given, over text by code point."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.mysql.serving.sql import in_utf8
from tongqu.meaning.masks import KEYED, Mask, masked

_EXACT_DIGITS = 15
"""Decimals of more digits are not made of a double."""


def mask_sql(mask: Mask, column: pa.Field[Any], collation: str, *, mariadb: bool) -> exp.Expr | None:
    """The masked column; None for what can only be done after. Raises InvalidPlanError for a mask that does not fit."""
    kind = column.type
    if mask.with_ in KEYED:
        return None
    tree = masked(mask, column.name, pa.schema([column])).copy()
    plain: exp.Expr = exp.column(column.name, quoted=True)
    if mask.with_ == "null":
        return exp.Null()
    if mask.with_ == "constant":
        return exp.convert(mask.value)
    if mask.with_ in ("year", "month"):
        return _begun(mask, plain, kind)
    if mask.with_ in ("round", "bucket"):
        return None if pa.types.is_decimal(kind) and kind.precision > _EXACT_DIGITS else _stepped(mask, plain, kind)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        plain = exp.Cast(this=plain, to=exp.DataType.build("CHAR", dialect="mysql"))
        tree = masked(mask, column.name, pa.schema([pa.field(column.name, pa.string())])).copy()
    exact = exp.Collate(this=in_utf8(plain), expression=exp.to_identifier(collation))
    for node in list(tree.find_all(exp.Column)):
        node.replace(exact.copy())
    return _spelled(tree, mariadb)


def _spelled(tree: exp.Expr, mariadb: bool) -> exp.Expr:
    """Regular expressions and `||` as these systems have them."""
    for node in list(tree.find_all(exp.RegexpFullMatch)):
        pattern = exp.Literal.string(f"\\A(?:{node.expression.name})\\z")
        node.replace(exp.RegexpLike(this=node.this, expression=pattern))
    for other in list(tree.find_all(exp.RegexpReplace)):
        made = other.args["replacement"].name
        pattern = exp.Literal.string(other.expression.name.replace("\\v", "\\x{0b}"))  # else any vertical space
        parts = [other.this, pattern, exp.Literal.string(made if mariadb else made.replace("\\", "$"))]
        other.replace(exp.Anonymous(this="REGEXP_REPLACE", expressions=parts))
    while (joined := tree.find(exp.DPipe)) is not None:
        joined.replace(exp.Anonymous(this="CONCAT", expressions=[joined.this, joined.expression]))
    return tree


def _f(name: str, *parts: Any) -> exp.Expr:
    return exp.Anonymous(
        this=name, expressions=[part if isinstance(part, exp.Expr) else exp.convert(part) for part in parts]
    )


def _begun(mask: Mask, plain: exp.Expr, kind: pa.DataType) -> exp.Expr:
    day = "%Y-01-01" if mask.with_ == "year" else "%Y-%m-01"
    if pa.types.is_date(kind):
        return exp.Cast(this=_f("DATE_FORMAT", plain, day), to=exp.DataType.build("DATE"))
    return exp.Cast(
        this=_f("DATE_FORMAT", plain, f"{day} 00:00:00"), to=exp.DataType.build("DATETIME", dialect="mysql")
    )


def _stepped(mask: Mask, plain: exp.Expr, kind: Any) -> exp.Expr:
    """By doubles, as everywhere; null where the number does not fit the type."""
    step = exp.Literal.number(f"{float(mask.to or 1):.17e}")
    ratio: exp.Expr = exp.Div(
        this=exp.Paren(this=exp.Mul(this=plain, expression=exp.Literal.number("1e0"))), expression=step
    )
    if mask.with_ == "round":
        ratio = exp.Add(this=ratio, expression=exp.Literal.number("0.5e0"))
    made = exp.Mul(this=_f("FLOOR", ratio), expression=step.copy())
    if pa.types.is_floating(kind):
        return made
    if pa.types.is_decimal(kind):
        most, to = 10 ** (kind.precision - kind.scale), f"DECIMAL({kind.precision}, {kind.scale})"
    else:
        unsigned = pa.types.is_unsigned_integer(kind)
        most, to = 2 ** (kind.bit_width - (not unsigned)), "UBIGINT" if unsigned else "BIGINT"
    fits = exp.LT(this=_f("ABS", made.copy()), expression=exp.Literal.number(f"{float(most):.1e}"))
    return exp.Case(ifs=[exp.If(this=fits, true=exp.Cast(this=made, to=exp.DataType.build(to)))])
