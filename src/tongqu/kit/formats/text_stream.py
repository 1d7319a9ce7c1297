"""A text file as one stream of UTF-8 bytes with offsets, whatever its compression and encoding."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tongqu.core.data import Position
from tongqu.kit.files import File
from tongqu.kit.formats import compression, encoding

SAMPLE = 4 << 20
_WINDOWS = 16
_WINDOW = 1 << 20


class Blocks(Protocol):
    """A text that can be read from an offset on."""

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """UTF-8 blocks."""
        ...


def between(text: Blocks, after: Position, until: Position | None) -> Iterator[bytes]:
    """The blocks after one position and up to another (None: the end); both at the end of a record."""
    left = None if until is None else until["offset"] - after["offset"]
    for block in text.blocks(after["offset"]):
        if left is None:
            yield block
            continue
        if left > 0:
            yield block[:left]
        left -= len(block)
        if left <= 0:
            return


@dataclass(frozen=True)
class TextStream:
    """`blocks(offset)`: offsets count bytes of the UTF-8 text after the byte order mark."""

    path: File
    compression: str | None = None
    encoding: str = "utf-8"

    @classmethod
    def detect(cls, path: File, packed: str | None, given: str | None) -> TextStream:
        """The stream in the given encoding, or the one its first 4 MiB show; raises ReadError if that is unclear."""
        if given:
            return cls(path, packed, encoding.canonical(given))
        sample = compression.head(path, packed, SAMPLE + 1)
        return cls(path, packed, encoding.detect(sample[:SAMPLE], str(path), whole=len(sample) <= SAMPLE))

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        """UTF-8 blocks of about 1 MiB from an offset on. Plain UTF-8 files are sought, others inflated and skipped."""
        if self.encoding == "utf-8":
            mark = 0
            if compression.head(self.path, self.compression, 3) == codecs.BOM_UTF8:
                mark = 3
            yield from compression.inflate(self.path, self.compression, offset + mark)
            return
        for block in encoding.to_utf8(compression.inflate(self.path, self.compression), self.encoding):
            if offset >= len(block):
                offset -= len(block)
                continue
            yield block[offset:] if offset else block
            offset = 0

    def head(self, size: int) -> bytes:
        """The first `size` UTF-8 bytes, fewer if it is shorter."""
        parts: list[bytes] = []
        have = 0
        for block in self.blocks():
            parts.append(block)
            have += len(block)
            if have >= size:
                break
        return b"".join(parts)[:size]

    def windows(self, after: int) -> Iterator[bytes]:
        """Whole lines of about 1 MiB each from places spread evenly over the rest of the file, so that a look at its
        beginning is not all that is known. Only plain UTF-8 can be sought: others have none."""
        if self.compression is not None or self.encoding != "utf-8":
            return
        left = self.path.stat().st_size - after
        for number in range(1, _WINDOWS + 1):
            start = after + left * number // (_WINDOWS + 1)
            data = next(self.blocks(start), b"")[:_WINDOW]
            first, last = data.find(b"\n") + 1, data.rfind(b"\n") + 1
            if 0 < first < last:
                yield data[first:last]
