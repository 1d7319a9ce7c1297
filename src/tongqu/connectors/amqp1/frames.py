"""AMQP 1.0's frames and messages: performatives by their codes, and the sections of a message.

Source: OASIS "AMQP Version 1.0, Part 2: Transport" and "Part 3: Messaging".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.connectors.amqp1.types import Described, Symbol, Time, decode, encode
from tongqu.kit.handed.line import Letter

SASL, PLAIN = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"
"""What a connection begins with: first for the login, then for itself."""
OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
ERROR, MECHANISMS, INIT, OUTCOME = 0x1D, 0x40, 0x41, 0x44
ACCEPTED, REJECTED, RELEASED, MODIFIED, SOURCE, TARGET = 0x24, 0x25, 0x26, 0x27, 0x28, 0x29
EMPTY = struct.pack(">IBBH", 8, 2, 0, 0)
"""A sign of life."""
_HEADER, _ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA, _SEQUENCE, _VALUE = 0x70, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: the performative's code, its fields, and what follows it. An empty one has the code 0."""

    code: int
    fields: Sequence[Any]
    body: bytes = b""

    def field(self, number: int) -> Any:
        """A field; None if it was left out."""
        return self.fields[number] if number < len(self.fields) else None


def framed(code: int, fields: Sequence[Any], body: bytes = b"", *, login: bool = False) -> bytes:
    """A frame of channel 0."""
    told = encode(Described(code, fields))
    return struct.pack(">IBBH", 8 + len(told) + len(body), 2, int(login), 0) + told + body


def taken(buffer: bytearray) -> Frame | None:
    """Take the first whole frame out of a buffer; None if there is none. Raises ValueError for what is no frame."""
    if len(buffer) < 8:
        return None
    size, offset = struct.unpack_from(">IB", buffer)
    if offset < 2 or size < offset * 4:
        raise ValueError("a frame is shorter than its head")
    if len(buffer) < size:
        return None
    data = memoryview(bytes(buffer[offset * 4 : size]))
    del buffer[:size]
    if not data:
        return Frame(0, ())
    made, end = decode(data)
    if not isinstance(made, Described) or not isinstance(made.value, list | tuple):
        raise ValueError("a frame has no performative")
    return Frame(int(made.code), made.value, bytes(data[end:]))


def written(letter: Letter) -> bytes:
    """A durable message."""
    properties = [
        letter.id, None, None, None, None, None, Symbol(letter.kind), None, None,
        None if letter.at is None else Time(letter.at // 1_000),
    ]  # fmt: skip
    sections = [
        (_HEADER, [True]),
        (_PROPERTIES, properties),
        (_APPLICATION, dict(letter.headers)),
        (_DATA, letter.body),
    ]
    return b"".join(encode(Described(code, value)) for code, value in sections)


def read(data: bytes, to: str, tag: Any) -> Letter:
    """A message that came. Raises ValueError for what is none."""
    held: dict[int, Any] = {}
    body, at, view = b"", 0, memoryview(data)
    while at < len(view):
        section, at = decode(view, at)
        if not isinstance(section, Described):
            raise ValueError("a section is not described")
        if section.code == _DATA:
            body += section.value
        else:
            held[section.code] = section.value
    if _VALUE in held or _SEQUENCE in held:
        body = _bytes(held.get(_VALUE, held.get(_SEQUENCE)))
    header, properties = (list(held.get(code) or ()) + [None] * 13 for code in (_HEADER, _PROPERTIES))
    at_ms = properties[9]
    return Letter(
        body, None if properties[0] is None else _shown(properties[0]), str(properties[2] or to),
        str(properties[6] or ""), {str(name): _shown(one) for name, one in (held.get(_APPLICATION) or {}).items()},
        None if at_ms is None else int(at_ms) * 1_000, bool(header[4]) or header[3] is False, tag,
    )  # fmt: skip


def _bytes(value: Any) -> bytes:
    """The body of a message that is a value: a text, bytes, or what JSON makes of it."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value, default=_shown, ensure_ascii=False).encode()


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
