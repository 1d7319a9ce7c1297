"""Which measures can be kept as a few numbers a group, so that a chunk costs what it holds and not what groups hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Operator
from tongqu.meaning.expressions import render, type_of, typed
from tongqu.meaning.sandbox import relation_names


@dataclass(frozen=True)
class Part:
    """One number of a group: how a chunk's rows give it (SQL over rows with a `sign` of 1 or -1), how two are one."""

    name: str
    made: str
    merged: str


@dataclass(frozen=True)
class Algebra:
    """The numbers of a group, and each measure as SQL over them."""

    parts: tuple[Part, ...]
    measures: Mapping[str, str]
    columns: tuple[str, ...]
    """The columns that measures read."""


def decomposed(operator: Operator, dataset: Dataset, *, retract: bool) -> Algebra | None:
    """The measures of an aggregate as such numbers, exact to the batch's result; None if one of them cannot be.

    Sums of floats depend on the order of adding, so they are only kept where rows are never taken away; so are `min`
    and `max`. An average of decimals is not the quotient of its exact sum in the last bit.
    """
    from sqlglot import exp

    names = relation_names(dataset.columns)
    if any(name != inside for name, inside in names.items()):
        return None
    parts: dict[str, Part] = {}
    measures: dict[str, str] = {}
    columns: dict[str, None] = {}

    def kept(node: Any) -> Any:
        argument = node.this
        if isinstance(argument, exp.Star):
            return exp.column("n")
        sql = render(argument, names)
        ((_, kind),) = type_of([argument], dataset.schema)
        number = _number(parts, f"CAST(sum(sign * (({sql}) IS NOT NULL)::BIGINT) AS BIGINT)")
        if isinstance(node, exp.Count):
            return exp.column(number)
        if isinstance(node, exp.Min | exp.Max):
            word = "min" if isinstance(node, exp.Min) else "max"
            return exp.column(_named(parts, f"{word}({sql})", word))
        wide = f"({sql})::HUGEINT" if pa.types.is_integer(kind) else f"({sql})"
        total = _named(parts, f"sum(CASE WHEN sign < 0 THEN -{wide} ELSE {wide} END)", "sum")
        value = f"{total}::DOUBLE / {number}" if isinstance(node, exp.Avg) else total
        return exp.maybe_parse(f"(CASE WHEN {number} > 0 THEN {value} END)", dialect="duckdb")

    for name, text in getattr(operator, "measures", {}).items():
        measure = typed(text, dataset.schema, aggregate=True)
        found = list(measure.tree.find_all(exp.AggFunc))
        if not all(_algebraic(node, dataset, retract) for node in found) or measure.tree.find(exp.Filter):
            return None
        outside = measure.tree.transform(lambda node: exp.null() if isinstance(node, exp.AggFunc) else node)
        if outside.find(exp.Column):
            return None
        tree = measure.tree.transform(lambda node: kept(node) if isinstance(node, exp.AggFunc) else node)
        measures[name] = f"CAST({tree.sql('duckdb', comments=False)} AS {measure.duckdb_type})"
        columns |= dict.fromkeys(measure.columns)
    return Algebra(tuple(parts.values()), measures, tuple(columns))


def _algebraic(node: Any, dataset: Dataset, retract: bool) -> bool:
    from sqlglot import exp

    argument = node.this
    if node.args.get("expressions") or argument is None or isinstance(argument, exp.Distinct | exp.Order):
        return False
    if isinstance(node, exp.Count):
        return True
    if isinstance(argument, exp.Star) or argument.find(exp.AggFunc):
        return False
    ((_, kind),) = type_of([argument], dataset.schema)
    if isinstance(node, exp.Min | exp.Max):
        return not retract
    if isinstance(node, exp.Sum):
        return pa.types.is_integer(kind) or pa.types.is_decimal(kind) or (pa.types.is_floating(kind) and not retract)
    return isinstance(node, exp.Avg) and (pa.types.is_integer(kind) or (pa.types.is_floating(kind) and not retract))


def _number(parts: dict[str, Part], made: str) -> str:
    return _named(parts, made, "sum")


def _named(parts: dict[str, Part], made: str, merged: str) -> str:
    """The name of a part, the same for the same SQL."""
    if made not in parts:
        parts[made] = Part(f"a{len(parts)}", made, merged)
    return parts[made].name
