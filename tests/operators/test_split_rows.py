"""Several rows out of one."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import check_changes, plan
from tongqu.testing.steps import planned, run_in_chain, run_step

Row = dict[str, Any]
SCHEMA = pa.schema([("id", pa.int64())]).append(pa.field("t", pa.string()))
TEXTS = st.lists(st.none() | st.text(alphabet="ab中 ;'", max_size=6), max_size=12)
few = settings(max_examples=12, deadline=None)


def rows_of(texts: list[str | None]) -> pa.Table:
    return pa.Table.from_pylist([{"id": n, "t": text} for n, text in enumerate(texts)], schema=SCHEMA)


@pytest.mark.oracle("split_rows")
@few
@given(TEXTS, st.booleans(), st.booleans(), st.booleans(), st.integers(1, 5))
def test_text_with_separators(texts: list[str | None], trim: bool, no_blank: bool, drop: bool, chunk: int) -> None:
    step = {
        "split_rows": {
            "column": "t", "separator": ";", "position": "no", "trim": trim,
            "blank": "drop" if no_blank else "keep", "empty": "drop" if drop else "keep",
        }
    }  # fmt: skip
    expected = []
    for number, text in enumerate(texts):
        parts: list[str | None] = [] if text is None else [p.strip(" ") if trim else p for p in text.split(";")]
        parts = [p for p in parts if p or not no_blank]
        parts = parts or ([] if drop else [None])
        expected += [{"id": number, "t": part, "no": at + 1} for at, part in enumerate(parts)]
    for ran in (run_step(step, rows_of(texts), batch_rows=chunk), run_in_chain(step, rows_of(texts), chunk=chunk)):
        assert ran.rows.to_pylist() == expected
        there = len({row["id"] for row in expected})
        assert (ran.counts.filtered, ran.counts.generated) == (len(texts) - there, len(expected) - there)


ELEMENT = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(alphabet='a"中\\', max_size=3)


@pytest.mark.oracle("split_rows")
@few
@given(st.lists(st.none() | st.just("{") | st.just('{"a":1}') | st.lists(ELEMENT, max_size=3), max_size=8))
def test_json_arrays(documents: list[Any]) -> None:
    texts = [d if d is None or isinstance(d, str) else json.dumps(d, ensure_ascii=False) for d in documents]
    expected: list[Row] = []
    for number, document in enumerate(documents):
        if isinstance(document, str):
            continue
        for value in document or [None]:
            shown = value if value is None or isinstance(value, str) else json.dumps(value)
            expected.append({"id": number, "t": shown})
    ran = run_in_chain({"split_rows": {"column": "t", "format": "json"}}, rows_of(texts))
    assert ran.rows.to_pylist() == expected
    assert ran.codes == ["split_rows.invalid"] * sum(isinstance(d, str) for d in documents)


def test_list_column() -> None:
    table = pa.table({"id": [1, 2, 3], "l": pa.array([[1, 2], [], None], pa.list_(pa.int32()))})
    ran = run_step({"split_rows": {"column": "l", "into": "n", "empty": "drop"}}, table)
    assert ran.rows.to_pylist() == [{"id": 1, "n": 1}, {"id": 1, "n": 2}]
    assert ran.output.schema.field("n").type == pa.int32() and ran.counts.filtered == 2


def test_key_grows_by_the_position() -> None:
    dataset = Dataset("a", SCHEMA, key=("id",))
    assert planned({"split_rows": {"column": "t", "separator": ";", "position": "no"}}, dataset)[1].key == ("id", "no")
    assert planned({"split_rows": {"column": "t", "separator": ";"}}, dataset)[1].key == ()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"column": "x", "separator": ";"}, UnknownNameError, "no column 'x'"),
        ({"column": "id", "separator": ";"}, InvalidPlanError, "'id' is int64, not text"),
        ({"column": "t"}, InvalidPlanError, "'t' is text"),
        ({"column": "t", "separator": ";", "format": "json"}, InvalidPlanError, "'t' is text"),
        ({"column": "t", "separator": ";", "into": "id"}, InvalidPlanError, "two columns named 'id'"),
    ],
)
def test_what_cannot_work_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"split_rows": settings}, Dataset("a", SCHEMA))


@pytest.mark.parametrize(
    "step",
    [
        {"split_rows": {"column": "t", "separator": ";"}},
        {"unpivot": {"columns": ["t"], "nulls": "drop"}},
        {"from": "a", "lookup": {"in": "b", "on": "id", "fields": {"u": "t"}, "many": "all"}},
    ],
)
def test_changed_rows_may_not_leave_old_ones_behind(step: Row) -> None:
    made = plan(["a", "b"] if "lookup" in step else ["a"], [parse_step(step, "s")], {"out": None})
    with pytest.raises(InvalidPlanError, match="old ones stay"):
        check_changes(made, ["a"])
    check_changes(made, ["a"], appends=True)
