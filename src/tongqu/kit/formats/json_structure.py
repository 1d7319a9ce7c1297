"""Where the values of JSON text begin and end: vectorised, without parsing a value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_QUOTE, _BACKSLASH, _COMMA, _LF, _CR, _SPACE = 34, 92, 44, 10, 13, 32
_OPENING, _CLOSING = (123, 91), (125, 93)  # { [ and } ]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Structure:
    """One text, byte by byte: `inside` a string (its opening quote included), and the `depth` of brackets after it."""

    data: npt.NDArray[np.uint8]
    inside: npt.NDArray[np.bool_]
    depth: npt.NDArray[np.int32]

    @classmethod
    def of(cls, text: bytes) -> Structure:
        """Of a text that begins outside a string; depth begins with 0."""
        data = np.frombuffer(text, dtype=np.uint8)
        quotes = data == _QUOTE
        if _BACKSLASH in text:
            quotes = quotes & ~_escaped(data, quotes)
        inside = np.cumsum(quotes, dtype=np.int64) % 2 == 1
        opening = ((data == _OPENING[0]) | (data == _OPENING[1])) & ~inside
        closing = ((data == _CLOSING[0]) | (data == _CLOSING[1])) & ~inside
        depth = np.cumsum(opening.astype(np.int32) - closing.astype(np.int32), dtype=np.int32)
        return cls(data, inside, depth)

    def commas(self, depth: int) -> Places:
        """The commas between values at a depth."""
        return np.flatnonzero((self.data == _COMMA) & ~self.inside & (self.depth == depth))


def _escaped(data: npt.NDArray[np.uint8], quotes: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which quotes stand after an odd number of backslashes."""
    index = np.arange(len(data))
    plain = np.maximum.accumulate(np.where(data != _BACKSLASH, index, -1))
    places = np.flatnonzero(quotes)
    before = np.maximum(places - 1, 0)
    run = np.where(places > 0, before - plain[before], 0)
    found = np.zeros(len(data), dtype=bool)
    found[places[run % 2 == 1]] = True
    return found


@dataclass(frozen=True)
class Elements:
    """`ends`: offset after the comma of each complete element. `closed`: where the array's bracket closes, if here."""

    ends: Places
    closed: int | None


def elements(block: bytes) -> Elements:
    """The elements of an array whose text continues with this block, which begins where an element does."""
    found = Structure.of(block)
    closing = np.flatnonzero(found.depth < 0)
    commas = found.commas(0)
    if len(closing):
        return Elements(commas[commas < closing[0]] + 1, int(closing[0]))
    return Elements(commas + 1, None)


def as_lines(block: bytes, ends: Places | list[int]) -> bytes:
    """Whole elements as one line each, byte for byte as long: commas between them become line ends, and line ends
    inside them (JSON strings hold none) spaces."""
    data = np.frombuffer(block, dtype=np.uint8).copy()
    if b"\n" in block or b"\r" in block:
        data[(data == _LF) | (data == _CR)] = _SPACE
    data[np.asarray(ends) - 1] = _LF
    return data.tobytes()


def stringified(lines: bytes) -> bytes:
    """Lines of objects with every nested value (object or array) written as a string that holds its JSON text."""
    if not lines:
        return lines
    found = Structure.of(lines)
    before = np.concatenate([[0], found.depth[:-1]])
    starts = np.flatnonzero((before == 1) & (found.depth == 2))
    stops = np.flatnonzero((before == 2) & (found.depth == 1))
    if len(starts) == 0 or len(starts) != len(stops):
        return lines
    nested = np.zeros(len(lines) + 1, dtype=np.int8)
    nested[starts] += 1
    nested[stops + 1] -= 1
    covered = np.cumsum(nested[:-1]) > 0
    special = np.flatnonzero(covered & ((found.data == _QUOTE) | (found.data == _BACKSLASH)))
    where = np.concatenate([starts, stops + 1, special])
    what = np.concatenate([np.full(2 * len(starts), _QUOTE), np.full(len(special), _BACKSLASH)]).astype(np.uint8)
    # at one place the quote that opens comes before what it encloses, the one that closes after
    order = np.argsort(where, kind="stable")
    return bytes(np.insert(found.data, where[order], what[order]).tobytes())


DEEPEST = 100
"""Arrow and Python follow nested values by recursion: a deeper line would end the process."""


def too_deep(lines: bytes) -> bool:
    """Whether a line nests deeper than `DEEPEST`; flat objects are told by counting alone."""
    if lines.count(b"{") + lines.count(b"[") - lines.count(b"\n{") <= DEEPEST:
        return False
    data = np.frombuffer(lines, dtype=np.uint8)
    opening = np.flatnonzero((data == _OPENING[0]) | (data == _OPENING[1]))
    if len(opening) <= DEEPEST:
        return False
    ends = np.append(np.flatnonzero(data == _LF), len(data))
    counts = np.diff(np.searchsorted(opening, ends), prepend=0)
    starts = np.append(0, ends[:-1] + 1)
    return any(
        int(Structure.of(lines[starts[line] : ends[line]]).depth.max()) > DEEPEST
        for line in np.flatnonzero(counts > DEEPEST)
    )


def nested(lines: bytes) -> dict[str, str]:
    """The keys at the top of the lines' objects that hold nested values, each with the first `[` or `{` of those:
    `[` where any is an array."""
    found = Structure.of(lines)
    before = np.concatenate([[0], found.depth[:-1]])
    starts = np.flatnonzero((before == 1) & (found.depth == 2))
    inside = np.concatenate([[False], found.inside])
    edges = np.flatnonzero(inside[1:] != inside[:-1])  # opening and closing quotes in turn
    last = np.searchsorted(edges, starts) - 1
    names: dict[str, str] = {}
    for start, at in zip(starts.tolist(), last.tolist(), strict=True):
        if at < 1 or at % 2 == 0 or lines[edges[at] + 1 : start].strip() != b":":
            continue
        name = str(json.loads(lines[edges[at - 1] : edges[at] + 1]))
        bracket = chr(lines[start])
        if names.get(name) != "[":
            names[name] = bracket
    return names


