"""What a dataset's files look like: found once, stored in the splits, so that a resumed run reads the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.file.settings import FileSettings
from tongqu.core.errors import LostPositionError, ReadError
from tongqu.kit import files
from tongqu.kit.files import Found
from tongqu.kit.formats import jsonl
from tongqu.kit.formats.columnar import ArrowFile, ParquetFile
from tongqu.kit.formats.csv import CsvFile
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.inference import Column, widest
from tongqu.kit.formats.jsonl import JsonFile, ObjectStream
from tongqu.kit.formats.text_stream import TextStream
from tongqu.kit.formats.types import named

SCAN = 32 << 20
"""Files of a dataset up to this many bytes together (a quarter of it compressed) are read whole to infer their types;
of larger ones the first 16 MiB of text and, where they can be sought, 16 places of 1 MiB spread over the rest, unless
`infer=all` is set. A value that contradicts the sample makes its row a bad row."""
_HEAD = 16 << 20
Reader = CsvFile | JsonFile | ParquetFile | ArrowFile


@dataclass(frozen=True)
class Part:
    """One file, or some row groups of one; plain JSON in a split's spec."""

    path: str
    label: str
    format: str
    compression: str | None
    identity: Mapping[str, Any]
    columns: tuple[str, ...]
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    encoding: str = "utf-8"
    dialect: Mapping[str, Any] = field(default_factory=dict)
    objects: bool = False
    """JSON that is not one object a line."""
    loose: tuple[str, ...] = ()
    groups: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Part:
        """The opposite of `to_json`."""
        listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**listed)

    def reader(self, schema: pa.Schema) -> Reader:
        """The reader of this part; `schema` is the dataset's. Raises LostPositionError if the file has changed."""
        path = Path(self.path)
        now = files.identity(path)
        if now != dict(self.identity):
            raise LostPositionError(
                f"{path} has changed since this run began (size {self.identity['size']} then, {now['size']} now)",
                path=f"file:{path}",
                hint="run again with --restart",
            )
        stream = TextStream(path, self.compression, self.encoding)
        if self.format == "csv":
            return CsvFile(stream, Dialect.from_json(dict(self.dialect)), self.columns)
        if self.format == "jsonl":
            own = pa.schema([schema.field(n) if n in schema.names else pa.field(n, pa.string()) for n in self.columns])
            return JsonFile(ObjectStream(path) if self.objects else stream, own, self.loose)
        return ParquetFile(path, self.groups) if self.format == "parquet" else ArrowFile(path)

    def describe(self) -> str:
        """The file and what was detected, for people."""
        words = [self.format, *([self.compression] if self.compression else [])]
        if self.format == "csv":
            d = Dialect.from_json(dict(self.dialect))
            words += [self.encoding, f"delimiter {d.delimiter!r}", "header" if d.header else "no header"]
        elif self.format == "jsonl":
            words.append(self.encoding)
        return f"{self.label} ({', '.join(words)})"


@dataclass(frozen=True)
class Layout:
    """One dataset: its schema and its parts in order."""

    name: str
    schema: pa.Schema
    parts: tuple[Part, ...]
    rows: int | None = None


def look(name: str, found: Sequence[Found], settings: FileSettings) -> Layout:
    """Detect and infer everything about a dataset's files. Columns that only some files have are null in the others;
    a column of the file wins over a folder's of the same name."""
    limit = None if settings.infer == "all" else _limit(found)
    given = {} if settings.types == "text" else {n: named(n, t) for n, t in settings.types.items()}
    texts: dict[str, Column] = {}
    schemas: list[pa.Schema] = []
    parts: list[Part] = []
    counts: list[int | None] = []
    for one in found:
        with files.translated(one.path):
            part, schema, rows = _look_at(one, settings, given, texts, limit)
        parts.append(part)
        counts.append(rows)
        if schema is not None:
            schemas.append(schema)
    fields = _fields(parts, schemas, texts, given, settings.types == "text")
    schema = pa.schema([*fields.values(), *_folders(found, fields)])
    parts = [replace(p, loose=_loose(p, s, schema)) if s is not None else p for p, s in _aligned(parts, schemas)]
    total = sum(c for c in counts if c is not None) if None not in counts else None
    return Layout(name, schema, tuple(parts), total)


