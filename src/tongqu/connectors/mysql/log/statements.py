"""What a logged statement does to tables: emptied, dropped, renamed, altered, or changed without rows being logged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TRUNCATED, DROPPED, RENAMED, ALTERED, CUT, WRITTEN = "truncated", "dropped", "renamed", "altered", "cut", "written"
_TOKEN = re.compile(
    r"""`(?:[^`]|``)*` | "(?:[^"\\]|\\.|"")*" | '(?:[^'\\]|\\.|'')*' | [\w$\u0080-\uffff]+ | [^\s]""", re.VERBOSE
)
_COMMENT = re.compile(r"/\*(?!M?!).*?\*/|(?:--\s|\#)[^\n]*|/\*M?!\d*|\*/", re.DOTALL)
_DML = frozenset({"insert", "update", "delete", "replace", "load"})
_PARTITIONS = frozenset({"truncate", "drop", "exchange"})


@dataclass(frozen=True)
class Effect:
    """One thing that happens to one table; `table` is empty where a whole database is dropped, `to` the new name."""

    does: str
    schema: str
    table: str = ""
    to: tuple[str, str] = ("", "")


def effects(sql: str, schema: str) -> list[Effect]:
    """What a statement that ran in database `schema` does, in order; nothing for what touches no table's rows."""
    words = _TOKEN.findall(_COMMENT.sub(" ", sql))
    lower = [word.lower() for word in words]
    if lower[:2] == ["set", "statement"] and "for" in lower:
        words = words[lower.index("for") + 1 :]
        lower = [word.lower() for word in words]
    if not words:
        return []
    return list(_found(_Words(words, lower, schema), lower[0]))


def _found(words: _Words, verb: str) -> Iterator[Effect]:
    words.at = 1
    if verb in _DML:
        for place in range(len(words.lower)):
            yield Effect(WRITTEN, words.schema, _bare(words.words[place]))
    elif verb == "truncate":
        words.skip("table")
        yield Effect(TRUNCATED, *words.name())
    elif verb == "drop":
        yield from _dropped(words)
    elif verb == "rename" and words.skip("table", "tables"):
        yield from _renamed(words)
    elif verb == "alter":
        yield from _altered(words)
    elif verb == "create" and words.lower[1:3] == ["or", "replace"]:
        words.at = 3
        if words.skip("table"):
            yield Effect(DROPPED, *words.name())


def _dropped(words: _Words) -> Iterator[Effect]:
    if words.skip("database", "schema"):
        words.skip("if", "exists")
        words.skip("exists")
        yield Effect(DROPPED, words.name()[1])
    elif words.skip("table", "tables"):
        words.skip("if")
        words.skip("exists")
        while True:
            yield Effect(DROPPED, *words.name())
            if not words.skip(","):
                return


def _renamed(words: _Words) -> Iterator[Effect]:
    words.skip("if")
    words.skip("exists")
    while True:
        name = words.name()
        while not words.done and not words.skip("to"):
            words.at += 1
        yield Effect(RENAMED, *name, to=words.name())
        if not words.skip(","):
            return


def _altered(words: _Words) -> Iterator[Effect]:
    while words.skip("online", "ignore"):
        continue
    if not words.skip("table"):
        return
    words.skip("if")
    words.skip("exists")
    name = words.name()
    yield Effect(ALTERED, *name)
    depth = 0
    begins = True
    while not words.done:
        word = words.lower[words.at]
        following = words.lower[words.at + 1] if words.at + 1 < len(words.lower) else ""
        depth += (word == "(") - (word == ")")
        if begins and not depth and word in _PARTITIONS and following == "partition":
            yield Effect(CUT, *name)
        elif begins and not depth and word == "rename" and following not in ("column", "index", "key"):
            words.at += 1
            words.skip("to", "as", "=")
            yield Effect(RENAMED, *name, to=words.name())
            words.at -= 1
        begins = word == ","
        words.at += 1


@dataclass
class _Words:
    words: list[str]
    lower: list[str]
    schema: str
    at: int = 0

    @property
    def done(self) -> bool:
        return self.at >= len(self.words)

    def skip(self, *any_of: str) -> bool:
        """Step over the word that is here if it is one of these."""
        if self.done or self.lower[self.at] not in any_of:
            return False
        self.at += 1
        return True

    def name(self) -> tuple[str, str]:
        """The table named here, with its database."""
        if self.done:
            return self.schema, ""
        first = _bare(self.words[self.at])
        self.at += 1
        if self.skip(".") and not self.done:
            self.at += 1
            return first, _bare(self.words[self.at - 1])
        return self.schema, first


def _bare(word: str) -> str:
    quote = word[0]
    return word[1:-1].replace(quote * 2, quote) if len(word) > 1 and quote in '`"' and word[-1] == quote else word
