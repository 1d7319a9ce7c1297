"""Columns into one JSON text."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.testing.steps import planned, run_in_chain, run_step

Row = dict[str, Any]
JSON = {"tongqu.logical": "json", "tongqu.class": "personal"}
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("t", pa.string()),
    pa.field("d", pa.decimal128(38, 10)),
    pa.field("f", pa.float64()),
    pa.field("b", pa.bool_()),
    pa.field("day", pa.date32()),
    pa.field("at", pa.timestamp("us", "Asia/Shanghai")),
    pa.field("blob", pa.binary()),
    pa.field("j", pa.string(), metadata=dict(JSON)),
    pa.field("l", pa.list_(pa.int32())),
]
SCHEMA = pa.schema(FIELDS)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | st.integers(-(2**63), 2**63 - 1),
            "t": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
            "d": st.none() | st.integers(-(10**37), 10**37).map(lambda n: Decimal(f"{n}e-10")),
            "f": st.none() | st.floats(),
            "b": st.none() | st.booleans(),
            "day": st.none() | st.dates(dt.date(1, 1, 1)),
            "at": st.none() | st.integers(0, 10**16).map(lambda us: EPOCH + dt.timedelta(microseconds=us)),
            "blob": st.none() | st.binary(max_size=3),
            "j": st.none() | st.sampled_from(['{"x": [1.50, null]}', "3", '"a"', "not json"]),
            "l": st.none() | st.lists(st.none() | st.integers(0, 3), max_size=2),
        }
    ),
    max_size=6,
)


def plain(name: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    if name == "j" and value is not None and value != "not json":
        return json.loads(value, parse_float=Decimal)
    return value


@pytest.mark.oracle("to_json")
@settings(max_examples=15, deadline=None)
@given(ROWS, st.booleans())
def test_to_json(rows: list[Row], drop: bool) -> None:
    step = {"to_json": {"into": "doc", "nulls": "drop" if drop else "keep"}}
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    for ran in (run_step(step, table, batch_rows=2), run_in_chain(step, table)):
        for row, text in zip(rows, ran.rows["doc"].to_pylist(), strict=True):
            found = json.loads(str(text), parse_float=Decimal)
            expected = {name: plain(name, row[name]) for name in SCHEMA.names if row[name] is not None or not drop}
            assert list(found) == list(expected)
            if row["at"] is not None:
                found["at"] = dt.datetime.fromisoformat(found["at"])
            if isinstance(expected.get("f"), float):
                found["f"] = float(found["f"])
            assert found == expected


def test_numbers_stand_exactly_and_json_as_it_is() -> None:
    row = {"d": Decimal("12345678901234567890.5000000000"), "j": '{"x": [1.50, null]}', "f": 0.1}
    ran = run_in_chain(
        {"to_json": {"into": "doc", "columns": ["d", "j", "f"]}}, pa.Table.from_pylist([row], schema=SCHEMA)
    )
    assert ran.rows["doc"].to_pylist() == ['{"d":12345678901234567890.5000000000,"j":{"x": [1.50, null]},"f":0.1}']


def test_keys_and_what_stays() -> None:
    table = pa.table({"a": [1], "b": ["x"], "c": [True]})
    step = {"to_json": {"into": "doc", "columns": {'it\'s "A"': "a", "b": "b"}, "keep": True}}
    (row,) = run_step(step, table).rows.to_pylist()
    assert json.loads(row.pop("doc")) == {'it\'s "A"': 1, "b": "x"} and row == {"a": 1, "b": "x", "c": True}
    gone = run_step({"to_json": {"into": "doc", "columns": ["a", "b"]}}, table)
    assert gone.rows.column_names == ["c", "doc"]


def test_text_is_json_and_has_the_strictest_class() -> None:
    step, output = planned({"to_json": {"into": "doc", "columns": ["id", "j"]}}, Dataset("a", SCHEMA))
    assert output.schema.field("doc").metadata == {b"tongqu.logical": b"json", b"tongqu.class": b"personal"}
    assert step.operator.lineage([Dataset("a", SCHEMA)])["doc"] == {(0, "id"), (0, "j")}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"into": "doc", "columns": ["x"]}, UnknownNameError, "no column 'x'"),
        ({"into": "id", "columns": ["t"]}, InvalidPlanError, "two columns named 'id'"),
    ],
)
def test_what_cannot_work_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"to_json": settings}, Dataset("a", SCHEMA))
