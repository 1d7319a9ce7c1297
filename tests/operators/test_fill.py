"""Missing values are filled as plain Python would."""

from __future__ import annotations

import statistics
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.single_step import Row, run

FIELDS: list[pa.Field[Any]] = [
    pa.field("g", pa.string()),
    pa.field("o", pa.int32()),
    pa.field("n", pa.int64(), metadata={"tongqu.unit": "kg"}),
    pa.field("x", pa.float64()),
    pa.field("t", pa.string()),
]
SCHEMA = pa.schema(FIELDS)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "g": st.none() | st.sampled_from("ab"),
            "o": st.none() | st.integers(0, 5),
            "n": st.none() | st.integers(-50, 50),
            "x": st.none() | st.integers(-50, 50).map(float),
            "t": st.none() | st.sampled_from(["", " ", "　", "x", " y "]),
        }
    ),
    max_size=20,
)
few = settings(max_examples=25, deadline=None)


@pytest.mark.oracle("fill")
@few
@given(ROWS)
def test_constants_and_expressions(rows: list[Row]) -> None:
    entries: Row = {"n": 7, "x": {"expression": "n * 2.0"}, "t": {"value": "-", "blank": True}}
    found = run({"fill": entries}, rows, SCHEMA)
    assert found.rows == [
        {
            **row,
            "n": 7 if row["n"] is None else row["n"],
            "x": row["x"] if row["x"] is not None else None if row["n"] is None else row["n"] * 2.0,
            "t": row["t"] if row["t"] is not None and row["t"].strip() else "-",
        }
        for row in rows
    ]
    assert found.schema.field("n").metadata == {b"tongqu.unit": b"kg"}


@pytest.mark.oracle("fill")
@few
@given(ROWS)
def test_the_last_good_value_in_an_order(rows: list[Row]) -> None:
    found = run({"fill": {"n": {"method": "last", "order": ["o"], "by": ["g"]}}}, rows, SCHEMA)
    expected: list[Any] = [row["n"] for row in rows]
    last: dict[Any, Any] = {}
    for at in sorted(range(len(rows)), key=lambda i: (rows[i]["o"] is not None, rows[i]["o"] or 0, i)):
        group = rows[at]["g"]
        if expected[at] is None:
            expected[at] = last.get(group)
        else:
            last[group] = expected[at]
    assert found.column("n") == expected


@pytest.mark.oracle("fill")
@few
@given(ROWS, st.sampled_from(["mean", "median"]))
def test_means_and_medians(rows: list[Row], method: str) -> None:
    found = run({"fill": {"n": {"method": method}, "x": {"method": method, "by": ["g"]}}}, rows, SCHEMA)
    function = getattr(statistics, method)

    def of(name: str, among: list[Row]) -> Any:
        values = [row[name] for row in among if row[name] is not None]
        return function([Decimal(value) for value in values]) if values else None

    whole = of("n", rows)
    rounded = None if whole is None else int(Decimal(whole).to_integral_value(ROUND_HALF_UP))
    assert found.column("n") == [rounded if row["n"] is None else row["n"] for row in rows]
    for row, x in zip(rows, found.column("x"), strict=True):
        wanted = row["x"] if row["x"] is not None else of("x", [r for r in rows if r["g"] == row["g"]])
        assert x == (None if wanted is None else pytest.approx(float(wanted)))


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"n": "many"}, InvalidPlanError, "'many' is no BIGINT"),
        ({"n": {"method": "last"}}, InvalidSettingsError, "needs `order`"),
        ({"n": {"value": 1, "method": "mean"}}, InvalidSettingsError, "give one of"),
        ({"t": {"method": "median"}}, InvalidPlanError, "it has no median"),
        ({"n": {"value": 1, "blank": True}}, InvalidPlanError, "only text can be blank"),
        ({"z": 1}, UnknownNameError, "no column 'z'"),
        ({"n": {"method": "mean", "by": ["z"]}}, UnknownNameError, "no column 'z'"),
        (5, InvalidSettingsError, "fill takes columns"),
    ],
)
def test_refused_when_planning(entry: Any, error: type[ConfigError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_step({"fill": entry}, "steps[0]").operator.output([Dataset("t", SCHEMA)])


def test_a_median_of_changes_only_is_refused() -> None:
    step = parse_step({"fill": {"n": {"method": "median"}}}, "steps[0]")
    with pytest.raises(InvalidPlanError, match="gives only changes"):
        Graph(plan(["s"], [step], {"out": None}), {"s": Dataset("s", SCHEMA)}, incremental=["s"])
