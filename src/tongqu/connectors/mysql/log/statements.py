"""What a logged statement does to tables: emptied, dropped, renamed, altered, or changed without rows being logged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TRUNCATED, DROPPED, RENAMED, ALTERED, CUT, WRITTEN = "truncated", "dropped", "renamed", "altered", "cut", "written"
REPLACED, VERSIONED, CASCADED = "replaced", "versioned", "cascaded"
GONE = {
    DROPPED: "was dropped",
    CUT: "lost a partition, whose rows are not in the log",
    REPLACED: "got or lost rows by an ALTER TABLE, and they are not in the log",
    VERSIONED: "keeps versions of its rows now (system versioning), and the log tells old ones as rows",
    CASCADED: "got a foreign key that deletes or changes its rows, and the server does not log that",
}
"""What is said of a table that these happened to."""
_TOKEN = re.compile(
    r"""(/\*(?!M?!).*?\*/ | (?:--(?=\s)|\#)[^\n]* | /\*M?!\d* | \*/)
    | (`(?:[^`]|``)*` | "(?:[^"\\]|\\.|"")*" | '(?:[^'\\]|\\.|'')*' | [\w$\u0080-\uffff]+ | [^\s])""",
    re.VERBOSE | re.DOTALL,
)
"""Comments (what servers run of them is no comment), and words."""
_DML = frozenset({"insert", "update", "delete", "replace", "load"})
_CALLS = frozenset({"select", "do", "call", "with", "values"})
_ENDS = {"update": "set", "delete": "where"}
"""Before which word all tables are named that a statement writes."""
_PARTITIONS = frozenset({"truncate", "drop", "exchange", "convert"})
_AROUND = frozenset({
    "from", "using", "join", "inner", "cross", "left", "right", "outer", "natural", "straight_join", "on", "as",
    "low_priority", "quick", "ignore", "and", "or",
})  # fmt: skip
_VERSIONING = re.compile(r"\badd (system versioning|period for system_time)\b")
_CASCADE = re.compile(r"\bon (delete|update) (cascade|set (null|default))\b")
_NAME = re.compile(r'[\w$\u0080-\uffff`"]')


@dataclass(frozen=True)
class Effect:
    """One thing that happens to one table; `table` is empty where a whole database is dropped, `to` the new name.

    What is WRITTEN without its rows may write more than the statement names (by triggers, views and functions): any
    table of that database.
    """

    does: str
    schema: str
    table: str = ""
    to: tuple[str, str] = ("", "")

    @property
    def same_rows(self) -> bool:
        """Whether a table that takes another one's name has its rows, since an online schema change copied them:
        gh-ost, pt-online-schema-change, Facebook's OSC, LHM. Of any other table nobody knows."""
        own = re.escape(self.to[1])
        return re.fullmatch(rf"_{own}_gho|_+{own}_new|__osc_new_{own}|lhmn_{own}", self.table) is not None


def effects(sql: str, schema: str) -> list[Effect]:
    """What a statement that ran in database `schema` does, in order; nothing for what touches no table's rows."""
    words = [word for _, word in _TOKEN.findall(sql) if word]
    lower = [word.lower() for word in words]
    if lower[:2] == ["set", "statement"] and "for" in lower:
        words = words[lower.index("for") + 1 :]
        lower = [word.lower() for word in words]
    if not words:
        return []
    return list(_found(_Words(words, lower, schema), lower[0]))


def _found(words: _Words, verb: str) -> Iterator[Effect]:
    words.at = 1
    if verb in _DML or verb in _CALLS:
        yield from _written(words, verb)
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


def _written(words: _Words, verb: str) -> Iterator[Effect]:
    """Every name that may be one of a table that is written; of INSERT, REPLACE and LOAD the one that stands first."""
    if verb in ("insert", "replace", "load"):
        if verb == "load" or "into" in words.lower[:6]:
            words.at = words.lower.index("into") + 1 if "into" in words.lower else len(words.lower)
        while words.skip("low_priority", "delayed", "high_priority", "ignore", "table"):
            continue
        yield Effect(WRITTEN, *words.name())
        return
    end = _ENDS.get(verb)
    last = words.lower.index(end) if end in words.lower else len(words.lower)
    for place in range(1, last):
        dotted = words.lower[place + 1 : place + 2] == ["."]
        if _NAME.match(words.words[place]) and words.lower[place - 1] != "." and words.lower[place] not in _AROUND:
            first = _bare(words.words[place])
            table = _bare(words.words[place + 2]) if dotted and place + 2 < last else first
            yield Effect(WRITTEN, first if dotted else words.schema, table)


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
    ignore = "ignore" in words.lower[1:3]
    while words.skip("online", "ignore"):
        continue
    if not words.skip("table"):
        return
    words.skip("if")
    words.skip("exists")
    name = words.name()
    if words.skip("wait"):
        words.at += 1
    words.skip("nowait")
    yield Effect(ALTERED, *name)
    if ignore and {"unique", "primary"} & set(words.lower):  # rows with a key that is there already are deleted
        yield Effect(REPLACED, *name)
    text = " ".join(words.lower)
    if _VERSIONING.search(text):
        yield Effect(VERSIONED, *name)
    if _CASCADE.search(text):
        yield Effect(CASCADED, *name)
    depth = 0
    begins = True
    while not words.done:
        word = words.lower[words.at]
        following = words.lower[words.at + 1] if words.at + 1 < len(words.lower) else ""
        depth += (word == "(") - (word == ")")
        if begins and not depth and word in _PARTITIONS and following == "partition":
            yield Effect(CUT, *name)
            if word == "exchange":
                yield Effect(REPLACED, *words.behind("with", "table"))
        elif begins and not depth and word == "convert" and following == "table":
            yield Effect(REPLACED, *name)
            yield Effect(DROPPED, *words.behind("convert", "table"))
        elif begins and not depth and word in ("discard", "import") and following in ("tablespace", "partition"):
            yield Effect(REPLACED, *name)
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

    def behind(self, *these: str) -> tuple[str, str]:
        """The table named behind these words, which come here or later."""
        size = len(these)
        places = [n for n in range(self.at, len(self.lower)) if tuple(self.lower[n : n + size]) == these]
        return _Words(self.words, self.lower, self.schema, places[0] + size).name() if places else (self.schema, "")

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
