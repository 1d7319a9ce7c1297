"""JSON Lines (and JSON arrays): typed Arrow rows by blocks, exact positions, bad rows set aside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.json

from tongqu.core.data import BadRow, Position
from tongqu.core.errors import CastError, ReadError, SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.files import File, address, local
from tongqu.kit.formats.encoding import repaired
from tongqu.kit.formats.inference import DECIMAL, DOUBLE, INT, TEMPORAL, Column, widest
from tongqu.kit.formats.json_structure import DEEPEST, too_deep
from tongqu.kit.formats.piece import STEP, Piece, unreadable
from tongqu.kit.formats.records import Cut, Records, line_ends
from tongqu.kit.formats.text_stream import Blocks, TextStream, between
from tongqu.kit.formats.types import convert

arrow_json: Any = pyarrow.json
_SLICE = 16 << 20
_LONG_NUMBER = re.compile(rb"[0-9.]{16,}")
_NUMBER = rb"-?[0-9][0-9.eE+-]*|true|false"
_BARE_NULL = re.compile(rb"\s*null")
_NULL_LINE = re.compile(rb"\n[ \t\r]*null")
"""A line that is `null`: Arrow takes it for a row of nulls, and crashes if a block begins with one."""


@dataclass(frozen=True)
class ObjectStream:
    """A JSON array, or objects over several lines, as a stream of one object a line (read by DuckDB)."""

    path: Path

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from an offset on; the objects before it are read again and dropped."""
        import duckdb

        layout = "array" if _first(TextStream(self.path, None).head(1 << 16)) == b"[" else "unstructured"
        with duckdb.connect(config={"memory_limit": "256MB", "threads": 1}) as connection:
            name = str(self.path).replace("'", "''")
            query = f"SELECT json::VARCHAR || chr(10) FROM read_json_objects('{name}', format='{layout}')"
            try:
                reader: Any = connection.sql(query).to_arrow_reader(4096)
                for batch in reader:
                    lines = pc.replace_substring_regex(batch.column(0), r"[\r\n]+(.)", r" \1")
                    data = "".join(lines.to_pylist()).encode()
                    if offset < len(data):
                        yield data[offset:] if offset else data
                    offset = max(offset - len(data), 0)
            except duckdb.Error as error:
                raise ReadError(f"{self.path}: {str(error).splitlines()[0]}", path=f"file:{self.path}") from error


def open_stream(path: File, packed: str | None, encoding: str | None) -> TextStream | ObjectStream:
    """The file as lines of objects; an array or objects over several lines need plain or gz/zst UTF-8."""
    stream = TextStream.detect(path, packed, encoding)
    head = stream.head(1 << 16)
    line = next((line for line in head.splitlines() if line.strip()), b"")
    whole = len(head) < 1 << 16 or b"\n" in head
    if _first(head) != b"[" and (_is_object(line) or not whole or not line.rstrip().endswith((b"{", b","))):
        return stream
    if stream.encoding != "utf-8" or packed:
        raise ReadError(
            f"{path}: a JSON array must be plain UTF-8", path=address(path), hint="convert it to JSON Lines"
        )
    return ObjectStream(local(path))


def _first(head: bytes) -> bytes:
    return head.lstrip()[:1]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True)
