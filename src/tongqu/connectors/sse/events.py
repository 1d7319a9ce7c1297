"""The event stream format of the HTML standard (§9.2): bytes as they come, events as they are complete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tongqu.core.errors import AnswerError

_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Sent:
    """One event; `id` is the last that was told, here or before. `retry` is seconds, told with no event."""

    data: bytes
    id: str
    kind: str
    retry: float | None = None


def events(chunks: Iterable[bytes], id: str, most: int) -> Iterator[Sent]:
    """The events of a stream that goes on after `id`. An event that is not complete when the stream ends never was.
    Raises AnswerError for one of more than `most` bytes."""
    data: list[bytes] = []
    kind, size = "", 0
    for line in _lines(chunks, most):
        size += len(line)
        if size > most:
            raise AnswerError(f"an event has more than {most} bytes", hint="message_bytes is the limit")
        if not line:
            if data:
                yield Sent(b"\n".join(data), id, kind or "message")
            data, kind, size = [], "", 0
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            yield Sent(b"", id, "", int(value) / 1000)


def _lines(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Lines without their ends; a `\\r` at the end of a chunk waits for what follows, which may be its `\\n`."""
    rest, first = b"", True
    for chunk in chunks:
        rest += chunk
        if first and len(rest) >= len(_BOM):
            rest, first = rest.removeprefix(_BOM), False
        start = 0
        for found in _END.finditer(rest):
            if found.group() == b"\r" and found.end() == len(rest):
                break
            yield rest[start : found.start()]
            start = found.end()
        rest = rest[start:]
        if len(rest) > most + 16:
            raise AnswerError(f"an event has more than {most} bytes", hint="message_bytes is the limit")
