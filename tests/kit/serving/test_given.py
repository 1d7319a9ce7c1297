"""Rows of a change arrive as Python's values or as JSON shows them, and are exact or refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import CastError
from tongqu.kit.serving.given import given

INSTANT = datetime(2026, 1, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (pa.timestamp("us", "UTC"), "2026-01-01T10:00:00+08:00", INSTANT),
        (pa.timestamp("us", "UTC"), INSTANT, INSTANT),
        (pa.date32(), "2026-01-01", date(2026, 1, 1)),
        (pa.time64("us"), "10:30:00.5", time(10, 30, 0, 500_000)),
        (pa.decimal128(12, 3), "0.100", Decimal("0.100")),
        (pa.decimal128(12, 3), 5, Decimal("5.000")),
        (pa.decimal128(12, 3), 0.1, Decimal("0.100")),
        (pa.binary(), "\\x00ff", b"\x00\xff"),
        (pa.int64(), Decimal("7.0"), 7),
        (pa.string(), "张三", "张三"),
        (pa.bool_(), True, True),
        (pa.int64(), None, None),
        (pa.float64(), "-Infinity", float("-inf")),
        (pa.float64(), Decimal("0.5"), 0.5),
    ],
)
def test_a_value_is_kept_as_its_field_has_it(kind: pa.DataType, value: Any, kept: Any) -> None:
    assert given([(value,)], [pa.field("v", kind)]).to_pylist() == [{"_tongqu_0": kept}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), 7.5), (pa.int64(), "7"), (pa.int64(), 2**70), (pa.string(), 7.5), (pa.string(), True),
        (pa.decimal128(5, 2), "0.001"), (pa.decimal128(5, 2), "sécret"), (pa.date32(), "yesterday"),
        (pa.binary(), "ff"), (pa.bool_(), "yes"), (pa.timestamp("us"), 5.5),
        (pa.date32(), INSTANT), (pa.float64(), "1e5"), (pa.float64(), True),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_by_its_field(kind: pa.DataType, value: Any) -> None:
    with pytest.raises(CastError) as told:
        given([(value,)], [pa.field("v", kind)])
    assert told.value.field == "v" and "sécret" not in str(told.value.problem())


def test_instants_and_texts_may_stand_together() -> None:
    table = given([("2026-01-01 02:00:00Z",), (INSTANT,), (None,)], [pa.field("v", pa.timestamp("us", "UTC"))])
    assert table.column(0).to_pylist() == [INSTANT, INSTANT, None]
