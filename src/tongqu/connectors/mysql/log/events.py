"""Takes the events of a binary log apart: headers, table maps, transactions, statements; rows stay bytes.

Formats: https://mariadb.com/kb/en/replication-protocol/ and MySQL's libs/mysql/binlog/event. All numbers are little
endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tongqu.core.errors import ReadError

QUERY, ROTATE, FORMAT, XID, TABLE_MAP = 2, 4, 15, 16, 19
HEARTBEAT, HEARTBEAT_V2 = 27, 41
GTID, ANONYMOUS_GTID, XA_PREPARE, PARTIAL_UPDATE, PAYLOAD = 33, 34, 38, 39, 40
EXECUTE_LOAD, INCIDENT = 18, 26
MARIADB_GTID = 162
MARIADB_QUERY_COMPRESSED = 165
WRITE, UPDATE, DELETE = "write", "update", "delete"
ROWS: dict[int, tuple[str, int, bool]] = {
    23: (WRITE, 1, False), 24: (UPDATE, 1, False), 25: (DELETE, 1, False),
    30: (WRITE, 2, False), 31: (UPDATE, 2, False), 32: (DELETE, 2, False),
    166: (WRITE, 1, True), 167: (UPDATE, 1, True), 168: (DELETE, 1, True),
    169: (WRITE, 2, True), 170: (UPDATE, 2, True), 171: (DELETE, 2, True),
}  # fmt: skip
"""Row events by their type: what they do, the version of their header, whether MariaDB compressed them."""
SILENT = frozenset({3, 5, 9, 13, 14, 17, 28, 29, 35, 36, 37, 160, 161, 163, 164})
"""Events that change no rows: ends of files, values of variables, blocks of files that are loaded by a later event, the
text of statements whose rows follow, sets of transactions, views of a group, checkpoints, how the log is encrypted."""
IGNORABLE = 0x80
"""The flag of an event that whoever does not know it may pass over."""
HEADER = 19
STANDALONE, PREPARED_XA, COMPLETED_XA = 1, 64, 128
"""Flags of MariaDB's GTID event."""
_HEAD = struct.Struct("<IBIIIH")
_META = {4: 1, 5: 1, 15: 2, 16: 2, 17: 1, 18: 1, 19: 1, 140: 1, 141: 2, 245: 1, 246: 2, 247: 2, 248: 2, 252: 1, 253: 2,
         254: 2, 255: 1}  # fmt: skip
_STRING, _ENUM, _SET = 254, 247, 248
_NUMERIC = frozenset({1, 2, 3, 4, 5, 8, 9, 13, 246})
_CHARACTER = frozenset({15, 252, 253, 254, 255, 140, 141})
"""What the server counts as text where it tells charsets; geometries lie as blobs do."""


class Event(NamedTuple):
    """One event: when it was logged (Unix seconds), its type, who logged it, where the next one begins, its body, its
    flags."""

    seconds: int
    kind: int
    server: int
    end: int
    body: bytes
    flags: int = 0

    @classmethod
    def parse(cls, packet: bytes, tail: int) -> Event:
        """From a packet's payload, whose first byte is the protocol's OK and whose last `tail` are a checksum."""
        seconds, kind, server, _, end, flags = _HEAD.unpack_from(packet, 1)
        return cls(seconds, kind, server, end, packet[1 + HEADER : len(packet) - tail], flags)


@dataclass(frozen=True)
class Wire:
    """How a column's cells lie in a row: the type's code (CHAR, ENUM and SET told apart) and its argument."""

    code: int
    meta: int = 0


@dataclass(frozen=True)
class TableMap:
    """What the log says of a table before its rows; the lists are empty where the server does not log them."""

    schema: str
    table: str
    wires: tuple[Wire, ...]
    nullable: tuple[bool, ...]
    names: tuple[str, ...] = ()
    unsigned: tuple[bool, ...] = ()
    collations: tuple[int, ...] = ()
    """Per column, 0 for those without characters."""
    values: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    """Values of ENUM and SET columns by column number."""


def packed(body: bytes, at: int) -> tuple[int, int]:
    """A length-encoded number and where it ends."""
    first = body[at]
    if first < 251:
        return first, at + 1
    width = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(body[at + 1 : at + 1 + width], "little"), at + 1 + width


def table_map(body: bytes) -> tuple[int, TableMap]:
    """The number that row events call the table by, and its map."""
    number = int.from_bytes(body[:6], "little")
    at = 8
    schema = body[at + 1 : at + 1 + body[at]].decode()
    at += body[at] + 2
    table = body[at + 1 : at + 1 + body[at]].decode()
    at += body[at] + 2
    count, at = packed(body, at)
    codes = body[at : at + count]
    length, at = packed(body, at + count)
    wires = tuple(_wires(codes, body[at : at + length]))
    at += length
    width = (count + 7) // 8
    nullable = _bits(body[at : at + width], count)
    return number, _described(TableMap(schema, table, wires, nullable), body, at + width)


def _wires(codes: bytes, metas: bytes) -> Iterator[Wire]:
    at = 0
    for code in codes:
        width = _META.get(code, 0)
        meta = metas[at : at + width]
        at += width
        if code in (_STRING, _ENUM, _SET, 246):
            yield _string(meta) if code != 246 else Wire(code, meta[0] << 8 | meta[1])
        else:
            yield Wire(code, int.from_bytes(meta, "little"))


