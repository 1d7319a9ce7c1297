"""Turns refused rows into quarantine records, column by column: no row becomes a Python object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.bad_rows import COLUMNS, BadRows
from tongqu.core.kernels import pc
from tongqu.core.operator import Fault
from tongqu.core.treatment import Repair, Treated
from tongqu.kit.originals import constant, original_texts, shape_of, shown_texts

_TRUE = pa.scalar(True)
_VALUE = 80
_WORDS = 200
_PLAIN = r"^[ -&(-\[\]-~\x{a1}-\x{ac}\x{ae}-\x{ff}\x{3041}-\x{3096}\x{30a1}-\x{30fa}\x{4e00}-\x{9fff}]*$"
"""Texts that `repr` shows as they are between single quotes: what the pattern does not know goes to `repr` itself."""


def bad_rows(step: str, faults: Mapping[int, Fault], codes: Any, rows: pa.Table) -> BadRows:
    """Records for rows that a step refused; `codes` is an Arrow array that names each row's fault."""
    numbers = _whole(codes).to_numpy(zero_copy_only=False)
    present = np.unique(numbers)
    told = [faults[number] for number in present.tolist()]
    values, messages, places = [], [], []
    for number, fault in zip(present, told, strict=True):
        place = np.flatnonzero(numbers == number)
        value: Any = pa.nulls(len(place), pa.string())
        if fault.field in rows.column_names:
            column = rows.column(fault.field)
            place_in: Any = pa.array(place)
            value = shown_texts(column if len(present) == 1 else column.take(place_in))
        values.append(value)
        messages.append(_messages(fault, value))
        places.append(place)
    value, message = (_in_order(parts, places) for parts in (values, messages))
    kind = np.searchsorted(present, numbers)
    code, field = (_named(kind, [getattr(fault, name) for fault in told]) for name in ("code", "field"))
    return _block(step, "new", (code, field, value, message), rows)


def refused_rows(step: str, treated: Treated, rows: pa.Table) -> BadRows:
    """Records for the rows of a chunk that an Arrow step refused."""
    if treated.codes is None:
        return BadRows()
    refused = pc.not_equal(treated.codes, pa.scalar(0, pa.int16()))
    codes = treated.codes.filter(refused)
    return bad_rows(step, treated.faults, codes, rows.filter(refused)) if len(codes) else BadRows()


def repaired_rows(step: str, repair: Repair, rows: pa.Table, new: pa.ChunkedArray[Any]) -> BadRows:
    """Records for rows of which a step changed one cell: `rows` as they came in, `new` what the cell holds now."""
    before = shown_texts(rows.column(repair.field))
    now = shown_texts(new)
    words = _joined(f"{repair.field} ", _represented(before), " became ", _represented(now))
    message = _joined(pc.utf8_slice_codeunits(words, 0, _WORDS), f": {repair.message}")
    zeros = np.zeros(rows.num_rows, np.int8)
    cause = (_named(zeros, [repair.code]), _named(zeros, [repair.field]), before, message)
    return _block(step, "repaired", cause, rows)


def _block(step: str, state: str, told: tuple[Any, Any, Any, Any], rows: pa.Table) -> BadRows:
    """`told` are the columns code, field, value and message."""
    zeros = np.zeros(rows.num_rows, np.int8)
    same = [_named(zeros, [text]) for text in (step, state, shape_of(rows.schema))]
    *cause, message = told
    columns = [same[0], *cause, original_texts(rows), message, *same[1:]]
    return BadRows.block(pa.Table.from_arrays(columns, names=list(COLUMNS)))


def _messages(fault: Fault, value: Any) -> Any:
    """The field, the value's first characters as `repr` shows them, and what is wrong."""
    short = pc.utf8_slice_codeunits(value, 0, _VALUE)
    told = _joined(f"{fault.field} ".lstrip(), _represented(short), f" {fault.message}")
    return pc.if_else(pc.is_valid(value), told, constant(f"{fault.field} {fault.message}".lstrip()))


def _represented(texts: Any) -> Any:
    """Each text as Python's `repr` writes it; `None` for null."""
    quoted = pc.fill_null(_joined("'", texts, "'"), constant("None"))
    plain = pc.fill_null(pc.match_substring_regex(texts, _PLAIN), _TRUE)
    if plain.false_count == 0:
        return quoted
    odd = pa.array([repr(text) for text in texts.filter(pc.invert(plain)).to_pylist()], pa.string())
    return pc.replace_with_mask(quoted, pc.invert(plain), odd)


def _joined(*parts: Any) -> Any:
    texts = [constant(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*texts, constant(""))


def _in_order(parts: Sequence[Any], places: Sequence[Any]) -> Any:
    """The values of all parts, each at its place."""
    if len(parts) == 1:
        return parts[0]
    return pa.concat_arrays(list(parts)).take(pa.array(np.argsort(np.concatenate(places), kind="stable")))


def _named(kind: Any, names: Sequence[str]) -> Any:
    """The name of each row's kind."""
    return pa.DictionaryArray.from_arrays(pa.array(kind.astype(np.int32)), pa.array(names, pa.string()))


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
