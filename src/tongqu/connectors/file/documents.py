"""JSON and XML documents: which lines of objects they become, with their nested values as the settings say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from tongqu.connectors.file.settings import FileSettings
from tongqu.core.data import Meta
from tongqu.kit import files
from tongqu.kit.files import File, Found
from tongqu.kit.formats import jsonl
from tongqu.kit.formats.json_documents import (
    INDEX,
    PARENT,
    RECORD,
    ArrayStream,
    Children,
    Parents,
    TextNested,
    nested_names,
    pointer,
)
from tongqu.kit.formats.jsonl import JsonFile, ObjectStream
from tongqu.kit.formats.text_stream import Blocks, TextStream
from tongqu.kit.formats.xml_records import XmlStream, open_xml

_ASKED = {"format", "compression", "encoding", "records", "nested", "parent_key", "null"}
_JSON: dict[Any, Any] = {Meta.LOGICAL.value.encode(): b"json"}


@dataclass(frozen=True)
class Document:
    """How a file becomes lines of objects; plain JSON in a split's spec."""

    form: str
    """`lines`, `objects` (over several lines), `array` or `xml`."""
    compression: str | None
    encoding: str
    records: str = ""
    null: tuple[str, ...] = ("",)
    lists: tuple[str, ...] = ()
    nested: str | None = None
    inside: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Arrays that are datasets of their own."""
    held: tuple[str, ...] = ()
    """Keys with nested values."""

    @classmethod
    def of(cls, found: Found, settings: FileSettings, limit: int | None) -> Document:
        """Look at the file; `limit` bounds the bytes that tell which children repeat and which keys are nested. Asked
        again about a file that has not changed, nothing is read."""
        own = json.dumps(settings.model_dump(mode="json", include=_ASKED, exclude_defaults=True), sort_keys=True)
        seen = json.dumps(files.identity(found.path))
        return _document(found.path, seen, (found.format or "", found.compression or ""), found.inside, own, limit)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Document:
        """The opposite of `to_json`."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}
        return cls(**listed)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def _base(self, file: File) -> Blocks:
        text = TextStream(file, self.compression, self.encoding)
        if self.form == "xml":
            return XmlStream(text, self.records, self.null, self.lists, self.nested is not None)
        if self.form == "array":
            return ArrayStream(text, pointer(self.records))
        return ObjectStream(files.local(file)) if self.form == "objects" else text

    def level(self, file: File) -> Blocks:
        """The lines of the records themselves or of those nested at `inside`, arrays still in them."""
        stream = self._base(file)
        carried = tuple((name, PARENT + name) for name in self.key)
        for depth, name in enumerate(self.inside, 1):
            index = INDEX if depth == 1 else f"{INDEX}_{depth}"
            number = depth == 1 and not self.key
            stream = Children(stream, name, carried, index, number)
            carried = (*((here, here) for _, here in carried), *([(RECORD, RECORD)] if number else []), (index, index))
        return stream

    def stream(self, file: File) -> Blocks:
        """The lines to read."""
        stream = self.level(file)
        if self.nested == "children":
            number = not self.inside and not self.key and bool(self.dropped)
            stream = Parents(stream, self.dropped, number) if self.dropped else stream
        return stream if self.nested is None else TextNested(stream)

    def keys(self) -> tuple[str, ...]:
        """The columns that tell rows apart, for records with children and for the children."""
        if self.nested != "children" or not (self.inside or self.dropped):
            return ()
        if not self.inside:
            return self.key or (RECORD,)
        above = tuple(PARENT + name for name in self.key) or (RECORD,)
        return (*above, INDEX, *(f"{INDEX}_{depth}" for depth in range(2, len(self.inside) + 1)))

    def infer(self, file: File, limit: int | None, given: Mapping[str, pa.Field[Any]]) -> JsonFile:
        """The document with its columns and their types."""
        found = jsonl.Inference.of(self.stream(file), limit, given)
        if self.nested is None:
            return found
        fields = [pa.field(f.name, pa.string(), metadata=_JSON) if f.name in self.held else f for f in found.schema]
        return JsonFile(found.stream, pa.schema(fields), found.loose)


@lru_cache(maxsize=64)
def _document(
    path: File, _seen: str, kind: tuple[str, str], inside: tuple[str, ...], own: str, limit: int | None
) -> Document:
    settings = FileSettings.parse({"path": path.name, **json.loads(own)})
    packed = (kind[1] or None) if settings.compression is None else settings.compression
    packed = None if packed == "none" else packed
    path = path.absolute()
    common: dict[str, Any] = {
        "compression": packed, "records": settings.records, "null": settings.null,
        "nested": settings.nested, "inside": inside, "key": settings.parent_key,
    }  # fmt: skip
    if (settings.format or kind[0]) == "xml":
        text = open_xml(path, packed, settings.encoding)
        children = settings.nested is not None
        stream = XmlStream(text, settings.records, settings.null, (), children).learnt(limit)
        made = Document(form="xml", encoding=text.encoding, lists=stream.lists, **common)
    else:
        lines = TextStream.detect(path, packed, settings.encoding)
        form = "array"
        if not settings.records and lines.head(1 << 16).lstrip()[:1] != b"[":
            opened = jsonl.open_stream(path, packed, settings.encoding)
            form = "objects" if isinstance(opened, ObjectStream) else "lines"
        made = Document(form=form, encoding=lines.encoding, **common)
    if settings.nested is None:
        return made
    names = nested_names(made.level(path), limit)
    arrays = tuple(name for name, bracket in names.items() if bracket == "[")
    return replace(made, held=tuple(names), dropped=arrays if settings.nested == "children" else ())
