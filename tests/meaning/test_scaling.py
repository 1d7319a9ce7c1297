"""Scaling a decimal column loses nothing, whatever the factor."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import InvalidPlanError
from tongqu.meaning.expressions import column, render
from tongqu.meaning.sandbox import open_sandbox
from tongqu.meaning.scaling import Scaling, scaled

DATABASE = open_sandbox()


@settings(max_examples=80, deadline=None)
@given(
    digits=st.integers(-(10**9) + 1, 10**9 - 1),
    scale=st.integers(0, 6),
    factor=st.fractions(min_value=Fraction(1, 10**6), max_value=10**6).map(
        lambda f: Fraction(round(f * 1000) or 1, 1000)
    ),
    power=st.integers(-6, 6),
)
def test_exact(digits: int, scale: int, factor: Fraction, power: int) -> None:
    exact = factor * Fraction(10) ** power
    value = Decimal(digits).scaleb(-scale)
    rows = pa.table({"v": pa.array([value], pa.decimal128(9, min(scale, 9)))})
    tree = scaled(column("v"), rows.schema.field("v").type, Scaling(exact, Fraction(0), True), "v")
    DATABASE.register("rows", rows)
    ((found,),) = DATABASE.sql(f"SELECT {render(tree, {})} FROM rows").fetchall()
    assert Fraction(found) == Fraction(value) * exact


def test_endless_factor_is_double() -> None:
    tree = scaled(column("v"), pa.int64(), Scaling(Fraction(1, 3), Fraction(0), True), "v")
    assert "AS DOUBLE" in render(tree, {})


def test_too_many_digits_ask_for_a_type() -> None:
    with pytest.raises(InvalidPlanError, match="more than 38"):
        scaled(column("v"), pa.decimal128(38, 10), Scaling(Fraction(1, 4), Fraction(0), True), "v")
