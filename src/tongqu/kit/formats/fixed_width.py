"""Fixed width text: columns by their place in the line, counted in bytes of the file's encoding or in characters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.data import BadRow, Position
from tongqu.core.errors import CastError, SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.files import File
from tongqu.kit.formats import compression
from tongqu.kit.formats.encoding import MARK, marked
from tongqu.kit.formats.inference import Array, Column
from tongqu.kit.formats.jsonl import plain_lines
from tongqu.kit.formats.layout import Counted, FixedColumn
from tongqu.kit.formats.piece import STEP, Piece, unreadable
from tongqu.kit.formats.records import Records, line_ends
from tongqu.kit.formats.text import as_text
from tongqu.kit.formats.text_stream import TextStream, between
from tongqu.kit.formats.types import convert

_SLICE = 16 << 20
_BLANK = " \t\r\u3000"
_TOO_WIDE = 1 << 30


@dataclass(frozen=True)
class FixedFile:
    """A fixed width file. Lines end with LF or CR LF; blank lines are no rows; a line that ends early leaves its last
    columns null; text behind the last column makes a bad row. Spaces around values are not part of them."""

    path: File
    packed: str | None
    encoding: str
    columns: tuple[FixedColumn, ...]
    counted: Counted = "bytes"
    skip: int = 0
    """Lines above the first row."""
    null: tuple[str, ...] = ("",)
    decimal: str = "."

    @property
    def _raw(self) -> bool:
        return self.counted == "bytes" and self.encoding != "utf-8"

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """The file's own bytes where places are counted in them, else UTF-8."""
        if self._raw:
            return compression.inflate(self.path, self.packed, offset)
        return TextStream(self.path, self.packed, self.encoding).blocks(offset)

    def start(self) -> Position:
        """The position before the first row."""
        offset = line = 0
        if self.skip:
            for data, count, _ in Records(self.blocks(), self.skip, _SLICE, plain_lines):
                offset, line = len(data), count
                break
        return {"offset": offset, "line": line, "rows": 0}

    def show(self, columns: Mapping[str, Column], limit: int | None) -> int | None:
        """Show columns to their inferences: all of the file or its first `limit` bytes. Gives the number of rows if it
        saw them all."""
        seen = rows = 0
        for data, _, _ in Records(self.blocks(self.start()["offset"]), 1 << 62, _SLICE, plain_lines):
            lines, _ = self._lines(data, 0)
            for name, values in self._texts(lines, list(columns)).items():
                columns[name].show(values)
            seen, rows = seen + len(data), rows + len(lines)
            if limit is not None and seen >= limit:
                return None
        return rows

    def read(self, schema: pa.Schema, after: Position | None, until: Position | None, want: int) -> Iterator[Piece]:
        """Rows of the schema's columns, `want` lines a piece at most."""
        position = dict(after or self.start())
        for data, count, _ in Records(between(self, position, until), want, _SLICE, plain_lines):
            rows, bad = self.parse(data, position["line"], schema)
            position = {
                "offset": position["offset"] + len(data),
                "line": position["line"] + count,
                "rows": position["rows"] + count,
            }
            yield Piece(rows, tuple(bad), dict(position))

    def parse(self, data: bytes, before: int, schema: pa.Schema) -> tuple[pa.RecordBatch, list[BadRow]]:
        """Whole lines as rows; `before` is the number of lines before them."""
        lines, numbers = self._lines(data, before)
        texts = self._texts(lines, [column.name for column in self.columns])
        causes: dict[int, tuple[str, str, str]] = {}
        for row in _rows(pc.match_substring_regex(self._cut(lines, self.columns[-1].stop, None), r"[^ \t\r]")):
            message = f"text behind the last column, which ends at {self.columns[-1].stop}"
            causes[row] = ("", SchemaError.code, message)
        for name, values in texts.items():
            for row in _rows(pc.match_substring(values, MARK)):
                message = f"bytes that are not valid {self.encoding} (a character cut by a column's edge?)"
                causes.setdefault(row, (name, CastError.code, message))
        found = []
        for field in schema:
            values, refused = convert(texts[field.name], field.type, self.decimal)
            found.append(values)
            for row in _rows(refused):
                message = f"not a value of type {field.type} (set types= or infer=all)"
                causes.setdefault(row, (field.name, CastError.code, message))
        if causes:
            good = np.ones(len(lines), dtype=bool)
            good[list(causes)] = False
            found = [column.filter(pa.array(good)) for column in found]
        bad = [self._bad(texts, lines, row, int(numbers[row]), *causes[row]) for row in sorted(causes)]
        return pa.RecordBatch.from_arrays(found, schema=schema), bad

    def _bad(self, texts: Mapping[str, Array], lines: Array, row: int, line: int, *cause: str) -> BadRow:
        name, code, message = cause
        if not name:
            raw = lines[row].as_py()
            return unreadable(
                code, message, line, raw if isinstance(raw, str) else raw.decode(self.encoding, "replace")
            )
        original = {n: None if (v := c[row].as_py()) is None else marked(v) for n, c in texts.items()}
        value = original[name]
        said = f"line {line}: {name}: {value!r} is {message}"
        return BadRow(STEP, code, name, value, json.dumps(original, ensure_ascii=False), said)

    def _lines(self, data: bytes, before: int) -> tuple[Array, Any]:
        """The lines that are not blank, without their ends (binary if counted in bytes, else text), and their
        numbers."""
        ends = line_ends(data)
        if len(ends) == 0 or ends[-1] != len(data):
            ends = np.append(ends, len(data))
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        kind = pa.large_binary()
        array: Any = pa.Array.from_buffers(kind, len(ends), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)])
        array = pc.replace_substring_regex(array, r"\r?\n$", "")
        filled = pc.match_substring_regex(array, r"[^ \t\r]")
        numbers = np.arange(before + 1, before + 1 + len(ends))[filled.to_numpy(zero_copy_only=False)]
        lines = array.filter(filled).cast(pa.binary())
        return (lines if self.counted == "bytes" else _decoded(lines, "utf-8")), numbers

    def _cut(self, lines: Array, start: int, stop: int | None) -> Array:
        if self.counted == "bytes":
            return pc.binary_slice(lines, start, _TOO_WIDE if stop is None else stop)
        return pc.utf8_slice_codeunits(lines, start, stop)

    def _texts(self, lines: Array, names: Sequence[str]) -> dict[str, Array]:
        texts = {}
        for column in self.columns:
            if column.name not in names:
                continue
            values = self._cut(lines, column.start - 1, column.stop)
            if self.counted == "bytes":
                values = _decoded(values, self.encoding)
            values = pc.utf8_trim(values, _BLANK)
            empty = pc.is_in(values, value_set=pa.array([*self.null, ""], pa.string()))
            texts[column.name] = pc.if_else(empty, pa.scalar(None, pa.string()), values)
        return texts


