"""Rows of several inputs, one after the other."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.steps import planned, run_step

Row = dict[str, Any]
A = pa.schema({"k": pa.int32()}).append(pa.field("d", pa.decimal128(5, 2))).append(pa.field("t", pa.string()))
B = pa.schema({"d": pa.int16()}).append(pa.field("k", pa.int64())).append(pa.field("u", pa.string()))
number = st.none() | st.integers(-99, 99)
few = settings(max_examples=12, deadline=None)
TEXT = st.none() | st.sampled_from(["a", "b", "中"])
A_ROWS = st.lists(
    st.fixed_dictionaries({"k": number, "d": number.map(lambda n: None if n is None else Decimal(n) / 4), "t": TEXT}),
    max_size=8,
)
B_ROWS = st.lists(st.fixed_dictionaries({"d": number, "k": number, "u": TEXT}), max_size=8)


@pytest.mark.oracle("union")
@few
@given(A_ROWS, B_ROWS)
def test_by_name_widens_and_fills_with_null(a: list[Row], b: list[Row]) -> None:
    ran = run_step({"union": {"inputs": ["a", "b"], "mark": "src"}}, table(A, a), table(B, b), batch_rows=3)
    assert ran.rows.schema.types == [pa.int64(), pa.decimal128(7, 2), pa.string(), pa.string(), pa.string()]
    expected = [{**r, "u": None, "src": "a"} for r in a]
    expected += [{"k": r["k"], "d": r["d"], "t": None, "u": r["u"], "src": "b"} for r in b]
    assert ran.rows.to_pylist() == expected
    assert (ran.counts.rows_in, ran.counts.rows_out, ran.counts.generated) == (len(a) + len(b), len(a) + len(b), 0)


@pytest.mark.oracle("union")
@few
@given(A_ROWS, B_ROWS)
def test_by_position_takes_the_first_names(a: list[Row], b: list[Row]) -> None:
    schema = pa.schema({"x": pa.int16()}).append(pa.field("y", pa.int64())).append(pa.field("u", pa.string()))
    ran = run_step(
        {"union": {"inputs": ["a", "b"], "by": "position"}},
        table(A, a),
        table(B, b).cast(schema.set(0, B.field(0)).set(1, B.field(1))),
    )
    assert ran.rows.to_pylist() == [*a, *({"k": r["d"], "d": r["k"], "t": r["u"]} for r in b)]


@pytest.mark.oracle("union")
@few
@given(A_ROWS, A_ROWS)
def test_distinct_counts_what_it_takes_out(a: list[Row], b: list[Row]) -> None:
    ran = run_step({"union": {"inputs": ["a", "b"], "distinct": True}}, table(A, a), table(A, b))
    kinds = {tuple(row[c] for c in A.names) for row in (*a, *b)}
    assert Counter(tuple(row.values()) for row in ran.rows.to_pylist()) == Counter(kinds)
    assert ran.counts.deduplicated == len(a) + len(b) - len(kinds)


def table(schema: pa.Schema, rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def field(kind: pa.DataType, **meta: str) -> Dataset:
    return Dataset("x", pa.schema([pa.field("v", kind, metadata={f"tongqu.{k}": v for k, v in meta.items()})]))


def test_class_is_the_strictest_and_a_title_stays_where_all_agree() -> None:
    _, output = planned(
        {"union": ["a", "b"]},
        field(pa.int32(), title="重量", unit="kg", **{"class": "internal"}),
        field(pa.int64(), title="重量", unit="kg", **{"class": "sensitive"}),
    )
    assert output.schema.field("v").metadata == {
        b"tongqu.title": "重量".encode(), b"tongqu.unit": b"kg", b"tongqu.class": b"sensitive",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (field(pa.string()), field(pa.int32()), "different kinds: string, int32"),
        (field(pa.timestamp("us", "UTC")), field(pa.timestamp("us")), "different kinds"),
        (field(pa.int64()), field(pa.float64()), "different kinds"),
        (field(pa.string(), logical="json"), field(pa.string()), r"string \(json\), string"),
        (field(pa.float64(), unit="kg"), field(pa.float64(), unit="g"), "different units: g, kg"),
        (field(pa.decimal128(38, 0)), field(pa.decimal128(38, 20)), "different kinds"),
    ],
)
def test_what_does_not_go_together_is_refused(first: Dataset, second: Dataset, words: str) -> None:
    with pytest.raises(InvalidPlanError, match=words):
        planned({"union": ["a", "b"]}, first, second)


def test_inputs_of_other_width_have_no_positions() -> None:
    with pytest.raises(InvalidPlanError, match="'b' has 3 columns, 'a' has 1"):
        planned({"union": {"inputs": ["a", "b"], "by": "position"}}, field(pa.int32()), Dataset("b", B))


def test_changes_may_be_appended_and_not_made_distinct() -> None:
    known = {"a": Dataset("a", A), "b": Dataset("b", A)}
    Graph(plan(["a", "b"], [parse_step({"union": ["a", "b"]}, "s")], {"out": None}), known, incremental=["a"])
    distinct = parse_step({"union": {"inputs": ["a", "b"], "distinct": True}}, "s")
    with pytest.raises(InvalidPlanError, match="union needs all rows, but 'a' gives only changes"):
        Graph(plan(["a", "b"], [distinct], {"out": None}), known, incremental=["a"])
