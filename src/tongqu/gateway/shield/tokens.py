"""Reads a text as SQL words, the way several databases at once would: numbers, strings, words, operators, comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "string", "word", "operator", "logic", "comment", "(", ")", ",", ";", "other"]
MOST = 20_000
"""Tokens that are looked at."""

_LOGIC = frozenset({"OR", "AND", "XOR", "||", "&&", "OR!", "AND!"})
_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | /\*(?!!).*?\*/ | /\*!\d* | \*/ | (?:--|\#)[^\n]*\n)
  | (?P<comment>--.*\Z | \#.*\Z | /\*.*\Z)
  | (?P<number>0[xX][0-9a-fA-F]+ | 0[bB][01]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<string>(?:[nNbBxXeE]|_[a-z0-9]+\s?)?(?:'(?:[^'\\]|\\.|'')*(?:'|\Z)|"(?:[^"\\]|\\.|"")*(?:"|\Z))
        | \$(\w*)\$.*?(?:\$\5\$|\Z)
        | [qQ]'(?:\[.*?\]|\{.*?\}|\(.*?\)|<.*?>)' | '.*\Z | ".*\Z)
  | (?P<word>(?:[^\W\d]|@@?|[`\[](?=[^\W\d]))[\w$@`\]]*(?:\.+[\w$@`\[\]]+)*)
  | (?P<operator>\|\||&&|<=>|<>|!=|<=|>=|!<|!>|\^=|:=|::|~\*|!~\*?|=|<|>|\+|-|\*|/|%|\||&|\^|~|!|\#)
  | (?P<open>\() | (?P<close>\)) | (?P<comma>,) | (?P<semicolon>;)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NAMES: dict[str, Kind] = {"open": "(", "close": ")", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True, slots=True)
class Token:
    """One word of SQL; `text` is upper case for words."""

    kind: Kind
    text: str


def tokens(text: str) -> list[Token]:
    """The text as it would be read in the middle of a statement. Comments are white space, except for the one that
    hides all the rest; MySQL's `/*! */` is read."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        name = match.lastgroup or "other"
        if name == "space":
            continue
        whole = match[0]
        if name == "word":
            whole = whole.strip("`[]").replace("`", "").upper()
            found.append(Token("logic" if whole in _LOGIC else "word", whole))
        elif name == "operator" and whole in _LOGIC:
            found.append(Token("logic", whole))
        else:
            kind: Kind = _NAMES.get(name, name)  # type: ignore[arg-type]  # the groups' names are the kinds
            found.append(Token(kind, whole))
        if len(found) >= MOST:
            break
    return found


def behind(text: str, quote: str, *, backslash: bool) -> tuple[str, str] | None:
    """What stands before and behind the quote (`'`, `$$`, or the end of a comment) that ends what the text was put
    into; None if nothing does. `backslash`: whether a backslash escapes the quote, as in MySQL."""
    at = 0
    while True:
        at = text.find(quote, at)
        if at < 0:
            return None
        if len(quote) == 1 and text.startswith(quote, at + 1):
            at += 2
            continue
        if backslash and (len(text[:at]) - len(text[:at].rstrip("\\"))) % 2:
            at += 1
            continue
        return text[:at], text[at + len(quote) :]
