"""AMQP 1.0's types as bytes and back.

Source: OASIS "AMQP Version 1.0, Part 1: Types": a constructor byte, then the value; 0x00 begins a described one, which
is a descriptor and a value. Numbers are big-endian.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Described:
    """A value with what describes it: a code of the specification, or a symbol."""

    code: Any
    value: Any


class Symbol(str):
    """A name from a constrained domain."""

    __slots__ = ()


class UInt(int):
    """An unsigned number of 32 bits."""


class UShort(int):
    """An unsigned number of 16 bits."""


class UByte(int):
    """An unsigned number of 8 bits."""


class Time(int):
    """Milliseconds since 1970-01-01 UTC."""


_FIXED: dict[int, tuple[str, type]] = {
    0x50: (">B", UByte), 0x60: (">H", UShort), 0x70: (">I", UInt), 0x80: (">Q", int), 0x51: (">b", int),
    0x61: (">h", int), 0x71: (">i", int), 0x81: (">q", int), 0x52: (">B", UInt), 0x53: (">B", int), 0x54: (">b", int),
    0x55: (">b", int), 0x72: (">f", float), 0x82: (">d", float), 0x83: (">q", Time),
}  # fmt: skip
_CONSTANT: dict[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: 0, 0x45: ()}
_MOST = 1 << 20
"""Most entries of an array whose entries take no byte each: four bytes of a message could ask for any number."""
_PACKED: dict[type, tuple[str, int]] = {
    UByte: (">BB", 0x50), UShort: (">BH", 0x60), UInt: (">BI", 0x70), Time: (">Bq", 0x83), int: (">Bq", 0x81),
}  # fmt: skip
_OPAQUE = {0x74: 4, 0x84: 8, 0x94: 16}
"""Decimals, which stay bytes."""


def encode(value: Any) -> bytes:
    """A value's bytes. Plain numbers are signed ones of 64 bits; raises TypeError for what has no type here."""
    if value is None:
        return b"\x40"
    if isinstance(value, bool):
        return b"\x41" if value else b"\x42"
    if isinstance(value, Described):
        return b"\x00\x80" + struct.pack(">Q", value.code) + encode(value.value)
    if isinstance(value, int):
        form, code = _PACKED[type(value)]
        return struct.pack(form, code, value)
    if isinstance(value, str):
        return _variable(0xA3, value.encode("ascii", "replace")) if isinstance(value, Symbol) else _text_of(value)
    if isinstance(value, bytes):
        return _variable(0xA0, value)
    if isinstance(value, Mapping):
        return _compound(0xD1, [part for pair in value.items() for part in pair])
    if isinstance(value, Sequence):
        return _compound(0xD0, value)
    raise TypeError(f"no type of AMQP for {type(value).__name__}")


def _text_of(value: str) -> bytes:
    return _variable(0xA1, value.encode())


def _variable(code: int, data: bytes) -> bytes:
    if len(data) < 256:
        return struct.pack(">BB", code, len(data)) + data
    return struct.pack(">BI", code + 0x10, len(data)) + data


def _compound(code: int, values: Sequence[Any]) -> bytes:
    body = b"".join(encode(value) for value in values)
    return struct.pack(">BII", code, len(body) + 4, len(values)) + body


def decode(data: memoryview, at: int = 0) -> tuple[Any, int]:
    """The value that begins somewhere, and where it ends. Raises ValueError for what is none."""
    try:
        return _decoded(data, at)
    except (struct.error, IndexError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise ValueError(f"no value of AMQP at {at}: {error}") from None


def _decoded(data: memoryview, at: int) -> tuple[Any, int]:
    code, at = data[at], at + 1
    if code == 0:
        descriptor, at = _decoded(data, at)
        value, at = _decoded(data, at)
        return Described(descriptor, value), at
    return _of(code, data, at)


def _of(code: int, data: memoryview, at: int) -> tuple[Any, int]:
    """The value of a constructor that begins behind it."""
    if code in _CONSTANT:
        return _CONSTANT[code], at
    if code in _FIXED:
        form, kind = _FIXED[code]
        (value,) = struct.unpack_from(form, data, at)
        return kind(value), at + struct.calcsize(form)
    if code == 0x56:
        return bool(data[at]), at + 1
    if code == 0x73:
        return bytes(data[at : at + 4]).decode("utf-32-be"), at + 4
    if code == 0x98:
        return str(uuid.UUID(bytes=bytes(data[at : at + 16]))), at + 16
    if code in _OPAQUE:
        return bytes(data[at : at + _OPAQUE[code]]), at + _OPAQUE[code]
    wide = code & 0x10
    size, at = (struct.unpack_from(">I", data, at)[0], at + 4) if wide else (data[at], at + 1)
    end = at + size
    if end > len(data):
        raise IndexError("a value is longer than its frame")
    if code & 0xE0 == 0xA0:
        return _text(code, bytes(data[at:end])), end
    count, at = (struct.unpack_from(">I", data, at)[0], at + 4) if wide else (data[at], at + 1)
    if code in (0xE0, 0xF0):
        return _array(data, at, count), end
    values = []
    for _ in range(count):
        value, at = _decoded(data, at)
        values.append(value)
    if code in (0xC1, 0xD1):
        return dict(zip(values[::2], values[1::2], strict=True)), end
    if code not in (0xC0, 0xD0):
        raise IndexError(f"unknown constructor {code:#x}")
    return values, end


def _text(code: int, data: bytes) -> Any:
    kind = code & 0x0F
    if kind == 0:
        return data
    return data.decode() if kind == 1 else Symbol(data.decode("ascii"))


def _array(data: memoryview, at: int, count: int) -> list[Any]:
    code, at = data[at], at + 1
    if code == 0:
        raise IndexError("arrays of described values are not read")
    if code in _CONSTANT and count > _MOST:
        raise IndexError("an array has more entries than anybody means")
    values = []
    for _ in range(count):
        value, at = _of(code, data, at)
        values.append(value)
    return values
