"""Rows of one stream go to several sinks by condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, ExpressionError, InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.command_line import make, query, tongqu
from tongqu.testing.tested import saw

Row = dict[str, Any]
SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("qty", pa.int64())])
ROWS = st.lists(st.none() | st.integers(0, 200), max_size=20)


def routed(route: Row, sinks: dict[str, str | None], values: list[int | None]) -> tuple[dict[str, list[int]], Any]:
    """The ids that reach each sink, and the steps' counts."""
    made = plan(["s"], [parse_step({"route": route}, "steps[0]")], sinks)
    graph = Graph(made, {"s": Dataset("s", SCHEMA)})
    table = pa.table({"id": list(range(len(values))), "qty": pa.array(values, pa.int64())}, schema=SCHEMA)
    with graph.open({"s": lambda: pa.RecordBatchReader.from_batches(SCHEMA, table.to_batches(max_chunksize=3))}) as run:
        found = {sink: [row["id"] for batch in run.read(sink) for row in batch.to_pylist()] for sink in sinks}
        saw(run.steps)
        return found, run.steps


@pytest.mark.oracle("route")
@pytest.mark.parametrize("match", ["first", "all"])
def test_rows_go_where_their_condition_is_true(match: str) -> None:
    @settings(max_examples=20, deadline=None)
    @given(ROWS)
    def same(values: list[int | None]) -> None:
        route = {"big": "qty > 100", "even": "qty % 2 = 0", "otherwise": "rest", "match": match}
        sinks: dict[str, str | None] = {"b": "route.big", "e": "route.even", "r": "route.rest"}
        found, steps = routed(route, sinks, values)
        big = [n for n, v in enumerate(values) if v is not None and v > 100]
        even = [n for n, v in enumerate(values) if v is not None and v % 2 == 0]
        rest = [n for n in range(len(values)) if n not in big + even]
        if match == "first":
            even = [n for n in even if n not in big]
        assert found == {"b": big, "e": even, "r": rest}
        assert [(s.step, s.rows_in, s.rows_out, s.filtered) for s in steps] == [
            (f"route.{name}", len(values), len(out), len(values) - len(out))
            for name, out in (("big", big), ("even", even), ("rest", rest))
        ]

    same()


def test_steps_take_branches_too() -> None:
    steps: list[Row] = [
        {"id": "size", "route": {"big": "qty > 100", "otherwise": "small"}},
        {"id": "kept", "from": "size.big", "filter": "id > 0"},
    ]
    made = plan(["s"], [parse_step(s, f"steps[{n}]") for n, s in enumerate(steps)], {"a": "kept", "b": "size.small"})
    assert [(s.id, s.inputs) for s in made.steps] == [
        ("size.big", ("s",)), ("size.small", ("s",)), ("kept", ("size.big",)),
    ]  # fmt: skip


def test_a_dropped_branch_needs_no_sink() -> None:
    found, steps = routed({"big": "qty > 100", "small": "true", "drop": ["small"]}, {"b": "route.big"}, [1, 500])
    assert (found, [s.step for s in steps]) == ({"b": [1]}, ["route.big"])


