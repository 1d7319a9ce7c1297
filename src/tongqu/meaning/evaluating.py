"""Evaluates checked trees over a table in memory, for steps that mix SQL with work in Arrow."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.meaning.expressions import render
from tongqu.meaning.sandbox import ROW_COLUMN, open_sandbox, quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from sqlglot import exp

_LOCAL = threading.local()


def evaluated(trees: Mapping[str, exp.Expr], rows: pa.Table) -> pa.Table:
    """One column for each tree over the table's columns, in the table's order. Each thread has its own database."""
    if not trees:
        return pa.table({})
    connection = _connection()
    names = relation_names(rows.column_names)
    out = relation_names(list(trees))
    items = ", ".join(f"{render(tree, names)} AS {quoted(out[name])}" for name, tree in trees.items())
    places = pa.array(range(rows.num_rows), pa.int64())
    connection.register("input", rows.rename_columns(list(names.values())).append_column(ROW_COLUMN, places))
    try:
        made: pa.Table = connection.sql(f"SELECT {items} FROM input ORDER BY {quoted(ROW_COLUMN)}").to_arrow_table()
    finally:
        connection.unregister("input")
    return made.rename_columns(list(trees))


def _connection() -> DuckDBPyConnection:
    if getattr(_LOCAL, "connection", None) is None:
        _LOCAL.connection = open_sandbox(threads=1, memory_mb=256)
    connection: DuckDBPyConnection = _LOCAL.connection
    return connection
