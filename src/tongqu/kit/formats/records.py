"""Where the records of a delimited text end: vectorised, and exact for quotes that hold line ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tongqu.core.errors import ReadError

MAX_RECORD = 32 << 20
"""A longer record means that a quote was opened by mistake, or that the file is no text."""
OPEN = 0
Ends = npt.NDArray[np.int64]
_LF, _CR = 10, 13


@dataclass(frozen=True)
class Cut:
    """`ends`: offset after each complete record's line end. `regular`: quotes enclose whole fields everywhere, so
    every CSV reader agrees on what they mean."""

    ends: Ends
    regular: bool


def line_ends(block: bytes | memoryview) -> Ends:
    """Offsets after each line feed."""
    return np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == _LF) + 1


def record_ends(block: bytes, delimiter: int, quote: int | None, escape: bool = False) -> Cut:
    """The records of a block that begins at a record's start.

    A quote opens a field only at its beginning; the next single quote closes it, two are one of its characters.
    Elsewhere quotes are plain text (then the block is not `regular`).
    """
    if quote is None or block.find(quote) < 0:
        return Cut(line_ends(block), True)
    data = np.frombuffer(block, dtype=np.uint8)
    lines = np.flatnonzero(data == _LF)
    quotes = np.flatnonzero(data == quote)
    if not escape and _alternate(data, quotes, delimiter, quote):
        outside = np.searchsorted(quotes, lines) % 2 == 0
        return Cut(lines[outside] + 1, True)
    return Cut(_exact(block, lines, delimiter, quote, escape), False)


def _alternate(data: npt.NDArray[np.uint8], quotes: Ends, delimiter: int, quote: int) -> bool:
    """Whether opening and closing quotes alternate and each stands at an edge of its field."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = data[np.maximum(opening - 1, 0)]
    edge = (before == delimiter) | (before == _LF) | (before == quote) | (opening == 0)
    after = data[np.minimum(closing + 1, len(data) - 1)]
    end = (after == delimiter) | (after == _LF) | (after == _CR) | (after == quote) | (closing == len(data) - 1)
    return bool(edge.all() and end.all())


def _exact(block: bytes, lines: Ends, delimiter: int, quote: int, escape: bool) -> Ends:
    found = [m.span() for m in _quoted(delimiter, quote, escape).finditer(block)]
    spans = np.array(found, dtype=np.int64).reshape(-1, 2)
    after_start = np.searchsorted(spans[:, 0], lines)
    inside = (after_start > 0) & (lines < spans[np.maximum(after_start - 1, 0), 1] if len(spans) else False)
    return lines[~inside] + 1


@cache
def _quoted(delimiter: int, quote: int, escape: bool) -> re.Pattern[bytes]:
    d, q = re.escape(bytes([delimiter])), re.escape(bytes([quote]))
    inner = rb"[^%b\\]|\\.|%b%b" % (q, q, q) if escape else rb"[^%b]|%b%b" % (q, q, q)
    return re.compile(rb"(?:(?<=[\r\n%b])|\A)%b(?:%b)*+(?:%b|\Z)" % (d, q, inner, q), re.DOTALL)


class Records:
    """Cuts a stream of blocks into slices of whole records.

    Iterating gives `(slice, number of records in it, regular)`; a slice has `want` records, or fewer if that is more
    than `most` bytes or the stream ends. The last record may lack its line end; if it is cut off inside quotes, it
    comes alone and its number is `OPEN`.
    """

    def __init__(self, blocks: Iterable[bytes], want: int, most: int, cut: Any):
        """`cut` maps a block that begins at a record's start to its `Cut`."""
        self._blocks = iter(blocks)
        self._want = want
        self._most = most
        self._cut = cut

    def __iter__(self) -> Iterator[tuple[bytes, int, bool]]:
        rest, done = b"", False
        size = 1 << 20
        while not done:
            parts, have = [rest], len(rest)
            while have < size:
                block = next(self._blocks, None)
                if block is None:
                    done = True
                    break
                parts.append(block)
                have += len(block)
            data = b"".join(parts)
            if not data:
                return
            cut: Cut = self._cut(data)
            start = first = 0  # offset and number of records handed out
            while (stop := min(first + self._want, len(cut.ends))) > first:
                within = int(np.searchsorted(cut.ends, start + self._most, side="right"))
                stop = min(stop, max(within, first + 1))
                if stop == len(cut.ends) and stop - first < self._want and not done and len(data) - start < self._most:
                    break
                end = int(cut.ends[stop - 1])
                yield data[start:end], stop - first, cut.regular
                start, first = end, stop
            rest = data[start:]
            if first == 0 and not done:
                if len(cut.ends) == 0 and len(data) > MAX_RECORD:
                    raise ReadError(
                        f"a record is longer than {MAX_RECORD >> 20} MiB, beginning with {data[:60]!r}",
                        hint="a quote that is never closed? set quote= (empty for none) or check the file",
                    )
                size = len(data) * 2
                if len(cut.ends):  # what is wanted at once, instead of cutting twice as much again and again
                    size = max(size, min(self._most, len(data) // len(cut.ends) * self._want))
            elif first:
                size = max(1 << 20, min(self._most, start // first * self._want * 5 // 4))
            if done and rest:
                closed = len(self._cut(rest + b"\n").ends) > 0
                yield rest, 1 if closed else OPEN, closed and cut.regular
