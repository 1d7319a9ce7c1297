"""Conversions of units, Chinese names included."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tongqu.core.errors import InvalidPlanError
from tongqu.meaning.units import conversion, quantity


@pytest.mark.parametrize(
    ("source", "target", "factor", "offset"),
    [
        ("g", "kg", Fraction(1, 1000), 0),
        ("公斤", "克", 1000, 0),
        ("千克", "公斤", 1, 0),
        ("斤", "kg", Fraction(1, 2), 0),
        ("两", "克", 50, 0),
        ("吨", "t", 1, 0),
        ("毫米", "米", Fraction(1, 1000), 0),
        ("inch", "mm", Fraction(254, 10), 0),
        ("°C", "K", 1, Fraction(27315, 100)),
        ("℃", "℉", Fraction(9, 5), 32),
        ("摄氏度", "degF", Fraction(9, 5), 32),
        ("个", "件", 1, 0),
        ("打", "个", 12, 0),
        ("m/s", "km/h", Fraction(18, 5), 0),
        ("平方米", "cm^2", 10_000, 0),
        ("千瓦时", "MJ", Fraction(36, 10), 0),
    ],
)
def test_factor_is_exact(source: str, target: str, factor: Fraction, offset: Fraction) -> None:
    found = conversion(source, target)
    assert (found.factor, found.offset, found.exact) == (factor, offset, True)


@pytest.mark.parametrize(("source", "target"), [("g", "m"), ("箱", "kg"), ("件", "箱"), ("K", "s")])
def test_other_dimension_is_refused(source: str, target: str) -> None:
    with pytest.raises(InvalidPlanError, match="cannot become"):
        conversion(source, target)


@pytest.mark.parametrize(
    "name", ["foo", "", "kg**99", "kg^-999999999", "__import__('os')", "kg;m", "(" * 40, "1/0", "lambda: 0", "kg" * 50]
)
def test_unknown_unit_is_refused(name: str) -> None:
    with pytest.raises(InvalidPlanError, match="unknown unit"):
        conversion(name, "kg")


def test_quantity_is_number_and_unit() -> None:
    assert quantity("12.5 kg") == (Fraction(25, 2), "kg")
    assert quantity("3公斤") == (Fraction(3), "公斤")
    with pytest.raises(InvalidPlanError):
        quantity("kg")
