"""Parquet passed on as it is: ranges of rows that a database reads from the file by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa

from tongqu.core.data import Position
from tongqu.kit.formats.columnar import ParquetFile, plain_type

FORMAT = "parquet-path"
"""The format's name: the only block is the path in the system's encoding, and `options` hold `first` and `stop`, the
numbers of the first row in the file and of the one after the last, `size`, about the bytes they take in it, and
`files`, the paths of this and all other chunks of the split."""
_PATTERN = re.compile(r"[*?\[\]{}]")
_GROUP = 122_880
"""Rows of DuckDB's own row groups: a table that is filled in multiples of them needs no rewriting at the checkpoint."""
_TIMES = 4
_NUMBER = "file_row_number"


@dataclass(frozen=True)
class Rows:
    """Rows `[first, stop)` of a file, about how many bytes they take in it, and the position after them."""

    first: int
    stop: int
    size: int
    position: Position
    last: bool

    def count(self) -> int:
        """How many rows they are."""
        return self.stop - self.first


def passable(file: ParquetFile, schema: pa.Schema) -> bool:
    """Whether every reader of Parquet gives the file's columns as exactly these types, by what the format itself says.

    Columns are as DuckDB and Arrow both read them: truth values, integers, floats, decimals up to 38 digits, texts,
    bytes, dates, times to the microsecond. Nested ones, times of day, UUIDs, JSON, INT96 and types that only Arrow's
    own note in the file tells apart are not; neither is a column named `file_row_number`, by which rows are chosen, nor
    a path that looks like a pattern.
    """
    if _PATTERN.search(str(file.path)):
        return False
    with file.open() as opened:
        columns = [opened.schema.column(number) for number in range(len(opened.schema))]
        plain = [plain_type(kind) for kind in opened.schema_arrow.types]
    names = [column.path for column in columns]
    if names != schema.names or plain != schema.types or _NUMBER in map(str.lower, names):
        return False
    return all(_same(_said(column), kind) for column, kind in zip(columns, plain, strict=True))


def _same(said: pa.DataType | None, kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind) and said is not None and pa.types.is_timestamp(said):
        return said.unit == kind.unit and (said.tz is None) == (kind.tz is None)
    return said == kind


def _said(column: Any) -> pa.DataType | None:
    """The type by the Parquet schema alone; None for one that readers understand differently."""
    logical: dict[str, Any] = json.loads(column.logical_type.to_json())
    kind: str = logical["Type"]
    if column.max_repetition_level or kind not in _LOGICAL:
        return None
    if kind == "Int":
        return _INTEGERS[bool(logical["isSigned"])].get(logical["bitWidth"])
    if kind == "Decimal":
        return pa.decimal128(logical["precision"], logical["scale"]) if logical["precision"] <= 38 else None
    if kind == "Timestamp":
        if logical["timeUnit"] != "microseconds" or logical["is_from_converted_type"]:
            return None
        return pa.timestamp("us", "UTC" if logical["isAdjustedToUTC"] else None)
    return _LOGICAL[kind] or _PHYSICAL.get(column.physical_type)


_LOGICAL: dict[str, pa.DataType | None] = {
    "None": None, "String": pa.string(), "Date": pa.date32(), "Int": None, "Decimal": None, "Timestamp": None,
}  # fmt: skip
_INTEGERS: dict[bool, dict[int, pa.DataType]] = {
    True: {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()},
    False: {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()},
}
_PHYSICAL: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(), "INT32": pa.int32(), "INT64": pa.int64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
    "BYTE_ARRAY": pa.binary(),
}  # fmt: skip


def ranges(file: ParquetFile, after: Position | None, want: int) -> Iterator[Rows]:
    """The file's rows after a position in ranges of `want` rows or, where that is a row group of DuckDB's or more,
    about `_TIMES` as many, cut at multiples of them: rows that nobody holds in memory may be more at once. At least
    one range, which is empty for a file without rows. Positions are `ParquetFile`'s."""
    sizes = file.sizes()
    first, stop = file.groups or (0, len(sizes))
    before = sum(rows for rows, _ in sizes[:first])
    own = sizes[first:stop]
    total, size = sum(rows for rows, _ in own), sum(packed for _, packed in own)
    want = want * _TIMES // _GROUP * _GROUP if want >= _GROUP else want
    done = after["rows"] if after else 0
    ends = list(accumulate(rows for rows, _ in own))
    while True:
        reached = min(done + want, total)
        part = size * (reached - done) // total if total else 0
        last = reached == total
        yield Rows(before + done, before + reached, part, _position(ends, first, reached), last)
        if last:
            return
        done = reached


def _position(ends: Sequence[int], first: int, rows: int) -> Position:
    """The place after so many rows of the file or of its row groups from `first` on."""
    whole = sum(1 for end in ends if end <= rows)
    return {"group": first + whole, "row": rows - (ends[whole - 1] if whole else 0), "rows": rows}
