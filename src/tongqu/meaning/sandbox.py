"""An in-memory DuckDB that reaches nothing outside itself: no files, no network, no extensions, settings locked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.arrow import pa
from tongqu.core.errors import InvalidPlanError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FAULT_COLUMN = "_tongqu_fault"
ROW_COLUMN = "_tongqu_row"
"""Names of the columns that queries over a chunk add; not usable as a column's name."""
DUPLICATE = "tongqu duplicate: "
"""How the error of a query begins that met several rows where there must be one (see `only_one`)."""


def open_sandbox(
    threads: int = 1, memory_mb: int | None = None, temp_directory: Path | str | None = None
) -> DuckDBPyConnection:
    """A new private database. Instants are UTC. Without `temp_directory` nothing spills and a query that needs more
    than `memory_mb` fails; with it, joins, sorts and aggregates spill there."""
    import duckdb

    config: dict[str, Any] = {
        "threads": str(threads),
        "temp_directory": str(temp_directory or ""),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_unsigned_extensions": "false",
    }
    if memory_mb is not None:
        config["memory_limit"] = f"{memory_mb}MiB"
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def relation_names(columns: Sequence[str]) -> dict[str, str]:
    """For each column the name it has inside DuckDB: its own, or with a number where two differ only by case (DuckDB's
    names ignore case, Arrow's and PostgreSQL's do not)."""
    counts: dict[str, int] = {}
    for column in columns:
        counts[column.casefold()] = counts.get(column.casefold(), 0) + 1
    return {
        column: column if counts[column.casefold()] == 1 and column else f"{column}#{number}"
        for number, column in enumerate(columns)
    }


def only_one(several: str, what: str, value: str) -> str:
    """SQL that is 0 as an integer, and that raises an error if `several` is true: "`what` `value` comes more than
    once". `several` and `value` are SQL, `what` is text."""
    text = (DUPLICATE + what + " ").replace("'", "''")
    shown = f"left(coalesce(CAST({value} AS VARCHAR), 'null'), 80)"
    return f"CASE WHEN {several} THEN CAST(error('{text}' || {shown} || ' comes more than once') AS INTEGER) ELSE 0 END"


def check_carried(schema: pa.Schema, dataset: str = "") -> None:
    """Raise InvalidPlanError for a column whose type cannot go through DuckDB and come back the same."""
    for field in schema:
        if field.name.casefold() in (FAULT_COLUMN, ROW_COLUMN):
            raise InvalidPlanError(f"the column name {field.name!r} is reserved", hint="rename it at the source")
        if not _carried(field.type):
            where = f" of {dataset!r}" if dataset else ""
            raise InvalidPlanError(
                f"column {field.name!r}{where} has type {field.type}, which steps cannot carry",
                hint="drop it, or have the source give it as text",
                params={"column": field.name, "type": str(field.type)},
            )


def _carried(kind: pa.DataType) -> bool:
    t = pa.types
    if t.is_list(kind) or t.is_large_list(kind):
        return _carried(kind.value_type)
    if t.is_struct(kind):
        return all(_carried(kind.field(i).type) for i in range(kind.num_fields))
    if t.is_dictionary(kind):
        return _carried(kind.value_type)
    refused = (t.is_duration, t.is_decimal256, t.is_float16, t.is_interval, t.is_null, t.is_union, t.is_run_end_encoded)
    return not any(test(kind) for test in refused)


def narrowed(schema: pa.Schema) -> pa.Schema:
    """The schema for made-up rows: decimals of more than 38 digits, which DuckDB has not, become narrower ones."""
    wide = pa.types.is_decimal256
    return pa.schema([one.with_type(_narrow(one.type)) if wide(one.type) else one for one in schema])


def _narrow(kind: Any) -> pa.DataType:
    whole = min(kind.precision - kind.scale, 20)
    return pa.decimal128(38, min(kind.scale, 38 - whole))
