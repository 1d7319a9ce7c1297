"""Cuts the records out of an answer's body while it arrives: one record a line, and what stands around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tongqu.core.errors import AnswerError
from tongqu.kit.answers.selecting import Selection, looked_up, parsed, written
from tongqu.kit.formats.json_marks import Marks
from tongqu.kit.formats.json_structure import as_lines, stringified
from tongqu.kit.formats.records import MAX_RECORD

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]+|"', re.DOTALL)
_BLOCK = 1 << 20
_ENVELOPE = 4 << 20
_WHOLE = 64 << 20
"""Of an answer that must be parsed whole."""
_COMPLAINTS = ("message", "msg", "errmsg", "errMsg", "error_description", "error", "detail", "title", "reason")


class Cutting:
    """The records of one JSON body. Iterating gives blocks of whole lines, each record one line, and afterwards
    `envelope` is the document without its records (an empty array in their place) and `count` how many there were.

    Memory holds about 1 MiB where `keys` lead to the array. Raises AnswerError for a body that is no JSON, is cut off,
    or has no such array: an error message in place of records never looks like an empty page.
    """

    def __init__(
        self, chunks: Iterable[bytes], wanted: Selection, where: str, *, texts: bool = False, errors: str = ""
    ):
        """With `texts` nested values in the lines are strings that hold their JSON, as they were written. `errors` are
        keys of the envelope that hold errors; an answer that has any is refused at its end."""
        self._errors = errors
        self._texts = texts
        self._chunks = iter(chunks)
        self._wanted = wanted
        self._where = where
        self._rest = b""
        self._ended = False
        self._plain: bool | None = None
        self.envelope: Any = None
        self.count = 0
        self.last = b""
        """The last record's line."""

    def __iter__(self) -> Iterator[bytes]:
        yield from self._cut()
        told = looked_up(self.envelope, self._errors) if self._errors else None
        if told:
            raise self._failed(f"the answer lists errors: {told_errors(told)}")

    def _cut(self) -> Iterator[bytes]:
        if self._wanted.keys is None:
            yield from self._parsed()
            return
        start = self._start(self._wanted.keys)
        if start is None:
            yield from self._without_array(self._wanted.keys)
            return
        head, self._rest = self._rest[:start], self._rest[start:]
        yield from self._elements()
        self.envelope = self._around(head)

    # ---- reading

    def _more(self, size: int) -> bool:
        """Have at least `size` bytes; False if the body ends before."""
        parts, have = [self._rest], len(self._rest)
        while have < size and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            if chunk:
                parts.append(chunk)
                have += len(chunk)
        self._rest = b"".join(parts) if len(parts) > 1 else self._rest
        return have >= size

    def _whole(self) -> bytes:
        if self._more(_WHOLE):
            raise self._failed(f"an answer longer than {_WHOLE >> 20} MiB cannot be searched by {self._wanted.text!r}")
        return self._rest

    def _failed(self, cause: str, hint: str = "") -> AnswerError:
        return AnswerError(f"{self._where}: {cause}", path=self._where, hint=hint)

    def _start(self, keys: tuple[str, ...]) -> int | None:
        """The offset after the array's bracket; None if the body ends without one."""
        size = _BLOCK
        while True:
            whole = not self._more(size)
            if self._rest[:3] == b"\xef\xbb\xbf":
                self._rest = self._rest[3:]
            found = _array_start(self._rest, keys)
            if found is not None or whole:
                return found
            if size > MAX_RECORD:
                raise self._failed(f"no records within the first {MAX_RECORD >> 20} MiB", f"records is {self._name()}")
            size *= 2

    def _elements(self) -> Iterator[bytes]:
        """The array's elements as lines; `_rest` begins after its bracket and is left at what follows it."""
        size = _BLOCK
        while True:
            self._more(size)
            marks = Marks.of(self._rest)
            closed, ends = marks.closed(), marks.commas(0) + 1
            ends = ends if closed is None else ends[ends <= closed]
            last = int(ends[-1]) if len(ends) else 0
            if closed is not None:
                if self._rest[last:closed].strip():
                    yield self._lines(marks, self._rest[: closed + 1], [*ends.tolist(), closed + 1])
                elif last:
                    yield self._lines(marks, self._rest[:last], ends.tolist())
                self._rest = self._rest[closed:]
                return
            if last:
                yield self._lines(marks, self._rest[:last], ends.tolist())
                size, self._rest = _BLOCK, self._rest[last:]
            elif self._ended:
                raise self._failed("the body is cut off in its records", "ask again; the peer or a proxy ended early")
            elif len(self._rest) > MAX_RECORD:
                raise self._failed(f"a record is longer than {MAX_RECORD >> 20} MiB")
            else:
                size = len(self._rest) * 2

    def _lines(self, marks: Marks, block: bytes, ends: list[int]) -> bytes:
        self.count += len(ends)
        lines = as_lines(block, ends)
        if self._plain is None:
            self._plain = lines.lstrip()[:1] != b"{"
        if self._plain:
            lines = b"".join(
                line + b"\n" if line[:1] == b"{" else b'{"value":' + line + b"}\n"
                for line in map(bytes.strip, lines.splitlines())
                if line
            )
        start = lines.rfind(b"\n", 0, len(lines) - 1) + 1
        self.last = lines[start:].strip()
        if self._texts:
            return stringified(lines) if self._plain else marks.stringified(lines)
        return lines

    def _around(self, head: bytes) -> Any:
        if self._more(_ENVELOPE):
            raise self._failed(f"more than {_ENVELOPE >> 20} MiB follow the records")
        try:
            return json.loads(head + self._rest)
        except ValueError as error:
            raise self._failed(f"the body is no JSON: {error}") from error

    # ---- what has no array at the path

    def _without_array(self, keys: tuple[str, ...]) -> Iterator[bytes]:
        """One object where an array was expected is one record, null is none; all else is no answer to the question."""
        document = self._document()
        found = document
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise self._no_records(document)
            found = found[key]
        if isinstance(found, dict) and (keys or not complaint(found)):
            self.envelope = None if not keys else document
            self.count, self.last = 1, written(found).encode()
            yield self._whole_lines(self.last + b"\n")
        elif found is None and keys and not complaint(document):
            self.envelope = document
        else:
            raise self._no_records(document)

    def _document(self) -> Any:
        body = self._whole()
        try:
            return parsed(body)
        except (ValueError, RecursionError) as error:
            looks = body.lstrip()[:60].decode("utf-8", "replace")
            hint = "is it another format, or a page for people?"
            raise self._failed(f"the body is no JSON, it begins {looks!r}", hint) from error

    def _parsed(self) -> Iterator[bytes]:
        document = self._document()
        assert self._wanted.find is not None  # noqa: S101  # selections without keys have one
        found = self._wanted.find(document)
        if not found and complaint(document):
            raise self._no_records(document)
        self.envelope, self.count = document, len(found)
        lines = [written(one if isinstance(one, dict) else {"value": one}).encode() for one in found]
        if lines:
            self.last = lines[-1]
            yield self._whole_lines(b"\n".join(lines) + b"\n")

    def _whole_lines(self, lines: bytes) -> bytes:
        return stringified(lines) if self._texts else lines

    def _no_records(self, document: Any) -> AnswerError:
        told = looked_up(document, self._errors) if self._errors else None
        said = told_errors(told) if told else complaint(document)
        if said:
            return self._failed(f"the answer is an error and no records: {said}")
        keys = ", ".join(list(document)[:20]) if isinstance(document, dict) else type(document).__name__
        return self._failed(f"the answer has no records at {self._name()}", f"records= names them; it holds: {keys}")

    def _name(self) -> str:
        return repr(self._wanted.text) if self._wanted.text else "its top"


