"""Steps that shape rows, together in one graph: numbers balance, order and lineage hold, whatever the threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tongqu.core.data import Dataset
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan, toward, trunk
from tongqu.engine.graph import Graph

STEPS: list[dict[str, Any]] = [
    {"id": "all", "union": {"inputs": ["north", "south"], "mark": "plant"}},
    {"id": "each", "split_rows": {"column": "defects", "separator": ";", "into": "defect", "position": "no"}},
    {"id": "codes", "from": "names", "deduplicate": ["code"]},
    {
        "id": "named",
        "from": "each",
        "lookup": {"in": "codes", "on": {"defect": "code"}, "fields": {"name": "name"}, "missing": "quarantine"},
    },
    {
        "id": "ranked",
        "window": {"by": ["plant", "lot"], "order": "no", "columns": {"rank": "row_number()"}, "unique": True},
    },
    {
        "id": "wide",
        "pivot": {
            "by": ["plant", "lot"],
            "column": "rank",
            "value": "name",
            "values": {1: "first", 2: "second"},
            "others": "more",
            "take": "min",
        },
    },
    {"id": "sorted", "sort": ["-lot", "plant"]},
]
NORTH = pa.table({"lot": [1, 2], "defects": ["A;B", None]})
SOUTH = pa.table({"lot": [1, 3, 4], "defects": ["B;C;A", "X", "C"]})
NAMES = pa.table({"code": ["A", "B", "C", "A"], "name": ["划痕", "裂纹", "气孔", "缺角"]})


def graph(folder: Path, threads: int = 1) -> Graph:
    made = plan(
        ["north", "south", "names"],
        [parse_step(step, f"steps[{n}]") for n, step in enumerate(STEPS)],
        {"table": "sorted", "detail": "named"},
    )
    known = {"north": NORTH, "south": SOUTH, "names": NAMES}
    datasets = {name: Dataset(name, table.schema) for name, table in known.items()}
    return Graph(made, datasets, threads=threads, temp_directory=folder)


def opener(table: pa.Table) -> Callable[[], pa.RecordBatchReader]:
    return lambda: pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=1))


@pytest.mark.parametrize("threads", [1, 4])
def test_numbers_and_order(tmp_path: Path, threads: int) -> None:
    inputs = {"north": opener(NORTH), "south": opener(SOUTH), "names": opener(NAMES)}
    with graph(tmp_path, threads).open(inputs) as run:
        table = [row for batch in run.read("table") for row in batch.to_pylist()]
        detail = [row for batch in run.read("detail") for row in batch.to_pylist()]
        assert table == [
            {"plant": "south", "lot": 4, "first": "气孔", "second": None, "more": None},
            {"plant": "north", "lot": 1, "first": "划痕", "second": "裂纹", "more": None},
            {"plant": "south", "lot": 1, "first": "裂纹", "second": "气孔", "more": "划痕"},
        ]
        assert [row["defect"] for row in detail] == ["A", "B", "B", "C", "A", "C"]
        assert [(bad.step, bad.code, bad.value) for bad in run.bad] == [
            ("named", "lookup.missing", None),
            ("named", "lookup.missing", "X"),
        ]
        assert {s.step: (s.rows_in, s.rows_out, s.generated, s.quarantined) for s in run.steps} == {
            "all": (5, 5, 0, 0), "each": (5, 8, 3, 0), "codes": (4, 3, 0, 0), "named": (8, 6, 0, 2),
            "ranked": (6, 6, 0, 0), "wide": (6, 3, -3, 0), "sorted": (3, 3, 0, 0),
        }  # fmt: skip


def test_lineage_goes_through_what_is_looked_up(tmp_path: Path) -> None:
    found = graph(tmp_path).lineage()["table"]
    assert found["first"] == {("names", "name")} and found["lot"] == {("north", "lot"), ("south", "lot")}


def test_plan_is_a_trunk_where_only_what_is_looked_up_comes_from_beside(tmp_path: Path) -> None:
    steps = [parse_step(step, "") for step in STEPS[1:4]]
    steps[0] = parse_step({**STEPS[1], "from": "south"}, "")
    made = plan(["south", "names"], steps, {"out": "named"})
    along = trunk(made)
    assert along is not None
    assert (along.source, [s.id for s in along.steps], along.sides) == ("south", ["each", "named"], ("codes",))
    assert toward(made, {"codes": "codes"}).sources == ("names",)
    assert trunk(graph(tmp_path).plan) is None


def test_many_rows_keep_their_order_in_many_threads(tmp_path: Path) -> None:
    rows = 200_000
    tables = {"a": pa.table({"n": pa.array(range(rows))}), "b": pa.table({"n": pa.array(range(rows, 2 * rows))})}
    known = {name: Dataset(name, table.schema) for name, table in tables.items()}
    made = Graph(
        plan(["a", "b"], [parse_step({"union": ["a", "b"]}, "s")], {"out": None}),
        known,
        threads=4,
        temp_directory=tmp_path,
    )
    inputs = {name: partial(table.to_reader, 10_000) for name, table in tables.items()}
    with made.open(inputs) as run:
        found = pa.Table.from_batches(list(run.read("out")))["n"]
        assert pc.all(pc.equal(found, pa.chunked_array([pa.array(range(2 * rows))]))).as_py()
