"""Turns refused rows into quarantine records: the only place where rows become Python objects, and only bad ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.data import BadRow
from tongqu.core.operator import Fault


def originals(rows: pa.Table) -> list[str]:
    """Each row as JSON: decimals, dates, times and special floats as text, binary as hex, instants with offset."""
    return [json.dumps(row, ensure_ascii=False, default=_plain) for row in _values(rows).to_pylist()]


def bad_rows(step: str, faults: Mapping[int, Fault], codes: Sequence[Any], rows: pa.Table) -> list[BadRow]:
    """Records for rows that a step refused; `codes` name each row's fault."""
    found: list[BadRow] = []
    values = _values(rows).to_pylist()
    for code, row in zip(codes, values, strict=True):
        fault = faults[code]
        value = row.get(fault.field)
        shown = None if value is None else value if isinstance(value, str) else json.dumps(value, default=_plain)
        shown = shown.strip('"') if shown is not None and not isinstance(value, str) else shown
        what = f"{fault.field} {shown[:80]!r}" if shown is not None else fault.field
        original = json.dumps(row, ensure_ascii=False, default=_plain)
        found.append(BadRow(step, fault.code, fault.field, shown, original, f"{what} {fault.message}"))
    return found


def _values(rows: pa.Table) -> pa.Table:
    """The rows with columns that Python cannot hold exactly (nanoseconds, floats that JSON lacks) as text."""
    for number, field in enumerate(rows.schema):
        column = rows.column(number)
        if (pa.types.is_temporal(field.type) and getattr(field.type, "unit", "us") == "ns") or (
            pa.types.is_floating(field.type) and pc.any(pc.invert(pc.is_finite(column))).as_py()
        ):
            rows = rows.set_column(number, field.name, pc.cast(column, pa.string()))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