class JsonFile:
    """A file of JSON objects. `schema` is what its values are; `loose` names columns that come as numbers here and as
    text there, or whose type the author gave: they are read as text and converted."""

    stream: Blocks
    schema: pa.Schema
    loose: tuple[str, ...] = ()
    others: Literal["error", "ignore"] = "error"
    """What a key that the schema lacks means: its row is bad, or it is left out."""
    flat: bool = False
    """Whether no value of its lines is nested, so that nobody need look how deep."""

    def read(self, schema: pa.Schema, after: Position | None, until: Position | None, want: int) -> Iterator[Piece]:
        """Rows of the schema's columns (a subset of the file's), `want` records a piece at most."""
        position = dict(after or {"offset": 0, "line": 0, "rows": 0})
        for data, count, _ in Records(between(self.stream, position, until), want, _SLICE, plain_lines):
            rows, bad = self.parse(data, position["line"], schema)
            position = {
                "offset": position["offset"] + len(data),
                "line": position["line"] + count,
                "rows": position["rows"] + count,
            }
            yield Piece(rows, bad, dict(position))

    def parse(
        self, data: bytes, line: int, schema: pa.Schema, *, salvage: bool = True
    ) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
        """Whole lines as rows; `line` is the number of lines before them. Without `salvage` lines that do not fit are
        not looked for: raises ArrowInvalid."""
        wire = pa.schema(
            [pa.field(f.name, self._wire(schema.field(f.name) if f.name in schema.names else f)) for f in self.schema]
        )
        try:
            table = parse_lines(data, wire, self.loose, self.others, flat=self.flat)
            lines = None
            bad: list[BadRow] = []
        except pa.ArrowInvalid:
            if not salvage:
                raise
            table, lines, bad = self._salvage(data, line, wire)
        columns, causes = [], dict[int, tuple[str, str]]()
        for field in schema:
            if field.name not in table.schema.names:
                columns.append(pa.nulls(table.num_rows, field.type))
                continue
            values, refused = _converted(table.column(field.name), field.type)
            columns.append(values)
            for row in [] if refused is None else pc.indices_nonzero(pc.fill_null(refused, False)).to_pylist():
                causes.setdefault(row, (field.name, f"not a value of type {field.type} (set types= or infer=all)"))
        if causes:
            lines = lines or _lines(data, line)
            bad += [self._refused(table, lines, row, *cause) for row, cause in sorted(causes.items())]
            good = np.ones(table.num_rows, dtype=bool)
            good[list(causes)] = False
            columns = [column.filter(pa.array(good)) for column in columns]
        whole = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
        return pa.RecordBatch.from_arrays(whole, schema=schema), tuple(bad)

    def _wire(self, field: pa.Field[Any]) -> pa.DataType:
        kind = field.type
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind)
        native = numeric or pa.types.is_boolean(kind)
        return kind if pa.types.is_nested(kind) or (native and field.name not in self.loose) else pa.string()

    def _salvage(
        self, data: bytes, line: int, wire: pa.Schema
    ) -> tuple[pa.Table, list[tuple[int, bytes]], list[BadRow]]:
        """The lines that can be read, found by halving, and the others as bad rows."""
        numbered = _lines(_valid(data), line)
        good: list[tuple[list[tuple[int, bytes]], pa.Table]] = []
        bad: list[BadRow] = []
        pending = [numbered]
        while pending:
            part = pending.pop()
            try:
                text = b"\n".join(text for _, text in part) + b"\n"
                good.append((part, parse_lines(text, wire, self.loose, self.others)))
            except pa.ArrowInvalid as error:
                if len(part) > 1:
                    half = len(part) // 2
                    pending += [part[half:], part[:half]]
                else:
                    bad.append(_unfit(part[0], str(error)))
        table = pa.concat_tables([t.select(wire.names) for _, t in good]) if good else wire.empty_table()
        return table, [numbered for part, _ in good for numbered in part], bad

    @staticmethod
    def _refused(table: pa.Table, lines: list[tuple[int, bytes]], row: int, name: str, message: str) -> BadRow:
        value = table.column(name)[row].as_py()
        number, raw = lines[row] if len(lines) == table.num_rows else (0, b"")
        original = raw.decode("utf-8", "replace") or json.dumps(table.slice(row, 1).to_pylist()[0], default=str)
        said = f"line {number}: {name}: {value!r} is {message}"
        return BadRow(STEP, CastError.code, name, None if value is None else str(value), original, said)


def plain_lines(block: bytes) -> Cut:
    """Records that are lines."""
    return Cut(line_ends(block), True)


def _lines(data: bytes, before: int) -> list[tuple[int, bytes]]:
    return [(before + i, text) for i, text in enumerate(data.split(b"\n"), 1) if text.strip()]