def _string(meta: bytes) -> Wire:
    """CHAR, ENUM and SET share a code; long CHARs keep two bits of their length in the code."""
    real, length = meta[0], meta[1]
    if real & 0x30 != 0x30:
        return Wire(real | 0x30, length | ((real & 0x30) ^ 0x30) << 4)
    return Wire(real, length)


def _bits(data: bytes, count: int, *, high: bool = False) -> tuple[bool, ...]:
    return tuple(bool(data[n // 8] >> (7 - n % 8 if high else n % 8) & 1) for n in range(count))


def _described(found: TableMap, body: bytes, at: int) -> TableMap:
    """The map with what `binlog_row_metadata` adds."""
    parts: dict[int, bytes] = {}
    while at < len(body):
        kind = body[at]
        length, at = packed(body, at + 1)
        parts[kind] = body[at : at + length]
        at += length
    codes = [wire.code for wire in found.wires]
    numeric = [n for n, code in enumerate(codes) if code in _NUMERIC]
    unsigned = [False] * len(codes)
    if 1 in parts:
        for n, bit in zip(numeric, _bits(parts[1], len(numeric), high=True), strict=True):
            unsigned[n] = bit
    characters = [n for n, code in enumerate(codes) if code in _CHARACTER]
    choices = [n for n, code in enumerate(codes) if code in (_ENUM, _SET)]
    collations = [0] * len(codes)
    for columns, default, each in ((characters, 2, 3), (choices, 10, 11)):
        for n, number in zip(columns, _collations(parts, default, each, len(columns)), strict=False):
            collations[n] = number
    values = {n: v for code, kind in ((_SET, 5), (_ENUM, 6)) for n, v in _values(parts.get(kind, b""), codes, code)}
    names = tuple(name.decode() for name in _texts(parts.get(4, b"")))
    told = tuple(unsigned) if 1 in parts or not numeric else ()
    charsets = tuple(collations) if any(collations) or not (characters or choices) else ()
    return TableMap(found.schema, found.table, found.wires, found.nullable, names, told, charsets, values)


def _collations(parts: dict[int, bytes], default: int, each: int, count: int) -> list[int]:
    if each in parts:
        return _numbers(parts[each])
    if default not in parts:
        return []
    first, *pairs = _numbers(parts[default])
    found = [first] * count
    for column, number in zip(pairs[::2], pairs[1::2], strict=True):
        found[column] = number
    return found


def _numbers(data: bytes) -> list[int]:
    at, found = 0, []
    while at < len(data):
        number, at = packed(data, at)
        found.append(number)
    return found


def _texts(data: bytes) -> list[bytes]:
    at, found = 0, []
    while at < len(data):
        length, at = packed(data, at)
        found.append(data[at : at + length])
        at += length
    return found


def _values(data: bytes, codes: list[int], code: int) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    at = 0
    for number, own in enumerate(codes):
        if own != code or at >= len(data):
            continue
        count, at = packed(data, at)
        found = []
        for _ in range(count):
            length, at = packed(data, at)
            found.append(data[at : at + length])
            at += length
        yield number, tuple(found)


class Rows(NamedTuple):
    """A row event: the table's number, which columns each of its images has (bits), and the rows' bytes."""

    table: int
    does: str
    before: bytes
    after: bytes
    data: bytes


def rows(event: Event) -> Rows:
    """Takes a row event's header off."""
    does, version, compressed = ROWS[event.kind]
    body = event.body
    at = 8
    if version == 2:
        at += int.from_bytes(body[8:10], "little")
    count, at = packed(body, at)
    width = (count + 7) // 8
    first = second = body[at : at + width]
    at += width
    if does == UPDATE:
        second = body[at : at + width]
        at += width
    data = inflated(body[at:]) if compressed else body[at:]
    number = int.from_bytes(body[:6], "little")
    return Rows(number, does, b"" if does == WRITE else first, b"" if does == DELETE else second, data)


def inflated(data: bytes) -> bytes:
    """MariaDB's compressed part of an event: a byte that says how long the length is, the length, and zlib's data."""
    width = data[0] & 7
    if data[0] >> 4 & 7:
        raise ReadError(f"the log is compressed in a way that is not known: {data[0]}", hint="SET log_bin_compress = 0")
    return zlib.decompress(data[1 + width :])


def query(event: Event) -> tuple[str, str]:
    """The database a statement ran in, and its text."""
    body = event.body
    length, status = body[8], int.from_bytes(body[11:13], "little")
    at = (26 if event.kind == EXECUTE_LOAD else 13) + status
    schema = body[at : at + length].decode(errors="replace")
    text = body[at + length + 1 :]
    if event.kind == MARIADB_QUERY_COMPRESSED:
        text = inflated(text)
    return schema, text.decode(errors="replace")


def checksum(event: Event) -> int:
    """How many bytes of checksum the events behind this FORMAT event (taken whole) have."""
    return 4 if event.body[-5] else 0


def rotate(event: Event) -> tuple[str, int]:
    """The file that follows, and where in it."""
    return event.body[8:].decode(), int.from_bytes(event.body[:8], "little")


def mariadb_gtid(event: Event) -> tuple[str, int]:
    """`domain-server-sequence` of the transaction that begins, and its flags."""
    sequence, domain, flags = struct.unpack_from("<QIB", event.body)
    return f"{domain}-{event.server}-{sequence}", flags


def mysql_gtid(event: Event) -> tuple[str, int]:
    """The server's UUID and number of the transaction that begins."""
    raw = event.body[1:17].hex()
    uuid = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
    return uuid, int.from_bytes(event.body[17:25], "little")
