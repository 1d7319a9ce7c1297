"""Columns into rows."""

from __future__ import annotations

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
SCHEMA = pa.schema({"k": pa.string()}).append(pa.field("jan", pa.int32())).append(pa.field("feb", pa.decimal128(6, 2)))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.sampled_from("ab"),
            "jan": st.none() | st.integers(-9, 9),
            "feb": st.none() | st.integers(-99, 99).map(lambda n: Decimal(n).scaleb(-2)),
        }
    ),
    max_size=15,
)


@pytest.mark.oracle("unpivot")
@settings(max_examples=12, deadline=None)
@given(ROWS, st.sampled_from(["keep", "drop"]), st.integers(1, 6))
def test_unpivot(rows: list[Row], nulls: str, chunk: int) -> None:
    step = {"unpivot": {"columns": {"jan": "一月", "feb": "it's"}, "name": "month", "value": "qty", "nulls": nulls}}
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    expected = [
        {"k": row["k"], "month": label, "qty": row[c]}
        for row in rows
        for c, label in (("jan", "一月"), ("feb", "it's"))
        if nulls == "keep" or row[c] is not None
    ]
    empty = sum(nulls == "drop" and row["jan"] is None and row["feb"] is None for row in rows)
    for ran in (run_step(step, table, batch_rows=chunk), run_in_chain(step, table, chunk=chunk)):
        assert ran.rows.to_pylist() == expected
        assert ran.output.schema.field("qty").type == pa.decimal128(12, 2)
        assert (ran.counts.filtered, ran.counts.generated) == (empty, len(expected) - (len(rows) - empty))


def test_key_grows_by_the_name() -> None:
    step, output = planned({"unpivot": {"columns": ["jan", "feb"]}}, Dataset("a", SCHEMA, key=("k",)))
    assert output.key == ("k", "name") and output.columns == ("k", "name", "value")
    assert step.operator.lineage([Dataset("a", SCHEMA)])["value"] == {(0, "jan"), (0, "feb")}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"columns": ["jan", "mar"]}, UnknownNameError, "no column 'mar'"),
        ({"columns": ["jan", "k"]}, InvalidPlanError, "different kinds"),
        ({"columns": ["jan"], "name": "k"}, InvalidPlanError, "two columns named 'k'"),
    ],
)
def test_what_cannot_work_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"unpivot": settings}, Dataset("a", SCHEMA))
