"""Typed rows of an answer's records: lines of objects (from JSON or XML) or CSV, parsed by column, bad rows aside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tongqu.core.data import BadRow, Meta
from tongqu.core.errors import AnswerError, ReadError, SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.formats import dialect as dialects
from tongqu.kit.formats import encoding
from tongqu.kit.formats.csv import CsvFile
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.inference import Column
from tongqu.kit.formats.json_documents import INDEX, PARENT, Children, Parents, TextNested, nested_names
from tongqu.kit.formats.jsonl import Inference, JsonFile
from tongqu.kit.formats.piece import STEP
from tongqu.kit.formats.text_stream import Blocks, TextStream
from tongqu.kit.formats.types import named
from tongqu.kit.formats.xml_records import XmlStream
from tongqu.kit.originals import original_texts

_JSON: dict[Any, Any] = {Meta.LOGICAL.value.encode(): b"json"}
_LIKE_JSON = r"^\s*([\[{]|(true|false|null|-?\d+(\.\d+)?([eE][+-]?\d+)?)\s*$)"
Nested = Literal["json", "children", "columns"]


@dataclass(frozen=True)
class Lines:
    """Text that is in memory."""

    data: bytes

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """It, from an offset on."""
        if offset < len(self.data):
            yield self.data[offset:]


@dataclass(frozen=True)
class _Body(TextStream):
    data: bytes = b""

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        yield from Lines(self.data).blocks(offset)


@dataclass(frozen=True)
class Shape:
    """How a record's nested values become columns or rows of their own.

    `inside` are the arrays whose elements are the rows, from the record inwards, `key` the record's key that they
    carry as `parent_…`; `dropped` the arrays that are datasets of their own.
    """

    nested: Nested = "json"
    inside: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def lines(self, data: bytes) -> bytes:
        """The lines to be read, of lines that hold records."""
        if self.nested == "columns" or (not self.inside and _flat(data)):
            return data
        stream: Blocks = self._level(data)
        if self.dropped:
            stream = Parents(stream, self.dropped, False)
        return b"".join(TextNested(stream).blocks())

    def arrays(self, data: bytes) -> tuple[str, ...]:
        """The arrays in these records."""
        return tuple(name for name, bracket in nested_names(self._level(data), None).items() if bracket == "[")

    def held(self, data: bytes) -> set[str]:
        """Columns with nested values in these records."""
        return set(nested_names(self._level(data), None))

    def keys(self) -> tuple[str, ...]:
        """The columns that tell its rows apart."""
        if not self.inside:
            return self.key
        places = (INDEX, *(f"{INDEX}_{depth}" for depth in range(2, len(self.inside) + 1)))
        return (*(PARENT + name for name in self.key), *places)

    def _level(self, data: bytes) -> Blocks:
        stream: Blocks = Lines(data)
        carried = tuple((name, PARENT + name) for name in self.key)
        for depth, name in enumerate(self.inside, 1):
            index = INDEX if depth == 1 else f"{INDEX}_{depth}"
            stream = Children(stream, name, carried, index, False)
            carried = (*((here, here) for _, here in carried), (index, index))
        return stream


def _flat(lines: bytes) -> bool:
    """Whether no value is nested, by counting brackets."""
    return b"[" not in lines and lines.count(b"{") == lines.count(b"\n")


@dataclass(frozen=True)
class Rows:
    """Reads records as rows of a schema."""

    schema: pa.Schema
    shape: Shape = field(default_factory=Shape)
    key: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    others: Literal["error", "ignore"] = "error"
    csv: CsvFile | None = None

    @classmethod
    def learnt(
        cls,
        sample: Sequence[bytes],
        shape: Shape,
        key: Sequence[str],
        types: Mapping[str, str],
        *,
        others: Literal["error", "ignore"] = "error",
    ) -> Rows:
        """What some records show. `types` are known; empty arrays and columns of nulls are texts."""
        data = b"".join(sample)
        given = {name: named(name, type_) for name, type_ in types.items()}
        shape = replace(shape, dropped=shape.arrays(data)) if shape.nested == "children" else shape
        found = Inference.of(Lines(shape.lines(data)), None, given)
        held = shape.held(data) if shape.nested != "columns" else set()
        fields = [
            pa.field(f.name, pa.string(), metadata=_JSON) if f.name in held and f.name not in given else f
            for f in found.schema
        ]
        known = {f.name for f in fields}
        fields += [f for name, f in given.items() if name not in known]
        loose = tuple(sorted({*found.loose, *(set(given) - known)}))
        return cls(_keyed(fields, key), shape, tuple(key), loose, others)

    @classmethod
    def declared(
        cls, fields: Mapping[str, str], shape: Shape, key: Sequence[str], *, others: Literal["error", "ignore"]
    ) -> Rows:
        """What the fields say, with no look at any record."""
        return cls(_keyed([named(name, type_) for name, type_ in fields.items()], key), shape, tuple(key), (), others)

    def corrected(self, sample: Sequence[bytes]) -> Rows:
        """The same with types as these records show them, for fields that do not hold their values."""
        found, data = self, b"".join(sample)
        for _ in range(len(self.schema)):
            _, bad = found.parse(data)
            wrong = {one.field for one in bad} & set(found.schema.names)
            if not wrong:
                break
            shown = Rows.learnt([data], self.shape, (), {}, others=self.others).schema
            fields = [shown.field(f.name) if f.name in wrong and f.name in shown.names else f for f in found.schema]
            if fields == list(found.schema):
                break
            found = replace(found, schema=_keyed(fields, self.key))
        return found

    def described(self, titles: Mapping[str, str], classes: Mapping[str, str], units: Mapping[str, str]) -> Rows:
        """The same with titles, classes and units of columns."""
        fields = []
        for one in self.schema:
            told = {Meta.TITLE: titles.get(one.name), Meta.CLASS: classes.get(one.name), Meta.UNIT: units.get(one.name)}
            added = {key.value.encode(): text.encode() for key, text in told.items() if text}
            metadata: dict[Any, Any] = {**(one.metadata or {}), **added}
            fields.append(one.with_metadata(metadata) if added else one)
        return replace(self, schema=pa.schema(fields))

    def parse(self, lines: bytes, before: int = 0, *, texts: bool = False) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
        """Records as rows, and those that do not fit: another type, an unknown key, no value in the key. `before` is
        how many records came before them, `texts` that their nested values are text already. A number that comes as a
        text, or a text as a number, is still a value."""
        if self.csv is not None:
            rows, bad = self._of_csv(lines)
        else:
            rows, bad = self._of_json(lines if texts else self.shape.lines(lines), before, texts)
        rows = _quoted_texts(rows)
        return _with_keys(rows, tuple(replace(one, message=_record(one.message)) for one in bad), self.key)

    def _of_json(self, data: bytes, before: int, flat: bool) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
        """The lines as they stand; where they do not all fit, with every plain value taken as a text first, and only
        what does not fit then is looked for line by line."""
        file = JsonFile(Lines(b""), self.schema, self.loose, self.others, flat)
        with suppress(pa.ArrowInvalid):
            rows, bad = file.parse(data, before, self.schema, salvage=False)
            if not bad:
                return rows, bad
        plain = [f.name for f in self.schema if not pa.types.is_nested(f.type)]
        return replace(file, loose=tuple(sorted({*self.loose, *plain}))).parse(data, before, self.schema)

    def _of_csv(self, data: bytes) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
        assert self.csv is not None  # noqa: S101  # the caller looked
        file = replace(self.csv, stream=_Body(Path("answer"), None, "utf-8", data))
        head = Dialect.from_json(self.csv.dialect.to_json())
        names = csv_names(data, head)
        if names != self.csv.names:
            raise AnswerError(
                f"the header of this page is {', '.join(names)}, of the first one {', '.join(self.csv.names)}",
                hint="nothing of the open chunk was committed",
            )
        parts, bad = [], list[BadRow]()
        for piece in file.read(self.schema, None, None, 1 << 30):
            parts.append(piece.rows)
            bad += piece.bad
        table = pa.Table.from_batches(parts, schema=self.schema).combine_chunks()
        batches = table.to_batches()
        return (batches[0] if batches else pa.RecordBatch.from_pylist([], schema=self.schema)), tuple(bad)

    @classmethod
    def of_csv(cls, sample: bytes, key: Sequence[str], types: Mapping[str, str]) -> Rows:
        """What a CSV page shows; `types` are known."""
        given = {name: named(name, type_) for name, type_ in types.items()}
        dialect = dialects.detect(sample[: 1 << 20].decode("utf-8", "replace"), {})
        names = csv_names(sample, dialect)
        if not names:
            raise AnswerError("the answer is empty: it has no header and no row")
        file = CsvFile(_Body(Path("answer"), None, "utf-8", sample), dialect, names)
        columns = {name: Column() for name in names if name not in given}
        file.show(columns, None)
        fields = [given.get(name) or pa.field(name, columns[name].type()) for name in names]
        return cls(_keyed(fields, key), Shape(), tuple(key), csv=file)


def csv_names(data: bytes, dialect: Dialect) -> tuple[str, ...]:
    """The columns that a CSV page's header names."""
    text = data[: 1 << 20].decode("utf-8", "replace")
    first = dialects.records(text, dialect.delimiter, dialect.quote, dialect.escape, 1)
    return tuple(dialects.column_names(first[0], dialect.header)) if first else ()


