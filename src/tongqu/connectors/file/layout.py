"""What a dataset's files look like: found once, stored in the splits, so that a resumed run reads the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.connectors.file.forms import DOCUMENTS
from tongqu.connectors.file.forms import form as form_of
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf, path_of
from tongqu.core.errors import InvalidSettingsError, LostPositionError, ReadError
from tongqu.kit import files
from tongqu.kit.files import File, Found
from tongqu.kit.formats.columnar import ArrowFile, ParquetFile
from tongqu.kit.formats.encoding import canonical
from tongqu.kit.formats.inference import Column, widest
from tongqu.kit.formats.layout import FixedColumn, checked
from tongqu.kit.formats.text_stream import TextStream
from tongqu.kit.formats.types import named

if TYPE_CHECKING:
    from tongqu.connectors.file.documents import Document
    from tongqu.kit.formats.csv import CsvFile
    from tongqu.kit.formats.fixed_width import FixedFile
    from tongqu.kit.formats.jsonl import JsonFile
    from tongqu.kit.formats.sheet_table import SheetFile

    Reader = CsvFile | JsonFile | ParquetFile | ArrowFile | SheetFile | FixedFile

SCAN = 32 << 20
"""Files of a dataset up to this many bytes together (a quarter of it compressed) are read whole to infer their types;
of larger ones the first 16 MiB of text and, where they can be sought, 16 places of 1 MiB spread over the rest, unless
`infer=all` is set. A value that contradicts the sample makes its row a bad row."""
_HEAD = 16 << 20


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
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else a document, sheet or fixed width file needs to be read the same way again."""
    loose: tuple[str, ...] = ()
    groups: tuple[int, int] | None = None
    member: str = ""
    """The file's name in the archive that `path` is."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Part:
        """The opposite of `to_json`."""
        listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**listed)

    def reader(self, schema: pa.Schema, shelf: Shelf) -> Reader:
        """The reader of this part; `schema` is the dataset's. Raises LostPositionError if the file has changed."""
        path = self.unchanged(shelf)
        stream = TextStream(path, self.compression, self.encoding)
        if self.format == "csv":
            from tongqu.kit.formats.csv import CsvFile
            from tongqu.kit.formats.dialect import Dialect

            return CsvFile(stream, Dialect.from_json(dict(self.dialect)), self.columns)
        if self.format == "jsonl":
            own = pa.schema([schema.field(n) if n in schema.names else pa.field(n, pa.string()) for n in self.columns])
            from tongqu.kit.formats.jsonl import JsonFile

            return JsonFile(self.document().stream(path), own, self.loose)
        if self.format == "xlsx":
            from tongqu.kit.formats.sheet_table import SheetFile, Table

            table = Table(self.columns, tuple(self.details["places"]), self.details["first"])
            return SheetFile(files.local(path), self.details["sheet"], table, tuple(self.details["null"]))
        if self.format == "fixed":
            return _fixed(path, self.compression, self.encoding, self.details)
        own_copy = files.local(path)
        return ParquetFile(own_copy, self.groups) if self.format == "parquet" else ArrowFile(own_copy)

    def unchanged(self, shelf: Shelf) -> File:
        """The part's file; raises LostPositionError if it has changed."""
        path = shelf.file(self.path, self.member)
        now = files.identity(path)
        if now != dict(self.identity):
            raise LostPositionError(
                f"{path} has changed since this run began (size {self.identity['size']} then, {now['size']} now)",
                path=files.address(path),
                hint="run again with --restart",
            )
        return path

    def document(self) -> Document:
        """How a part of the format `jsonl` becomes lines of objects."""
        from tongqu.connectors.file.documents import Document

        return Document.from_json(self.details)

    def describe(self) -> str:
        """The file and what was detected, for people."""
        words = [self.format, *([self.compression] if self.compression else [])]
        if self.format == "csv":
            from tongqu.kit.formats.dialect import Dialect

            d = Dialect.from_json(dict(self.dialect))
            words += [self.encoding, f"delimiter {d.delimiter!r}", "header" if d.header else "no header"]
        elif self.format == "jsonl":
            document = self.document()
            words[0] = {"lines": "jsonl", "xml": "xml"}.get(document.form, "json")
            words += [self.encoding, *([".".join(document.inside)] if document.inside else [])]
        elif self.format == "xlsx":
            words += [f"sheet {self.details['sheet']!r}", f"rows from {self.details['first'] + 1}"]
        elif self.format == "fixed":
            words += [self.encoding, f"{len(self.columns)} columns by {self.details['counted']}"]
        return f"{self.label} ({', '.join(words)})"


@dataclass(frozen=True)
class Layout:
    """One dataset: its schema and its parts in order."""

    name: str
    schema: pa.Schema
    parts: tuple[Part, ...]
    rows: int | None = None
    key: tuple[str, ...] = ()


def look(name: str, found: Sequence[Found], settings: FileSettings, known: pa.Schema | None = None) -> Layout:
    """Detect and infer everything about a dataset's files. Columns that only some files have are null in the others;
    a column of the file wins over a folder's of the same name. Columns of `known` have the types that they have there.
    """
    limit = look_limit(found, settings)
    told = {one.name: one.type for one in settings.layout if one.type}
    given = {} if settings.types == "text" else {n: named(n, t) for n, t in (told | settings.types).items()}
    given = {field.name: field for field in known or ()} | given
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
    return Layout(name, schema, tuple(parts), total, _key(parts))


