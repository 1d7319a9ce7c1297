"""The type matrix: Arrow columns with the values at which connectors break, and how to tell that one came back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # naive on purpose: instants are compared as microseconds
_TEXTS = [
    "", " ", "a", "A", "a ", "ab'c\"d\\e", "line\r\nbreak\ttab", "null", "NULL", "\\N", "中文，通衢", "𠮷𪚥",
    "😀👨\u200d👩\u200d👧", "\u00e9", "e\u0301", "x" * 5000,
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One column of the matrix. `values` must come back exact; each of `edges` exact, or refused as one dirty row."""

    name: str
    type: pa.DataType
    values: Sequence[Any]
    edges: Sequence[Any] = ()
    logical: str = ""

    @property
    def field(self) -> pa.Field[Any]:
        """The column `v`, with its logical type as metadata."""
        return pa.field("v", self.type, metadata={Meta.LOGICAL.value: self.logical} if self.logical else None)

    @property
    def all(self) -> list[Any]:
        """All values, and null."""
        return [*self.values, *self.edges, None]

    def table(self) -> pa.Table:
        """A row per value: `id` from 1, and `v`."""
        ids = pa.array(range(1, len(self.all) + 1), pa.int64())
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), self.field])
        return pa.Table.from_arrays([ids, pa.array(self.all, self.type)], schema=schema)


CASES: tuple[Case, ...] = (
    Case("bool", pa.bool_(), [True, False]),
    Case("int8", pa.int8(), [-128, 0, 127]),
    Case("int16", pa.int16(), [-(2**15), 2**15 - 1]),
    Case("int32", pa.int32(), [-(2**31), 2**31 - 1]),
    Case("int64", pa.int64(), [-(2**63), -(2**53) - 1, 0, 2**53 + 1, 2**63 - 1]),
    Case("uint8", pa.uint8(), [0, 255]),
    Case("uint32", pa.uint32(), [0, 2**32 - 1]),
    Case("uint64", pa.uint64(), [0, 2**63 - 1], [2**63, 2**64 - 1]),
    Case("float32", pa.float32(), [0.0, 1.5, -3.4e38, 1.401298464324817e-45, 0.1],
         [-3.4028234663852886e38]),
    Case("float64", pa.float64(), [0.0, 0.1, 1 / 3, 1.7976931348623157e308, 5e-324, -1e-7, 2.0**53],
         [math.nan, math.inf, -math.inf]),
    Case("negative_zero", pa.float64(), [-0.0]),
    Case("decimal", pa.decimal128(38, 10),
         [Decimal("0E-10"), Decimal("-0.0000000001"), Decimal("1234567890.0123456789"),
          Decimal("9999999999999999999999999999.9999999999"), Decimal("-9999999999999999999999999999.9999999999")]),
    Case("money", pa.decimal128(12, 2), [Decimal("0.00"), Decimal("-0.01"), Decimal("9999999999.99")]),
    Case("text", pa.string(), _TEXTS, ["nul \x00 inside", "\x00"]),
    Case("large_text", pa.large_string(), ["", "large 中文"]),
    Case("binary", pa.binary(), [b"", b"\x00", b"\xff\xfe\x00\n\r\\", bytes(range(256)) * 8]),
    Case("date", pa.date32(), [date(1970, 1, 1), date(1900, 3, 1), date(2000, 2, 29), date(9999, 12, 31)],
         [date(1, 1, 1)]),
    Case("time", pa.time64("us"), [time(0), time(12, 34, 56, 789012), time(23, 59, 59, 999999)]),
    Case("timestamp", pa.timestamp("us"),
         [datetime(1970, 1, 1), datetime(2024, 3, 31, 2, 30, 0, 1), datetime(2038, 1, 19, 3, 14, 8, 999999),  # noqa: DTZ001
          datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31, 23, 59, 59, 999999)],  # noqa: DTZ001
         [datetime(1, 1, 1)]),  # noqa: DTZ001
    Case("instant", pa.timestamp("us", "UTC"),
         [datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 3, 31, 2, 30, 0, 1, tzinfo=UTC),
          datetime(2038, 1, 19, 3, 14, 8, 999999, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)],
         [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
    Case("seconds", pa.timestamp("s"), [datetime(2024, 3, 31, 2, 30)]),  # noqa: DTZ001
    Case("nanoseconds", pa.timestamp("ns"), [datetime(2024, 3, 31, 2, 30, 0, 1)]),  # noqa: DTZ001
    Case("uuid", pa.string(), ["00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426614174000"],
         logical="uuid"),
    Case("json", pa.string(), ["null", "{}", "[1, 2.50, \"中文😀\"]", '{"b": {"a": [true, null, ""]}}', '"text"',
         '{"big": 12345678901234567890}'], logical="json"),
    Case("unbounded", pa.string(), ["0", "-12345678901234567890.123456789", "1E-20"],
         ["-12345678901234567890123456789012345678901234567890.123456789"], logical="decimal"),
    Case("integers", pa.list_(pa.int64()), [[], [1, None, -(2**63)], [2**63 - 1]]),
    Case("texts", pa.list_(pa.string()), [[], ["", None, "a,b", 'q"q', "{}", "\\", "NULL", "中文"]]),
)  # fmt: skip


def by_name(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.name == name)


def canonical(value: Any, case: Case) -> Any:
    """A value that came back, in whatever type, in a form that is equal exactly if it means the same as was written."""
    return _plain(value, case.type, case.logical)


def _plain(value: Any, kind: pa.DataType, logical: str) -> Any:
    if value is None:
        return None
    if pa.types.is_list(kind):
        values = json.loads(value) if isinstance(value, str) else value
        return [_plain(v, kind.value_type, logical) for v in values]
    if logical == "json":
        return json.dumps(json.loads(value, parse_float=_number), sort_keys=True)
    if logical == "uuid":
        return str(value).lower()
    if logical == "decimal" or pa.types.is_decimal(kind):
        return _number(str(value))
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_boolean(kind):
        return bool(value) if value in (0, 1, True, False) else value
    if pa.types.is_floating(kind):
        return repr(float(value))
    if pa.types.is_timestamp(kind):
        return _micros(value, kind)
    return value


def _number(text: str) -> str:
    number = Decimal(text)
    sign, digits, exponent = number.as_tuple()
    if not any(digits) or not isinstance(exponent, int):
        return "0" if not any(digits) else text
    while digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    return f"{'-' if sign else ''}{''.join(map(str, digits))}E{exponent}"


def _micros(value: Any, kind: pa.DataType) -> Any:
    """Microseconds since 1970; with a zone only if an instant was written."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    value = value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    if (kind.tz is None) != (value.tzinfo is None):  # type: ignore[attr-defined]  # only called for timestamps
        return f"{value!r}: zoned and zoneless were mixed up"
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return (naive - _EPOCH) // timedelta(microseconds=1)
