"""Delimited text (CSV, TSV): typed Arrow rows by blocks, exact positions, bad rows set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tongqu.core.data import BadRow, Position
from tongqu.core.errors import CastError, ReadError, SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.files import File, address
from tongqu.kit.formats import dialect as dialects
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.encoding import MARK, MARK_BYTES, marked, repaired
from tongqu.kit.formats.inference import Column
from tongqu.kit.formats.piece import STEP, Piece, unreadable
from tongqu.kit.formats.records import OPEN, Cut, Records, line_ends, record_ends
from tongqu.kit.formats.text_stream import TextStream, between
from tongqu.kit.formats.types import convert

arrow_csv: Any = pyarrow.csv
_SLICE = 16 << 20
_INFER = 2 << 20
_TYPES_AS_TEXT = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_decimal256, pa.types.is_nested)


@dataclass(frozen=True)
class CsvFile:
    """A delimited text file; `names` are its columns in order."""

    stream: TextStream
    dialect: Dialect
    names: tuple[str, ...]

    @classmethod
    def detect(cls, path: File, packed: str | None, encoding: str | None, given: Mapping[str, Any]) -> CsvFile:
        """Look at the file's beginning; `given` are values of `Dialect` that are known. Raises ReadError if empty."""
        stream = TextStream.detect(path, packed, encoding)
        text = stream.head(1 << 20).decode("utf-8", "replace")
        dialect = dialects.detect(text, dict(given))
        lines = text.split("\n", dialect.skip_rows)[-1] if dialect.skip_rows else text
        first = dialects.records(lines, dialect.delimiter, dialect.quote, dialect.escape, 1)
        if not first:
            raise ReadError(f"{path} is empty: it has no header and no row", path=address(path), hint="remove it")
        line = lines.lstrip("\r\n").partition("\n")[0]
        if len(dialects.records(line, dialect.delimiter, dialect.quote, dialect.escape, 2)) > 1:
            raise ReadError(
                f"{path}: lines end with a bare carriage return",
                path=address(path),
                hint="convert them, for example with: tr '\\r' '\\n'",
            )
        return cls(stream, dialect, tuple(dialects.column_names(first[0], dialect.header)))

    def cut(self, block: bytes) -> Cut:
        """The records of a block that begins at a record's start."""
        quote = ord(self.dialect.quote) if self.dialect.quote else None
        return record_ends(block, ord(self.dialect.delimiter), quote, bool(self.dialect.escape))

    def start(self) -> Position:
        """The position before the first row: after skipped lines, blank lines and the header."""
        offset = line = 0
        if self.dialect.skip_rows:
            lines = Records(self.stream.blocks(), 1, _SLICE, _plain)
            for data, _, _ in islice(lines, self.dialect.skip_rows):
                offset, line = offset + len(data), line + 1
        if self.dialect.header:
            for data, _, _ in Records(self.stream.blocks(offset), 1, _SLICE, self.cut):
                offset, line = offset + len(data), line + data.count(b"\n")
                if data.strip(b"\r\n"):
                    break
        return {"offset": offset, "line": line, "rows": 0}

    def show(self, columns: Mapping[str, Column], limit: int | None) -> int | None:
        """Show the columns of the file to their inferences: all of it, or the first `limit` bytes of text and,
        where the file can be sought, places spread over the rest. Gives the number of records if it saw them all."""
        position = self.start()
        seen = records = 0
        whole = True
        with ThreadPoolExecutor(3) as pool:
            pending: list[Future[None]] = []
            for data, count, _ in Records(self.stream.blocks(position["offset"]), 1 << 62, _INFER, self.cut):
                if count == OPEN:
                    break
                for before in pending:
                    before.result()
                pending = [pool.submit(self._show, data, columns, pool)]
                seen, records = seen + len(data), records + count
                if limit is not None and seen + len(data) // 2 > limit:  # slices end a little before `_INFER`
                    whole = False
                    break
            for before in pending:
                before.result()
        for window in [] if whole else self.stream.windows(seen):
            self._show_window(window, columns)
        return records if whole else None

    def _show(self, data: bytes, columns: Mapping[str, Column], pool: ThreadPoolExecutor) -> None:
        names = [name for name, column in columns.items() if not column.closed]
        if names:
            table, _ = self._texts(data, names, True)
            list(pool.map(lambda name: columns[name].show(self._numbers(table.column(name))), names))

    def _show_window(self, data: bytes, columns: Mapping[str, Column]) -> None:
        """Take lines from the middle of the file into account, unless they may begin or end inside a field."""
        if not self.cut(data).regular:
            return
        names = [name for name, column in columns.items() if not column.closed]
        if names:
            table, ragged = self._texts(data, names)
            for name in [] if ragged else names:
                columns[name].show(self._numbers(table.column(name)))

    def _numbers(self, texts: Any) -> Any:
        """Texts with a decimal comma as the inference knows them; a text with a point in it is no number then."""
        if self.dialect.decimal == ".":
            return texts
        swapped = pc.replace_substring(pc.replace_substring(texts, ".", "·"), self.dialect.decimal, ".")
        number = pc.match_substring_regex(swapped, r"^-?[0-9]+(\.[0-9]+)?$")
        return pc.if_else(number, swapped, texts)

    def read(self, schema: pa.Schema, after: Position | None, until: Position | None, want: int) -> Iterator[Piece]:
        """Rows of the schema's columns (a subset of `names`, any order), `want` records a piece at most."""
        position = dict(after or self.start())
        for data, count, _ in Records(between(self.stream, position, until), want, _SLICE, self.cut):
            if count == OPEN:
                cause = "a quote is opened and never closed"
                rows = _empty(schema)
                bad: tuple[BadRow, ...] = (unreadable(SchemaError.code, cause, position["line"] + 1, data),)
            else:
                rows, bad = self.parse(data, position["line"], schema)
            position = {
                "offset": position["offset"] + len(data),
                "line": position["line"] + data.count(b"\n"),
                "rows": position["rows"] + max(count, 1),
            }
            yield Piece(rows, bad, dict(position))

    def parse(self, data: bytes, line: int, schema: pa.Schema) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
        """Whole records as rows; `line` is the number of lines before them."""
        wire = {f.name: pa.string() if any(t(f.type) for t in _TYPES_AS_TEXT) else f.type for f in schema}
        if MARK_BYTES not in data:
            try:
                table = self._table(data, wire, lambda row: "error", True)
                return _batch([_typed(table.column(f.name), f.type) for f in schema], schema), ()
            except (pa.ArrowInvalid, ValueError):
                pass  # some row of it is bad: find which, slowly
        rows, bad = self._parse_slowly(data, line, schema)
        return rows, tuple(bad)

    def _table(self, data: bytes, types: Mapping[str, pa.DataType], handler: Any, threads: bool) -> pa.Table:
        d = self.dialect
        table: pa.Table = arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(column_names=self.names, use_threads=threads, block_size=_block(data, threads)),
            arrow_csv.ParseOptions(
                delimiter=d.delimiter,
                quote_char=d.quote or False,
                double_quote=bool(d.quote),
                escape_char=d.escape or False,
                newlines_in_values=bool(d.quote) and d.quote.encode() in data,
                ignore_empty_lines=len(self.names) > 1,
                invalid_row_handler=handler,
            ),
            arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(d.null),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
                decimal_point=d.decimal,
            ),
        )
        return table

    def fits(self, data: bytes, types: Mapping[str, pa.DataType]) -> bool:
        """Whether these records have the right number of fields, and in some columns only values of a type."""
        try:
            self._table(data, types, lambda row: "error", True)
        except pa.ArrowInvalid:
            return False
        return True

    def _texts(self, data: bytes, names: list[str], threads: bool = False) -> tuple[pa.Table, list[Any]]:
        """The records as text columns, and those with too few or too many fields."""
        ragged: list[Any] = []

        def keep(row: Any) -> str:
            ragged.append(row)
            return "skip"

        types = dict.fromkeys(names, pa.string())
        try:
            return self._table(data, types, keep, threads), ragged
        except pa.ArrowInvalid:  # bytes that are no text, or a record longer than a thread's block
            ragged.clear()
            return self._table(repaired(data), types, keep, False), ragged

    def _parse_slowly(self, data: bytes, line: int, schema: pa.Schema) -> tuple[pa.RecordBatch, list[BadRow]]:
        table, ragged = self._texts(data, list(self.names))
        lines = self._lines(data, line, table.num_rows, [row.number for row in ragged])
        bad = [
            unreadable(
                SchemaError.code, f"{row.actual_columns} fields instead of {row.expected_columns}", at, marked(row.text)
            )
            for row, at in zip(ragged, lines[1], strict=True)
        ]
        causes: dict[int, tuple[str, str]] = {}
        columns = []
        for name in self.names:
            texts = table.column(name)
            for row in _rows(pc.match_substring(texts, MARK)):
                causes.setdefault(row, (name, f"bytes that are not valid {self.stream.encoding}"))
        for field in schema:
            values, refused = convert(table.column(field.name), field.type, self.dialect.decimal)
            columns.append(values)
            for row in _rows(refused):
                causes.setdefault(row, (field.name, f"not a value of type {field.type} (set types= or infer=all)"))
        for row, (name, message) in sorted(causes.items()):
            original = {k: None if v is None else marked(v) for k, v in table.slice(row, 1).to_pylist()[0].items()}
            value = original[name]
            said = f"line {lines[0][row]}: {name}: {value!r} is {message}"
            bad.append(BadRow(STEP, CastError.code, name, value, json.dumps(original, ensure_ascii=False), said))
        good = np.ones(table.num_rows, dtype=bool)
        good[list(causes)] = False
        keep = pa.array(good)
        return _batch([column.filter(keep) for column in columns], schema), bad

    def _lines(self, data: bytes, before: int, rows: int, ragged: list[int]) -> tuple[list[int], list[int]]:
        """Line numbers of the good rows and of the ragged ones."""
        ends = self.cut(data).ends
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        if len(self.names) > 1:
            short = [int(i) for i in np.flatnonzero(ends - starts <= 2) if not data[starts[i] : ends[i]].strip(b"\r\n")]
            starts = np.delete(starts, short)
        numbers = before + 1 + np.searchsorted(line_ends(data), starts, side="right")
        if len(numbers) != rows + len(ragged):  # bare carriage returns: only the slice's place is known
            return [before + 1] * rows, [before + 1] * len(ragged)
        places = [number - 1 for number in ragged]
        return np.delete(numbers, places).tolist(), numbers[places].tolist()


def _plain(block: bytes) -> Cut:
    return Cut(line_ends(block), True)


def _block(data: bytes, threads: bool) -> int:
    return min(len(data), 1 << 20) + 1 if threads else max(len(data), 1)


def _typed(column: pa.ChunkedArray[Any], wanted: pa.DataType) -> Any:
    if column.type == wanted:
        return column
    values, refused = convert(column, wanted)
    if refused is not None:
        raise ValueError("a value does not fit its type")
    return values


def _rows(mask: Any) -> list[int]:
    return [] if mask is None else pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _batch(columns: list[Any], schema: pa.Schema) -> pa.RecordBatch:
    whole = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
    return pa.RecordBatch.from_arrays(whole, schema=schema) if whole else _empty(schema)
