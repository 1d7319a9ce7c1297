"""Finds where an operand of an SQL expression ends, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tongqu.gateway.shield.functions import is_known
from tongqu.gateway.shield.statements import selects
from tongqu.gateway.shield.tokens import Token

LARGEST = 400
"""Tokens of one pair of parentheses that are looked at."""
ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "|", "&", "^", "::", "DIV", "MOD", "COLLATE", "AT"})
COMPARING = frozenset({"=", "<", ">", "<>", "!=", "<=", ">=", "<=>", "!<", "!>", "^=", ":=", "~", "~*", "!~", "!~*"})
PREDICATES = frozenset(
    {"LIKE", "ILIKE", "RLIKE", "REGEXP", "GLOB", "SIMILAR", "SOUNDS", "BETWEEN", "IN", "IS", "MATCH", "NOT", "ISNULL",
     "NOTNULL", "MEMBER", "OVERLAPS"}
)  # fmt: skip
CONSTANTS = frozenset({"NULL", "TRUE", "FALSE", "UNKNOWN", "CURRENT_TIMESTAMP", "CURRENT_DATE"})
CLAUSES = frozenset(
    {"SELECT", "FROM", "WHERE", "UNION", "INTERSECT", "EXCEPT", "MINUS", "ORDER", "GROUP", "HAVING", "LIMIT", "OFFSET",
     "FETCH", "INTO", "PROCEDURE", "FOR", "THEN", "ELSE", "END", "WHEN", "AS", "BY", "ON", "SET", "VALUES", "RETURNING",
     "ESCAPE", "DESC", "ASC", "WINDOW", "LOCK", "WAITFOR", "DROP", "INSERT", "UPDATE", "DELETE", "EXEC", "EXECUTE"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operand:
    """What stands between `start` and `end`. `constant`: made of literals only; `truth`: the one literal it is."""

    start: int
    end: int
    constant: bool
    calls: tuple[str, ...] = ()
    selects: bool = False
    truth: str = ""


def operand(found: Sequence[Token], start: int) -> Operand | None:
    """The operand that begins there: a literal, a name, a call, something in parentheses, or several of them joined by
    arithmetic; None if none does."""
    at = start
    constant, selects, truth = True, False, ""
    calls: list[str] = []
    while True:
        while at < len(found) and (found[at].text in ("+", "-", "~", "!", "NOT", "ALL", "ANY", "SOME", "BINARY",
                                                      "DISTINCT", "EXISTS", "PRIOR")):  # fmt: skip
            at += 1
        one = _primary(found, at)
        if one is None:
            return None
        constant &= one.constant
        selects |= one.selects
        calls += one.calls
        truth = one.truth if not truth and at == one.start else "several"
        at = one.end
        if at < len(found) and found[at].text in ARITHMETIC and at + 1 < len(found):
            at += 1
            continue
        break
    return Operand(start, at, constant, tuple(calls), selects, "" if truth == "several" else truth)


def _primary(found: Sequence[Token], at: int) -> Operand | None:
    if at >= len(found):
        return None
    token = found[at]
    if token.kind in ("number", "string"):
        return Operand(at, at + 1, True, truth=token.text)
    if token.kind == "(":
        return _group(found, at, ())
    if token.kind != "word" or token.text in CLAUSES or token.text in PREDICATES:
        return None
    if token.text == "CASE":
        return _case(found, at)
    if at + 1 < len(found) and found[at + 1].kind == "(":
        return _group(found, at + 1, (token.text,), start=at)
    if token.text in CONSTANTS:
        return Operand(at, at + 1, True, truth=token.text)
    return Operand(at, at + 1, False, (token.text,) if token.text.startswith("@@") else ())


def _group(found: Sequence[Token], at: int, called: tuple[str, ...], start: int | None = None) -> Operand:
    """What stands in parentheses; they may be left open at the end of the text."""
    depth, constant, compares, queries, end = 0, not called, False, False, at
    calls = list(called)
    for end in range(at, min(len(found), at + LARGEST)):
        token = found[end]
        depth += (token.kind == "(") - (token.kind == ")")
        if depth == 0:
            break
        compares |= token.text in COMPARING or token.kind == "logic"
        if token.kind == "word":
            constant &= token.text in CONSTANTS | PREDICATES
            if token.text == "CASE" and end + 1 < len(found) and found[end + 1].text == "WHEN":
                calls.append("CASE")
            queries |= token.text == "SELECT" and found[end - 1].kind == "(" and selects(found, end + 1)
            if end + 1 < len(found) and found[end + 1].kind == "(" and token.text not in CLAUSES | PREDICATES:
                calls.append(token.text)
    truth = ""
    if not called:
        truth = "TRUE" if constant and compares else found[at + 1].text if end == at + 2 else ""
    queries &= not called or any(is_known(name) for name in called)
    return Operand(at if start is None else start, end + 1, constant, tuple(calls), queries, truth)


def _case(found: Sequence[Token], at: int) -> Operand:
    end = next((n for n in range(at, len(found)) if found[n].text == "END"), len(found) - 1)
    selects = any(token.text == "SELECT" for token in found[at:end])
    return Operand(at, end + 1, False, ("CASE",), selects)
