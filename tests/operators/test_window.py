"""Ranks, running sums and neighbours, without merging rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset, Index
from tongqu.core.errors import DuplicateError, ExpressionError, InvalidPlanError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.steps import planned, run_step

Row = dict[str, Any]
FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("g", pa.string()),
    pa.field("o", pa.int64()),
    pa.field("v", pa.int64(), metadata={"tongqu.unit": "kg", "tongqu.native": "postgres:bigint"}),
]
SCHEMA = pa.schema(FIELDS)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "g": st.none() | st.sampled_from("ab"),
            "o": st.none() | st.integers(0, 4),
            "v": st.none() | st.integers(-9, 9),
        }
    ),
    max_size=20,
)
COLUMNS = {
    "no": "row_number()",
    "rank": "rank()",
    "dense": "dense_rank()",
    "before": "lag(v)",
    "after2": "lead(v, 2, 0)",
    "first": "first_value(v)",
    "near": "sum(v)",
    "n": "count(*)",
}


def oracle(rows: list[Row], down: bool, before: int) -> list[Row]:
    out: list[Row] = []
    for group in {row["g"] for row in rows}:
        own = [row for row in rows if row["g"] == group]
        own.sort(key=lambda r: (r["o"] is None, (-r["o"] if down else r["o"]) if r["o"] is not None else 0, r["id"]))
        for place, row in enumerate(own):
            frame = own[max(0, place - before) : place + 1]
            sums = [r["v"] for r in frame if r["v"] is not None]
            made = {
                "no": place + 1,
                "rank": place + 1,
                "dense": place + 1,
                "before": own[place - 1]["v"] if place else None,
                "after2": own[place + 2]["v"] if place + 2 < len(own) else 0,
                "first": frame[0]["v"],
                "near": sum(sums) if sums else None,
                "n": len(frame),
            }
            out.append({**row, **made})
    return out


@pytest.mark.oracle("window")
@settings(max_examples=15, deadline=None)
@given(ROWS, st.booleans(), st.integers(0, 3))
def test_window(rows: list[Row], down: bool, before: int) -> None:
    numbered = [{"id": n, **row} for n, row in enumerate(rows)]
    order = ["-o" if down else "o", "id"]
    step = {"by": "g", "order": order, "columns": COLUMNS, "rows": {"before": before}}
    table = pa.Table.from_pylist(numbered, schema=SCHEMA)
    ran = run_step({"window": step}, table, keys=[("id",)], batch_rows=5)
    found = [{**row, "near": None if row["near"] is None else int(row["near"])} for row in ran.rows.to_pylist()]
    assert sorted(found, key=lambda r: r["id"]) == sorted(oracle(numbered, down, before), key=lambda r: r["id"])
    assert (ran.counts.rows_in, ran.counts.rows_out) == (len(rows), len(rows)) and ran.output.key == ("id",)


def test_running_sum_takes_equal_rows_together() -> None:
    table = pa.table({"o": [1, 2, 2, 3], "v": [1, 10, 100, 1000]})
    ran = run_step({"window": {"order": "o", "columns": {"s": "sum(v)", "share": "count(*)"}}}, table)
    assert [(int(row["s"]), row["share"]) for row in sorted(ran.rows.to_pylist(), key=lambda r: r["v"])] == [
        (1, 1), (111, 3), (111, 3), (1111, 4),
    ]  # fmt: skip


def test_without_order_the_whole_group_is_seen() -> None:
    table = pa.table({"g": ["a", "a", "b"], "v": [1, 2, 5]})
    ran = run_step({"window": {"by": "g", "columns": {"top": "max(v)"}}}, table)
    assert sorted(row["top"] for row in ran.rows.to_pylist()) == [2, 2, 5]


def test_copied_value_keeps_its_meaning() -> None:
    _, output = planned(
        {"window": {"order": "id", "columns": {"p": "lag(v)", "r": "rank()"}}}, Dataset("a", SCHEMA, key=("id",))
    )
    assert output.schema.field("p").metadata == SCHEMA.field("v").metadata
    assert output.schema.field("r").type == pa.int64()


KEYED = Dataset("a", SCHEMA, key=("id",))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (
            {"order": "o", "columns": {"n": "row_number()"}},
            InvalidPlanError,
            "matter of chance .* equal in o .*key is id",
        ),
        ({"order": "o", "columns": {"n": "sum(v)"}, "rows": {"before": 2}}, InvalidPlanError, "matter of chance"),
        ({"columns": {"n": "rank()"}}, InvalidPlanError, "needs an order"),
        ({"order": "id", "columns": {"n": "lag()"}}, ExpressionError, "lag takes 1 to 3 arguments"),
        ({"order": "id", "columns": {"n": "lag(w)"}}, ExpressionError, "'w' is not a column"),
        ({"order": "id", "columns": {"n": "v + 1"}}, ExpressionError, "not one aggregate"),
        ({"order": "id", "columns": {"n": "max(v) - min(v)"}}, ExpressionError, "not one aggregate"),
        ({"order": "id", "columns": {"n": "lag(read_text('x'))"}}, ExpressionError, "not allowed"),
        ({"order": "x", "columns": {"n": "rank()"}}, UnknownNameError, "no column 'x'"),
        ({"order": "id", "columns": {"v": "rank()"}}, InvalidPlanError, "two columns named 'v'"),
    ],
)
def test_what_would_be_chance_or_nonsense_is_refused(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"window": settings}, KEYED)


def test_unique_index_tells_rows_apart() -> None:
    dataset = Dataset("a", SCHEMA, indexes=(Index(("g", "o"), unique=True),))
    planned({"window": {"by": "g", "order": "o", "columns": {"n": "row_number()"}}}, dataset)


def test_order_that_is_said_to_be_unique_is_checked() -> None:
    step = {"window": {"by": "g", "order": "o", "columns": {"n": "row_number()"}, "unique": True}}
    fine = pa.table({"g": ["a", "a", "b"], "o": [1, 2, 1]})
    assert sorted(row["n"] for row in run_step(step, fine).rows.to_pylist()) == [1, 1, 2]
    with pytest.raises(DuplicateError, match="g, o = a, 1 comes more than once"):
        run_step(step, pa.table({"g": ["a", "a"], "o": [1, 1]}))


def test_changes_have_no_windows() -> None:
    made = plan(["a"], [parse_step({"window": {"order": "id", "columns": {"n": "rank()"}}}, "s")], {"out": None})
    with pytest.raises(InvalidPlanError, match="window needs all rows"):
        Graph(made, {"a": KEYED}, incremental=["a"])


def test_more_rows_than_the_memory_holds() -> None:
    rows = 300_000
    table = pa.table({"id": pa.array(range(rows)), "t": pa.array([f"{n:0180d}" for n in range(rows)])})
    step = {"window": {"order": "-id", "columns": {"no": "row_number()", "next": "lag(t)"}}}
    ran = run_step(step, table, keys=[("id",)], memory_mb=128)
    assert pc.sum(ran.rows["no"]).as_py() == rows * (rows + 1) // 2
