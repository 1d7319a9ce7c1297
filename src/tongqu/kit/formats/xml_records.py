"""XML as lines of JSON objects: one a record element, streamed, with no document types and no entities.

The rule, the same in every file:

* a record is an element at the path `records` (`orders/order`; a single name means that element wherever it is;
  without it the children of the root are the records);
* names lose their namespace prefix, and `_xHHHH_` in them stands for a character that XML names cannot have;
* an attribute `id` is the column `@id`; a child that holds only text is a column of its name; text beside attributes or
  children is `#text`; `xsi:nil="true"` and the texts of the setting `null` (an empty element) are null;
* a child that repeats anywhere in the file is a list everywhere; an element that holds nothing but one repeated child
  is the list of those; any other child with attributes or children of its own is an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from xml.parsers import expat

from tongqu.core.errors import ReadError
from tongqu.kit.files import File, address
from tongqu.kit.formats import compression
from tongqu.kit.formats.encoding import canonical
from tongqu.kit.formats.records import MAX_RECORD
from tongqu.kit.formats.text_stream import TextStream

_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DEEPEST = 100
_TAGS = 16
"""What an element counts for beside its text: a record of nothing but empty elements fills memory too."""


def open_xml(path: File, packed: str | None, encoding: str | None) -> TextStream:
    """The file's text, in the encoding given, the one its declaration names, or what its first bytes show."""
    declared = _DECLARED.search(compression.head(path, packed, 400))
    if encoding is None and declared:
        name = canonical(declared[1].decode())
        encoding = None if name.startswith("utf-16") else name
    return TextStream.detect(path, packed, encoding)


@dataclass(frozen=True)
class XmlStream:
    """The records of an XML file, one JSON object a line. `lists` are the paths of children that repeat."""

    stream: TextStream
    records: str = ""
    null: tuple[str, ...] = ("",)
    lists: tuple[str, ...] = ()
    typed: bool = False
    """Whether numbers inside nested values are numbers; those of columns always are, where they look like it."""

    def learnt(self, limit: int | None) -> XmlStream:
        """The same with the repeated children of the whole file, or of its first `limit` bytes of text."""
        reader = _Repeats(self)
        seen = 0
        for block in self.stream.blocks():
            reader.feed(block)
            seen += len(block)
            if limit is not None and seen >= limit:
                break
        return replace(self, lists=tuple(sorted(reader.lists)))

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from an offset on; what is before it is parsed again and dropped. Raises ReadError for XML that is
        not well-formed, has a document type, nests deeper than 100 elements or has a record beyond 32 MiB."""
        reader = _Records(self)
        for block in self.stream.blocks():
            reader.feed(block)
            data = reader.taken()
            if offset < len(data):
                yield data[offset:] if offset else data
            offset = max(offset - len(data), 0)
        reader.end()


@dataclass(slots=True)
class _Element:
    path: str
    attributes: dict[str, str]
    children: dict[str, list[Any]] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)


class _Events:
    """Expat's events of one document, guarded: where its records begin and end."""

    def __init__(self, stream: XmlStream):
        self._stream = stream
        self._wanted = stream.records.strip("/").split("/") if stream.records else ["*", "*"]
        self._anywhere = len(self._wanted) == 1
        self._names: list[str] = []
        self.lists = set(stream.lists)
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, block: bytes) -> None:
        """Take the next block of UTF-8."""
        self._parse(block, False)

    def end(self) -> None:
        """There is no more; raises ReadError if the document is not complete."""
        self._parse(b"", True)

    def _parse(self, block: bytes, last: bool) -> None:
        try:
            self._parser.Parse(block, last)
        except expat.ExpatError as error:
            raise self._failed(f"line {error.lineno}: {expat.ErrorString(error.code)}") from error

    def _failed(self, cause: str, hint: str = "") -> ReadError:
        path = self._stream.stream.path
        return ReadError(f"{path}: {cause}", path=address(path), hint=hint)

    def _refuse(self, name: str, *_: Any) -> None:
        raise self._failed(
            f"the document type {name!r} is refused: it could define entities",
            "remove <!DOCTYPE …> from the file",
        )

    def _enter(self, raw: str) -> str:
        name = local_name(raw)
        self._names.append(name)
        if len(self._names) > _DEEPEST:
            raise self._failed(f"elements nest deeper than {_DEEPEST}")
        return name

    def _is_record(self) -> bool:
        if self._anywhere:
            return self._names[-1] == self._wanted[0]
        return len(self._names) == len(self._wanted) and all(
            wanted in ("*", name) for wanted, name in zip(self._wanted, self._names, strict=True)
        )


