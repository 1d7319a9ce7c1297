"""Values as messages bring them become the columns of a dataset; what is no value of its type is told by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.errors import CastError
from tongqu.core.kernels import pc
from tongqu.kit.formats.types import convert
from tongqu.kit.messages.parsed import Failure

_NUMBER = r"^-?\d+$"


def wire_field(field: pa.Field[Any]) -> pa.Field[Any]:
    """The field as JSON is read first: times, binary and text are text there."""
    kind = field.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind)
    native = number or pa.types.is_boolean(kind) or pa.types.is_nested(kind)
    return pa.field(field.name, kind if native else pa.string())


def loose_names(fields: Sequence[pa.Field[Any]]) -> list[str]:
    """Fields whose bare numbers are read as text."""
    return [field.name for field in fields if pa.types.is_string(wire_field(field).type)]


def converted(
    columns: Sequence[Any], fields: Sequence[pa.Field[Any]], times: Any
) -> tuple[list[Any], dict[int, Failure]]:
    """The columns as their fields say, and the rows that have a value which is none."""
    made: list[Any] = []
    failures: dict[int, Failure] = {}
    for column, field in zip(columns, fields, strict=True):
        values, refused = _column(_whole(column), field.type, times)
        made.append(values)
        if refused is not None and refused.true_count:
            for row in pc.indices_nonzero(pc.fill_null(refused, False)).to_pylist():
                value = str(_whole(column)[row].as_py())
                said = f"{field.name}: {value[:80]!r} is no {field.type}"
                failures.setdefault(row, Failure(said, CastError.code, field.name, value))
    return made, failures


def _column(column: Any, kind: pa.DataType, times: Any) -> tuple[Any, Any]:
    if column.type == kind:
        return column, None
    if not pa.types.is_string(column.type):
        try:
            return column.cast(kind), None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return _column(column.cast(pa.string()), kind, times)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _instants(column, kind, times)
    values, refused = convert(column, kind)
    return _whole(values), None if refused is None else _whole(refused)


def _instants(column: Any, kind: Any, times: Any) -> tuple[Any, Any]:
    """Texts of ISO 8601, or numbers of units since 1970."""
    numbers = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
    if not numbers.true_count:
        return _texts(column, kind)
    counted = pc.if_else(numbers, column, pa.scalar(None, pa.string()))
    try:
        units = counted.cast(pa.int64())
        made = (
            units.cast(pa.int32()).cast(kind)
            if pa.types.is_date(kind)
            else units.cast(pa.timestamp(times, kind.tz)).cast(kind, safe=False)
        )
        refused = None
    except pa.ArrowInvalid:
        made, refused = pa.nulls(len(column), kind), numbers
    rest = pc.if_else(numbers, pa.scalar(None, pa.string()), column)
    texts, other = _texts(rest, kind)
    both = other if refused is None else refused if other is None else pc.or_(other, refused)
    return pc.coalesce(made, texts), both


def _texts(column: Any, kind: Any) -> tuple[Any, Any]:
    values, refused = convert(column, kind)
    return _whole(values), None if refused is None else _whole(refused)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
