"""Doubles that are decimals as they are written go into numeric columns as decimals, and no other ones do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tongqu.connectors.postgres.exact import as_decimals
from tongqu.testing.command_line import tongqu
from tongqu.testing.services import Postgres


def taken(values: list[float | None], type_: str = "numeric(12,2)") -> list[Any]:
    """What a column of doubles becomes for a target of that type."""
    return as_decimals(pa.table({"v": pa.array(values, pa.float64())}), [type_]).column("v").to_pylist()


def test_prices_become_decimals_and_nulls_stay() -> None:
    assert taken([492125.4, None, -0.01, -0.0, 9999999999.99]) == [
        Decimal("492125.40"), None, Decimal("-0.01"), Decimal("0.00"), Decimal("9999999999.99"),
    ]  # fmt: skip


@pytest.mark.parametrize("odd", [0.005, 0.1 + 0.2, 1e10, float("nan"), float("inf"), 1e300])
def test_one_value_that_would_be_rounded_or_has_no_room_leaves_the_column_as_it_is(odd: float) -> None:
    assert [str(value) for value in taken([1.5, odd])] == ["1.5", str(odd)]


@pytest.mark.parametrize(
    "type_", ["numeric", "double precision", "text", "numeric(3,5)", "numeric(40,30)", "numeric(4,-2)"]
)
def test_columns_of_other_types_stay_as_they_are(type_: str) -> None:
    assert taken([1.5, None], type_) == [1.5, None]


def test_slices_and_several_chunks_keep_their_rows() -> None:
    column = pa.chunked_array([pa.array([9.9, 1.25, None, 2.5]).slice(1), pa.array([], pa.float64()), pa.array([3.0])])
    rows = as_decimals(pa.table({"id": [1, 2, 3, 4], "v": column}), ["bigint", "numeric(8,3)"])
    assert rows.to_pylist() == [
        {"id": 1, "v": Decimal("1.250")}, {"id": 2, "v": None}, {"id": 3, "v": Decimal("2.500")},
        {"id": 4, "v": Decimal("3.000")},
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(-(10**16), 10**16), st.integers(0, 22))
@example(10**15 - 1, 22)
@example(10**15, 0)
def test_what_becomes_a_decimal_is_the_decimal_that_is_written(digits: int, scale: int) -> None:
    value = float(Decimal(digits).scaleb(-scale))
    (got,) = taken([value], f"numeric(38,{scale})")
    if isinstance(got, Decimal):
        assert got == Decimal(repr(value))
    assert isinstance(got, Decimal) == (abs(Decimal(repr(value)).scaleb(scale)) < 10**15)


@settings(max_examples=60, deadline=None)
@given(st.floats(), st.integers(0, 22))
def test_no_double_changes_its_value(value: float, scale: int) -> None:
    (got,) = taken([value], f"numeric(38,{scale})")
    assert str(got) == str(value) or got == Decimal(repr(value))


def test_the_table_holds_what_the_server_itself_makes_of_the_written_number(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    numbers = ["1.25", "-0.5", "2.345", "9999.99", "10000", "null"]
    lines = "".join(f'{{"id": {id_}, "v": {v}}}\n' for id_, v in enumerate(numbers))
    (tmp_path / "t.jsonl").write_text(lines)
    with psycopg.connect(url) as connection:
        connection.execute("create table t (id int primary key, v numeric(6,2))")
    done = tongqu(tmp_path, "sync", "file:t.jsonl", "${env:D}", "--key", "id", "--json", D=url)
    assert done.document["streams"][0]["quarantined"] == 1, done.out + done.err
    with psycopg.connect(url) as connection:
        held = connection.execute("select v::text from t order by id").fetchall()
    assert held == [("1.25",), ("-0.50",), ("2.35",), ("9999.99",), (None,)]