def look_limit(found: Sequence[Found], settings: FileSettings) -> int | None:
    """How many bytes of each file are looked at to learn what it holds; None for all."""
    if settings.infer == "all":
        return None
    size = sum(one.path.stat().st_size * (4 if kind(one)[1] else 1) for one in found)
    return None if size <= SCAN else max(_HEAD // len(found), 1 << 20)


def kind(found: Found) -> tuple[str | None, str | None]:
    """Format and compression by extension."""
    return found.format, found.compression


def _look_at(
    one: Found, settings: FileSettings, given: Mapping[str, pa.Field[Any]], texts: dict[str, Column], limit: int | None
) -> tuple[Part, pa.Schema | None, int | None]:
    form = form_of(one, settings)
    packed = one.compression if settings.compression is None else settings.compression
    packed = None if packed == "none" else packed
    path = one.path
    own, member = path_of(path)
    base = Part(own, one.label, form, packed, files.identity(path), (), dict(one.partitions), member=member)
    if form == "csv":
        from tongqu.kit.formats.csv import CsvFile

        csv = CsvFile.detect(path, packed, settings.encoding, _dialect(one, settings))
        wanted = [] if settings.types == "text" else [n for n in csv.names if n not in given]
        rows = csv.show({n: texts.setdefault(n, Column()) for n in wanted}, limit) if wanted else None
        part = replace(base, encoding=csv.stream.encoding, dialect=csv.dialect.to_json(), columns=csv.names)
        return part, None, rows
    if form in DOCUMENTS:
        from tongqu.connectors.file.documents import Document

        document = Document.of(one, settings, limit)
        file = document.infer(path, limit, given)
        changes: dict[str, Any] = {"encoding": document.encoding, "details": document.to_json(), "loose": file.loose}
        return replace(base, format="jsonl", columns=tuple(file.schema.names), **changes), file.schema, None
    if form == "fixed":
        return _look_at_fixed(path, base, settings, given, texts=texts, limit=limit)
    if packed:
        raise ReadError(f"{path}: {form} is not read inside {packed}", path=files.address(path), hint="unpack it first")
    own_copy = files.local(path)
    if form == "xlsx":
        return _look_at_sheet(own_copy, base, one.inside[0], settings)
    if form == "parquet":
        parquet = ParquetFile(own_copy)
        schema = parquet.schema()
        return replace(base, columns=tuple(schema.names)), schema, sum(rows for rows, _ in parquet.sizes())
    schema = ArrowFile(own_copy).schema()
    return replace(base, columns=tuple(schema.names)), schema, None


def _look_at_sheet(path: Path, part: Part, name: str, settings: FileSettings) -> tuple[Part, pa.Schema, None]:
    from tongqu.kit.formats.sheet_table import find_table, type_of
    from tongqu.kit.formats.workbook import Workbook

    sheet = Workbook(path).sheet(name)
    table, kinds = find_table(sheet, settings.header, settings.skip_rows, settings.null)
    pairs = zip(table.names, table.places, strict=True)
    schema = pa.schema([(column, type_of(kinds.get(place, set()))) for column, place in pairs])
    details = {"sheet": name, "places": list(table.places), "first": table.first, "null": list(settings.null)}
    return replace(part, columns=table.names, details=details), schema, None


def _look_at_fixed(
    path: File,
    part: Part,
    settings: FileSettings,
    given: Mapping[str, pa.Field[Any]],
    *,
    texts: dict[str, Column],
    limit: int | None,
) -> tuple[Part, None, int | None]:
    if not settings.layout:
        raise InvalidSettingsError(
            f"{path}: a fixed width file needs a layout", path="layout", hint="layout=code:1-8,name:9-28"
        )
    columns = checked([one.column() for one in settings.layout])
    details = {
        "columns": [asdict(column) for column in columns], "counted": settings.counted,
        "skip": settings.skip_rows + (settings.header is True), "null": list(settings.null),
        "decimal": settings.decimal,
    }  # fmt: skip
    encoding = canonical(settings.encoding or TextStream.detect(path, part.compression, None).encoding)
    if encoding.startswith(("utf-16", "utf-32")) and settings.counted == "bytes":
        raise InvalidSettingsError(f"{path}: columns of {encoding} are counted in characters", path="counted")
    file = _fixed(path, part.compression, encoding, details)
    told = {column.name for column in columns if column.type} | set(given)
    wanted = {c.name: texts.setdefault(c.name, Column()) for c in columns if c.name not in told}
    rows = file.show(wanted, limit) if settings.types != "text" else None
    return replace(part, encoding=encoding, columns=tuple(c.name for c in columns), details=details), None, rows


def _fixed(path: File, packed: str | None, encoding: str, details: Mapping[str, Any]) -> FixedFile:
    from tongqu.kit.formats.fixed_width import FixedFile

    columns = tuple(FixedColumn(**values) for values in details["columns"])
    null = tuple(details["null"])
    return FixedFile(path, packed, encoding, columns, details["counted"], details["skip"], null, details["decimal"])


def _key(parts: Sequence[Part]) -> tuple[str, ...]:
    """The key of records with children and of children, where one key tells them apart in all files."""
    if any(part.format != "jsonl" for part in parts):
        return ()
    keys = {part.document().keys() for part in parts}
    return keys.pop() if len(keys) == 1 else ()


def _dialect(one: Found, settings: FileSettings) -> dict[str, Any]:
    if isinstance(settings.header, str):
        raise InvalidSettingsError(
            f"header={settings.header} names rows of a workbook; {one.path} is none",
            path="header",
            hint="header=true or header=false, and skip_rows for lines above it",
        )
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
    return [(part, None if part.format in ("csv", "fixed") else next(left)) for part in parts]


def _loose(part: Part, own: pa.Schema, schema: pa.Schema) -> tuple[str, ...]:
    if part.format != "jsonl":
        return ()
    changed = {
        f.name for f in own if f.type != schema.field(f.name).type and pa.types.is_string(schema.field(f.name).type)
    }
    return tuple(sorted({*part.loose, *changed}))
