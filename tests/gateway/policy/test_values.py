"""Texts become values of a field's type, or are refused without being repeated."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.gateway.policy.values import fitted

UUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pa.int16(), "-5", -5), (pa.int64(), 7, 7), (pa.decimal128(12, 3), "1.50", Decimal("1.50")),
        (pa.float64(), "1e3", 1000.0),
        (pa.bool_(), "t", True), (pa.date32(), "2026-01-31", date(2026, 1, 31)), (pa.string(), "中", "中"),
        (pa.string(), None, None),
        (pa.timestamp("us"), "2026-01-31 08:00:00", datetime(2026, 1, 31, 8)),  # noqa: DTZ001
        (pa.timestamp("us", "UTC"), "2026-01-31T08:00:00+08:00", datetime(2026, 1, 31, tzinfo=UTC)),
        (pa.timestamp("us", "UTC"), "2026-01-31T08:00:00 08:00", datetime(2026, 1, 31, tzinfo=UTC)),
        (pa.time64("us"), "08:30", time(8, 30)), (pa.binary(), "\\x00ff", b"\x00\xff"), (pa.list_(pa.int64()),
        ("1", "2"), [1, 2]),
    ],
)  # fmt: skip
def test_values(kind: pa.DataType, text: Any, value: Any) -> None:
    assert fitted(text, pa.field("x", kind)) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.int16(), "32768"), (pa.int64(), "1.5"), (pa.int64(), True), (pa.int64(), "1_000"),
        (pa.int64(), "１"), (pa.uint8(), "-1"),
        (pa.decimal128(12, 3), "NaN"), (pa.decimal128(12, 3), "1e99"), (pa.decimal128(12, 3), ""),
        (pa.float64(), "1e999"),
        (pa.bool_(), "maybe"), (pa.date32(), "20260131"), (pa.date32(), "2026-02-30"),
        (pa.timestamp("us"), "2026-01-31T08:00:00Z"),
        (pa.timestamp("us"), "today"), (pa.string(), "a\0b"), (pa.string(), "\ud800"), (pa.string(), 5),
        (pa.binary(), "ff"),
        (pa.list_(pa.int64()), ("x",)), (pa.struct([("a", pa.int8())]), "x"), (pa.time64("us"), "8 o'clock"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_not_repeated(kind: pa.DataType, text: Any) -> None:
    with pytest.raises(ValueError) as caught:
        fitted(text, pa.field("x", kind))
    assert str(text) not in str(caught.value) or text == ""


def test_logical_types() -> None:
    assert fitted(UUID.upper(), pa.field("x", pa.string(), metadata={"tongqu.logical": "uuid"})) == UUID
    with pytest.raises(ValueError):
        fitted("1", pa.field("x", pa.string(), metadata={"tongqu.logical": "json"}))
