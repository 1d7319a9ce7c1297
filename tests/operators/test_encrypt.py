"""Encrypting and decrypting columns of every type, with keys that stay out of sight."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import (
    ConfigError,
    DecryptError,
    InvalidPlanError,
    InvalidSettingsError,
    RunError,
    SecretError,
    UnknownNameError,
)
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.testing.single_step import Row, run, step

FIELDS: list[pa.Field[Any]] = [
    pa.field("t", pa.string(), metadata={"tongqu.title": "电话", "tongqu.native": "postgres:text"}),
    pa.field("n", pa.int64()),
    pa.field("d", pa.decimal128(12, 2)),
    pa.field("b", pa.bool_()),
    pa.field("day", pa.date32()),
    pa.field("at", pa.timestamp("us", tz="UTC")),
]
SCHEMA = pa.schema(FIELDS)  # fmt: skip
TYPES = {"t": "varchar", "n": "bigint", "d": "decimal(12,2)", "b": "boolean", "day": "date", "at": "timestamptz"}
ROWS = st.lists(
    st.fixed_dictionaries({
        "t": st.none() | st.text(max_size=20),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "d": st.none() | st.decimals(Decimal("-9999999999"), Decimal("9999999999"), places=2),
        "b": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "at": st.none() | st.datetimes(dt.datetime.fromisoformat("1600-01-01"), timezones=st.just(dt.UTC)),
    }), max_size=8,
)  # fmt: skip
KEY = "ab" * 16


def secret(reference: str) -> str:
    return {"${secret:hr}": KEY, "${secret:new}": "cd" * 16, "${secret:bad}": "hunter2"}[reference]


@pytest.mark.oracle("encrypt", "decrypt")
@pytest.mark.parametrize("way", [{}, {"algorithm": "sm4-gcm"}, {"deterministic": True}], ids=str)
def test_there_and_back(way: Row) -> None:
    there = step({"encrypt": {"columns": list(TYPES), "key": "${secret:hr}", "context": "hr", **way}}, secret=secret)
    back = step(
        {"decrypt": {"columns": TYPES, "key": "${secret:hr}", "context": "hr", "purpose": "a test"}}, secret=secret
    )

    @settings(max_examples=15, deadline=None)
    @given(ROWS)
    def same(rows: list[Row]) -> None:
        hidden = run(there, rows, SCHEMA)
        assert [field.type for field in hidden.schema] == [pa.string()] * 6
        assert hidden.schema.field("t").metadata == {b"tongqu.title": "电话".encode()}
        cells = [value for row in hidden.rows for value in row.values() if value is not None]
        assert all(cell.startswith("tq1.") for cell in cells)
        assert len(cells) == sum(value is not None for row in rows for value in row.values())
        found = run(back, pa.Table.from_pylist(hidden.rows, schema=hidden.schema))
        assert found.rows == [{name: row[name] for name in SCHEMA.names} for row in rows]
        assert [f.type for f in found.schema] == [f.type for f in SCHEMA]

    same()


def test_keys_can_change() -> None:
    cells = []
    for reference, name in (("${secret:hr}", "2025"), ("${secret:new}", "2026")):
        made = step({"encrypt": {"columns": ["t"], "key": reference, "key_id": name}}, secret=secret)
        cells += run(made, [{"t": name}], SCHEMA).column("t")
    keys = {"2025": "${secret:hr}", "2026": "${secret:new}"}
    back = step({"decrypt": {"columns": ["t"], "keys": keys, "purpose": "moving house"}}, secret=secret)
    assert run(back, [{"t": cell} for cell in cells], SCHEMA).column("t") == ["2025", "2026"]


def test_a_wrong_key_stops_the_run_and_shows_nothing() -> None:
    there = step({"encrypt": {"columns": ["t"], "key": "${secret:hr}"}}, secret=secret)
    cells = run(there, [{"t": "13812345678"}], SCHEMA).rows
    back = step({"decrypt": {"columns": ["t"], "key": "${secret:new}", "purpose": "a test"}}, secret=secret)
    with pytest.raises(DecryptError, match="column 't': the value does not open with key '1'") as caught:
        run(back, cells, SCHEMA)
    assert caught.value.path == "steps[0].decrypt"
    told = str(caught.value.problem()) + str(caught.value)
    assert "138" not in told and cells[0]["t"] not in told and "cdcd" not in told


def test_keys_are_nowhere_but_in_memory() -> None:
    for raw in (
        {"encrypt": {"columns": ["t"], "key": "${secret:hr}"}},
        {"decrypt": {"columns": ["t"], "key": "${secret:hr}", "purpose": "a test"}},
    ):
        locked, open_ = step(raw), step(raw, secret=secret)
        told = repr(open_) + str(open_) + open_.operator.model_dump_json()
        assert KEY not in told and str(bytes.fromhex(KEY)) not in told
        recipes = {Chain(Dataset("t", SCHEMA), [made]).recipe for made in (locked, open_)}
        assert len(recipes) == 1
        with pytest.raises(RunError, match="not looked up"):
            run(locked, [{"t": "x"}], SCHEMA)


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        ({"encrypt": {"columns": ["t"], "key": "hunter2"}}, InvalidSettingsError, "key"),
        ({"encrypt": {"columns": ["z"], "key": "${env:K}"}}, UnknownNameError, "no column 'z'"),
        (
            {"encrypt": {"columns": ["t"], "key": "${env:K}", "algorithm": "sm4-gcm", "deterministic": True}},
            InvalidSettingsError,
            "needs aes-gcm",
        ),
        ({"decrypt": {"columns": ["t"], "key": "${env:K}"}}, InvalidSettingsError, "purpose"),
        ({"decrypt": {"columns": ["t"], "purpose": "why not"}}, InvalidSettingsError, "`key` or `keys`"),
        ({"decrypt": {"columns": ["n"], "key": "${env:K}", "purpose": "a test"}}, InvalidPlanError, "values are text"),
        (
            {"decrypt": {"columns": {"t": "shape"}, "key": "${env:K}", "purpose": "a test"}},
            InvalidPlanError,
            "unknown type 'shape'",
        ),
    ],
)
def test_refused_when_planning(raw: Any, error: type[ConfigError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_step(raw, "steps[0]").operator.output([Dataset("t", SCHEMA)])


def test_what_is_no_key_is_not_shown() -> None:
    with pytest.raises(SecretError, match=r"the key \$\{secret:bad\} is not") as caught:
        step({"encrypt": {"columns": ["t"], "key": "${secret:bad}"}}, secret=secret)
    assert "hunter2" not in str(caught.value.problem())
