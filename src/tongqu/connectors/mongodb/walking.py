"""Walks many BSON documents at once, field by field, and tells where each value of each field stands."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Marks = np.ndarray[Any, np.dtype[np.bool_]]
Octets = np.ndarray[Any, np.dtype[np.uint8]]

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOLEAN, DATE, NULL = range(1, 11)
INT32, TIMESTAMP, INT64, DECIMAL = 16, 17, 18, 19
PAD = 64
_VARIES, _REGEX = -1, -2
_MOST_NAMES = 2_000

_SIZES = np.full(256, -3, np.int64)
_SIZES[[DOUBLE, DATE, TIMESTAMP, INT64]] = 8
_SIZES[[UNDEFINED, NULL, 255, 127]] = 0
_SIZES[OBJECT_ID], _SIZES[BOOLEAN], _SIZES[INT32], _SIZES[DECIMAL] = 12, 1, 4, 16
_SIZES[[STRING, DOCUMENT, ARRAY, BINARY, 12, 13, 14, 15]] = _VARIES
_SIZES[11] = _REGEX
_BESIDE = np.zeros(256, np.int64)
"""What a value of varying size has besides the length that it begins with."""
_BESIDE[[STRING, 13, 14]] = 4
_BESIDE[BINARY], _BESIDE[12] = 5, 16


class Buffer:
    """Bytes that can be looked at as numbers at any place; `PAD` zeros follow them."""

    def __init__(self, data: bytes):
        self.size = len(data)
        self.data = data + bytes(PAD)
        self.octets: Octets = np.frombuffer(self.data, np.uint8)

    def at(self, kind: str) -> Any:
        """All the numbers of a type, one beginning at each byte."""
        width = np.dtype(kind).itemsize
        return np.ndarray((len(self.data) - width + 1,), kind, self.data, 0, (1,))

    def cut(self, start: int, end: int) -> bytes:
        """Some of the bytes."""
        return self.data[start:end]


@dataclass
class Values:
    """Where the values of one field stand: for each document its type (0: it has none) and the value's first byte."""

    types: Octets
    places: Ints


@dataclass
class Front:
    """The documents that a walk is still in, and where it is in each."""

    rows: Ints
    places: Ints

    def ended(self, buffer: Buffer) -> bool:
        """Leave the documents out that are at their end; whether none is left."""
        alive = buffer.octets[self.places] != 0
        if not alive.all():
            self.rows, self.places = self.rows[alive], self.places[alive]
        return not len(self.rows)

    def take(self, buffer: Buffer, hits: Marks, width: int, values: Values) -> None:
        """Note the values of the documents that have a name of this width next, and move those documents on."""
        whole = bool(hits.all())
        rows, here = (self.rows, self.places) if whole else (self.rows[hits], self.places[hits])
        types = buffer.octets[here]
        at = here + (2 + width)
        values.types[rows] = types
        values.places[rows] = at
        after = at + sizes(buffer, types, at)
        if whole:
            self.places = after
        else:
            self.places = self.places.copy()
            self.places[hits] = after


def documents(buffer: Buffer) -> Ints:
    """The first byte of each document of a stream of documents. Raises ValueError where a length is impossible."""
    size_at = struct.Struct("<i").unpack_from
    data, end, at = buffer.data, buffer.size, 0
    starts: list[int] = []
    while at < end:
        starts.append(at)
        size = size_at(data, at)[0]
        if size < 5 or at + size > end:
            raise ValueError(f"a document of {size} bytes at byte {at} of {end}")
        at += size
    return np.array(starts, np.int64)


def walk(buffer: Buffer, starts: Ints, names: list[str]) -> dict[str, Values]:
    """The fields of the documents that begin at `starts`, by name; a document whose start is negative has none.

    `names` are the fields that are expected, in the order they are likely to come; new ones are added to it. Documents
    go in step: one look at a name serves all documents that have it next. Of a field that a document has twice the last
    counts. Raises ValueError for a type that BSON does not have.
    """
    found = {name: _nothing(len(starts)) for name in names}
    active = np.flatnonzero(starts >= 0)
    front = Front(active, starts[active] + 4)
    index, last, idle = 0, -1, 0
    while not front.ended(buffer):
        if idle >= len(names):
            if len(names) >= _MOST_NAMES:
                _one_by_one(buffer, front, found, names)
                return found
            index = _add_name(names, name_at(buffer, int(front.places[0]) + 1), last + 1)
            found.setdefault(names[index], _nothing(len(starts)))
        name = names[index]
        hits = _named(buffer, front.places + 1, name)
        if hits.any():
            last, idle = index, 0
            front.take(buffer, hits, len(name.encode()), found[name])
        else:
            idle += 1
        index = (index + 1) % len(names)
    return found


