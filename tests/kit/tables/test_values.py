"""Values go into a target's type and come out of a driver exactly, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import CastError, SchemaError
from tongqu.kit.tables.values import arrived, binds, fit, without_nul


def column(values: list[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "given", "wanted"),
    [([1.5], pa.float64(), pa.int64()), ([2**40], pa.int64(), pa.int32()),
     ([Decimal("1.005")], pa.decimal128(9, 3), pa.decimal128(9, 2)), (["x"], pa.string(), pa.int64())],
)  # fmt: skip
def test_a_value_that_would_change_is_refused(values: list[Any], given: pa.DataType, wanted: pa.DataType) -> None:
    with pytest.raises(CastError):
        fit(column(values, given), wanted, "v")


def test_a_type_that_never_fits_is_told() -> None:
    with pytest.raises(SchemaError, match="arrives as timestamp"):
        fit(column([None], pa.timestamp("us")), pa.timestamp("us", "UTC"), "v")
    with pytest.raises(SchemaError):
        fit(column([b"x"], pa.binary()), pa.string(), "v")


def test_numbers_become_their_texts() -> None:
    assert fit(column([Decimal("1E+3")], pa.decimal128(5, 0)), pa.string(), "v").to_pylist() == ["1000"]
    assert fit(column(["7"], pa.string()), pa.int64(), "v").to_pylist() == [7]


def test_what_is_bound_says_everything() -> None:
    assert binds(pa.array([datetime(2026, 1, 1, 8, tzinfo=UTC)], pa.timestamp("us", "UTC"))) == [
        "2026-01-01 08:00:00.000000"
    ]
    assert binds(pa.array([2**64 - 1], pa.uint64())) == ["18446744073709551615"]
    assert binds(pa.array([Decimal("0.10")], pa.decimal128(5, 2))) == ["0.10"]


@pytest.mark.parametrize(
    ("given", "kind", "wanted"),
    [(["1", "0", None], pa.bool_(), [True, False, None]),
     (["12:34:56.789"], pa.time64("us"), [time(12, 34, 56, 789000)]),
     (["2026-01-01 08:00:00.5"], pa.timestamp("us", "UTC"), [datetime(2026, 1, 1, 8, 0, 0, 500000, tzinfo=UTC)]),
     ([Decimal("1.50")], pa.decimal128(9, 2), [Decimal("1.50")]), (["NaN"], pa.float64(), ["nan"]),
     ([bytearray(b"x")], pa.binary(), [b"x"]), ([Decimal(7)], pa.int64(), [7])],
)  # fmt: skip
def test_what_drivers_give(given: list[Any], kind: pa.DataType, wanted: list[Any]) -> None:
    found = arrived(given, pa.field("v", kind)).to_pylist()
    assert [str(v) for v in found] == [str(v) for v in wanted]


def test_a_text_that_would_be_cut_is_refused() -> None:
    without_nul([pa.array(["ok", None])], ["v"])
    with pytest.raises(CastError, match="NUL"):
        without_nul([pa.array(["a\0b"])], ["v"])


@pytest.mark.parametrize("values", [[2], [1, -1], ["maybe"], ["1", ""]])
def test_what_is_neither_true_nor_false_is_no_boolean(values: list[Any]) -> None:
    with pytest.raises(CastError, match="neither true nor false"):
        arrived(values, pa.field("v", pa.bool_()))
