"""What an IMAP server answers (RFC 3501 §7), taken apart: nested lists of texts, and the parts of a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import unquote_to_bytes

from tongqu.core.errors import AnswerError

Value = Any
"""A text as bytes, None for NIL, or a list of values."""
_DEEPEST = 60


def values(data: Sequence[Any]) -> Iterator[list[Value]]:
    """Each answer of a FETCH as the list of its items; `data` is what imaplib gives: bytes, and pairs of bytes that end
    in a literal's length with the literal. Raises AnswerError for what is no answer."""
    pieces: list[bytes | tuple[bytes]] = []
    for one in data:
        if isinstance(one, tuple):
            head, literal = one
            pieces += [head[: head.rfind(b"{")], (literal,)]
        elif one is not None:
            pieces.append(one)
            yield _parsed(pieces)
            pieces = []
    if pieces:
        yield _parsed(pieces)


def _parsed(pieces: Sequence[bytes | tuple[bytes]]) -> list[Value]:
    """`1 (UID 5 …)` → the list in brackets."""
    stack: list[list[Value]] = [[]]
    for piece in pieces:
        if isinstance(piece, tuple):
            stack[-1].append(piece[0])
        else:
            _tokens(piece, stack)
    if len(stack) != 1:
        raise AnswerError("the mail server's answer ends in the middle", hint="try again")
    found = [one for one in stack[0] if isinstance(one, list)]
    return found[0] if found else []


def _tokens(text: bytes, stack: list[list[Value]]) -> None:
    at = 0
    while at < len(text):
        character = text[at : at + 1]
        if character in b" \r\n":
            at += 1
        elif character == b"(":
            if len(stack) > _DEEPEST:
                raise AnswerError("the mail server's answer is nested too deeply", hint="look at the message itself")
            stack.append([])
            at += 1
        elif character == b")":
            if len(stack) < 2:
                raise AnswerError("the mail server's answer has a bracket too many", hint="try again")
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif character == b'"':
            value, at = _quoted(text, at + 1)
            stack[-1].append(value)
        else:
            end = at
            depth = 0
            while end < len(text) and (depth or text[end : end + 1] not in b" ()\r\n"):
                depth += {b"[": 1, b"]": -1}.get(text[end : end + 1], 0)
                end += 1
            atom = text[at:end]
            stack[-1].append(None if atom.upper() == b"NIL" else atom)
            at = end


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    found = bytearray()
    while at < len(text) and text[at : at + 1] != b'"':
        if text[at : at + 1] == b"\\":
            at += 1
        found += text[at : at + 1]
        at += 1
    return bytes(found), at + 1


def items(answer: Sequence[Value]) -> dict[str, Value]:
    """An answer's items by name; the name of a section (`BODY[HEADER.FIELDS (…)]`) without what is in its brackets'
    inner list."""
    found: dict[str, Value] = {}
    at = 0
    while at + 1 < len(answer):
        name = answer[at]
        found[name.decode("ascii", "replace").upper() if isinstance(name, bytes) else ""] = answer[at + 1]
        at += 2
    return found


@dataclass(frozen=True)
class Attached:
    """A part of a message that has a file name."""

    section: str
    """Its number in the message: `2`, `2.1`."""
    name: str
    encoding: str
    """base64, quoted-printable, 7bit, 8bit or binary."""


def attachments(structure: Value, section: str = "") -> Iterator[Attached]:
    """The parts with file names in a BODYSTRUCTURE. Attached messages count as one part and are not looked into."""
    if not isinstance(structure, list) or not structure:
        return
    if isinstance(structure[0], list):
        for number, part in enumerate([one for one in structure if isinstance(one, list)][: _parts(structure)], 1):
            yield from attachments(part, f"{section}.{number}" if section else str(number))
        return
    if len(structure) < 7:
        return
    name = _file_name(structure)
    if name:
        encoding = (structure[5] or b"7bit").decode("ascii", "replace").lower()
        yield Attached(section or "1", name, encoding)


def _parts(structure: Sequence[Value]) -> int:
    """How many of a multipart's lists are parts: those before its subtype."""
    return next((number for number, one in enumerate(structure) if not isinstance(one, list)), len(structure))


def _file_name(structure: Sequence[Value]) -> str:
    """`filename` of the disposition, else `name` of the type."""
    for one in structure[7:]:
        if isinstance(one, list) and len(one) == 2 and isinstance(one[0], bytes) and isinstance(one[1], list):
            found = _parameter(one[1], "filename")
            if found:
                return found
    return _parameter(structure[2], "name") if isinstance(structure[2], list) else ""


def _parameter(listed: Sequence[Value], wanted: str) -> str:
    """A parameter, also in the forms `name*` and `name*0*` (RFC 2231) or with encoded words (RFC 2047)."""
    pairs = dict(zip(listed[::2], listed[1::2], strict=False))
    named = {(key or b"").decode("ascii", "replace").lower(): value or b"" for key, value in pairs.items()}
    if wanted in named:
        return text_of(named[wanted])
    if f"{wanted}*" in named:
        return _extended(named[f"{wanted}*"])
    whole, number = b"", 0
    extended = f"{wanted}*0*" in named
    while (key := f"{wanted}*{number}") in named or f"{key}*" in named:
        whole += named.get(key) or named.get(f"{key}*") or b""
        number += 1
    return (_extended(whole) if extended else text_of(whole)) if whole else ""


def _extended(value: bytes) -> str:
    """`utf-8'en'%e6%97%a5` as text."""
    charset, _, rest = value.partition(b"'")
    rest = rest.partition(b"'")[2]
    try:
        return unquote_to_bytes(rest).decode(charset.decode("ascii", "replace") or "utf-8", "replace")
    except LookupError:
        return unquote_to_bytes(rest).decode("utf-8", "replace")


def text_of(value: bytes) -> str:
    """A header's value: encoded words decoded; bytes that are no ASCII as UTF-8, else GB18030."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("gb18030", "replace")
    try:
        return str(make_header(decode_header(text)))
    except (LookupError, ValueError):
        return text
