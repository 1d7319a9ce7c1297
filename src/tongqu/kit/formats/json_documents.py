"""JSON documents as lines: the records of an array anywhere in them, and nested values as text or rows of their own.

All of these are streams of UTF-8 blocks in which each line is one object, so that `JsonFile` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tongqu.core.errors import NotFoundError, ReadError
from tongqu.kit.files import File, address
from tongqu.kit.formats.json_structure import Objects, as_lines, elements, nested, stringified
from tongqu.kit.formats.jsonl import plain_lines
from tongqu.kit.formats.records import MAX_RECORD, Records
from tongqu.kit.formats.text_stream import Blocks, TextStream

RECORD, INDEX, VALUE = "_record", "_index", "value"
"""Columns that child datasets get: the parent's number in its file, the place in the parent's array (both from 1), and
the element where it is no object."""
PARENT = "parent_"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]+|"', re.DOTALL)
_READ = 1 << 20
_LINES = 4 << 20


def pointer(text: str) -> tuple[str, ...]:
    """The keys of `data.items`, `$.data.items[*]` or, where keys hold points, `/data/items`."""
    if text.startswith("/"):
        return tuple(key.replace("~1", "/").replace("~0", "~") for key in text[1:].split("/"))
    plain = text.removeprefix("$").removesuffix("[*]").strip(".")
    return tuple(plain.split(".")) if plain else ()


@dataclass(frozen=True)
class ArrayStream:
    """The records of an array in a JSON document, one a line. Memory holds one block, whatever the array's length.

    `records` are the keys that lead to the array; none if the document is the array. Offsets count from the array's
    opening bracket, so that plain UTF-8 files are sought.
    """

    stream: TextStream
    records: tuple[str, ...] = ()

    @property
    def path(self) -> File:
        """The file."""
        return self.stream.path

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from an offset on, which is the end of a record. Raises ReadError if the array is not there, is
        cut off, or has an element longer than 32 MiB."""
        first = self._start()
        size, rest = _READ, b""
        blocks = self.stream.blocks(first + max(offset - 1, 0))
        if offset:
            rest = next(blocks, b"")
            if rest[:1] == b"]":
                return
            rest = rest[1:]
        ended = False
        while True:
            while len(rest) < size and not ended:
                block = next(blocks, None)
                ended = block is None
                rest += block or b""
            found = elements(rest)
            last = int(found.ends[-1]) if len(found.ends) else 0
            if found.closed is not None:
                if rest[last : found.closed].strip():
                    yield as_lines(rest[: found.closed + 1], [*found.ends.tolist(), found.closed + 1])
                elif last:
                    yield as_lines(rest[:last], found.ends)
                return
            if last:
                yield as_lines(rest[:last], found.ends)
                size, rest = max(_READ, min(size, 2 * (len(rest) - last))), rest[last:]
            elif ended:
                raise ReadError(f"{self.path}: the array {self._name()} is cut off", path=address(self.path))
            elif len(rest) > MAX_RECORD:
                raise ReadError(
                    f"{self.path}: an element is longer than {MAX_RECORD >> 20} MiB", path=address(self.path)
                )
            else:
                size = len(rest) * 2

    def _name(self) -> str:
        return repr(".".join(self.records)) if self.records else "of records"

    def _start(self) -> int:
        """The offset after the array's bracket."""
        level = depth = 0
        key = b""
        seen: list[str] = []
        for token, end in _tokens(self.stream.blocks()):
            entering = depth == level and (level == 0 or key == b":")
            if entering and level == len(self.records):
                if token == b"[":
                    return end
                break
            if token in b"{[":
                if entering and token == b"{":
                    level, seen = level + 1, []
                elif entering:
                    break
                depth += 1
                key = b""
            elif token in b"}]":
                depth -= 1
                if depth < level:
                    break
            elif depth == level and token == b",":
                key = b""
            elif depth == level and token == b":":
                seen.append(_text(key))
                key = b":" if seen[-1] == self.records[level - 1] else b""
            elif depth == level:
                key = token
        where = f"{self._name()} of {self.path}" if self.records else str(self.path)
        raise NotFoundError(
            f"there is no array of records {where}",
            path=address(self.path),
            hint=f"records= names the keys that lead to an array; keys seen: {', '.join(seen[:20]) or 'none'}",
        )


def _text(token: bytes) -> str:
    import json

    try:
        return str(json.loads(token))
    except ValueError:
        return token.decode("utf-8", "replace")


