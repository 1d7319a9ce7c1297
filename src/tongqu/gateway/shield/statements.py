"""Tells whether words read like the beginning of an SQL statement, and not like a sentence about one."""

from __future__ import annotations

from collections.abc import Sequence

from tongqu.gateway.shield.functions import is_known
from tongqu.gateway.shield.tokens import Token

_THINGS = frozenset(
    {
        "TABLE",
        "DATABASE",
        "USER",
        "ROLE",
        "FUNCTION",
        "PROCEDURE",
        "VIEW",
        "INDEX",
        "SCHEMA",
        "LOGIN",
        "TRIGGER",
        "OR",
        "TEMP",
        "TEMPORARY",
        "EXTENSION",
        "LANGUAGE",
        "ALIAS",
        "MATERIALIZED",
        "UNIQUE",
        "IF",
        "SEQUENCE",
        "PROC",
        "SYSTEM",
        "SESSION",
        "OPERATOR",
        "AGGREGATE",
        "RULE",
        "POLICY",
        "EVENT",
        "TABLESPACE",
        "ASSEMBLY",
    }
)
_AFTER_NAME = frozenset(
    {
        "AS",
        "LIKE",
        "CASCADE",
        "RESTRICT",
        "ADD",
        "DROP",
        "RENAME",
        "MODIFY",
        "ALTER",
        "SET",
        "WITH",
        "IDENTIFIED",
        "ON",
        "LANGUAGE",
        "RETURNS",
        "FROM",
        "SELECT",
        "PASSWORD",
        "OWNER",
        "UNION",
        "SUPERUSER",
        "PURGE",
        "CHANGE",
        "DISABLE",
        "ENABLE",
        "FOR",
        ";",
    }
)
_NEXT: dict[str, frozenset[str]] = {
    "INSERT": frozenset({"INTO", "IGNORE", "OVERWRITE", "OR"}),
    "REPLACE": frozenset({"INTO"}),
    "MERGE": frozenset({"INTO"}),
    "DELETE": frozenset({"FROM"}),
    "DROP": _THINGS,
    "CREATE": _THINGS,
    "ALTER": _THINGS,
    "TRUNCATE": frozenset({"TABLE"}),
    "RENAME": frozenset({"TABLE", "USER"}),
    "WAITFOR": frozenset({"DELAY", "TIME"}),
    "ATTACH": frozenset({"DATABASE"}),
    "LOAD": frozenset({"DATA", "EXTENSION", "XML"}),
    "BACKUP": frozenset({"DATABASE", "LOG"}),
    "RESTORE": frozenset({"DATABASE"}),
    "VACUUM": frozenset({"INTO"}),
    "DO": frozenset({"SLEEP"}),
    "GRANT": frozenset({"ALL", "SELECT", "INSERT", "UPDATE", "DELETE", "DBA", "EXECUTE", "CREATE", "DROP", "FILE"}),
    "REVOKE": frozenset({"ALL", "SELECT", "INSERT", "UPDATE", "DELETE", "DBA", "EXECUTE"}),
    "RECONFIGURE": frozenset({"WITH"}),
}
STATEMENTS = frozenset(_NEXT) | {
    "SELECT",
    "UPDATE",
    "EXEC",
    "EXECUTE",
    "CALL",
    "DECLARE",
    "SET",
    "SHUTDOWN",
    "IF",
    "BEGIN",
    "COPY",
    "PRAGMA",
    "KILL",
    "HANDLER",
    "DBCC",
    "PRINT",
    "WHILE",
    "WITH",
    "USE",
    "COMMIT",
    "ROLLBACK",
    "DESCRIBE",
    "EXPLAIN",
    "ANALYZE",
    "VALUES",
    "TABLE",
    "SHOW",
}


def begins(found: Sequence[Token], at: int) -> bool:
    """Whether a statement begins there."""
    if at >= len(found) or found[at].text not in STATEMENTS:
        return False
    word = found[at].text
    following = found[at + 1] if at + 1 < len(found) else None
    after = found[at + 2] if at + 2 < len(found) else None
    if following is None:
        return word in ("SHUTDOWN", "RECONFIGURE", "ROLLBACK", "COMMIT")
    if following.kind in ("comment", ";"):
        return word in ("SHUTDOWN", "RECONFIGURE", "ROLLBACK", "COMMIT", "BEGIN")
    if following.text in _NEXT.get(word, ()):
        return word not in ("CREATE", "ALTER", "DROP", "TRUNCATE") or _named(found, at + 2)
    if word == "SELECT":
        return selects(found, at + 1)
    if word == "UPDATE":
        return after is not None and after.text == "SET"
    return _fits(word, following, after)


def _named(found: Sequence[Token], at: int) -> bool:
    """Whether a name follows, and behind it something other than another word of a sentence."""
    while at < len(found) and (found[at].text in _THINGS or found[at].text in ("NOT", "EXISTS", "REPLACE")):
        at += 1
    if at >= len(found) or found[at].kind not in ("word", "string"):
        return False
    after = found[at + 1] if at + 1 < len(found) else None
    return after is None or after.kind in ("(", ",", ";", "comment", "string") or after.text in _AFTER_NAME


def selects(found: Sequence[Token], at: int) -> bool:
    """Whether a select list begins there."""
    if at < len(found) and found[at].text in ("ALL", "DISTINCT", "TOP", "DISTINCTROW", "SQL_CALC_FOUND_ROWS"):
        at += 1
    if at >= len(found):
        return False
    first = found[at]
    if first.kind in ("number", "string", "(") or first.text in ("*", "NULL", "-", "+", "~", "!", "CASE", "EXISTS"):
        return True
    if first.kind != "word":
        return False
    if first.text.startswith("@"):
        return True
    after = found[at + 1] if at + 1 < len(found) else None
    return after is not None and (
        after.kind in ("(", ",", "comment", "logic", ";")
        or after.kind == "operator"
        or after.text in ("FROM", "INTO", "AS")
        or (after.kind == ")" and is_known(first.text))
    )


def _fits(word: str, following: Token, after: Token | None) -> bool:
    kind = following.kind
    if word in ("EXEC", "EXECUTE", "CALL"):
        return (
            kind in ("(", "string")
            or "_" in following.text
            or "." in following.text
            or following.text[:1] == "@"
            or (after is not None and after.kind in ("(", "string", "number", "comment", ";"))
            or following.text == "IMMEDIATE"
        )
    if word in ("DECLARE", "SET"):
        return following.text.startswith("@") or (after is not None and after.text in ("=", "CURSOR", "VARCHAR", "INT"))
    if word in ("IF", "WHILE"):
        compared = after is not None and after.kind == "operator"
        return kind == "(" or following.text == "EXISTS" or (kind in ("number", "string") and compared)
    if word in ("PRINT", "KILL", "COPY", "DO", "ATTACH", "LOAD", "VALUES"):
        return (
            kind in ("number", "string", "(")
            or following.text.startswith("@@")
            or (word == "COPY" and after is not None and after.text in ("FROM", "TO", "("))
        )
    if word in ("PRAGMA", "DBCC", "HANDLER", "WITH"):
        return after is not None and (after.kind == "(" or after.text in ("=", "OPEN", "AS", "READ"))
    if word == "SHUTDOWN":
        return following.text in ("WITH", "IMMEDIATE", "ABORT")
    if word == "USE":
        return after is not None and after.kind in (";", "comment")
    return False
