"""The user's own function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, SchemaError, TongquError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.testing.single_step import run, step

CODE = """
import pyarrow as pa
import pyarrow.compute as pc

def positive(table):
    return table.filter(pc.greater(table["n"], 0))

def doubled(table):
    return pa.concat_tables([table, table])

def wrong(table):
    return table.drop_columns(["n"])

def counted(table):
    return pa.table({"n": table["n"], "rows": [table.num_rows] * table.num_rows})
"""
ROWS = pa.table({"n": pa.array([1, -1, 2], pa.int64())})


def chain(folder: Path, **settings: Any) -> Chain:
    (folder / "steps.py").write_text(CODE, encoding="utf-8")
    raw = {"python": {"file": "steps.py", **settings}}
    return Chain(Dataset("t", ROWS.schema), [parse_step(raw, "steps[0]", folder=str(folder))])


def test_fewer_rows_are_filtered(tmp_path: Path) -> None:
    result = chain(tmp_path, function="positive").run(ROWS)
    assert result.rows.to_pydict() == {"n": [1, 2]} and result.steps[0].filtered == 1


def test_more_rows_are_generated(tmp_path: Path) -> None:
    assert chain(tmp_path, function="doubled").run(ROWS).steps[0].generated == 3


def test_other_columns_are_declared(tmp_path: Path) -> None:
    made = chain(tmp_path, function="counted", columns={"n": "bigint", "rows": "int"})
    assert made.run(ROWS).rows.schema == pa.schema([("n", pa.int64()), ("rows", pa.int32())])
    assert made.pushdown("postgres") == (None, "step 'python': python runs in Python")


@pytest.mark.parametrize(("function", "error"), [("wrong", SchemaError), ("nowhere", ConfigError)])
def test_wrong_function_is_an_error_with_its_place(tmp_path: Path, function: str, error: type[TongquError]) -> None:
    with pytest.raises(error) as caught:
        chain(tmp_path, function=function).run(ROWS)
    assert caught.value.path == "steps[0].python"


@pytest.mark.oracle("python")
def test_any_rows_in_any_pieces(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(CODE, encoding="utf-8")
    positive = step({"python": {"file": "steps.py", "function": "positive"}}, str(tmp_path))
    doubled = step({"python": {"file": "steps.py", "function": "doubled"}}, str(tmp_path))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.none() | st.integers(-9, 9), max_size=12))
    def same(values: list[int | None]) -> None:
        rows = [{"n": value} for value in values]
        kept = run(positive, rows, ROWS.schema)
        assert kept.column("n") == [value for value in values if value is not None and value > 0]
        twice = run(doubled, rows[:1], ROWS.schema)
        assert twice.column("n") == values[:1] * 2

    same()
