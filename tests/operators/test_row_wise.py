"""Row-wise operators against plain Python."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain, Result
from tongqu.testing.tested import saw

FIELDS: list[pa.Field[Any]] = [
    pa.field("k", pa.string(), metadata={"tongqu.title": "批号"}),
    pa.field("n", pa.int64()),
    pa.field("d", pa.decimal128(9, 2), metadata={"tongqu.unit": "g", "tongqu.native": "postgres:numeric"}),
    pa.field("b", pa.bool_()),
]
SCHEMA = pa.schema(FIELDS)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.none() | st.text(alphabet="aAbB1 中🙂'", max_size=4),
            "n": st.none() | st.integers(-(2**31), 2**31),
            "d": st.none() | st.integers(-(10**9) + 1, 10**9 - 1).map(lambda i: Decimal(i).scaleb(-2)),
            "b": st.none() | st.booleans(),
        }
    ),
    max_size=30,
)
Row = dict[str, Any]


def chain(step: Row, schema: pa.Schema = SCHEMA) -> Chain:
    return Chain(Dataset("t", schema, key=("k",)), [parse_step(step, "steps[0]")])


def run(step: Row, rows: list[Row]) -> Result:
    made = chain(step)
    result = made.run(pa.Table.from_pylist(rows, schema=SCHEMA))
    made.close()
    saw(result.steps)
    assert result.rows.schema.equals(made.output.schema, check_metadata=True)
    return result


few = settings(max_examples=25, deadline=None)


@pytest.mark.oracle("select")
@few
@given(ROWS)
def test_select(rows: list[Row]) -> None:
    assert run({"select": ["d", "k"]}, rows).rows.to_pylist() == [{"d": r["d"], "k": r["k"]} for r in rows]


@pytest.mark.oracle("drop")
@few
@given(ROWS)
def test_drop(rows: list[Row]) -> None:
    assert run({"drop": ["n", "b"]}, rows).rows.to_pylist() == [{"k": r["k"], "d": r["d"]} for r in rows]


@pytest.mark.oracle("rename")
@few
@given(ROWS)
def test_rename_swaps(rows: list[Row]) -> None:
    found = run({"rename": {"k": "b", "b": "k"}}, rows).rows.to_pylist()
    assert found == [{"b": r["k"], "n": r["n"], "d": r["d"], "k": r["b"]} for r in rows]


@pytest.mark.oracle("filter")
@few
@given(ROWS)
def test_filter_keeps_what_is_true(rows: list[Row]) -> None:
    result = run({"filter": "n > 5 or k = 'a'"}, rows)
    kept = [r for r in rows if (r["n"] is not None and r["n"] > 5) or r["k"] == "a"]
    assert result.rows.to_pylist() == kept
    assert (result.steps[0].rows_in, result.steps[0].filtered) == (len(rows), len(rows) - len(kept))


@pytest.mark.oracle("derive")
@few
@given(ROWS)
def test_derive(rows: list[Row]) -> None:
    found = run({"derive": {"twice": "n * 2", "k": "k || '!'", "copy": "k"}}, rows).rows.to_pylist()
    assert [(r["twice"], r["k"], r["copy"]) for r in found] == [
        (None if r["n"] is None else r["n"] * 2, None if r["k"] is None else r["k"] + "!", r["k"]) for r in rows
    ]


@pytest.mark.oracle("cast")
@few
@given(ROWS)
def test_cast_sends_what_does_not_fit_to_quarantine(rows: list[Row]) -> None:
    result = run({"cast": {"n": "smallint"}}, rows)
    fits = [r for r in rows if r["n"] is None or -(2**15) <= r["n"] < 2**15]
    assert result.rows.to_pylist() == fits
    bad = [r for r in rows if r not in fits]
    assert [(b.code, b.field, b.value) for b in result.bad] == [("cast.invalid", "n", str(r["n"])) for r in bad]


@pytest.mark.oracle("convert")
@few
@given(ROWS)
def test_convert_is_exact(rows: list[Row]) -> None:
    result = run({"convert": {"d": {"to": "kg"}}}, rows)
    expected = [None if r["d"] is None else r["d"] / 1000 for r in rows]
    assert result.rows.column("d").to_pylist() == expected
    assert result.rows.schema.field("d").metadata == {b"tongqu.unit": b"kg"}


@pytest.mark.oracle("check")
@few
@given(ROWS)
def test_check(rows: list[Row]) -> None:
    rules = {"k": {"required": True, "pattern": "[ab1]*"}, "n": {"min": -10, "max": 10**9}, "b": {"enum": [True]}}
    result = run({"check": rules}, rows)

    def cause(r: Row) -> str | None:
        if r["k"] is None:
            return "check.required"
        if not re.fullmatch("[ab1]*", r["k"]):
            return "check.pattern"
        if r["n"] is not None and not -10 <= r["n"] <= 10**9:
            return "check.range"
        return "check.enum" if r["b"] is False else None

    assert result.rows.to_pylist() == [r for r in rows if cause(r) is None]
    assert [bad.code for bad in result.bad] == [cause(r) for r in rows if cause(r)]


def test_refused_row_carries_field_value_and_the_whole_row() -> None:
    (bad,) = run({"check": {"d": {"max": 5}}}, [{"k": "批", "n": 1, "d": Decimal("5.01"), "b": None}]).bad
    assert (bad.step, bad.code, bad.field, bad.value) == ("check", "check.range", "d", "5.01")
    assert bad.original == '{"k": "批", "n": 1, "d": "5.01", "b": null}'
    assert bad.message == "d '5.01' is above 5"


def test_catastrophic_pattern_is_harmless() -> None:
    rows = [{"k": "a" * 5000 + "!", "n": 1, "d": None, "b": None}]
    assert len(run({"check": {"k": {"pattern": "(a+)+(a|a)*"}}}, rows).bad) == 1


def test_quote_in_rule_is_a_value_not_sql() -> None:
    rows = [{"k": "it's", "n": None, "d": None, "b": None}, {"k": "x", "n": None, "d": None, "b": None}]
    assert run({"check": {"k": {"enum": ["it's"]}}}, rows).rows.num_rows == 1


@pytest.mark.parametrize(
    ("change", "value", "expected"),
    [
        ({"n": {"from": "箱", "to": "kg", "each": "12.5 kg"}}, 4, Decimal("50.0")),
        ({"n": {"from": "kg", "to": "箱", "each": "4 kg"}}, 3, Decimal("0.75")),
        ({"n": {"from": "°C", "to": "K"}}, 20, Decimal("293.15")),
        ({"n": {"from": "箱", "to": "g", "each": {"column": "d", "unit": "kg"}}}, 2, Decimal("3000.00")),
        (
            {"n": {"from": "箱", "to": "kg", "each": {"by": "k", "amounts": {"A": "2.5 kg", "B": "500 g"}}}},
            2,
            Decimal("1.0"),
        ),
        ({"n": {"from": "g", "to": "kg", "type": "decimal(6,1)"}}, 1250, Decimal("1.3")),
    ],
)
def test_convert_items(change: Row, value: int, expected: Decimal) -> None:
    result = run({"convert": change}, [{"k": "B", "n": value, "d": Decimal("1.50"), "b": None}])
    assert result.rows.column("n").to_pylist() == [expected]


def test_convert_of_unknown_content_goes_to_quarantine() -> None:
    each = {"by": "k", "amounts": {"A": "2.5 kg"}}
    row = {"k": "Z", "n": 1, "d": None, "b": None}
    result = run({"convert": {"n": {"from": "箱", "to": "kg", "each": each}}}, [row])
    assert [(bad.code, bad.field, bad.value) for bad in result.bad] == [("convert.invalid", "n", "1")]


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        ({"select": ["kk"]}, UnknownNameError, "no column 'kk'"),
        ({"drop": ["k", "n", "d", "b"]}, InvalidPlanError, "no column"),
        ({"rename": {"k": "n"}}, InvalidPlanError, "two columns named 'n'"),
        ({"cast": {"x": "int"}}, UnknownNameError, "no column 'x'"),
        ({"convert": {"d": {"to": "m"}}}, InvalidPlanError, "cannot become"),
        ({"convert": {"d": {"from": "kg", "to": "g"}}}, InvalidPlanError, "declared in g"),
        ({"convert": {"n": {"to": "g"}}}, InvalidPlanError, "unit of 'n' is not known"),
        ({"convert": {"k": {"from": "g", "to": "kg"}}}, InvalidPlanError, "not a number"),
        ({"check": {"x": {"required": True}}}, UnknownNameError, "no column 'x'"),
        ({"check": {"n": {"pattern": "a"}}}, InvalidPlanError, "does not fit"),
    ],
)
def test_what_cannot_work_is_refused_when_planning(step: Row, error: type[ConfigError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        chain(step)
    assert caught.value.path == f"steps[0].{next(iter(step))}"


def test_meaning_travels_and_the_sources_type_does_not() -> None:
    output = chain({"cast": {"d": "decimal(12,3)"}}).output.schema
    assert output.field("d").metadata == {b"tongqu.unit": b"g"}
    assert chain({"rename": {"k": "lot"}}).output.schema.field("lot").metadata == {b"tongqu.title": "批号".encode()}


def test_key_follows_a_rename_and_goes_with_its_column() -> None:
    assert chain({"rename": {"k": "lot"}}).output.key == ("lot",)
    assert chain({"drop": ["k"]}).output.key == ()
    assert chain({"derive": {"k": "k || 'x'"}}).output.key == ()
