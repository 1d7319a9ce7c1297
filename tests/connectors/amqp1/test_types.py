"""AMQP 1.0's types and messages: as the specification writes them, and damaged."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tongqu.connectors.amqp1.frames import Frame, framed, read, taken, written
from tongqu.connectors.amqp1.types import Described, Symbol, Time, UByte, UInt, UShort, decode, encode
from tongqu.kit.handed.line import Letter


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, UByte(7), UShort(70), UInt(70_000), Time(1_763_000_000_123), -5, 1 << 40, "北", "x" * 300,
        Symbol("amqp:accepted"), b"\0\xff", b"\1" * 300, [1, ["a", None]], {"a": 1, "b": [b"c"]},
        Described(0x24, [UInt(1)]),
    ],
)  # fmt: skip
def test_a_value_comes_back(value: Any) -> None:
    found, end = decode(memoryview(encode(value) + b"rest"))
    assert (found, type(found), end) == (value, type(value), len(encode(value)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("43", 0), ("44", 0), ("45", ()), ("52ff", 255), ("5401", 1), ("55ff", -1), ("5601", True),
        ("72 3fc00000", 1.5), ("82 3ff8000000000000", 1.5), ("73 00004e2d", "中"), ("c0 04 02 41 a1 00", [True, ""]),
        ("98 00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"),
        ("e0 05 02 a3 01 61 01 62", ["a", "b"]),
    ],
)  # fmt: skip
def test_every_form_is_read(data: str, told: Any) -> None:
    found, _ = decode(memoryview(bytes.fromhex(data)))
    assert found == told


def test_what_is_cut_off_is_told() -> None:
    data = encode(Described(0x10, ["name", UInt(5), {"a": b"b"}]))
    for end in range(len(data)):
        with pytest.raises(ValueError, match="no value of AMQP"):
            decode(memoryview(data[:end]))
    with pytest.raises(ValueError, match="no value of AMQP"):
        decode(memoryview(b"\xff\x01\x01"))
    with pytest.raises(ValueError, match="more entries"):
        decode(memoryview(struct.pack(">BIIB", 0xF0, 5, 1 << 31, 0x41)))
    assert decode(memoryview(struct.pack(">BIIB", 0xF0, 5, 3, 0x41))) == ([True] * 3, 10)


def test_frames_are_taken_however_they_are_cut() -> None:
    data = framed(0x14, [UInt(0), None, True], b"body") + struct.pack(">IBBH", 8, 2, 0, 0)
    for cut in range(len(data)):
        buffer = bytearray(data[:cut])
        found = [] if (one := taken(buffer)) is None else [one]
        buffer += data[cut:]
        while (one := taken(buffer)) is not None:
            found.append(one)
        assert found == [Frame(0x14, [0, None, True], b"body"), Frame(0, ())]
    with pytest.raises(ValueError, match="shorter"):
        taken(bytearray(b"\0\0\0\1\2\0\0\0"))


def test_a_message_comes_back_and_bodies_of_every_kind_are_read() -> None:
    letter = Letter(b"\0body", "m 1", "orders", "text/plain", {"a": "1"}, 1_763_000_000_123_000)
    found = read(written(letter), "orders", 7)
    assert found == Letter(b"\0body", "m 1", "orders", "text/plain", {"a": "1"}, 1_763_000_000_123_000, False, 7)
    for value, body in (("text", b"text"), (b"bytes", b"bytes"), ({"id": 1}, b'{"id": 1}')):
        assert read(encode(Described(0x77, value)), "", None).body == body
    again = encode(Described(0x70, [True, None, None, False, UInt(1)])) + encode(Described(0x75, b"x"))
    assert read(again, "", None).redelivered
