"""Records of refused and repaired rows say what a plain loop in Python would say."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import BadRow
from tongqu.core.operator import Fault
from tongqu.core.treatment import Repair
from tongqu.engine.refused import bad_rows, repaired_rows
from tongqu.kit.originals import originals, shape_of, shown

NOTHING: Any = None
FAULTS = {
    1: Fault("check.pattern", "s", NOTHING, "does not match"),
    2: Fault("check.range", "n", NOTHING, "is too large"),
    5: Fault("check.rule", "", NOTHING, "breaks a rule"),
    7: Fault("cast.invalid", "gone", NOTHING, "is no number"),
}
TEXT = st.text(st.sampled_from("aé中'\"\\\n\0 \u200b\U0001f600"), max_size=90)
ROWS = st.lists(
    st.tuples(st.none() | TEXT, st.none() | st.integers(-(2**63), 2**63 - 1), st.sampled_from(list(FAULTS))),
    min_size=1,
    max_size=8,
)


def table(rows: list[tuple[Any, Any, Any]]) -> pa.Table:
    texts, numbers, _ = zip(*rows, strict=True)
    return pa.table({"s": pa.array(texts, pa.string()), "n": pa.array(numbers, pa.int64())})


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_each_row_is_told_with_its_own_fault_in_the_order_it_came(rows: list[tuple[Any, Any, Any]]) -> None:
    given_rows = table(rows)
    codes = [code for _, _, code in rows]
    expected = []
    for row, code, original in zip(given_rows.to_pylist(), codes, originals(given_rows), strict=True):
        fault = FAULTS[code]
        value = None if row.get(fault.field) is None else str(row[fault.field])
        what = fault.field if value is None else f"{fault.field} {value[:80]!r}"
        message = f"{what} {fault.message}".lstrip()
        shape = shape_of(given_rows.schema)
        expected.append(BadRow("step", fault.code, fault.field, value, original, message, shape=shape))
    assert bad_rows("step", FAULTS, pa.array(codes, pa.int16()), given_rows) == expected


@settings(max_examples=60, deadline=None)
@given(ROWS, st.data())
def test_a_repair_is_told_with_what_was_and_what_is(rows: list[tuple[Any, Any, Any]], data: st.DataObject) -> None:
    given_rows = table(rows)
    new = data.draw(st.lists(st.none() | TEXT, min_size=len(rows), max_size=len(rows)))
    made: pa.ChunkedArray[Any] = pa.chunked_array([pa.array(new, pa.string())])
    repair = Repair("clean.clamp", "n", NOTHING, "it is above 100")
    before = shown(given_rows.column("n"))
    words = [f"n {old!r} became {now!r}"[:200] + ": it is above 100" for old, now in zip(before, new, strict=True)]
    found = repaired_rows("step", repair, given_rows, made)
    assert [(row.value, row.message, row.state) for row in found] == [
        (old, told, "repaired") for old, told in zip(before, words, strict=True)
    ]
    assert [row.original for row in found] == originals(given_rows)