def _valid(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return repaired(data)
    return data


def _unfit(numbered: tuple[int, bytes], message: str) -> BadRow:
    number, raw = numbered
    cause = re.sub(r" in row \d+$", "", message.removeprefix("JSON parse error: "))
    if not _is_object(raw):
        return unreadable(SchemaError.code, f"not a JSON object: {cause}", number, raw)
    named = re.search(r"/([^/)]+)", cause)
    return BadRow(STEP, CastError.code, named[1] if named else "", None, raw.decode(), f"line {number}: {cause}")


def _converted(column: Any, wanted: pa.DataType) -> tuple[Any, Any]:
    if column.type == wanted:
        return column, None
    if pa.types.is_string(column.type):
        return convert(column, wanted)
    return pc.cast(column, wanted), None


def parse_lines(
    data: bytes, wire: pa.Schema | None, loose: Iterable[str], unexpected: str = "error", *, flat: bool = False
) -> pa.Table:
    """Lines of objects as a table; raises ArrowInvalid if one does not fit `wire` or has another key, or nests too deep
    (which `flat` lines are known not to)."""
    loose = list(loose)
    if loose:
        data = _quoting(tuple(loose)).sub(rb'\1"\2"', data)
    if not data.strip():
        return (wire or pa.schema([])).empty_table()
    if not flat and too_deep(data):
        raise pa.ArrowInvalid(f"values nest deeper than {DEEPEST}")
    if _BARE_NULL.match(data) or _NULL_LINE.search(data):
        raise pa.ArrowInvalid("Column() changed from object to null")
    options = arrow_json.ParseOptions(explicit_schema=wire, unexpected_field_behavior=unexpected)
    if len(data) >= 1 << 21:
        with suppress(pa.ArrowInvalid):  # some line is bad, or longer than a block: read as one block, it is told which
            blocks = arrow_json.ReadOptions(use_threads=True, block_size=4 << 20)
            several: pa.Table = arrow_json.read_json(pa.BufferReader(data), blocks, options)
            return several
    whole = arrow_json.ReadOptions(use_threads=True, block_size=len(data) + 1)
    table: pa.Table = arrow_json.read_json(pa.BufferReader(data), whole, options)
    return table


def _quoting(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Finds the bare numbers and truth values of some keys, so that they can be read as the text they are."""
    keys = {json.dumps(n).encode() for n in names} | {json.dumps(n, ensure_ascii=False).encode() for n in names}
    return re.compile(rb"((?:%b)\s*:\s*)(%b)(?=\s*[,}\r\n])" % (b"|".join(re.escape(k) for k in sorted(keys)), _NUMBER))


@dataclass
class Inference:
    """Learns a file's columns from its lines."""

    types: dict[str, pa.DataType]
    loose: set[str]
    texts: dict[str, Column]
    numbers: dict[str, Column]
    order: dict[str, None]

    @classmethod
    def of(cls, stream: Blocks, limit: int | None, given: Mapping[str, pa.Field[Any]]) -> JsonFile:
        """Look at all of it, or the first `limit` bytes of text and places spread over the rest.

        Numbers beyond a double's 15 digits become decimals, keys that hold numbers here and text there become text;
        temporal texts (ISO 8601) become temporal types.
        """
        found = cls({}, set(given), {}, {}, {})
        seen = 0
        for data, _, _ in Records(stream.blocks(), 1 << 62, 8 << 20, plain_lines):
            found.show(_valid(data))
            seen += len(data)
            if limit is not None and seen >= limit:
                for window in stream.windows(seen) if isinstance(stream, TextStream) else ():
                    found.show(_valid(window))
                break
        fields = [given.get(name) or pa.field(name, found.type(name)) for name in found.order if name in found.types]
        return JsonFile(stream, pa.schema(fields), tuple(sorted(found.loose)))

    def show(self, data: bytes) -> None:
        """Take these lines into account."""
        try:
            table = self._table(data)
        except pa.ArrowInvalid:
            data = self._sorted_out(data)
            table = self._table(data)
        long = _LONG_NUMBER.search(data) is not None
        if long:
            doubles = [f.name for f in table.schema if pa.types.is_floating(f.type)]
            exact = parse_lines(data, pa.schema([(n, pa.string()) for n in doubles]), [*doubles, *self.loose], "ignore")
        for field in table.schema:
            name, kind = field.name, field.type
            if pa.types.is_string(kind):
                self.texts.setdefault(name, Column(TEMPORAL)).show(table.column(name))
            elif pa.types.is_floating(kind) and long:
                column = self.numbers.setdefault(name, Column((INT, DECIMAL, DOUBLE)))
                column.show(exact.column(name))
            before = self.types.get(name)
            if before is None or pa.types.is_null(before):
                self.types[name] = kind
            elif before != kind and not pa.types.is_null(kind):
                self.types[name] = _joined(before, kind)

    def _table(self, data: bytes) -> pa.Table:
        known = pa.schema(
            [(n, t) for n, t in self.types.items() if not pa.types.is_null(t) and not pa.types.is_integer(t)]
        )
        table = parse_lines(data, known, self.loose, "infer")
        self.order |= dict.fromkeys(table.schema.names)
        stamps = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
        if stamps:
            kept = [f for f in known if f.name not in stamps]
            known = pa.schema([*kept, *(pa.field(n, pa.string()) for n in stamps)])
            table = parse_lines(data, known, self.loose, "infer")
        return table

    def _sorted_out(self, data: bytes) -> bytes:
        """The lines that are objects, after learning which keys hold numbers here and text there."""
        kinds: dict[str, set[str]] = {n: {_kind_of(t)} for n, t in self.types.items() if not pa.types.is_null(t)}
        objects: list[tuple[bytes, dict[str, Any]]] = []
        for _, raw in _lines(data, 0):
            if _is_object(raw):
                objects.append((raw, json.loads(raw)))
                for name, value in objects[-1][1].items():
                    self.order.setdefault(name)
                    if value is not None:
                        kinds.setdefault(name, set()).add(_kind_of(value))
        for name, found in kinds.items():
            if len(found & {"number", "text", "bool"}) > 1 and "nested" not in found:
                self.loose.add(name)
                self.types[name] = pa.string()
        fit = [raw for raw, value in objects if all(self._fits(kinds, n, v) for n, v in value.items())]
        return _parsable(fit, self.loose)

    @staticmethod
    def _fits(kinds: Mapping[str, set[str]], name: str, value: Any) -> bool:
        return value is None or "nested" not in kinds[name] or len(kinds[name]) == 1 or _kind_of(value) == "nested"

    def type(self, name: str) -> pa.DataType:
        """The column's type so far."""
        kind = self.types[name]
        if pa.types.is_null(kind):
            return pa.string()
        if pa.types.is_string(kind) and name in self.texts and name not in self.loose:
            return self.texts[name].type()
        if pa.types.is_floating(kind) and name in self.numbers:
            exact = self.numbers[name].type()
            return pa.float64() if pa.types.is_string(exact) else exact
        return kind


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_nested(one) or pa.types.is_nested(other):
        schemas = [pa.schema([("v", one)]), pa.schema([("v", other)])]
        try:
            joined: pa.DataType = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
            return joined
        except pa.ArrowInvalid:
            return one
    if {str(one), str(other)} == {"int64", "double"}:
        return pa.float64()
    return widest([one, other])


def _kind_of(value: Any) -> str:
    if isinstance(value, pa.DataType):
        if pa.types.is_nested(value):
            return "nested"
        return "bool" if pa.types.is_boolean(value) else "text" if pa.types.is_string(value) else "number"
    return {bool: "bool", int: "number", float: "number", str: "text"}.get(type(value), "nested")


def _parsable(lines: list[bytes], loose: Iterable[str]) -> bytes:
    """The lines Arrow can infer a schema from together; others are left to become bad rows."""
    pending, good = [lines], list[bytes]()
    while pending:
        part = pending.pop()
        try:
            parse_lines(b"\n".join([*good, *part]) + b"\n", None, loose, "infer")
            good += part
        except pa.ArrowInvalid:
            if len(part) > 1:
                half = len(part) // 2
                pending += [part[half:], part[:half]]
    return b"\n".join(good) + b"\n"
