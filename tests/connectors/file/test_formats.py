"""Every format brings back what was written into it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

MATRIX = pa.table(
    {
        "id": pa.array([1, 2, None], pa.int64()),
        "整数": pa.array([2**63 - 1, -(2**63) + 1, 0], pa.int64()),
        "text": ['a,"b"\r\n中文😀', "", None],
        "code": ["00123", "007", "9"],
        "amount": pa.array(
            [Decimal("1.2500000001"), Decimal("-12345678901234567890.0000000000"), None], pa.decimal128(38, 10)
        ),
        "ratio": pa.array([0.1, 1e300, None]),
        "day": pa.array([date(2024, 2, 29), date(1, 1, 1), None]),
        "at": pa.array(
            [datetime.fromisoformat("2024-01-01T10:00:00.123456"), datetime.fromisoformat("9999-12-31"), None],
            pa.timestamp("us"),
        ),
        "zoned": pa.array(
            [datetime(2024, 1, 1, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")
        ),
        "clock": pa.array([time(23, 59, 59, 5), time(0), None], pa.time64("us")),
        "ok": [True, False, None],
    }
)
"""Every type that text formats bring back by inference alone."""


# ---- formats


@pytest.mark.parametrize(
    "ending", ["csv", "tsv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "parquet", "arrow", "feather"]
)
def test_every_format_brings_back_values_and_types(desk: Any, tmp_path: Path, ending: str) -> None:
    name = f"o.{ending}"
    desk.put(tmp_path / name, MATRIX)
    assert desk.rows(tmp_path / name) == MATRIX.to_pylist()
    assert desk.types(tmp_path / name) == {f.name: str(f.type) for f in MATRIX.schema} | (
        {} if name[1:] in (".parquet", ".arrow", ".feather") else {"amount": desk.types(tmp_path / name)["amount"]}
    )


def test_what_inference_cannot_know_is_told_by_types(desk: Any, tmp_path: Path) -> None:
    table = pa.table(
        {
            "raw": [b"\x00\xff", b""],
            "small": pa.array([1, 2], pa.int16()),
            "m": pa.array([Decimal("1.50")] * 2, pa.decimal128(12, 3)),
        }
    )
    told = "?types=raw:binary,small:int16,m:decimal(12,3)"
    for name in ("o.csv", "o.jsonl"):
        desk.put(tmp_path / name, table)
        assert desk.rows(tmp_path / name, told) == table.to_pylist()
        assert desk.types(tmp_path / name, told) == {f.name: str(f.type) for f in table.schema}


@pytest.mark.parametrize("name", ["o.jsonl", "o.parquet", "o.arrow"])
def test_nested_values_travel_in_formats_that_have_them(desk: Any, tmp_path: Path, name: str) -> None:
    table = pa.table({"id": [1, 2], "tags": [["a", "b"], []], "at": [{"x": 1, "y": "z"}, None]})
    desk.put(tmp_path / name, table)
    assert desk.rows(tmp_path / name) == table.to_pylist()


def test_special_doubles_survive_text(desk: Any, tmp_path: Path) -> None:
    table = pa.table({"x": [float("inf"), float("-inf"), 1.5, None]})
    for name in ("o.csv", "o.jsonl"):
        desk.put(tmp_path / name, table)
        assert desk.rows(tmp_path / name, "?types=x:double") == table.to_pylist()


def test_json_text_is_embedded_in_json_lines(desk: Any, tmp_path: Path) -> None:
    kind = pa.field("doc", pa.string(), metadata={"tongqu.logical": "json"})
    desk.put(tmp_path / "o.jsonl", pa.table([pa.array(['{"a": 1}', "not json"])], schema=pa.schema([kind])))
    assert (tmp_path / "o.jsonl").read_text() == '{"doc":{"a": 1}}\n{"doc":"not json"}\n'


def test_field_metadata_travels_in_parquet(desk: Any, tmp_path: Path) -> None:
    field = pa.field("w", pa.int64(), metadata={"tongqu.unit": "kg", "tongqu.title": "重量"})
    desk.put(tmp_path / "o.parquet", pa.table([pa.array([1, 2])], schema=pa.schema([field])))
    (dataset,) = desk.source(tmp_path / "o.parquet").datasets()
    assert dataset.schema.field("w").metadata == {b"tongqu.unit": b"kg", b"tongqu.title": "重量".encode()}
    assert dataset.rows == 2


def test_csv_is_rfc_4180(desk: Any, tmp_path: Path) -> None:
    desk.put(
        tmp_path / "o.csv",
        pa.table(
            {
                "a": ["x", "", None, 'q"'],
                "b": pa.array(
                    [Decimal("0.0000000000"), None, Decimal("0.0000000001"), Decimal("5")], pa.decimal128(38, 10)
                ),
            }
        ),
    )
    expected = 'a,b\r\nx,0.0000000000\r\n"",\r\n,0.0000000001\r\n"q""",5.0000000000\r\n'
    assert (tmp_path / "o.csv").read_bytes().decode() == expected
