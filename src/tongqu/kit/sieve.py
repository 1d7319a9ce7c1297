"""Takes out of arriving rows what a target that stays as it is cannot hold: columns, values or whole rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tongqu.core.data import BadRow, Written
from tongqu.core.kernels import pc
from tongqu.kit.originals import originals, shape_of, shown
from tongqu.meaning.fitting import fitted
from tongqu.meaning.settling import Sieving

NEW, TYPE, NULL = "schema.column", "schema.type", "schema.null"
"""Codes of rows that are quarantined for a value in a column the target lacks, of another type, or for null."""


def sieved(sieving: Sieving, rows: pa.Table, written: Written) -> pa.Table:
    """The rows that can be written, in columns that can; refused rows and values given up are added to `written`.

    A row with several faults is refused for the first: new column, then type, then null.
    """
    bad: Any = None
    for name in sieving.empty:
        filled = pc.is_valid(rows.column(name))
        message = f"{name} is a column that the target lacks, and schema_changes says discard_row"
        bad = _refuse(rows, filled, bad, written, (NEW, name, message))
    fits: dict[str, pa.ChunkedArray[Any]] = {}
    for name, target in sieving.judged.items():
        fits[name], wrong = fitted(rows.column(name), target)
        if sieving.blank:
            written.discarded += int(pc.sum(wrong).as_py() or 0)
        else:
            message = f"{name} is {rows.schema.field(name).type} now, and this value is no {target.type} of the target"
            bad = _refuse(rows, wrong, bad, written, (TYPE, name, message))
    for name in sieving.required:
        missing = pc.is_null(fits.get(name, rows.column(name)))
        bad = _refuse(rows, missing, bad, written, (NULL, name, f"{name} is null, which the target does not take"))
    rows = _replaced(rows, sieving, fits, written)
    return rows if bad is None else rows.filter(pc.invert(bad))


def _refuse(rows: pa.Table, mask: Any, before: Any, written: Written, why: tuple[str, str, str]) -> Any:
    """Refuse the rows of the mask that are not refused yet; all that are refused by now."""
    if isinstance(mask, pa.ChunkedArray):
        mask = mask.combine_chunks()
    fresh = mask if before is None else pc.and_not(mask, before)
    code, name, message = why
    found = rows.filter(fresh)
    if found.num_rows:
        shape = shape_of(rows.schema)
        kept = zip(shown(found.column(name)), originals(found), strict=True)
        written.refused += [BadRow("sink", code, name, value, row, message, shape=shape) for value, row in kept]
    return fresh if before is None else pc.or_(before, mask)


def _replaced(rows: pa.Table, sieving: Sieving, fits: dict[str, pa.ChunkedArray[Any]], written: Written) -> pa.Table:
    for name, column in fits.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, sieving.judged[name].with_nullable(True), column)
    for name in sieving.left_out:
        written.discarded += len(rows) - rows.column(name).null_count
    return rows.drop_columns([*sieving.left_out, *sieving.empty])
