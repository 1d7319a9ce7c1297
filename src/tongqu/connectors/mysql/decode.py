"""Turns the server's text cells into Arrow columns, a column at a time; cells that do not parse become bad rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.mysql.stream import Cells
from tongqu.core.data import BadRow


def decode(rows: Sequence[Cells], schema: pa.Schema) -> tuple[pa.RecordBatch, list[BadRow]]:
    """The rows as a batch of `schema`, without those that have a cell Arrow cannot hold (`0000-00-00`, TIME of 30
    hours); these are returned as bad rows, whole, in the server's text."""
    if not rows:
        return _empty(schema), []
    columns = list(zip(*rows, strict=True))
    bad: dict[int, tuple[str, str]] = {}
    arrays = []
    for field, cells in zip(schema, columns, strict=True):
        array, wrong = _column(cells, field.type)
        for row, reason in wrong.items():
            bad.setdefault(row, (field.name, reason))
        arrays.append(array)
    if not bad:
        return pa.RecordBatch.from_arrays(arrays, schema=schema), []
    keep = pa.array([row not in bad for row in range(len(rows))])
    kept = [array.filter(keep) for array in arrays]
    refused = [_bad_row(rows[row], schema.names, *bad[row]) for row in sorted(bad)]
    return pa.RecordBatch.from_arrays(kept, schema=schema), refused


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _column(cells: Sequence[bytes | None], kind: pa.DataType) -> tuple[Any, dict[int, str]]:
    """The column, and the reasons by row of cells that became null because they do not parse."""
    if pa.types.is_binary(kind):
        return pa.array(cells, pa.binary()), {}
    try:
        return _parse(pa.array(cells, pa.string()), kind), {}
    except (pa.ArrowInvalid, UnicodeDecodeError):
        pass
    wrong: dict[int, str] = {}
    _find(cells, 0, kind, wrong)
    good = [None if row in wrong else cell for row, cell in enumerate(cells)]
    return _parse(pa.array(good, pa.string()), kind), wrong


def _find(cells: Sequence[bytes | None], start: int, kind: pa.DataType, wrong: dict[int, str]) -> None:
    """Find the cells that do not parse by halving."""
    try:
        _parse(pa.array(cells, pa.string()), kind)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        if len(cells) == 1:
            wrong[start] = f"{_shown(cells[0])!r} is not a valid {kind}"
            return
        middle = len(cells) // 2
        _find(cells[:middle], start, kind, wrong)
        _find(cells[middle:], start + middle, kind, wrong)


def _parse(texts: Any, kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        texts.validate(full=True)
        return texts
    if pa.types.is_timestamp(kind) and kind.tz:
        return pc.assume_timezone(pc.cast(texts, pa.timestamp("us")), "UTC")
    if pa.types.is_time(kind):
        stamped = pc.binary_join_element_wise(pa.scalar("1970-01-01"), texts, " ")
        return pc.cast(pc.cast(stamped, pa.timestamp("us")), kind)
    if pa.types.is_floating(kind):  # the text is a double's; a float's double is exact
        return pc.cast(pc.cast(texts, pa.float64()), kind, safe=False)
    return pc.cast(texts, kind)


def _bad_row(cells: Cells, names: Sequence[str], field: str, reason: str) -> BadRow:
    values = {name: _shown(cell) for name, cell in zip(names, cells, strict=True)}
    return BadRow(
        step="source",
        code="cast.invalid",
        field=field,
        value=values[field],
        original=json.dumps(values, ensure_ascii=False),
        message=f"{field}: {reason}",
    )


def _shown(cell: bytes | None) -> str | None:
    if cell is None:
        return None
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.hex()