@dataclass(frozen=True)
class Objects:
    """Whole lines, each an object: its members by name, as slices of the text."""

    text: bytes
    found: Structure
    starts: Places
    """The offset of each line."""

    @classmethod
    def of(cls, text: bytes) -> Objects:
        """Of lines that are objects all of them."""
        ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == _LF) + 1
        starts = np.concatenate([[0], ends])
        return cls(text, Structure.of(text), starts[starts < len(text)])

    @property
    def whole(self) -> bool:
        """Whether every line is closed, so that what a line holds can be told without its neighbours."""
        ends = np.append(self.starts[1:], len(self.text)) - 1
        return bool((self.found.depth[ends] == 0).all() and not self.found.inside[ends].any())

    @cached_property
    def _edges(self) -> tuple[Places, Places, Places]:
        """At the top of the objects: where members end, where objects open, where they close."""
        before = np.concatenate([[0], self.found.depth[:-1]])
        closes = (before == 1) & (self.found.depth == 0)
        commas = (self.found.data == _COMMA) & ~self.found.inside & (self.found.depth == 1)
        opens = (before == 0) & (self.found.depth == 1)
        return np.flatnonzero(commas | closes), np.flatnonzero(opens), np.flatnonzero(closes)

    def values(self, name: str) -> dict[int, tuple[int, int]]:
        """Line -> (start, end) of the value of that member; of a repeated one the last."""
        return {line: (start, stop) for line, _, start, stop in self._members(name)}

    def _members(self, name: str) -> list[tuple[int, int, int, int]]:
        spans = np.array([match.span() for match in _key(name).finditer(self.text)], dtype=np.int64).reshape(-1, 2)
        keys, starts = spans[:, 0], spans[:, 1]
        top = (self.found.depth[keys] == 1) & self.found.inside[keys]
        keys, starts = keys[top], starts[top]
        stops = self._edges[0][np.searchsorted(self._edges[0], starts)]
        lines = np.searchsorted(self.starts, keys, side="right") - 1
        return list(zip(lines.tolist(), keys.tolist(), starts.tolist(), stops.tolist(), strict=True))

    def items(self, places: Mapping[int, tuple[int, int]]) -> dict[int, list[bytes]]:
        """The elements of the arrays in those places, by line; of an object itself, of anything else nothing."""
        inner = self.found.commas(2)
        spans = np.array(list(places.values()), dtype=np.int64).reshape(-1, 2)
        first, last = np.searchsorted(inner, spans[:, 0]).tolist(), np.searchsorted(inner, spans[:, 1]).tolist()
        commas = inner.tolist()
        result: dict[int, list[bytes]] = {}
        for (line, (start, stop)), low, high in zip(places.items(), first, last, strict=True):
            value = self.text[start:stop].strip()
            if value[:1] == b"{":
                result[line] = [value]
            elif value[:1] == b"[" and value[1:-1].strip():
                if low == high:
                    result[line] = [value[1:-1].strip()]
                else:
                    bounds = [start, *commas[low:high], self.text.rindex(b"]", start, stop)]
                    result[line] = [self.text[a + 1 : b].strip() for a, b in pairwise(bounds)]
        return result

    def without(self, names: Sequence[str]) -> bytes:
        """The lines with the members of those names blanked out, as long as before."""
        gone = sorted(member for name in names for member in self._members(name))
        if not gone:
            return self.text
        ends, opens, _ = self._edges
        data = self.found.data.copy()
        blank = np.zeros(len(data) + 1, dtype=np.int8)
        keys = np.array([key for _, key, _, _ in gone], dtype=np.int64)
        stops = np.array([stop for _, _, _, stop in gone], dtype=np.int64)
        before = np.searchsorted(ends, keys) - 1  # the comma before the member, if the object has begun before it
        opened = opens[np.searchsorted(opens, keys) - 1]
        comma = np.where((before >= 0) & (ends[before] > opened), ends[before], -1)
        np.add.at(blank, np.where(comma >= 0, comma, keys), 1)
        np.add.at(blank, stops, -1)
        data[np.cumsum(blank[:-1]) > 0] = _SPACE
        dropped = set(keys.tolist())
        for at in np.flatnonzero(comma < 0).tolist():  # the object's first member: the comma before the first kept one
            stop = int(stops[at])
            while self.found.data[stop] == _COMMA:
                rest = stop + 1 + len(self.text[stop + 1 :][:4096]) - len(self.text[stop + 1 :][:4096].lstrip())
                data[stop] = _SPACE
                if rest not in dropped:
                    break
                stop = int(ends[np.searchsorted(ends, rest)])
        return data.tobytes()


def _key(name: str) -> re.Pattern[bytes]:
    """A key and its colon, its characters plain or escaped as `\\uXXXX`."""
    plain = json.dumps(name, ensure_ascii=False).encode()
    ascii_ = json.dumps(name).encode()
    upper = re.sub(rb"\\u[0-9a-f]{4}", lambda m: b"\\u" + m[0][2:].upper(), ascii_)
    choices = b"|".join(re.escape(text) for text in dict.fromkeys((plain, ascii_, upper)))
    return re.compile(rb"(?:%b)\s*:\s*" % choices)
