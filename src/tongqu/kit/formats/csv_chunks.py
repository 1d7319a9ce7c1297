"""CSV passed on as it is: chunks of raw records for a database's own bulk loader, counted without parsing fields."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import pyarrow as pa

from tongqu.core.data import Position
from tongqu.core.errors import RefusedRowsError
from tongqu.kit.formats.csv import CsvFile
from tongqu.kit.formats.records import Records

_MOST = 32 << 20
_FIRST = (2 << 20, 8 << 20)
"""The first chunks are smaller: nobody works while the first one is prepared, and the next is prepared meanwhile."""
_PIECE = 1 << 20
_END_MARK = b"\\."


@dataclass(frozen=True)
class Chunk:
    """Whole records; `regular` if every reader of CSV takes the same values from them."""

    pieces: tuple[bytes, ...]
    rows: int
    position: Position
    regular: bool
    last: bool
    options: dict[str, Any]

    def count(self) -> int:
        """`rows`."""
        return self.rows

    def blocks(self) -> Iterator[bytes]:
        """The bytes; raises RefusedRowsError before the first if the chunk is not regular."""
        if not self.regular:
            raise RefusedRowsError(
                "the raw bytes would not mean the same to every reader (quotes, fields, digits)",
                hint="the rows are parsed here instead",
            )
        yield from self.pieces


def passable(file: CsvFile) -> bool:
    """Whether the file's bytes can be given to a database's CSV loader: UTF-8, doubled quotes, one text for null."""
    d = file.dialect
    plain = file.stream.encoding == "utf-8" and d.quote != "" and not d.escape
    return plain and len(d.null) == 1 and d.decimal == "."


def chunks(file: CsvFile, schema: pa.Schema, after: Position | None, want: int) -> Iterator[Chunk]:
    """The file's records after a position in chunks of about `want`, each at most 32 MiB (the first 2, the second 8);
    at least one chunk, which is empty for a file without rows. The next chunk is prepared while one is used.

    Databases round decimals and instants that have more digits than their column; such columns are checked here, and
    a chunk with a value that does not fit the schema is not regular.
    """
    found = _chunks(file, {f.name: f.type for f in schema if _is_rounded(f.type)}, after, want)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, found, None)
        while (chunk := following.result()) is not None:
            following = pool.submit(next, found, None)
            yield chunk


def _is_rounded(kind: pa.DataType) -> bool:
    return pa.types.is_decimal128(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind)


def _chunks(file: CsvFile, rounded: dict[str, pa.DataType], after: Position | None, want: int) -> Iterator[Chunk]:
    position = dict(after or file.start())
    d = file.dialect
    options = {"delimiter": d.delimiter, "quote": d.quote, "escape": d.quote, "null": d.null[0]}
    pieces: list[bytes] = []
    rows = size = 0
    regular = True
    most = chain(_FIRST, repeat(_MOST))
    limit = next(most)
    for data, complete, even in Records(file.stream.blocks(position["offset"]), want, _PIECE, file.cut):
        count = max(complete, 1)
        if pieces and (rows + count > want or size + len(data) > limit):
            yield Chunk(tuple(pieces), rows, dict(position), regular, False, options)
            pieces, rows, size, regular, limit = [], 0, 0, True, next(most)
        pieces.append(data)
        rows, size = rows + count, size + len(data)
        regular = regular and even and _agreed(data) and (not rounded or file.fits(data, rounded))
        position = {
            "offset": position["offset"] + len(data),
            "line": position["line"] + data.count(b"\n"),
            "rows": position["rows"] + count,
        }
    yield Chunk(tuple(pieces), rows, dict(position), regular, True, options)


def _agreed(data: bytes) -> bool:
    """No end-of-data mark of COPY on a line of its own."""
    if b"\\" not in data:  # a search for one byte is much faster than for two
        return True
    return not (data.startswith(_END_MARK) or b"\n" + _END_MARK in data)
