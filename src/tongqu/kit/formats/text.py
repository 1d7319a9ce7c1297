"""Values as exact text: what CSV and JSON Lines write."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa

from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.formats.inference import Array


def as_text(column: Array) -> Array:
    """Each value as text that keeps all of it; nulls stay null.

    Numbers plain (doubles shortest, `nan inf -inf`), `true`/`false`, dates and times ISO 8601 with `T`, zoned
    timestamps in UTC with `Z`, binary as base64, nested values as JSON. Raises SchemaError for a type without a form.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_dictionary(kind):
        return as_text(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        utc = column.cast(pa.timestamp(kind.unit, "UTC")) if kind.tz else column
        return pc.replace_substring(pc.cast(utc, pa.string()), " ", "T")
    if pa.types.is_decimal(kind):
        return _plain(pc.cast(column, pa.string()))
    if any(t(kind) for t in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        return _in_duckdb(column.cast(pa.binary()), "to_base64(v)")
    if pa.types.is_nested(kind):
        return _in_duckdb(column, "to_json(v)::VARCHAR")
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(
            f"values of type {kind} have no text form", hint="cast the column, or write parquet"
        ) from error


def _plain(texts: Array) -> Array:
    """Decimals without an exponent (Arrow writes small ones as `1E-7`)."""
    scientific = pc.fill_null(pc.match_substring(texts, "E"), False)
    if not pc.any(scientific).as_py():
        return texts
    found = pc.unique(texts.filter(scientific))
    plain = pa.array([f"{Decimal(text):f}" for text in found.to_pylist()], pa.string())
    return pc.if_else(scientific, plain.take(pc.index_in(texts, value_set=found)), texts)


def _in_duckdb(column: Array, expression: str) -> Array:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table: Any = connection.from_arrow(pa.table({"v": column})).project(f"{expression} AS t").to_arrow_table()
    return table.column("t").combine_chunks().cast(pa.string())


def is_quoted_kind(kind: pa.DataType) -> bool:
    """Whether JSON writes values of the type as strings."""
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return not (plain or pa.types.is_boolean(kind) or pa.types.is_nested(kind))
