"""`check` with rules beyond one field's own: references, conditions over several fields, closed datasets."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import BadRow, Dataset
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import Step, parse_step
from tongqu.core.plan import plan
from tongqu.engine.chain import Chain
from tongqu.engine.graph import Graph
from tongqu.testing.tested import saw

KINDS: dict[str, pa.DataType] = {"line": pa.string(), "a": pa.int64(), "b": pa.int64()}
SCHEMA = pa.schema(KINDS)
ENTRY: dict[str, Any] = {
    "fields": {
        "line": {"reference": {"connection": "mes", "dataset": "lines", "field": "id"}},
        "a": {"max": 50},
        "b": {},
    },
    "rules": [
        {"name": "order", "expression": "b >= a", "message": {"zh": "先发货", "en": "shipped first"}},
        {"name": "odd", "expression": "a % 2 = 1 or b is null"},
    ],
}
KNOWN = pa.array(["A", "B"])


def step(entry: dict[str, Any] = ENTRY, known: pa.Array[Any] | None = KNOWN) -> Step:
    made = parse_step({"check": "thing"}, "steps[0]", {"thing": entry})
    operator = made.operator.knowing({"line": known}) if known is not None else made.operator
    return Step(made.id, made.verb, operator, made.inputs, made.path)


def cause(row: dict[str, Any]) -> str | None:
    """The oracle: the first broken rule; null breaks none."""
    if row["line"] is not None and row["line"] not in ("A", "B"):
        return "check.reference line"
    if row["a"] is not None and row["a"] > 50:
        return "check.range a"
    if row["a"] is not None and row["b"] is not None and row["b"] < row["a"]:
        return "check.expression order"
    if row["a"] is not None and row["a"] % 2 != 1 and row["b"] is not None:
        return "check.expression odd"
    return None


def told(bad: BadRow) -> str:
    """The field, or the rule's name in brackets."""
    return bad.message.partition("[")[2].partition("]")[0] if bad.code == "check.expression" else bad.field


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "line": st.none() | st.sampled_from(["A", "B", "", "a", "Z"]),
            "a": st.none() | st.integers(0, 60),
            "b": st.none() | st.integers(0, 60),
        }
    ),
    max_size=30,
)


@pytest.mark.oracle("check")
@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_each_row_is_refused_for_its_first_fault(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    chain = Chain(Dataset("t", SCHEMA), [step()])
    result = chain.run(table)
    chain.close()
    saw(result.steps)
    assert result.rows.to_pylist() == [row for row in rows if cause(row) is None]
    found = [f"{bad.code} {told(bad)}" for bad in result.bad]
    assert found == [cause(row) for row in rows if cause(row)]


def test_a_graph_knows_the_values_too() -> None:
    entry = {"fields": {**ENTRY["fields"], "a": {"unique": True}}}
    graph = Graph(plan(["source"], [step(entry)], {"sink": None}), {"source": Dataset("t", SCHEMA)})
    rows = pa.Table.from_pylist([{"line": "A", "a": 1}, {"line": "Z", "a": 2}, {"line": "B", "a": 1}], schema=SCHEMA)
    opener = lambda: pa.RecordBatchReader.from_batches(SCHEMA, rows.to_batches())  # noqa: E731
    with graph.open({"source": opener}) as run:
        kept = [row for batch in run.read("sink") for row in batch.to_pylist()]
        assert [row["a"] for row in kept] == [1]
        assert sorted(bad.code for bad in run.bad) == ["check.reference", "check.unique"]


def test_values_that_were_not_fetched_pass_nothing_silently() -> None:
    chain = Chain(Dataset("t", SCHEMA), [step(known=None)])
    with pytest.raises(InvalidPlanError, match=r"mes\.lines\.id.*were not fetched"):
        chain.run(pa.Table.from_pylist([{"line": "A"}], schema=SCHEMA))


def test_values_of_another_kind_are_refused_when_planning() -> None:
    with pytest.raises(InvalidPlanError, match=r"'line' is string, and mes\.lines\.id is int64"):
        Chain(Dataset("t", SCHEMA), [step(known=pa.array([1, 2]))])


def test_a_closed_dataset_takes_no_other_field() -> None:
    with pytest.raises(InvalidPlanError, match="the dataset 'thing' is closed and has no field b"):
        Chain(Dataset("t", SCHEMA), [step({"closed": True, "fields": {"line": {}, "a": {}}}, None)])


def test_the_newest_value_is_told_in_the_counts() -> None:
    entry = {"fields": {"a": {"max": 2}}, "freshness": {"field": "at", "within": "1 h"}}
    schema = pa.schema([("a", pa.int64()), ("at", pa.timestamp("us"))])
    chain = Chain(Dataset("t", schema), [step(entry, None), parse_step({"drop": ["at"]}, "steps[1]")])
    assert chain.pushdown("postgres")[0] is None
    done = chain.run(pa.table([[1, 2, 3], pa.array([5, 7_000_000, 9_000_000], pa.timestamp("us"))], schema=schema))
    assert done.steps[0].newest == "1970-01-01T00:00:07.000000+00:00"
    assert (done.rows.column_names, [one.quarantined for one in done.steps]) == (["a"], [1, 0])


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"rules": [{"name": "x", "expression": "a <"}]}, InvalidSettingsError),
        ({"rules": [{"name": "x", "expression": "a"}] * 2}, InvalidSettingsError),
        ({"rules": {"x": "a > 1"}}, InvalidSettingsError),
        ({"rules": [{"name": "x", "expression": "a + 1"}]}, InvalidPlanError),
        ({"freshness": {"field": "a", "within": "1 h"}}, InvalidPlanError),
        ({"freshness": {"field": "nope", "within": "1 h"}}, UnknownNameError),
        ({"volume": {"change": "much"}}, InvalidSettingsError),
    ],
)
def test_rules_that_make_no_sense_are_refused(entry: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Chain(Dataset("t", SCHEMA), [step(entry, None)])
