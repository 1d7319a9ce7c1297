"""Brings rows to the columns of a schema: what they lack is null, what it lacks is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import TongquError

if TYPE_CHECKING:
    import pyarrow as pa

Refusal = Callable[["pa.Field[Any]", "pa.DataType", Exception], TongquError]
"""The error for a column whose values a field does not hold, of their type, as Arrow says it."""


def columns_of(rows: pa.Table | pa.RecordBatch, schema: pa.Schema, refusal: Refusal) -> list[Any]:
    """A column for each field, of exactly its type; raises what `refusal` makes where a value would be lost."""
    import pyarrow as pa

    made: list[Any] = []
    for field in schema:
        if field.name not in rows.schema.names:
            made.append(pa.nulls(rows.num_rows, field.type))
            continue
        column: Any = rows.column(field.name)
        try:
            made.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowInvalid as error:
            raise refusal(field, column.type, error) from error
    return made
