"""Rows into columns."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import DuplicateError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.steps import planned, run_step

Row = dict[str, Any]
FIELDS: list[pa.Field[Any]] = [
    pa.field("g", pa.int64()),
    pa.field("item", pa.string()),
    pa.field("v", pa.int64(), metadata={"tongqu.unit": "kg", "tongqu.class": "internal"}),
]
SCHEMA = pa.schema(FIELDS)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "g": st.none() | st.integers(0, 2),
            "item": st.none() | st.sampled_from(["W", "L", "X"]),
            "v": st.none() | st.integers(-9, 9),
        }
    ),
    max_size=20,
)


def taken(values: list[Any], take: str) -> Any:
    known = [value for value in values if value is not None]
    if take == "count":
        return len(values)
    if not known:
        return None
    return sum(known) if take == "sum" else min(known) if take == "min" else max(known)


@pytest.mark.oracle("pivot")
@settings(max_examples=15, deadline=None)
@given(ROWS, st.sampled_from(["sum", "min", "max", "count"]), st.booleans())
def test_pivot(rows: list[Row], take: str, others: bool) -> None:
    values = {"W": "weight", "L": "length"}
    step = {"by": ["g"], "column": "item", "value": "v", "values": values, "take": take}
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    ran = run_step({"pivot": step | ({"others": "rest"} if others else {})}, table, batch_rows=4)
    groups: dict[Any, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if others or row["item"] in values:
            groups[row["g"]][values.get(row["item"], "rest")].append(row["v"])
    names = ["weight", "length", *(["rest"] if others else [])]
    expected = {g: [taken(cells[name], take) for name in names] for g, cells in groups.items()}
    assert {row["g"]: [row[name] for name in names] for row in ran.rows.to_pylist()} == expected
    refused = 0 if others else sum(row["item"] not in values for row in rows)
    assert ran.codes == ["pivot.undeclared"] * refused
    assert ran.counts.generated == len(expected) + refused - len(rows)


def test_one_value_a_cell() -> None:
    step = {"pivot": {"column": "item", "value": "v", "values": ["W", "L"]}}
    table = pa.table({"g": [1, 1, 2], "item": ["W", "L", "W"], "v": ["a", None, "c"]})
    assert sorted(run_step(step, table).rows.to_pylist(), key=lambda r: r["g"]) == [
        {"g": 1, "W": "a", "L": None},
        {"g": 2, "W": "c", "L": None},
    ]
    with pytest.raises(DuplicateError, match="the cell W of a group comes more than once"):
        run_step(step, pa.concat_tables([table, table]))


def test_declared_numbers() -> None:
    table = pa.table({"g": [1, 1], "m": [1, 2], "v": [5.5, 6.5]})
    ran = run_step({"pivot": {"column": "m", "value": "v", "values": {1: "jan", 2: "feb"}}}, table)
    assert ran.rows.to_pylist() == [{"g": 1, "jan": 5.5, "feb": 6.5}]


def test_cell_keeps_unit_and_class_and_its_row() -> None:
    step, output = planned(
        {"pivot": {"column": "item", "value": "v", "values": ["W"], "take": "max"}}, Dataset("a", SCHEMA)
    )
    assert output.key == ("g",) and output.schema.field("W").metadata == {
        b"tongqu.unit": b"kg", b"tongqu.class": b"internal",
    }  # fmt: skip
    assert step.operator.lineage([Dataset("a", SCHEMA)]) == {"g": {(0, "g")}, "W": {(0, "v")}}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"column": "items", "value": "v", "values": ["W"]}, UnknownNameError, "no column 'items'"),
        ({"column": "g", "value": "v", "values": ["W"]}, InvalidPlanError, "do not fit 'g'"),
        ({"column": "item", "value": "v", "values": ["g"]}, InvalidPlanError, "two columns named 'g'"),
        ({"column": "item", "value": "v", "values": ["W", "W"]}, InvalidPlanError, "two columns|twice"),
        ({"column": "item", "value": "v", "values": ["W"], "by": "v"}, InvalidPlanError, "used twice"),
        ({"column": "v", "value": "item", "values": [1], "take": "sum"}, InvalidPlanError, "sum of 'item'"),
        ({"column": "item", "value": "v"}, InvalidSettingsError, "missing key 'values'"),
    ],
)
def test_what_cannot_work_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"pivot": settings}, Dataset("a", SCHEMA))


def test_changes_are_not_pivoted() -> None:
    made = plan(["a"], [parse_step({"pivot": {"column": "item", "value": "v", "values": ["W"]}}, "s")], {"out": None})
    with pytest.raises(InvalidPlanError, match="pivot needs all rows"):
        Graph(made, {"a": Dataset("a", SCHEMA)}, incremental=["a"])


def test_more_groups_than_the_memory_holds() -> None:
    rows = 300_000
    table = pa.table(
        {
            "g": pa.array([f"{n // 2:0150d}" for n in range(rows)]),
            "item": pa.array(["W" if n % 2 else "L" for n in range(rows)]),
            "v": pa.array(range(rows), pa.int64()),
        }
    )
    step = {"pivot": {"column": "item", "value": "v", "values": ["W", "L"], "take": "max"}}
    ran = run_step(step, table, memory_mb=96)
    assert ran.rows.num_rows == rows // 2
    total = sum(pc.sum(ran.rows[name]).as_py() for name in ("W", "L"))
    assert total == rows * (rows - 1) // 2
