"""Code maps: values of one list brought to those of another, as SQL for short maps and as an Arrow look-up for long."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import ConfigError, ExpressionError, InvalidPlanError
from tongqu.meaning.expressions import arrow_type, cast, column, literal, type_of

if TYPE_CHECKING:
    from sqlglot import exp

Code = str | int | float | bool | None
"""A value on either side of a map."""

MOST_CODES = 1_000_000


def read_codes(text: str, source: str) -> dict[Code, Code]:
    """A CSV of two columns under a heading line: the value and what it becomes (empty: null).

    Raises ConfigError naming the line that has not two cells, or that maps a value a second time to something else.
    """
    found: dict[Code, Code] = {}
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        for row in lines:
            number = lines.line_num
            if not row or number == 1:
                continue
            if len(row) != 2:
                raise ConfigError(f"line {number} of {source} has {len(row)} cells, not 2", hint="value,becomes")
            old, new = row[0], row[1] or None
            if found.setdefault(old, new) != new:
                raise ConfigError(
                    f"line {number} of {source} maps {old!r} to {new!r}, an earlier line to {found[old]!r}",
                    hint="each value comes once",
                )
            if len(found) > MOST_CODES:
                raise ConfigError(f"{source} has more than {MOST_CODES:,} codes", hint="use a lookup step instead")
    except csv.Error as error:
        raise ConfigError(f"line {lines.line_num} of {source} is no CSV: {error}") from None
    return found


def converted(values: Sequence[Code], kind: pa.DataType, what: str) -> list[Any]:
    """The values in an Arrow type, by DuckDB's own cast so that both lanes compare alike.

    Raises InvalidPlanError naming the value that does not fit.
    """
    texts = [None if value is None else _text(value) for value in values]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return texts
    try:
        made: pa.Array[Any] = pc.cast(pa.array(texts, pa.string()), kind)
        return [cell.as_py() for cell in made]
    except pa.ArrowInvalid:
        for text in texts:
            try:
                pc.cast(pa.array([text], pa.string()), kind)
            except pa.ArrowInvalid:
                raise InvalidPlanError(f"{what} {text!r} is no {kind}", hint="cast the column before") from None
        raise


def case(name: str, pairs: Mapping[Code, Code], otherwise: exp.Expr, kind: str | None) -> exp.Expr:
    """`CASE name WHEN … THEN … ELSE otherwise END`; null maps to null unless the map has null."""
    from sqlglot import exp

    tree = exp.Case()
    for old, new in pairs.items():
        test = exp.Is(this=column(name), expression=exp.Null()) if old is None else _equal(name, old)
        tree = tree.when(test, literal(new) if kind is None else cast(literal(new), kind), copy=False)
    return tree.else_(otherwise, copy=False)


def known(name: str, pairs: Mapping[Code, Code]) -> exp.Expr:
    """True, never null, for values that the map has."""
    from sqlglot import exp

    values: list[exp.Expr] = [literal(old) for old in pairs if old is not None]
    test: exp.Expr = exp.In(this=column(name), expressions=values) if values else exp.Boolean(this=False)
    null = exp.Is(this=column(name), expression=exp.Null())
    if None in pairs:
        return exp.or_(null, test)
    return exp.and_(exp.Not(this=null), test)


def looked_up(values: pa.Array[Any], old: pa.Array[Any], new: pa.Array[Any]) -> tuple[Any, Any]:
    """Each value's partner and whether it has one; a null value has one if `old` holds null."""
    at = pc.index_in(values, value_set=old)
    return new.take(pc.cast(at, pa.int64())), pc.is_valid(at)


def result_type(values: Sequence[Code]) -> str:
    """DuckDB's type that holds all values exactly: boolean, bigint, or else text."""
    given = [value for value in values if value is not None]
    for kind, name in ((bool, "boolean"), (int, "bigint")):
        if given and all(type(value) is kind for value in given):
            return name
    return "varchar"


def typed_as(kind: str) -> tuple[pa.DataType, str | None]:
    """The Arrow type and `tongqu.logical` of a DuckDB type name; raises InvalidPlanError."""
    probe = pa.schema([pa.field("value", pa.string())])
    try:
        ((duckdb_type, arrow),) = type_of([cast(column("value"), kind, trying=True)], probe)
        return arrow_type(duckdb_type, arrow)
    except ExpressionError as error:
        raise InvalidPlanError(error.message, hint=error.hint) from None


def _equal(name: str, value: Code) -> exp.Expr:
    from sqlglot import exp

    return exp.EQ(this=column(name), expression=literal(value))


def _text(value: Code) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
