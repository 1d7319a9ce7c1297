"""Chains of row-wise steps: types kept, rows counted, failures found."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from subprocess import run
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.balance import StepCounts
from tongqu.core.data import Dataset
from tongqu.core.errors import BalanceError, ExpressionError, InvalidPlanError, SchemaError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain


def chain(schema: pa.Schema, *steps: dict[str, Any]) -> Chain:
    return Chain(Dataset("t", schema), [parse_step(s, f"steps[{n}]") for n, s in enumerate(steps)])


EXACT = pa.table(
    {
        "i64": pa.array([2**63 - 1, -(2**63), None], pa.int64()),
        "dec": pa.array([Decimal("9" * 28 + "." + "1" * 10), Decimal("-0.0000000001"), None], pa.decimal128(38, 10)),
        "ts": pa.array([0, 253_402_300_799_999_999, None], pa.timestamp("us", tz="UTC")),
        "there": pa.array([0, 1, None], pa.timestamp("us", tz="Asia/Shanghai")),
        "naive": pa.array([-1, 1_700_000_000_123_456, None], pa.timestamp("us")),
        "ns": pa.array([1, 2, None], pa.timestamp("ns")),
        "day": pa.array([0, -719_162, None], pa.date32()),
        "time": pa.array([0, 86_399_999_999, None], pa.time64("us")),
        "blob": pa.array([b"\x00\xff", b"", None], pa.binary()),
        "fixed": pa.array([b"ab", b"\x00\x00", None], pa.binary(2)),
        "text": pa.array(["中文🙂", "", None], pa.string()),
        "large": pa.array(["a", "b", None], pa.large_string()),
        "float": pa.array([float("inf"), -0.0, None], pa.float64()),
        "f32": pa.array([1.5, -2.5, None], pa.float32()),
        "flag": pa.array([True, False, None]),
        "list": pa.array([[1, None], [], None], pa.list_(pa.int32())),
        "kind": pa.array(["a", "b", None]).dictionary_encode(),
        "small": pa.array([1, 2, None], pa.uint8()),
    }
)


def test_every_type_comes_back_exactly() -> None:
    rows = EXACT.append_column(
        pa.field("id", pa.string(), metadata={"tongqu.logical": "uuid", "tongqu.title": "编号"}),
        pa.array(["x", "y", None]),
    )
    result = chain(rows.schema, {"filter": "1 = 1"}).run(rows)
    assert result.rows.schema.equals(rows.schema, check_metadata=True)
    assert result.rows.drop_columns(["ns"]).to_pylist() == rows.drop_columns(["ns"]).to_pylist()
    assert result.rows["ns"].cast(pa.int64()) == rows["ns"].cast(pa.int64())


def test_type_that_cannot_be_carried_is_refused_by_name() -> None:
    with pytest.raises(InvalidPlanError, match=r"'gap'.*duration"):
        chain(pa.schema([("gap", pa.duration("s"))]), {"filter": "1 = 1"})


STEPS: Sequence[dict[str, Any]] = [
    {"filter": "n > 0"},
    {"id": "odd", "filter": "n % 2 = 1"},
    {"derive": {"text": "n::varchar"}},
    {"cast": {"text": "tinyint"}},
    {"check": {"text": {"max": 100}}},
    {"id": "late", "filter": "text > 10"},
    {"rename": {"text": "small"}},
]


def test_every_step_balances() -> None:
    rows = pa.table({"n": pa.array([*range(-50, 300), None], pa.int64())})
    result = chain(rows.schema, *STEPS).run(rows)
    assert [(s.step, s.rows_in, s.rows_out, s.filtered, s.quarantined) for s in result.steps] == [
        ("filter", 351, 299, 52, 0),
        ("odd", 299, 150, 149, 0),
        ("derive", 150, 150, 0, 0),
        ("cast", 150, 64, 0, 86),
        ("check", 64, 50, 0, 14),
        ("late", 50, 45, 5, 0),
        ("rename", 45, 45, 0, 0),
    ]
    assert [bad.code for bad in result.bad].count("cast.invalid") == 86
    assert json.loads(result.bad[-1].original) == {"n": 127, "text": 127}


def test_order_of_rows_is_kept() -> None:
    rows = pa.table({"n": pa.array(range(200_000), pa.int64())})
    made = Chain(Dataset("t", rows.schema), [parse_step({"filter": "n % 3 <> 0"}, "")], threads=2)
    assert made.run(rows).rows["n"].to_pylist() == [n for n in range(200_000) if n % 3]


def test_row_whose_expression_fails_is_quarantined_and_the_others_go_on() -> None:
    rows = pa.table({"t": ["1", "x", "3", None, "99999999999"], "n": pa.array([1, 2, 3, 4, 2**63 - 1], pa.int64())})
    made = chain(rows.schema, {"rename": {"t": "code"}}, {"derive": {"v": "code::int", "w": "n + 1"}})
    result = made.run(rows)
    assert result.rows["v"].to_pylist() == [1, 3, None]
    assert [(bad.step, bad.code, bad.field) for bad in result.bad] == [("derive", "derive.failed", "v")] * 2
    assert json.loads(result.bad[0].original) == {"code": "x", "n": 2}
    assert [(s.rows_in, s.rows_out, s.quarantined) for s in result.steps] == [(5, 5, 0), (5, 3, 2)]


def test_filter_that_fails_is_a_fault_of_the_filter() -> None:
    rows = pa.table({"t": ["1", "x"]})
    (bad,) = chain(rows.schema, {"filter": "t::int > 0"}).run(rows).bad
    assert bad.code == "filter.failed"


def test_refused_rows_are_not_seen_by_later_steps_that_can_fail() -> None:
    rows = pa.table({"t": ["1", "x"]})
    result = chain(rows.schema, {"check": {"t": {"pattern": "[0-9]+"}}}, {"derive": {"v": "t::int"}}).run(rows)
    assert [bad.code for bad in result.bad] == ["check.pattern"] and result.rows["v"].to_pylist() == [1]


def test_lineage_goes_through_all_steps() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.string())])
    made = chain(schema, {"rename": {"a": "x"}}, {"derive": {"y": "x || b"}}, {"drop": ["b", "c"]})
    assert made.lineage() == {"x": {"a"}, "y": {"a", "b"}}
    assert made.reads() == {"a", "b"}


def test_error_names_the_step() -> None:
    with pytest.raises(ExpressionError) as caught:
        chain(pa.schema([("a", pa.string())]), {"filter": "b = 1"})
    assert caught.value.path == "steps[0].filter"


def test_whole_chain_becomes_one_select() -> None:
    native = {"tongqu.native": "postgres:text"}
    lot: pa.Field[Any] = pa.field("LOT", pa.string(), metadata=native)
    schema = pa.schema([lot]).append(pa.field("w", pa.decimal128(9, 2))).append(pa.field("x", pa.int32()))
    made = chain(
        schema,
        {"rename": {"LOT": "lot_no"}},
        {"filter": "w is not null"},
        {"convert": {"w": {"from": "g", "to": "kg"}}},
        {"derive": {"x": "x + 1", "label": "lot_no || '!'"}},
        {"filter": "x > 5"},
    )
    select, reason = made.pushdown("postgres")
    assert select is not None and not reason
    assert [c.name for c in select.columns] == ["lot_no", "w", "x", "label"]
    assert select.columns[0].sql == '"LOT"'
    assert select.columns[3].sql == "CAST(CAST((\"LOT\" || '!') AS text) AS text)"
    assert select.where is not None and '"w" IS NULL' in select.where


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"derive": {"y": "n / 2"}}, "step 'derive': y: `n / 2` is not the same in postgres"),
        ({"check": {"n": {"min": 0}}}, "step 'check': check of 'n' can send rows to quarantine"),
        ({"cast": {"n": "smallint"}}, "step 'cast': cast of 'n' can send rows to quarantine"),
    ],
)
def test_reason_names_step_and_construct(step: dict[str, Any], reason: str) -> None:
    assert chain(pa.schema([("n", pa.int64())]), step).pushdown("postgres") == (None, reason)


def test_fork_works_in_another_thread() -> None:
    rows = pa.table({"n": pa.array(range(1000), pa.int64())})
    made = chain(rows.schema, {"filter": "n >= 500"})
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda c: c.run(rows).rows.num_rows, [made.fork() for _ in range(4)]))
    assert found == [500] * 4


def test_unplanned_columns_are_refused() -> None:
    with pytest.raises(SchemaError, match="other columns than planned"):
        chain(pa.schema([("n", pa.int64())]), {"filter": "n > 0"}).run(pa.table({"m": [1]}))


def test_step_that_needs_all_rows_does_not_run_in_chunks() -> None:
    made = chain(pa.schema([("n", pa.int64())]), {"check": {"n": {"unique": True}}})
    assert not made.row_wise
    with pytest.raises(InvalidPlanError, match="needs all rows"):
        made.run(pa.table({"n": pa.array([1], pa.int64())}))


def test_imbalance_has_a_name() -> None:
    with pytest.raises(BalanceError, match="step 's'"):
        StepCounts("s", "filter", rows_in=5, rows_out=3, filtered=1).check()


def test_columns_that_differ_by_case_stay_apart() -> None:
    rows = pa.table({"a": [1, 2], "A": ["x", "y"]})
    result = chain(rows.schema, {"filter": "a = 2"}, {"derive": {"b": "A || a::varchar"}}).run(rows)
    assert result.rows.to_pydict() == {"a": [2], "A": ["y"], "b": ["y2"]}


def test_instants_are_computed_in_utc() -> None:
    rows = pa.table({"at": pa.array([dt.datetime(2026, 1, 1, 23, 30, tzinfo=dt.UTC)], pa.timestamp("us", tz="UTC"))})
    result = chain(rows.schema, {"derive": {"text": "at::varchar"}}).run(rows)
    assert result.rows["text"].to_pylist() == ["2026-01-01 23:30:00+00"]


def test_nothing_heavy_is_imported_before_there_is_a_step() -> None:
    heavy = "[m for m in ('duckdb', 'sqlglot', 'pint') if m in sys.modules]"
    code = f"import sys, tongqu.engine.job, tongqu.core.operator; print({heavy})"
    out = run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    assert out.stdout.strip() == "[]"
