"""STOMP's frames as bytes.

Source: "STOMP Protocol Specification, Version 1.2" (stomp.github.io): a command, headers, an empty line, a body, a NUL;
backslash, colon and line ends are escaped in headers, though not in those of CONNECT and CONNECTED.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_PLAIN = ("CONNECT", "CONNECTED")
_ESCAPED = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c"}
_MEANT = {"\\\\": "\\", "\\r": "\r", "\\n": "\n", "\\c": ":"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. Of headers that come several times the first holds."""

    command: str
    headers: Mapping[str, str]
    body: bytes = b""


def encoded(command: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A frame's bytes."""
    plain = command in _PLAIN
    told = {name if plain else _escaped(name): value if plain else _escaped(value) for name, value in headers.items()}
    lines = "".join(f"{name}:{value}\n" for name, value in told.items())
    return f"{command}\n{lines}\n".encode() + body + b"\0"


def decode(buffer: bytearray) -> Frame | None:
    """Take the first whole frame out of a buffer; None if there is none. Raises ValueError for what is no frame."""
    start = 0
    while start < len(buffer) and buffer[start] in b"\r\n":
        start += 1
    end, skip = _head(buffer, start)
    if end < 0:
        del buffer[:start]
        return None
    lines = bytes(buffer[start:end]).decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"a header without colon: {line[:40]!r}")
        plain = lines[0] in _PLAIN
        headers.setdefault(name if plain else _meant(name), value if plain else _meant(value))
    body = end + skip
    length = headers.get("content-length")
    over = body + int(length) if length is not None else buffer.find(b"\0", body)
    if over < body or len(buffer) <= over:
        return None
    if buffer[over]:
        raise ValueError("a body is longer than its content-length says")
    made = Frame(lines[0], headers, bytes(buffer[body:over]))
    del buffer[: over + 1]
    return made


def _head(buffer: bytearray, start: int) -> tuple[int, int]:
    """Where the headers end, and how long the empty line behind them is."""
    both = [(buffer.find(mark, start), len(mark)) for mark in (b"\n\n", b"\n\r\n")]
    found = [one for one in both if one[0] >= 0]
    return min(found) if found else (-1, 0)


def _escaped(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


def _meant(text: str) -> str:
    if "\\" not in text:
        return text
    made, at = [], 0
    while at < len(text):
        pair = text[at : at + 2]
        made.append(_MEANT.get(pair, pair[0]))
        at += 2 if pair in _MEANT else 1
    return "".join(made)
