"""Changes single columns inside a stored CREATE TABLE statement, leaving every other character as it is.

SQLite alters neither types nor NOT NULL. Its documentation (lang_altertable, "Making Other Kinds Of Table Schema
Changes") allows to write the statement in sqlite_schema anew where the stored rows stay valid.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_PIECE = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|\s+|.""", re.DOTALL
)
_AFTER_TYPE = frozenset(
    (
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
        "AS",
        "FOREIGN",
    )
)
_NOT_NULL = re.compile(r"\s*(?:CONSTRAINT\s+\S+\s+)?NOT\s+NULL(?:\s+ON\s+CONFLICT\s+\w+)?", re.IGNORECASE)


def changed(sql: str, types: Mapping[str, str], optional: Collection[str]) -> str:
    """The statement with new declared types for some columns, and without NOT NULL for some."""
    pieces = _PIECE.findall(sql)
    parts: list[list[str]] = [[]]
    depth = 0
    for piece in pieces:
        depth += (piece == "(") - (piece == ")")
        opens, ends = piece == "(" and depth == 1, piece == ")" and depth == 0
        if (piece == "," and depth == 1) or ends:
            parts.append([])
        parts[-1].append(piece)
        if opens or (piece == "," and depth == 1):
            parts.append([])
    by_name = {name.lower(): declared for name, declared in types.items()}
    free = {name.lower() for name in optional}
    return "".join(_column(part, by_name, free) for part in parts)


def _column(part: list[str], types: Mapping[str, str], optional: Collection[str]) -> str:
    text = "".join(part)
    at = next((number for number, piece in enumerate(part) if _solid(piece)), None)
    if at is None:
        return text
    name = _name(part[at]).lower()
    if part[at].upper() in _AFTER_TYPE or (name not in types and name not in optional):
        return text
    head, rest = "".join(part[: at + 1]), part[at + 1 :]
    end = next((n for n, piece in enumerate(rest) if piece.upper() in _AFTER_TYPE), len(rest))
    declared, tail = "".join(rest[:end]), "".join(rest[end:])
    if name in types:
        declared = f" {types[name]}" + (" " if tail else "")
    if name in optional:
        tail = _NOT_NULL.sub("", tail, count=1)
    return head + declared + tail


def _solid(piece: str) -> bool:
    return not piece.isspace() and not piece.startswith(("--", "/*"))


def _name(piece: str) -> str:
    """An identifier without its quotes."""
    if piece[0] in "\"'`":
        return piece[1:-1].replace(piece[0] * 2, piece[0])
    return piece[1:-1] if piece[0] == "[" else piece