def _decoded(values: Array, encoding: str) -> Array:
    """Bytes in an encoding as texts, with marks for bytes that are not valid; no Python object a value."""
    if encoding == "utf-8":
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            pass  # some bytes are no UTF-8: they are marked below
    joined = pc.binary_join_element_wise(values, b"\n", b"").cast(pa.large_binary())
    content = b"".join(_content(joined)).decode(encoding, "tongqu-mark").encode("utf-8", "surrogatepass")
    ends = line_ends(content)
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    kind = pa.large_string()
    array = pa.Array.from_buffers(kind, len(ends), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(content)])
    return pc.replace_substring(array, "\n", "").cast(pa.string())


def _content(values: Array) -> list[memoryview]:
    if len(values) == 0:
        return []
    buffers = values.buffers()
    offsets = memoryview(buffers[1]).cast("q")
    return [memoryview(buffers[2])[offsets[values.offset] : offsets[values.offset + len(values)]]]


def _rows(mask: Any) -> list[int]:
    return [] if mask is None else pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()


def fixed_lines(
    rows: pa.RecordBatch, columns: Sequence[FixedColumn], counted: Counted, encoding: str, null: str
) -> tuple[Array, dict[int, str]]:
    """One text a row, and the rows (index, message) that do not fit their places; those are left out.

    Numbers stand at the right, all else at the left, unless `align` says otherwise; gaps are spaces.
    """
    refused: dict[int, str] = {}
    cells: list[Any] = []
    at = 0
    for column in columns:
        field = rows.schema.field(column.name)
        texts = pc.fill_null(as_text(rows.column(column.name)), null)
        widths = _widths(texts, encoding) if counted == "bytes" else pc.utf8_length(texts)
        for row in _rows(pc.greater(widths, column.width)):
            said = f"{column.name}: {texts[row].as_py()!r} is wider than {column.width} {counted}"
            refused.setdefault(row, said)
        for row in _rows(pc.match_substring_regex(texts, r"[\r\n]")):
            refused.setdefault(row, f"{column.name}: a value holds a line end")
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        room = pc.max_element_wise(pc.subtract(column.width, widths), 0).cast(pa.int64())
        blank = pc.binary_repeat(pa.array([" "] * len(texts), pa.string()), room)
        right = column.align == "right" or (not column.align and numeric)
        gap = " " * (column.start - 1 - at)
        cells += [gap, blank, texts] if right else [gap, texts, blank]
        at = column.stop
    lines = pc.binary_join_element_wise(*cells, "\n", "")
    if refused:
        good = np.ones(rows.num_rows, dtype=bool)
        good[list(refused)] = False
        lines = lines.filter(pa.array(good))
    return lines, refused


def _widths(texts: Array, encoding: str) -> Array:
    """Bytes of each text in an encoding; huge where it has no bytes for a character."""
    if pc.all(pc.string_is_ascii(texts)).as_py() or encoding == "utf-8":
        return pc.binary_length(texts)
    found = pc.unique(texts)
    sizes = pa.array([_size(text, encoding) for text in found.to_pylist()], pa.int32())
    return sizes.take(pc.index_in(texts, value_set=found))


def _size(text: str, encoding: str) -> int:
    try:
        return len(text.encode(encoding))
    except UnicodeEncodeError:
        return _TOO_WIDE
