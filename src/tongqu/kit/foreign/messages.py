"""What foreign programs write to stdout: records as bytes that nobody parses, and messages between them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tongqu.core.errors import AnswerError, TongquError
from tongqu.kit.formats.json_structure import Objects

_SHOWN = 120


@dataclass(frozen=True)
class Records:
    """Records of the stream, one JSON object a line."""

    lines: bytes
    count: int


@dataclass(frozen=True)
class State:
    """What the program wants to be told to go on from here; `firm`: it says so without reservation."""

    value: Any
    firm: bool = True


@dataclass(frozen=True)
class Schema:
    """How records look from here on."""

    schema: Mapping[str, Any]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """The program says that it failed; it is expected to end."""

    error: TongquError


@dataclass(frozen=True)
class Said:
    """Any other message that belongs to the protocol."""

    message: Mapping[str, Any]


Event = Records | State | Schema | Failure | Said


class Protocol(ABC):
    """How messages look. A record in the usual form is found by `plain` and cut out as bytes; all else is parsed."""

    def __init__(self, stream: str, name: str, hide: Callable[[str], str] = str):
        """`name` is the program's; `hide` takes secrets out of what is shown of its messages."""
        self.stream, self.name, self.hide = stream, name, hide
        self._plain = re.compile(self.plain(re.escape(json.dumps(stream).encode())), re.MULTILINE)

    @abstractmethod
    def plain(self, stream: bytes) -> bytes:
        """A pattern of a whole line (`^…$`) that is a record of the stream in the usual form, whose only group is the
        record; `stream` is its name as a pattern of a JSON string."""

    @abstractmethod
    def event(self, message: Mapping[str, Any], line: bytes) -> Event | None:
        """What a message means for the stream; None if nothing. Raises KeyError or TypeError if it lacks something."""

    def events(self, blocks: Iterator[bytes]) -> Iterator[Event]:
        """The events in blocks of whole lines. Raises AnswerError for a line that is no message, with its number."""
        before = 0
        for block in blocks:
            lines, plain = self._plain.subn(rb"\1", block)
            count = block.count(b"\n")
            if plain == count:
                yield Records(lines, count)
            else:
                yield from self._mixed(block, before)
            before += count

    def _mixed(self, block: bytes, before: int) -> Iterator[Event]:
        """A block in which not every line is a plain record."""
        match, waiting = self._plain.fullmatch, list[bytes]()
        for number, line in enumerate(block.split(b"\n"), before + 1):
            found = match(line)
            if found is not None:
                waiting.append(found[1])
                continue
            if not line.strip():
                continue
            event = self._parsed(line, number)
            if isinstance(event, Records) and event.count == 1:
                waiting.append(event.lines)
            elif event is not None:
                if waiting:
                    yield _together(waiting)
                    waiting = []
                yield event
        if waiting:
            yield _together(waiting)

    def _parsed(self, line: bytes, number: int) -> Event | None:
        try:
            message = json.loads(line)
            if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                raise TypeError("no message")  # one place tells what is wrong with a line
            return self.event(message, line)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            shown = self.hide(line[: 8 * _SHOWN].decode("utf-8", "replace"))[:_SHOWN]
            raise AnswerError(
                f"line {number} of what {self.name} wrote is no message: {shown!r}",
                path=self.name,
                hint="a program must write nothing but messages to stdout; nothing of the open chunk was committed",
            ) from error


def _together(lines: list[bytes]) -> Records:
    return Records(b"\n".join(lines) + b"\n", len(lines))


def member(line: bytes, *names: str) -> bytes:
    """The text of a member of a line's object, as it was written; further names lead deeper. Raises KeyError."""
    text = line
    for name in names:
        found = Objects.of(text).values(name)
        if 0 not in found:
            raise KeyError(name)
        text = text[slice(*found[0])].strip()
    return text