def told_errors(told: Any) -> str:
    """What a list of errors says, shortened: the messages of its objects (GraphQL, October 2021, §7.1.2), or texts."""
    listed = told if isinstance(told, list) else [told]
    words = [str(one.get("message", one)) if isinstance(one, dict) else str(one) for one in listed if one]
    return "; ".join(words)[:300]


class Lines:
    """The records of a body that has one a line, in blocks of whole lines while it arrives. Raises AnswerError for a
    line longer than 32 MiB."""

    def __init__(self, chunks: Iterable[bytes], where: str):
        self._chunks = chunks
        self._where = where

    def __iter__(self) -> Iterator[bytes]:
        rest: list[bytes] = []
        size = 0
        for chunk in self._chunks:
            end = chunk.rfind(b"\n") + 1
            rest.append(chunk[:end] if end else chunk)
            size += len(rest[-1])
            if end and size >= _BLOCK:
                yield b"".join(rest)
                rest, size = [], 0
            if end and end < len(chunk):
                rest.append(chunk[end:])
                size += len(rest[-1])
            if size > MAX_RECORD:
                raise AnswerError(f"{self._where}: a line is longer than {MAX_RECORD >> 20} MiB", path=self._where)
        if size:
            last = b"".join(rest)
            yield last if last.endswith(b"\n") else last + b"\n"


def complaint(document: Any) -> str:
    """What an answer with status 200 complains about, if it is an error by its own words: a code that is not zero
    (`errcode`, `errorCode`, `error_code`, `code` of 400 and more) or `success: false`, and its message."""
    if not isinstance(document, dict):
        return ""
    code = next((document[k] for k in ("errcode", "errCode", "errorCode", "error_code", "ErrCode") if k in document), 0)
    plain = document.get("code", 0)
    bad = str(code) not in ("0", "None", "") or (isinstance(plain, int) and plain >= 400)
    bad = bad or document.get("success") is False or document.get("ok") is False or bool(document.get("error"))
    if not bad:
        return ""
    said = next((document[k] for k in _COMPLAINTS if document.get(k)), "")
    shown = code if str(code) not in ("0", "None", "") else plain
    return f"{shown} {said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)}"[
        :300
    ].strip()


def _array_start(text: bytes, keys: tuple[str, ...]) -> int | None:
    """The offset after the bracket of the array that the keys lead to, as far as the text goes."""
    level = depth = 0
    key = b""
    for match in _TOKEN.finditer(text):
        token = match[0]
        entering = depth == level and (level == 0 or key == b":")
        if entering and level == len(keys):
            return match.end() if token == b"[" else None
        if token in b"{[":
            if entering and token == b"{":
                level += 1
            elif entering:
                return None
            depth += 1
            key = b""
        elif token in b"}]":
            depth -= 1
            if depth < level:
                return None
        elif depth == level and token == b",":
            key = b""
        elif depth == level and token == b":":
            key = b":" if _name_of(key) == keys[level - 1] else b""
        elif depth == level:
            key = token
    return None


def _name_of(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return ""
