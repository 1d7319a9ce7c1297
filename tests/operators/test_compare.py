"""What is new, changed, deleted or the same."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import DuplicateError, InvalidPlanError, UnknownNameError
from tongqu.testing.steps import planned, run_step

Row = dict[str, Any]
OLD = pa.schema({"k": pa.int32()}).append(pa.field("d", pa.decimal128(6, 2))).append(pa.field("t", pa.string()))
NEW = pa.schema({"k": pa.int64()}).append(pa.field("d", pa.decimal128(8, 4))).append(pa.field("t", pa.string()))
VALUES = st.fixed_dictionaries(
    {"d": st.none() | st.sampled_from([Decimal("1.5"), Decimal("2")]), "t": st.none() | st.sampled_from(["a", ""])}
)
ROWS = st.dictionaries(st.none() | st.integers(0, 6), VALUES, max_size=7)


@pytest.mark.oracle("compare")
@settings(max_examples=15, deadline=None)
@given(ROWS, ROWS)
def test_compare(old: dict[int | None, Row], new: dict[int | None, Row]) -> None:
    ran = run_step(
        {"compare": {"old": "a", "new": "b", "key": ["k"], "before": "old_"}},
        pa.Table.from_pylist([{"k": k, **row} for k, row in old.items()], schema=OLD),
        pa.Table.from_pylist([{"k": k, **row} for k, row in new.items()], schema=NEW),
    )
    expected = []
    for k in {**old, **new}:
        here, before = new.get(k), old.get(k)
        mark = "new" if before is None else "deleted" if here is None else "same" if here == before else "changed"
        was = before or {"d": None, "t": None}
        shown = here if here is not None else was
        expected.append({"k": k, **shown, "old_d": was["d"], "old_t": was["t"], "_change": mark})
    by_key = lambda row: (row["k"] is None, row["k"] or 0)  # noqa: E731
    assert sorted(ran.rows.to_pylist(), key=by_key) == sorted(expected, key=by_key)
    assert ran.counts.marks == Counter(row["_change"] for row in expected)
    assert (ran.counts.rows_in, ran.counts.rows_out) == (len(old) + len(new), len(expected))
    assert ran.counts.to_json().get("marks", {}) == ran.counts.marks


def test_only_named_columns_are_compared() -> None:
    old = pa.table({"k": [1, 2], "v": ["a", "b"], "at": [10, 20]})
    new = pa.table({"k": [1, 3], "v": ["a", "c"], "at": [11, 33], "more": [True, False]})
    ran = run_step({"compare": {"old": "a", "new": "b", "key": "k", "columns": ["v"], "mark": "what"}}, old, new)
    assert sorted(ran.rows.to_pylist(), key=lambda row: row["k"]) == [
        {"k": 1, "v": "a", "at": 11, "more": True, "what": "same"},
        {"k": 2, "v": "b", "at": 20, "more": None, "what": "deleted"},
        {"k": 3, "v": "c", "at": 33, "more": False, "what": "new"},
    ]


def test_key_that_comes_twice_stops_the_run() -> None:
    rows = pa.table({"k": ["x", "x"], "v": [1, 2]})
    with pytest.raises(DuplicateError, match="in 'b' the key k = x comes more than once"):
        run_step({"compare": {"old": "a", "new": "b", "key": "k"}}, rows.slice(1), rows)


@pytest.mark.parametrize(
    ("new", "error", "words"),
    [
        (
            pa.schema({"k": pa.int64()}).append(pa.field("d", pa.int64())),
            InvalidPlanError,
            "'t' is a column of only one",
        ),
        (NEW.set(1, pa.field("d", pa.date32())), InvalidPlanError, "different kinds"),
        (NEW.remove(0), UnknownNameError, "no column 'k'"),
    ],
)
def test_what_cannot_be_compared_is_refused(new: pa.Schema, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"compare": {"old": "a", "new": "b", "key": "k"}}, Dataset("a", OLD), Dataset("b", new))


def test_mark_comes_from_all_that_was_compared() -> None:
    step, output = planned({"compare": {"old": "a", "new": "b", "key": "k"}}, Dataset("a", OLD), Dataset("b", NEW))
    assert output.key == ("k",) and output.schema.field("d").type == pa.decimal128(8, 4)
    made = step.operator.lineage([Dataset("a", OLD), Dataset("b", NEW)])
    assert made["_change"] == {(n, c) for n in (0, 1) for c in "kdt"} and made["d"] == {(0, "d"), (1, "d")}