def _tokens(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    """JSON's tokens with the offset after each; memory holds one block and one token."""
    rest, base = b"", 0
    for block in blocks:
        rest += block
        at = 0
        for match in _TOKEN.finditer(rest):
            if match.end() == len(rest) or match[0] == b'"':
                break  # it goes on in the next block
            at = match.end()
            yield match[0], base + at
        rest, base = rest[at:], base + at
        if len(rest) > MAX_RECORD:
            raise ReadError(f"a text of the document is longer than {MAX_RECORD >> 20} MiB")
    for match in _TOKEN.finditer(rest):
        yield match[0], base + match.end()


def _from(blocks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    """The blocks after an offset; what is before it is made again and dropped."""
    for block in blocks:
        if offset < len(block):
            yield block[offset:] if offset else block
        offset = max(offset - len(block), 0)


def _rewritten(stream: Blocks, rewrite: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Whole lines rewritten together; where some are no objects, line by line, and those stay as they are."""
    for data, _, _ in Records(stream.blocks(), 1 << 62, _LINES, plain_lines):
        if Objects.of(data).whole:
            yield rewrite(data)
            continue
        for line in data.splitlines(keepends=True):
            yield rewrite(line) if line.strip() and Objects.of(line).whole else line


@dataclass(frozen=True)
class TextNested:
    """Lines whose nested values are strings that hold their JSON, exactly as written."""

    stream: Blocks

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from an offset on."""
        return _from(_rewritten(self.stream, stringified), offset)


def nested_names(stream: Blocks, limit: int | None) -> dict[str, str]:
    """Keys with nested values in all lines or in those of the first `limit` bytes, with `[` or `{`."""
    names: dict[str, str] = {}
    seen = 0
    for data, _, _ in Records(stream.blocks(), 1 << 62, _LINES, plain_lines):
        for name, bracket in nested(data).items():
            if names.get(name) != "[":
                names[name] = bracket
        seen += len(data)
        if limit is not None and seen >= limit:
            break
    return names


@dataclass(frozen=True)
class Parents:
    """Lines without their arrays, which are datasets of their own; each numbered (`_record`) if `number`."""

    stream: Blocks
    dropped: tuple[str, ...]
    number: bool

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from an offset on."""
        return _from(_rewritten(self.stream, _Counter(self._rewrite)), offset)

    def _rewrite(self, objects: Objects, before: int) -> bytes:
        text = objects.without(self.dropped)
        if not self.number:
            return text
        lines = []
        for number, line in enumerate(text.splitlines(), before + 1):
            body = line[line.index(b"{") + 1 :]
            comma = b"" if body.strip() == b"}" else b","
            lines.append(b'{"%b":%d%b%b\n' % (RECORD.encode(), number, comma, body))
        return b"".join(lines)


@dataclass(frozen=True)
class Children:
    """The elements of one array of each line, with what they keep of their parent: `carried` columns by (name there,
    name here), its number if `number`, and their place in the array as column `index`."""

    stream: Blocks
    name: str
    carried: tuple[tuple[str, str], ...]
    index: str
    number: bool

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """Lines from an offset on."""
        return _from(_rewritten(self.stream, _Counter(self._rewrite)), offset)

    def _rewrite(self, objects: Objects, before: int) -> bytes:
        carried = [(here, objects.values(there)) for there, here in self.carried]
        lines = []
        for line, items in objects.items(objects.values(self.name)).items():
            head = b'{"%b":%d,' % (RECORD.encode(), before + line + 1) if self.number else b"{"
            for here, found in carried:
                value = objects.text[slice(*found[line])].strip() if line in found else b"null"
                head += b'"%b":%b,' % (here.encode(), value)
            for place, item in enumerate(items, 1):
                body = item[1:] if item[:1] == b"{" else b'"%b":%b}' % (VALUE.encode(), item)
                comma = b"" if body.strip() == b"}" else b","
                lines.append(b'%b"%b":%d%b%b\n' % (head, self.index.encode(), place, comma, body))
        return b"".join(lines)


class _Counter:
    """Calls a rewriting of objects with the number of lines before them."""

    def __init__(self, rewrite: Callable[[Objects, int], bytes]):
        self._rewrite = rewrite
        self._lines = 0

    def __call__(self, lines: bytes) -> bytes:
        objects = Objects.of(lines)
        before = self._lines
        self._lines += len(objects.starts)
        return self._rewrite(objects, before)