def _limit(found: Sequence[Found]) -> int | None:
    size = sum(one.path.stat().st_size * (4 if kind(one)[1] else 1) for one in found)
    return None if size <= SCAN else max(_HEAD // len(found), 1 << 20)


def kind(found: Found) -> tuple[str | None, str | None]:
    """Format and compression by extension."""
    return found.format, found.compression


def _look_at(
    one: Found, settings: FileSettings, given: Mapping[str, pa.Field[Any]], texts: dict[str, Column], limit: int | None
) -> tuple[Part, pa.Schema | None, int | None]:
    form = settings.format or one.format or "csv"
    packed = one.compression if settings.compression is None else settings.compression
    packed = None if packed == "none" else packed
    path = one.path
    base = Part(str(path.absolute()), one.label, form, packed, files.identity(path), (), dict(one.partitions))
    if form == "csv":
        csv = CsvFile.detect(path, packed, settings.encoding, _dialect(one, settings))
        wanted = [] if settings.types == "text" else [n for n in csv.names if n not in given]
        rows = csv.show({n: texts.setdefault(n, Column()) for n in wanted}, limit) if wanted else None
        part = replace(base, encoding=csv.stream.encoding, dialect=csv.dialect.to_json(), columns=csv.names)
        return part, None, rows
    if form == "jsonl":
        stream = jsonl.open_stream(path, packed, settings.encoding)
        file = jsonl.Inference.of(stream, limit, given)
        encoding = stream.encoding if isinstance(stream, TextStream) else "utf-8"
        objects = isinstance(stream, ObjectStream)
        names = tuple(file.schema.names)
        return replace(base, encoding=encoding, objects=objects, columns=names, loose=file.loose), file.schema, None
    if packed:
        raise ReadError(f"{path}: {form} is not read inside {packed}", path=f"file:{path}", hint="unpack it first")
    if form == "parquet":
        parquet = ParquetFile(path)
        schema = parquet.schema()
        return replace(base, columns=tuple(schema.names)), schema, sum(rows for rows, _ in parquet.sizes())
    schema = ArrowFile(path).schema()
    return replace(base, columns=tuple(schema.names)), schema, None


def _dialect(one: Found, settings: FileSettings) -> dict[str, Any]:
    tabs = "\t" if one.path.name.lower().removesuffix(f".{one.compression}").endswith(".tsv") else None
    return {
        "delimiter": settings.delimiter or tabs,
        "quote": settings.quote,
        "escape": settings.escape,
        "header": settings.header,
        "null": settings.null,
        "decimal": settings.decimal,
        "skip_rows": settings.skip_rows,
    }


def _fields(
    parts: Sequence[Part],
    schemas: Sequence[pa.Schema],
    texts: Mapping[str, Column],
    given: Mapping[str, pa.Field[Any]],
    all_text: bool,
) -> dict[str, pa.Field[Any]]:
    fields: dict[str, pa.Field[Any]] = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        own = [schema.field(name) for schema in schemas if name in schema.names]
        if name in given:
            fields[name] = given[name]
        elif all_text:
            fields[name] = pa.field(name, pa.string())
        else:
            types = [f.type for f in own] + ([texts[name].type()] if name in texts else [])
            fields[name] = pa.field(name, _common(types), metadata=own[0].metadata if own else None)
    return fields


def _common(types: Sequence[pa.DataType]) -> pa.DataType:
    if any(pa.types.is_nested(t) for t in types) and len(set(types)) > 1:
        try:
            schemas = [pa.schema([("v", t)]) for t in types]
            joined: pa.DataType = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
            return joined
        except pa.ArrowInvalid:
            return types[0]
    return widest(types)


def _folders(found: Sequence[Found], fields: Mapping[str, Any]) -> list[pa.Field[Any]]:
    names = dict.fromkeys(name for one in found for name in one.partitions if name not in fields)
    folders = []
    for name in names:
        column = Column()
        column.show(pa.array([one.partitions.get(name) for one in found], pa.string()))
        folders.append(pa.field(name, column.type()))
    return folders


def _aligned(parts: Sequence[Part], schemas: Sequence[pa.Schema]) -> list[tuple[Part, pa.Schema | None]]:
    left = iter(schemas)
    return [(part, None if part.format == "csv" else next(left)) for part in parts]


def _loose(part: Part, own: pa.Schema, schema: pa.Schema) -> tuple[str, ...]:
    if part.format != "jsonl":
        return ()
    changed = {
        f.name for f in own if f.type != schema.field(f.name).type and pa.types.is_string(schema.field(f.name).type)
    }
    return tuple(sorted({*part.loose, *changed}))
