"""Holds rows to each reason alone for which a step would refuse them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Fault, Operator
from tongqu.kit.originals import shown
from tongqu.meaning.expressions import render
from tongqu.meaning.sandbox import open_sandbox, quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS = "input"


Rule = tuple[str, str, str]
"""A reason to refuse rows: code, field, and what is wrong."""


def broken(operator: Operator, name: str, rows: pa.Table) -> list[dict[Rule, str]]:
    """For each row the rules it breaks, each in words that name the value."""
    faults = list(operator.faults(Dataset(name, rows.schema)))
    if not faults or rows.num_rows == 0:
        return [{} for _ in range(rows.num_rows)]
    with open_sandbox() as connection:
        for relation, table in operator.relations().items():
            connection.register(relation, table)
        return _held(connection, faults, rows)


def _held(connection: DuckDBPyConnection, faults: Sequence[Fault], rows: pa.Table) -> list[dict[Rule, str]]:
    import duckdb

    names = relation_names(rows.column_names)
    connection.register(_ROWS, rows.rename_columns(list(names.values())))
    items = [f"{render(fault.condition, names)} AS {quoted(f'f{n}')}" for n, fault in enumerate(faults)]
    try:
        found = connection.sql(f"SELECT {', '.join(items)} FROM {_ROWS}").to_arrow_table()
    except duckdb.Error as error:  # a condition that cannot be computed for some row
        if rows.num_rows == 1:
            return [{("failed", "", ""): str(error).splitlines()[0]}]
        middle = rows.num_rows // 2
        return _held(connection, faults, rows.slice(0, middle)) + _held(connection, faults, rows.slice(middle))
    return _told(faults, found, rows)


def _told(faults: Sequence[Fault], found: pa.Table, rows: pa.Table) -> list[dict[Rule, str]]:
    values = {f.field: shown(rows.column(f.field)) for f in faults if f.field in rows.column_names}
    result: list[dict[Rule, str]] = [{} for _ in range(rows.num_rows)]
    for number, fault in enumerate(faults):
        for at, bad in enumerate(found.column(number).to_pylist()):
            if bad:
                value = values[fault.field][at] if fault.field in values else None
                what = fault.field if value is None else f"{fault.field} {value[:80]!r}"
                result[at][fault.code, fault.field, fault.message] = f"{what} {fault.message}".strip()
    return result
