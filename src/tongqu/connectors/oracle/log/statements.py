"""Takes apart the SQL in which LogMiner tells a change: which columns had and have which values.

Source: V$LOGMNR_CONTENTS.SQL_REDO (Database Reference) and the examples of Oracle Database Utilities, "Using LogMiner".
What is not understood to the last character is refused: a value is right or there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

INSERT, DELETE, UPDATE, DDL = 1, 2, 3, 5
"""V$LOGMNR_CONTENTS.OPERATION_CODE."""
Value = tuple[str, str] | None
"""The function that made the value (`""` for a plain literal) and its text; None is NULL."""
_HEAD = re.compile(r'\s*(insert into|update|delete from)\s+"([^"]+)"\."([^"]+)"\s*')
_NAME = re.compile(r'\s*"([^"]+)"\s*')
_ROWID = re.compile(r"\s*ROWID\s*=\s*'[^']*'")
_TEXT = re.compile(r"\s*(?:(\w+)\(\s*)?N?'([^']*(?:''[^']*)*)'")
_MORE = re.compile(r"(?:\s*,\s*'[^']*')*\s*\)")
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])")
_NULL = re.compile(r"\s*NULL(?!\w)")
_IS_NULL = re.compile(r"\s*IS\s+NULL(?!\w)")
_JOINED = re.compile(r"\s*\|\|")
_END = re.compile(r"\s*;?\s*\Z")
_COMMA, _OPEN, _CLOSE, _EQUAL = re.compile(r"\s*,"), re.compile(r"\s*\("), re.compile(r"\s*\)"), re.compile(r"\s*=")
_SET, _VALUES = re.compile(r"\s*set\s"), re.compile(r"\s*values\s*\(")
_WHERE, _AND = re.compile(r"\s*where\s"), re.compile(r"\s+and\s")
_ESCAPED = re.compile(r"\\(?:([0-9A-Fa-f]{4})|(\\))")
_CODES = {"insert into": INSERT, "update": UPDATE, "delete from": DELETE}


class UnreadableError(ValueError):
    """A statement that is not one of LogMiner's plain ones. Tells where, never what: values are the user's."""


@dataclass(frozen=True)
class Told:
    """One change: the values before it (of an insert none) and after it (of an update those that it set)."""

    code: int
    before: dict[str, Value]
    after: dict[str, Value]


def told(sql: str) -> Told:
    """A statement of SQL_REDO. Raises UnreadableError."""
    return _Reader(sql).statement()


class _Reader:
    def __init__(self, sql: str):
        self.sql, self.at = sql, 0

    def statement(self) -> Told:
        code = _CODES[self.must(_HEAD)[1]]
        before: dict[str, Value] = {}
        after: dict[str, Value] = {}
        if code == INSERT:
            after = self._inserted()
        else:
            if code == UPDATE:
                self.must(_SET)
                self._pair(after)
                while self.take(_COMMA):
                    self._pair(after)
            self.must(_WHERE)
            self._condition(before)
            while self.take(_AND):
                self._condition(before)
        self.must(_END)
        return Told(code, before, after)

    def _inserted(self) -> dict[str, Value]:
        self.must(_OPEN)
        names = [self.must(_NAME)[1]]
        while self.take(_COMMA):
            names.append(self.must(_NAME)[1])
        self.must(_CLOSE)
        self.must(_VALUES)
        values = [self._value()]
        while self.take(_COMMA):
            values.append(self._value())
        self.must(_CLOSE)
        if len(names) != len(values) or len(set(names)) != len(names):
            self.refuse()
        return dict(zip(names, values, strict=True))

    def _pair(self, into: dict[str, Value]) -> None:
        name = self.must(_NAME)[1]
        self.must(_EQUAL)
        self._put(into, name, self._value())

    def _condition(self, into: dict[str, Value]) -> None:
        if self.take(_ROWID):
            return
        name = self.must(_NAME)[1]
        if self.take(_IS_NULL):
            self._put(into, name, None)
        else:
            self.must(_EQUAL)
            self._put(into, name, self._value())

    def _put(self, into: dict[str, Value], name: str, value: Value) -> None:
        if name in into:
            self.refuse()
        into[name] = value

    def _value(self) -> Value:
        if self.take(_NULL):
            return None
        number = self.take(_NUMBER)
        if number:
            return "", number[1]
        made, text = self._text()
        while self.take(_JOINED):
            another, more = self._text()
            if {made, another} - {"", "UNISTR"}:
                self.refuse()
            made, text = "UNISTR" if "UNISTR" in (made, another) else "", text + more
        return (made, text) if text else None  # Oracle takes an empty text for null

    def _text(self) -> tuple[str, str]:
        found = self.must(_TEXT)
        made, text = (found[1] or "").upper(), found[2].replace("''", "'")
        if made:
            self.must(_MORE)
        if made == "UNISTR":
            text = self._units(text)
        return made, text

    def _units(self, text: str) -> str:
        """A text with `\\XXXX` for units of UTF-16."""
        if "\\" in _ESCAPED.sub("", text):
            self.refuse()
        plain = _ESCAPED.sub(lambda one: chr(int(one[1], 16)) if one[1] else "\\", text)
        try:
            return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.refuse()

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.sql, self.at)
        if found:
            self.at = found.end()
        return found

    def must(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = self.take(pattern)
        if found is None:
            self.refuse()
        return found

    def refuse(self) -> NoReturn:
        raise UnreadableError(f"at character {self.at} of {len(self.sql)}")