class _Repeats(_Events):
    """Learns which children repeat, and nothing else."""

    def __init__(self, stream: XmlStream):
        super().__init__(stream)
        self._open: list[tuple[str, set[str]]] = []
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def _start(self, raw: str, _: dict[str, str]) -> None:
        name = self._enter(raw)
        if not self._open:
            if self._is_record():
                self._open.append(("", set()))
            return
        above, seen = self._open[-1]
        path = f"{above}/{name}" if above else name
        if name in seen:
            self.lists.add(path)
        seen.add(name)
        self._open.append((path, set()))

    def _end(self, _: str) -> None:
        self._names.pop()
        if self._open:
            self._open.pop()


class _Records(_Events):
    """Makes the records."""

    def __init__(self, stream: XmlStream):
        super().__init__(stream)
        self._open: list[_Element] = []
        self._size = 0
        self.lines: list[str] = []
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def taken(self) -> bytes:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return "".join(lines).encode("utf-8", "surrogatepass")

    def _start(self, raw: str, attributes: dict[str, str]) -> None:
        name = self._enter(raw)
        if self._open:
            above = self._open[-1].path
            self._open.append(_Element(f"{above}/{name}" if above else name, attributes))
        elif self._is_record():
            self._open.append(_Element("", attributes))
            self._size = 0
        else:
            return
        self._grow(_TAGS + sum(len(key) + len(value) for key, value in attributes.items()))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)
            self._grow(len(text))

    def _grow(self, size: int) -> None:
        """What has been read of this record is longer; raises ReadError if it is too long."""
        self._size += size
        if self._size > MAX_RECORD:
            raise self._failed(f"a record is longer than {MAX_RECORD >> 20} Mi characters")

    def _end(self, _: str) -> None:
        name = self._names.pop()
        if not self._open:
            return
        done = self._open.pop()
        if self._open:
            parent = self._open[-1]
            plain = not done.attributes and not done.children
            value = self._leaf(done) if plain else self._value(done)
            parent.children.setdefault(name, []).append(value)
            return
        value = self._value(done)
        record = value if isinstance(value, dict) else {} if value is None else {"#text": self._typed(value)}
        self.lines.append(_json(record) + "\n")

    def _leaf(self, element: _Element) -> str | None:
        text = "".join(element.text)
        return None if text in self._stream.null else text

    def _value(self, element: _Element) -> Any:
        text = "".join(element.text)
        attributes = {local_name(k): v for k, v in element.attributes.items() if not k.startswith("xmlns")}
        if attributes.get("nil") == "true" and not element.children:
            return None
        if not attributes and not element.children:
            return None if text in self._stream.null else text
        top = element.path == ""
        typed = self._typed if top or self._stream.typed else _same
        found: dict[str, Any] = {f"@{name}": typed(value) for name, value in attributes.items()}
        for name, values in element.children.items():
            path = f"{element.path}/{name}" if element.path else name
            held = [typed(value) if isinstance(value, str) else value for value in values]
            found[name] = held if len(held) > 1 or path in self.lists else held[0]
        if text.strip():
            found["#text"] = typed(text)
        if not top and len(found) == 1 and isinstance(only := next(iter(found.values())), list):
            return only
        return found

    @staticmethod
    def _typed(text: str) -> Any:
        return _Raw(text) if text in ("true", "false") or _NUMBER.fullmatch(text) else text


class _Raw(str):
    """A number or truth value that is written as it was."""


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(name)}:{_json(held)}" for name, held in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    if value is None:
        return "null"
    return str(value) if isinstance(value, _Raw) else _quoted(value)


_quoted = json.JSONEncoder(ensure_ascii=False).encode


def _same(text: str) -> Any:
    return text


@lru_cache(maxsize=4096)
def local_name(raw: str) -> str:
    """The name without its prefix, with `_xHHHH_` decoded."""
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), raw.rpartition(":")[2])


def element_name(name: str) -> str:
    """A column's name as an XML name: what XML does not allow becomes `_xHHHH_` (ISO 9075-14)."""
    text = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", name)
    kept = [c if _allowed(c, at == 0) else f"_x{ord(c):04X}_" for at, c in enumerate(text)]
    return "".join(kept) or "_x0000_"


def _allowed(character: str, first: bool) -> bool:
    if character == "_" or (ord(character) < 0x10000 and character.isalpha()):
        return True
    return not first and (character in "-." or (character.isdigit() and character.isascii()))