def xml_lines(
    body: bytes, records: str, lists: Sequence[str], where: str, *, learn: bool
) -> tuple[bytes, tuple[str, ...]]:
    """An XML body as lines of objects, and the children that repeat, added to `lists` if `learn`. Raises AnswerError
    for XML that is not well-formed or has a document type."""
    stream = XmlStream(_Body(Path("answer"), None, "utf-8", body), records, ("",), tuple(lists), True)
    try:
        if learn:
            stream = replace(stream, lists=tuple(sorted({*lists, *stream.learnt(None).lists})))
        return b"".join(stream.blocks()), stream.lists
    except ReadError as error:
        cause = error.message.removeprefix("answer: ")
        raise AnswerError(f"{where}: {cause}", path=where, hint=error.hint) from error


def as_utf8(body: bytes, charset: str, where: str) -> bytes:
    """A body in UTF-8, from the character set its header names (else what its first bytes show)."""
    if body[:3] == b"\xef\xbb\xbf":
        return body[3:]
    name = charset or (
        "utf-8" if _is_utf8(body) else encoding.detect(body[: 4 << 20], where, whole=len(body) <= 4 << 20)
    )
    name = encoding.canonical(name)
    return body if name == "utf-8" else b"".join(encoding.to_utf8(iter([body]), name))


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _quoted_texts(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with JSON in all JSON columns: there a plain text is a JSON string, with its quotes."""
    for place, one in enumerate(rows.schema):
        if (one.metadata or {}).get(Meta.LOGICAL.value.encode()) != b"json":
            continue
        column = rows.column(place)
        plain = pc.invert(pc.match_substring_regex(column, _LIKE_JSON))
        if pc.any(plain).as_py():
            quoted = pc.utf8_slice_codeunits(original_texts(pa.table({"v": column})), len('{"v": '), -1)
            rows = rows.set_column(place, one, pc.if_else(plain, quoted, column))
    return rows


def _keyed(fields: Iterable[pa.Field[Any]], key: Sequence[str]) -> pa.Schema:
    fields = list(fields)
    missing = [name for name in key if name not in {f.name for f in fields}]
    if missing:
        names = ", ".join(f.name for f in fields)
        raise SchemaError(f"the key {missing[0]!r} is no field", hint=f"fields: {names}")
    return pa.schema([f.with_nullable(f.name not in key) for f in fields])


def _record(message: str) -> str:
    return f"record{message[4:]}" if message.startswith("line ") else message


def _with_keys(
    rows: pa.RecordBatch, bad: tuple[BadRow, ...], key: Sequence[str]
) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
    """Rows whose key has a value, and the others as bad rows."""
    for name in key:
        column = rows.column(name)
        if column.null_count == 0:
            continue
        missing = rows.filter(pc.is_null(column))
        originals = [json.dumps(one, default=str, ensure_ascii=False) for one in missing.to_pylist()]
        bad += tuple(BadRow(STEP, SchemaError.code, name, None, one, f"the key {name} is null") for one in originals)
        rows = rows.filter(pc.is_valid(column))
    return rows, bad
