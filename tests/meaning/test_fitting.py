"""A value fits a type if nothing of it is lost; held against Python's own numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Meta
from tongqu.meaning.fitting import fitted
from tongqu.meaning.widening import holds, widened


def fit(values: list[Any], kind: pa.DataType, target: pa.DataType, native: str = "") -> tuple[list[Any], list[bool]]:
    """The values in the target's type, and which do not fit."""
    field = pa.field("v", target, metadata={Meta.NATIVE.value: native} if native else None)
    made: Any
    wrong: Any
    made, wrong = fitted(pa.chunked_array([pa.array(values, kind)]), field)
    return made.to_pylist(), wrong.to_pylist()


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-40_000, 40_000))))
def test_integers(values: list[int | None]) -> None:
    made, wrong = fit(values, pa.int64(), pa.int16())
    fits = [value is None or -(2**15) <= value < 2**15 for value in values]
    assert wrong == [not good for good in fits]
    assert made == [value if good else None for value, good in zip(values, fits, strict=True)]


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.decimals(-(10**6), 10**6, places=4))))
def test_decimals(values: list[Decimal | None]) -> None:
    made, wrong = fit(values, pa.decimal128(20, 4), pa.decimal128(5, 2))
    fits = [v is None or (abs(v) < 1000 and v == v.quantize(Decimal("0.01"))) for v in values]
    assert wrong == [not good for good in fits]
    assert made == [value if good else None for value, good in zip(values, fits, strict=True)]


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-300, 300).map(float))))
def test_floats(values: list[float | None]) -> None:
    _, wrong = fit(values, pa.float64(), pa.int8())
    assert wrong == [v is not None and not (abs(v) < 200 and v == int(v) and -128 <= v <= 127) for v in values]


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.text(max_size=6), st.integers(-1000, 1000).map(str))))
def test_texts_of_a_length(values: list[str | None]) -> None:
    made, wrong = fit(values, pa.string(), pa.string(), "postgres:character varying(3)")
    assert wrong == [value is not None and len(value) > 3 for value in values]
    assert made == [None if bad else value for value, bad in zip(values, wrong, strict=True)]


@pytest.mark.parametrize(
    ("values", "kind", "target", "expected"),
    [
        (["1", "x", " 2", "1.0"], pa.string(), pa.int64(), [1, None, None, None]),
        (["1.25", "1.255", "z"], pa.string(), pa.decimal128(5, 2), [Decimal("1.25"), None, None]),
        ([0, 86_400_000_000, 1], pa.timestamp("us"), pa.date32(), ["1970-01-01", "1970-01-02", "None"]),
        ([0], pa.timestamp("us", "UTC"), pa.timestamp("us"), [None]),
        ([b"a"], pa.binary(), pa.string(), [None]),
        ([2**53, 2**53 + 1], pa.int64(), pa.float64(), [float(2**53), None]),
        ([0.5, 0.1], pa.float64(), pa.float32(), [0.5, None]),
        ([1, 2], pa.int64(), pa.bool_(), [True, None]),
    ],
    ids=str,
)
def test_other_types(values: list[Any], kind: pa.DataType, target: pa.DataType, expected: list[Any]) -> None:
    made, wrong = fit(values, kind, target)
    shown = [str(value) for value in made] if pa.types.is_date(target) else made
    assert shown == expected
    assert wrong == [value in (None, "None") for value in expected]


WIDER = [
    (pa.int16(), pa.int64(), pa.int64()),
    (pa.int32(), pa.uint32(), pa.int64()),
    (pa.int64(), pa.uint64(), pa.decimal128(20, 0)),
    (pa.decimal128(10, 2), pa.decimal128(8, 4), pa.decimal128(12, 4)),
    (pa.int32(), pa.decimal128(8, 2), pa.decimal128(12, 2)),
    (pa.int32(), pa.float64(), pa.float64()),
    (pa.int64(), pa.float64(), None),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.int32(), pa.string(), None),
    (pa.date32(), pa.timestamp("us"), None),
    (pa.decimal128(38, 0), pa.decimal128(38, 10), None),
]


@pytest.mark.parametrize(("old", "new", "wider"), WIDER, ids=str)
def test_a_type_is_widened_inside_its_family(old: pa.DataType, new: pa.DataType, wider: pa.DataType | None) -> None:
    found = widened(pa.field("v", old), pa.field("v", new))
    assert (found.type if found is not None else None) == wider
    if found is not None:
        assert holds(found, pa.field("v", old))
        assert holds(found, pa.field("v", new))
