"""Turns refused rows into quarantine records: the only place where rows become Python objects, and only bad ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.data import BadRow
from tongqu.core.operator import Fault
from tongqu.core.treatment import Repair, Treated
from tongqu.kit.originals import originals, shape_of, shown


def bad_rows(step: str, faults: Mapping[int, Fault], codes: Sequence[Any], rows: pa.Table) -> list[BadRow]:
    """Records for rows that a step refused; `codes` name each row's fault."""
    texts, shape = originals(rows), shape_of(rows.schema)
    values = {f.field: shown(rows.column(f.field)) for f in faults.values() if f.field in rows.column_names}
    nothing: list[str | None] = [None] * rows.num_rows
    found: list[BadRow] = []
    for number, (code, original) in enumerate(zip(codes, texts, strict=True)):
        fault = faults[code]
        value = values.get(fault.field, nothing)[number]
        what = fault.field if value is None else f"{fault.field} {value[:80]!r}"
        message = f"{what} {fault.message}".lstrip()
        found.append(BadRow(step, fault.code, fault.field, value, original, message, shape=shape))
    return found


def refused_rows(step: str, treated: Treated, rows: pa.Table) -> list[BadRow]:
    """Records for the rows of a chunk that an Arrow step refused."""
    if treated.codes is None:
        return []
    refused = pc.not_equal(treated.codes, pa.scalar(0, pa.int16()))
    codes = treated.codes.filter(refused).to_pylist()
    return bad_rows(step, treated.faults, codes, rows.filter(refused)) if codes else []


def repaired_rows(step: str, repair: Repair, rows: pa.Table, new: pa.ChunkedArray[Any]) -> list[BadRow]:
    """Records for rows of which a step changed one cell: `rows` as they came in, `new` what the cell holds now."""
    texts, shape = originals(rows), shape_of(rows.schema)
    before = shown(rows.column(repair.field))
    found: list[BadRow] = []
    for original, old, made in zip(texts, before, shown(new), strict=True):
        words = f"{repair.field} {old!r} became {made!r}"[:200] + f": {repair.message}"
        found.append(BadRow(step, repair.code, repair.field, old, original, words, "repaired", shape))
    return found