def _nothing(count: int) -> Values:
    return Values(np.zeros(count, np.uint8), np.zeros(count, np.int64))


def _add_name(names: list[str], name: str, index: int) -> int:
    """Put a name in after those it was met after; its index."""
    if name in names:
        return names.index(name)
    names.insert(index, name)
    return index


def _named(buffer: Buffer, places: Ints, name: str) -> Marks:
    """Whether the name stands at these places."""
    wanted = name.encode() + b"\0"
    hits: Marks | None = None
    words = buffer.at("<u8")
    for start in range(0, len(wanted), 8):
        piece = wanted[start : start + 8]
        mask = np.uint64((1 << (8 * len(piece))) - 1)
        number = np.uint64(int.from_bytes(piece, "little"))
        at = np.minimum(places + start, len(words) - 1)
        same = (words[at] & mask) == number
        hits = same if hits is None else hits & same
        if not hits.any():
            break
    assert hits is not None  # noqa: S101  # a name has its end at least
    return hits


def sizes(buffer: Buffer, types: Octets, places: Ints) -> Ints:
    """How many bytes the values of these types at these places take."""
    found: Ints = _SIZES[types]
    lowest = int(found.min()) if len(found) else 0
    if lowest >= 0:
        return found
    if lowest == -3:
        raise ValueError(f"there is no BSON type {int(types[found == -3][0])}")
    varies = found == _VARIES
    lengths = buffer.at("<i4")[places[varies]].astype(np.int64)
    if len(lengths) and (int(lengths.min()) < 0 or int((places[varies] + lengths).max()) > buffer.size):
        raise ValueError("a value is longer than what holds it")
    found[varies] = lengths + _BESIDE[types[varies]]
    for row in np.flatnonzero(found == _REGEX):
        start = int(places[row])
        first = buffer.data.index(b"\0", start)
        found[row] = buffer.data.index(b"\0", first + 1) + 1 - start
    return found


def name_at(buffer: Buffer, place: int) -> str:
    """The name that begins at a byte."""
    return buffer.data[place : buffer.data.index(b"\0", place)].decode("utf-8", "replace")


def _one_by_one(buffer: Buffer, front: Front, found: dict[str, Values], names: list[str]) -> None:
    """The rest of documents that have too many names of their own to go in step."""
    count = len(next(iter(found.values())).types)
    for row, place in zip(front.rows.tolist(), front.places.tolist(), strict=True):
        for name, type_, at in elements(buffer, place):
            if name not in found:
                found[name] = _nothing(count)
                names.append(name)
            found[name].types[row] = type_
            found[name].places[row] = at


def elements(buffer: Buffer, place: int) -> Iterator[tuple[str, int, int]]:
    """Name, type and first byte of each value from an element on to the document's end."""
    while buffer.data[place]:
        type_ = buffer.data[place]
        name_end = buffer.data.index(b"\0", place + 1)
        at = name_end + 1
        yield buffer.data[place + 1 : name_end].decode("utf-8", "replace"), type_, at
        place = at + int(sizes(buffer, np.array([type_], np.uint8), np.array([at], np.int64))[0])


@dataclass
class Elements:
    """The elements of arrays: which document each belongs to, its index there, its type and its first byte."""

    rows: Ints
    indexes: Ints
    types: Octets
    places: Ints


def unwound(buffer: Buffer, values: Values) -> Elements:
    """The elements of the arrays among a field's values, in the order of documents and elements."""
    rows = np.flatnonzero(values.types == ARRAY)
    places = values.places[rows] + 4
    parts: list[tuple[Ints, Ints, Octets, Ints]] = []
    number = 0
    while True:
        alive = buffer.octets[places] != 0
        rows, places = rows[alive], places[alive]
        if not len(rows):
            break
        types = buffer.octets[places]
        at = places + (2 + len(str(number)))
        parts.append((rows, np.full(len(rows), number, np.int64), types, at))
        places = at + sizes(buffer, types, at)
        number += 1
    if not parts:
        none = np.zeros(0, np.int64)
        return Elements(none, none, np.zeros(0, np.uint8), none)
    all_rows, indexes, kinds, starts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((indexes, all_rows))
    return Elements(all_rows[order], indexes[order], kinds[order], starts[order])
