"""Operators that need all rows, against plain Python."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.tested import saw

SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.int64())])
OTHER = pa.schema({"k": pa.int64()}).append(pa.field("w", pa.string()))
KEY = st.none() | st.integers(0, 4)
ROWS = st.lists(st.fixed_dictionaries({"k": KEY, "v": st.none() | st.integers(-9, 9)}), max_size=20)
OTHERS = st.lists(st.fixed_dictionaries({"k": KEY, "w": st.text(alphabet="ab", max_size=2)}), max_size=20)
Row = dict[str, Any]
few = settings(max_examples=15, deadline=None)


def run(step: Row, **inputs: tuple[pa.Schema, list[Row]]) -> list[Row]:
    made = plan(list(inputs), [parse_step(step, "steps[0]")], {"out": None})
    graph = Graph(
        made,
        {n: Dataset(n, schema) for n, (schema, _) in inputs.items()},
        memory_mb=128,
        temp_directory=Path(gettempdir()),
    )
    tables = {name: pa.Table.from_pylist(rows, schema=schema) for name, (schema, rows) in inputs.items()}
    with graph.open({n: t.to_reader for n, t in tables.items()}) as opened:
        rows = [row for batch in opened.read("out") for row in batch.to_pylist()]
        assert all(s.rows_in == sum(t.num_rows for t in tables.values()) for s in opened.steps)
        saw(opened.steps)
    return rows


def ordered(rows: list[Row]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@pytest.mark.oracle("deduplicate")
@few
@given(ROWS, st.sampled_from(["first", "last"]), st.booleans())
def test_deduplicate(rows: list[Row], keep: str, by_value: bool) -> None:
    step: Row = {"deduplicate": {"by": ["k"], "keep": keep} | ({"order": "v"} if by_value else {})}
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["k"]].append(row)
    expected = []
    for group in groups.values():
        with_value = [r for r in group if r["v"] is not None] if by_value else []
        if with_value:
            best = (min if keep == "first" else max)(r["v"] for r in with_value)
            with_value = [r for r in group if r["v"] == best]
        expected.append((with_value or group)[0 if keep == "first" else -1])
    assert ordered(run(step, s=(SCHEMA, rows))) == ordered(expected)


@pytest.mark.oracle("aggregate")
@few
@given(ROWS)
def test_aggregate(rows: list[Row]) -> None:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["k"]].append(row)
    expected = []
    for key, group in groups.items():
        values = [r["v"] for r in group if r["v"] is not None]
        expected.append({"k": key, "n": len(group), "top": max(values, default=None), "kinds": len(set(values))})
    step = {"aggregate": {"by": ["k"], "n": "count(*)", "top": "max(v)", "kinds": "count(distinct v)"}}
    assert ordered(run(step, s=(SCHEMA, rows))) == ordered(expected)


@pytest.mark.oracle("join")
@few
@given(ROWS, OTHERS, st.sampled_from(["inner", "left", "right", "full", "semi", "anti"]))
def test_join(rows: list[Row], others: list[Row], how: str) -> None:
    expected: list[Row] = []
    matched: set[int] = set()
    for row in rows:
        found = [n for n, other in enumerate(others) if row["k"] is not None and other["k"] == row["k"]]
        matched.update(found)
        if how in ("semi", "anti"):
            expected += [row] if bool(found) == (how == "semi") else []
            continue
        expected += [{**row, "w": others[n]["w"]} for n in found]
        if not found and how in ("left", "full"):
            expected.append({**row, "w": None})
    if how in ("right", "full"):
        expected += [{"k": o["k"], "v": None, "w": o["w"]} for n, o in enumerate(others) if n not in matched]
    step = {"join": {"left": "a", "right": "b", "on": "k", "how": how}}
    assert ordered(run(step, a=(SCHEMA, rows), b=(OTHER, others))) == ordered(expected)


@pytest.mark.oracle("sql")
@few
@given(ROWS)
def test_sql(rows: list[Row]) -> None:
    expected = [{"k": r["k"], "v": r["v"]} for r in rows if r["v"] is not None and r["v"] > 0]
    assert ordered(run({"sql": "select * from input where v > 0"}, s=(SCHEMA, rows))) == ordered(expected)


@pytest.mark.parametrize("how", ["left", "full"])
def test_join_renames_what_both_have(how: str) -> None:
    step = {"join": {"left": "a", "right": "b", "on": "k", "how": how, "suffix": "_b"}}
    assert run(step, a=(SCHEMA, [{"k": 1, "v": 2}]), b=(SCHEMA, [{"k": 1, "v": 3}])) == [{"k": 1, "v": 2, "v_b": 3}]
