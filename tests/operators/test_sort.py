"""Order, and the first rows of it."""

from __future__ import annotations

import math
from functools import cmp_to_key
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.steps import planned, run_step

Row = dict[str, Any]
SCHEMA = pa.schema({"no": pa.int64()}).append(pa.field("f", pa.float64())).append(pa.field("t", pa.string()))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "f": st.none() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.5, -2.0]),
            "t": st.none() | st.text(alphabet="aBÄ中🙂 ", max_size=2),
        }
    ),
    max_size=25,
)


@pytest.mark.oracle("sort")
@settings(max_examples=15, deadline=None)
@given(ROWS, st.sampled_from(["first", "last"]), st.booleans(), st.booleans(), st.none() | st.integers(0, 9))
def test_sort(rows: list[Row], nulls: str, down: bool, text_first: bool, limit: int | None) -> None:
    numbered = [{"no": n, **row} for n, row in enumerate(rows)]
    terms = ["t", "-f" if down else "f"] if text_first else ["-f" if down else "f", "t"]
    ran = run_step(
        {"sort": {"by": terms, "nulls": nulls} | ({"limit": limit} if limit is not None else {})},
        pa.Table.from_pylist(numbered, schema=SCHEMA),
        batch_rows=4,
    )

    def compared(a: Row, b: Row) -> int:
        for term in terms:
            x, y = a[term.removeprefix("-")], b[term.removeprefix("-")]
            if (x is None) != (y is None):
                return (-1 if nulls == "first" else 1) if x is None else (1 if nulls == "first" else -1)
            if x is None:
                continue
            one, other = rank(x), rank(y)
            if one != other:
                return (-1 if one < other else 1) * (-1 if term[0] == "-" else 1)
        return 0

    expected = sorted(numbered, key=cmp_to_key(compared))[:limit]
    assert [row["no"] for row in ran.rows.to_pylist()] == [row["no"] for row in expected]
    assert ran.counts.filtered == len(rows) - len(expected)


def rank(value: Any) -> Any:
    """Text by its UTF-8 bytes, which is by code point; NaN above all numbers."""
    return value.encode() if isinstance(value, str) else (math.isnan(value), 0.0 if math.isnan(value) else value)


def test_short_form() -> None:
    assert run_step({"sort": "-n"}, pa.table({"n": [1, 3, 2]})).rows.to_pydict() == {"n": [3, 2, 1]}


def test_column_whose_name_begins_with_a_minus() -> None:
    assert run_step({"sort": ["-n"]}, pa.table({"-n": [2, 1], "n": [1, 2]})).rows["n"].to_pylist() == [2, 1]


def test_unknown_column_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no column 'm'"):
        planned({"sort": "-m"}, Dataset("a", SCHEMA))


def test_changes_are_not_sorted() -> None:
    made = plan(["a"], [parse_step({"sort": "t"}, "s")], {"out": None})
    with pytest.raises(InvalidPlanError, match="sort needs all rows"):
        Graph(made, {"a": Dataset("a", SCHEMA)}, incremental=["a"])


def test_more_rows_than_the_memory_holds() -> None:
    rows = 400_000
    texts = pa.array([f"{(n * 7919) % rows:0150d}" for n in range(rows)])
    ran = run_step({"sort": "t"}, pa.table({"t": texts}), memory_mb=64)
    assert ran.rows["t"].to_pylist() == [f"{n:0150d}" for n in range(rows)]