@pytest.mark.parametrize(
    ("route", "sinks", "error", "words"),
    [
        ({"big": "qty > 1"}, {"b": "route.bigg"}, UnknownNameError, "step 'route' has no branch 'bigg'"),
        ({"big": "qty > 1"}, {"b": "route"}, UnknownNameError, "has branches; say which one"),
        ({"big": "qty > 1"}, {"b": None}, UnknownNameError, "has branches; say which one"),
        ({"big": "qty > 1", "otherwise": "r"}, {"b": "route.big"}, InvalidPlanError, "nothing takes .* 'route.r'"),
        ({"big": "qty >"}, {"b": "route.big"}, ExpressionError, "cannot parse"),
        ({"big": "qtyy > 1"}, {"b": "route.big"}, ExpressionError, "'qtyy' is not a column"),
        ({"big": "qty"}, {"b": "route.big"}, ExpressionError, "gives BIGINT, not BOOLEAN"),
        ({"otherwise": "r"}, {"b": "route.r"}, InvalidSettingsError, "conditions"),
        ({"big": "true", "otherwise": "big"}, {"b": "route.big"}, InvalidPlanError, "already a branch"),
        ({"big": "true", "drop": ["x"]}, {"b": "route.big"}, InvalidPlanError, "no branch 'x'"),
        ({"a.b": "true"}, {"b": "route.a"}, InvalidSettingsError, "cannot name a branch"),
        ("qty > 1", {"b": "route"}, InvalidSettingsError, "branches with conditions"),
    ],
)
def test_refused_when_planning(route: Any, sinks: Any, error: type[ConfigError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        routed(route, sinks, [])
    if "branch 'bigg'" in words or "which one" in words:
        assert caught.value.hint == "branches: route.big"


PROJECT = """
project: routes
connections:
  erp: {type: sqlite, path: erp.db}
  lake: {type: duckdb, path: lake.duckdb}
  desk: {type: sqlite, path: desk.db}
pipelines:
  orders:
    source: {connection: erp, dataset: orders}
    steps:
      - route: {big: "qty > 100", otherwise: rest}
    sinks:
      lake: {from: route.big, connection: lake, dataset: big_orders}
      desk: {from: route.rest, connection: desk, dataset: small_orders}
"""


def test_two_real_sinks(tmp_path: Path) -> None:
    rows = [(n, None if n % 10 == 0 else n * 2) for n in range(1, 101)]
    make(tmp_path / "erp.db", "orders", "id INTEGER PRIMARY KEY, qty INTEGER", rows)
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    done = tongqu(tmp_path, "run", "orders", "--json")
    assert done.code == 0, done.err
    big = [n for n, qty in rows if qty is not None and qty > 100]
    told = {s["name"]: (s["read"], s["written"], s["filtered"]) for s in done.document["streams"]}
    assert sorted(told.values()) == sorted([(100, len(big), 100 - len(big)), (100, 100 - len(big), len(big))])
    import duckdb

    with duckdb.connect(str(tmp_path / "lake.duckdb")) as lake:
        assert [n for (n,) in lake.execute("SELECT id FROM big_orders ORDER BY id").fetchall()] == big
    small = [n for (n,) in query(tmp_path / "desk.db", "SELECT id FROM small_orders ORDER BY id")]
    assert small == [n for n, _ in rows if n not in big]


def test_a_changed_row_never_stays_in_the_branch_it_left(tmp_path: Path) -> None:
    """Written by key, the row would be in two targets afterwards, so that is refused; an append keeps every version."""
    make(tmp_path / "s.db", "t", "id INTEGER PRIMARY KEY, qty INT, at INT", [(1, 500, 1), (2, 5, 2)])
    project = """
connections: {s: {type: sqlite, path: s.db}, k: {type: sqlite, path: k.db}}
pipelines:
  r:
    sources: {t: {connection: s, dataset: t, mode: incremental, cursor: at}}
    steps: [{id: ways, route: {big: "qty > 100", otherwise: small}}]
    sinks:
      a: {from: ways.big, connection: k, dataset: big, WRITE}
      b: {from: ways.small, connection: k, dataset: small, WRITE}
"""
    (tmp_path / "tongqu.yaml").write_text(project.replace("WRITE", "write: upsert, key: [id]"))
    refused = tongqu(tmp_path, "run", "r", "--json")
    assert (refused.code, refused.document["problems"][0]["code"]) == (2, "config.invalid_plan")
    assert "old ones stay" in refused.document["problems"][0]["message"]
    (tmp_path / "tongqu.yaml").write_text(project.replace("WRITE", "write: append"))
    assert tongqu(tmp_path, "run", "r", "--json").code == 0
    assert query(tmp_path / "k.db", "SELECT id FROM big") == [(1,)]
