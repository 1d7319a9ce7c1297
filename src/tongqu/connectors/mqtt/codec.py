"""Packets of MQTT 5 as bytes, and bytes as packets (OASIS MQTT Version 5.0)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.core.errors import AnswerError

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14
CONTENT_TYPE, SESSION_EXPIRY, RECEIVE_MAXIMUM, MAXIMUM_QOS = 0x03, 0x11, 0x21, 0x24
RETAIN_AVAILABLE, USER_PROPERTY, MAXIMUM_PACKET, SERVER_KEEP_ALIVE, REASON = 0x25, 0x26, 0x27, 0x13, 0x1F

_KINDS: dict[int, str] = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), "byte"),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), "two"),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), "four"),
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), "text"),
    **dict.fromkeys((0x09, 0x16), "binary"),
    0x0B: "variable", 0x26: "pair",
}  # fmt: skip
LONGEST_TEXT = 65_535


@dataclass(frozen=True)
class Properties:
    """What a packet says besides: single values by their number, and user properties in order."""

    values: Mapping[int, Any] = field(default_factory=dict)
    user: Sequence[tuple[str, str]] = ()

    def encoded(self) -> bytes:
        """As in a packet, with its length."""
        body = b"".join(bytes([number]) + _written(_KINDS[number], value) for number, value in self.values.items())
        body += b"".join(bytes([USER_PROPERTY]) + text(name) + text(value) for name, value in self.user)
        return variable(len(body)) + body


NOTHING = Properties()


@dataclass(frozen=True)
class Publish:
    """A message."""

    topic: str
    body: bytes
    qos: int
    retain: bool
    id: int
    """Its packet identifier; 0 for QoS 0."""
    properties: Properties


def text(value: str) -> bytes:
    """A text with its length."""
    return binary(value.encode())


def binary(value: bytes) -> bytes:
    """Bytes with their length."""
    return struct.pack(">H", len(value)) + value


def variable(number: int) -> bytes:
    """A variable byte integer."""
    made = bytearray()
    while True:
        number, digit = divmod(number, 128)
        made.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(made)


def packet(kind: int, flags: int, *parts: bytes) -> bytes:
    """A whole packet."""
    body = b"".join(parts)
    return bytes([kind << 4 | flags]) + variable(len(body)) + body


def published(came: Publish) -> bytes:
    """A message as a packet."""
    numbered = struct.pack(">H", came.id) if came.qos else b""
    head = text(came.topic) + numbered + came.properties.encoded()
    return packet(PUBLISH, came.qos << 1 | came.retain, head, came.body)


def answer(kind: int, id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP that says all is well."""
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack(">H", id))


def taken(buffer: bytearray, most: int) -> tuple[int, int, bytes] | None:
    """The first whole packet, which is removed: kind, flags and body; None if it has not come whole. Raises AnswerError
    for one of more than `most` bytes; all readers do for what is no MQTT 5."""
    size, shift, at = 0, 0, 1
    while True:
        if at >= len(buffer):
            return None
        digit = buffer[at]
        size |= (digit & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not digit & 0x80:
            break
        if shift > 21:
            raise _malformed("a length of more than four bytes")
    if at + size > most:
        raise _malformed(f"a packet of {at + size} bytes where {most} are the most")
    if len(buffer) < at + size:
        return None
    first, body = buffer[0], bytes(buffer[at : at + size])
    del buffer[: at + size]
    return first >> 4, first & 0x0F, body


class Body:
    """Reads the body of a packet from its beginning."""

    def __init__(self, body: bytes):
        self._body, self._at = body, 0

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self._take(size))

    def binary(self) -> bytes:
        """Bytes with their length."""
        return self._take(self.number(2))

    def text(self) -> str:
        """A text with its length."""
        try:
            return self.binary().decode()
        except UnicodeDecodeError:
            raise _malformed("a text is no UTF-8") from None

    def variable(self) -> int:
        """A variable byte integer."""
        made = shift = 0
        while True:
            digit = self.number(1)
            made |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return made
            if shift > 21:
                raise _malformed("a number of more than four bytes")

    def properties(self) -> Properties:
        """The properties; none where the packet ends before them."""
        if not self.left:
            return NOTHING
        size = self.variable()
        inner = Body(self._take(size))
        values: dict[int, Any] = {}
        user: list[tuple[str, str]] = []
        while inner.left:
            number = inner.variable()
            kind = _KINDS.get(number)
            if kind is None:
                raise _malformed(f"unknown property {number}")
            if kind == "pair":
                user.append((inner.text(), inner.text()))
            else:
                values[number] = _READ[kind](inner)
        return Properties(values, tuple(user))

    def rest(self) -> bytes:
        """All that is left."""
        return self._take(self.left)

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._body) - self._at

    def _take(self, size: int) -> bytes:
        if self.left < size:
            raise _malformed("a packet ends too early")
        self._at += size
        return self._body[self._at - size : self._at]


_READ: dict[str, Callable[[Body], Any]] = {
    "byte": lambda body: body.number(1), "two": lambda body: body.number(2), "four": lambda body: body.number(4),
    "text": Body.text, "binary": Body.binary, "variable": Body.variable,
}  # fmt: skip


def message(flags: int, body: bytes) -> Publish:
    """A PUBLISH as a message."""
    reading, qos = Body(body), flags >> 1 & 3
    if qos > 2:
        raise _malformed("a QoS above 2")
    topic = reading.text()
    id = reading.number(2) if qos else 0
    properties = reading.properties()
    return Publish(topic, reading.rest(), qos, bool(flags & 1), id, properties)


def acknowledged(body: bytes) -> tuple[int, int, str]:
    """Packet identifier, reason code and reason of a PUBACK, PUBREC, PUBREL or PUBCOMP."""
    reading = Body(body)
    id = reading.number(2)
    code = reading.number(1) if reading.left else 0
    return id, code, str(reading.properties().values.get(REASON, ""))


def _written(kind: str, value: Any) -> bytes:
    if kind == "text":
        return text(value)
    return int(value).to_bytes({"byte": 1, "two": 2, "four": 4}[kind])


def _malformed(why: str) -> AnswerError:
    return AnswerError(f"the broker sent what is no MQTT 5: {why}")
