"""Plans with joins, branches and several sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Dataset
from tongqu.core.errors import CastError, InvalidPlanError, ReadError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph, GraphRun, Opener

Rows = dict[str, pa.Table]


def graph(rows: Rows, steps: list[dict[str, Any]], sinks: dict[str, str], **settings: Any) -> Graph:
    made = plan(
        list(rows),
        [parse_step(s, f"steps[{n}]", folder=settings.pop("folder", ".")) for n, s in enumerate(steps)],
        sinks,
    )
    return Graph(made, {name: Dataset(name, table.schema) for name, table in rows.items()}, **settings)


def opener(table: pa.Table) -> Opener:
    return lambda: pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))


def read(run: GraphRun, sink: str) -> list[dict[str, Any]]:
    found = [row for batch in run.read(sink) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: [(value is not None, str(value)) for value in row.values()])


def counts(run: GraphRun) -> dict[str, tuple[int, int, int]]:
    return {s.step: (s.rows_in, s.rows_out, s.generated) for s in run.steps}


INSPECTED = pa.table(
    {"line_id": [1, 2, 3, 1, None], "day": ["a", "a", "b", "b", "b"], "passed": [True, False, True, True, True]}
)
LINES = pa.table({"line_id": [1, 2, 2], "name": ["one", "two", "zwei"]})


def test_join_and_aggregate_with_a_sink_each(tmp_path: Path) -> None:
    made = graph(
        {"r": INSPECTED, "l": LINES},
        [
            {"id": "joined", "join": {"left": "r", "right": "l", "on": "line_id", "how": "left"}},
            {
                "id": "daily",
                "from": "joined",
                "aggregate": {"by": ["day"], "rate": "avg(passed::int)", "n": "count(*)"},
            },
        ],
        {"detail": "joined", "table": "daily"},
        temp_directory=tmp_path,
    )
    assert made.outputs["table"].key == ("day",)
    assert made.lineage()["table"]["rate"] == {("r", "passed")}
    with made.open({"r": opener(INSPECTED), "l": opener(LINES)}) as run:
        assert read(run, "table") == [{"day": "a", "rate": 1 / 3, "n": 3}, {"day": "b", "rate": 1.0, "n": 3}]
        assert len(read(run, "detail")) == 6
        assert counts(run) == {"joined": (8, 6, -2), "daily": (6, 2, -4)}
        assert run.read_rows == {"r": 5, "l": 3}
    assert list(tmp_path.iterdir()) == []


def test_source_of_two_branches_is_read_once(tmp_path: Path) -> None:
    opened: list[int] = []

    def once() -> pa.RecordBatchReader:
        opened.append(1)
        return opener(INSPECTED)()

    made = graph(
        {"r": INSPECTED},
        [{"id": "good", "from": "r", "filter": "passed"}, {"id": "bad", "from": "r", "filter": "not passed"}],
        {"g": "good", "b": "bad"},
        temp_directory=tmp_path,
    )
    with made.open({"r": once}) as run:
        assert (len(read(run, "g")), len(read(run, "b"))) == (4, 1)
    assert len(opened) == 1


def test_several_inputs_of_a_one_input_step_are_appended(tmp_path: Path) -> None:
    made = graph(
        {"a": LINES, "b": LINES},
        [{"from": ["a", "b"], "filter": "line_id = 2"}],
        {"k": "filter"},
        temp_directory=tmp_path,
    )
    with made.open({"a": opener(LINES), "b": opener(LINES)}) as run:
        assert len(read(run, "k")) == 4


def test_unique_keeps_the_first_good_row(tmp_path: Path) -> None:
    rows = pa.table({"k": ["a", "a", "b", None, None, "b"], "n": [None, 1, 2, 3, 4, 5]})
    made = graph(
        {"s": rows},
        [{"check": {"k": {"unique": True}, "n": {"required": True}}}],
        {"out": "check"},
        temp_directory=tmp_path,
    )
    with made.open({"s": opener(rows)}) as run:
        assert [row["n"] for batch in run.read("out") for row in batch.to_pylist()] == [1, 2, 3, 4]
        assert [(bad.code, bad.field, bad.value) for bad in run.bad] == [
            ("check.required", "n", None),
            ("check.unique", "k", "b"),
        ]
        assert run.steps[0].quarantined == 2


def test_sql_step_with_named_inputs(tmp_path: Path) -> None:
    counted = "with big as (select line_id, count(*) as n from r group by all)"
    text = f"{counted} select l.name, n from big join l using (line_id)"
    made = graph(
        {"r": INSPECTED, "l": LINES},
        [{"id": "q", "from": ["r", "l"], "sql": text}],
        {"k": "q"},
        temp_directory=tmp_path,
    )
    with made.open({"r": opener(INSPECTED), "l": opener(LINES)}) as run:
        assert read(run, "k") == [{"name": "one", "n": 2}, {"name": "two", "n": 1}, {"name": "zwei", "n": 1}]


def test_python_step_over_all_rows(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def last(table):\n    return table.slice(table.num_rows - 1)\n", encoding="utf-8")
    step = {"python": {"file": "f.py", "function": "last", "whole": True}}
    made = graph({"l": LINES}, [step], {"k": "python"}, folder=str(tmp_path), temp_directory=tmp_path)
    with made.open({"l": opener(LINES)}) as run:
        assert read(run, "k") == [{"line_id": 2, "name": "zwei"}]
        assert run.steps[0].filtered == 2


def test_join_larger_than_memory_spills(tmp_path: Path) -> None:
    n, width = 400_000, 200

    def many() -> pa.RecordBatchReader:
        schema = pa.schema({"k": pa.int64()}).append(pa.field("v", pa.string()))

        def batches() -> Iterator[pa.RecordBatch]:
            for start in range(0, n, 50_000):
                keys = pa.array(range(start, start + 50_000), pa.int64())
                yield pa.record_batch([keys, pa.array([f"{k:0{width}d}" for k in keys.to_pylist()])], schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    empty = many().schema.empty_table()
    made = graph(
        {"a": empty, "b": empty},
        [{"id": "j", "join": {"left": "a", "right": "b", "on": "k", "suffix": "_b"}}],
        {"out": "j"},
        temp_directory=tmp_path,
        memory_mb=64,
    )
    with made.open({"a": many, "b": many}) as run:
        assert sum(batch.num_rows for batch in run.read("out")) == n
        assert counts(run)["j"] == (2 * n, n, -n)


@pytest.mark.parametrize(
    "step",
    [
        {"aggregate": {"by": ["name"], "n": "count(*)"}},
        {"deduplicate": ["line_id"]},
        {"check": {"name": {"unique": True}}},
        {"sql": "select * from input"},
    ],
)
def test_whole_input_steps_over_changes_are_refused(step: dict[str, Any]) -> None:
    verb = next(iter(step))
    with pytest.raises(InvalidPlanError, match="gives only changes") as caught:
        graph({"l": LINES}, [{"id": "f", "filter": "line_id > 0"}, step], {"k": verb}, incremental=["l"])
    assert caught.value.path == f"steps[1].{verb}"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"join": {"left": "r", "right": "l", "on": {"day": "line_id"}}}, "of different kinds"),
        ({"from": ["r", "l"], "filter": "line_id > 1"}, "different columns"),
        ({"join": {"left": "l", "right": "l", "on": "line_id"}}, "both inputs .* 'name'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(step: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidPlanError, match=words):
        graph({"r": INSPECTED, "l": LINES}, [step], {"k": next(v for v in step if v != "from")})


def test_error_of_a_source_comes_through_unchanged(tmp_path: Path) -> None:
    def broken() -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            yield LINES.to_batches()[0]
            raise ReadError("the cable was cut")

        return pa.RecordBatchReader.from_batches(LINES.schema, batches())

    made = graph({"l": LINES}, [{"aggregate": {"n": "count(*)"}}], {"k": "aggregate"}, temp_directory=tmp_path)
    with made.open({"l": broken}) as run, pytest.raises(ReadError, match="cable"):
        read(run, "k")


def test_value_that_breaks_a_measure_names_the_step(tmp_path: Path) -> None:
    made = graph({"l": LINES}, [{"aggregate": {"n": "sum(name::int)"}}], {"k": "aggregate"}, temp_directory=tmp_path)
    with made.open({"l": opener(LINES)}) as run, pytest.raises(CastError, match="step 'aggregate'"):
        read(run, "k")


def test_rows_are_drained_even_where_a_query_needs_no_more(tmp_path: Path) -> None:
    made = graph({"l": LINES}, [{"sql": "select name from input limit 1"}], {"k": "sql"}, temp_directory=tmp_path)
    with made.open({"l": opener(LINES)}) as run:
        assert len(read(run, "k")) == 1
        assert counts(run)["sql"] == (3, 1, -2) and run.read_rows == {"l": 3}
