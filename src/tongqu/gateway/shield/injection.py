"""Judges whether a text, put into an SQL statement by somebody's mistake, would change what the statement does.

The text is read as it would stand behind a number (`c = TEXT`) and inside each kind of quotes (`c = 'TEXT'`). Quotes
alone do no harm: `O'Brien` ends a literal, but what follows is no SQL. A finding needs both: a literal that ends, or an
operand that is complete, and behind it something that a database would carry out. What tokens leave open, sqlglot's
parser decides. The defence against injection are bound parameters; this only sees the attempt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tongqu.gateway.shield.decoding import plain
from tongqu.gateway.shield.functions import DANGEROUS, is_dangerous, is_known
from tongqu.gateway.shield.operands import ARITHMETIC, CLAUSES, COMPARING, CONSTANTS, PREDICATES, Operand, operand
from tongqu.gateway.shield.parsing import changes
from tongqu.gateway.shield.statements import STATEMENTS, begins, selects
from tongqu.gateway.shield.tokens import Token, behind, tokens

_SUSPICIOUS = re.compile(
    r"""['"`;()#=|&%\\@<>\[\]\0]|--|/\*|\b(?:or|and|xor|union|select|having|order|group|exec|waitfor|limit|sleep|when|
    like|rlike|regexp|between|into|procedure|declare|drop|insert|update|delete|is|in|not)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_PARTICLES = frozenset(
    {"ALL", "ANY", "SOME", "DISTINCT", "EXISTS", "CASE", "INTERVAL", "ROW", "BINARY", "ESCAPE", "ANALYSE", "BOOLEAN",
     "MODE", "ASCII", "OUTFILE", "DUMPFILE", "DELAY"}
)  # fmt: skip
WORDS = CLAUSES | PREDICATES | ARITHMETIC | CONSTANTS | STATEMENTS | _PARTICLES
"""Words that are no names."""
ALONE = STATEMENTS - {"USE", "SHOW", "WITH", "TABLE", "DO", "SET", "VALUES", "COPY", "PRINT", "REPLACE"}
"""Statements that SQL Server takes without a semicolon before them."""
_SETS = frozenset({"UNION", "INTERSECT", "EXCEPT", "MINUS"})
_CLAUSES = frozenset({"ORDER", "GROUP", "HAVING", "LIMIT", "INTO", "PROCEDURE", "OFFSET", "WHERE", "FROM", "RETURNING",
                      "FOR", "FETCH", "AS", "ESCAPE"})  # fmt: skip
_CATALOGUES = re.compile(
    r"INFORMATION_SCHEMA\.|PG_CATALOG\.|PG_(?:SHADOW|USER|TABLES|CLASS|STAT)|SYS\.|SYSOBJECTS|SYSCOLUMNS|"
    r"SQLITE_(?:MASTER|SCHEMA)|ALL_TAB|USER_TABLES|V\$|MYSQL\.|MASTER\.\.|MSYSOBJECTS|SYSIBM\.|@@"
)
_LIKE = frozenset({"LIKE", "RLIKE", "REGEXP", "GLOB", "BETWEEN"})
_QUOTES = ("'", '"', "`", "$$", "*/")
MOST = 100_000
"""Characters that are looked at behind the place where a text leaves its literal."""
CONDITIONS = 200
"""AND and OR of one text that are looked at; nobody but a machine writes more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: the `rule`'s name, and in which place of a statement the text would be harmful (`context`: empty
    for a number's place, else the quote)."""

    rule: str
    context: str


def examine(text: str) -> Finding | None:
    """The first finding in the text, in any of its disguises."""
    if text.isascii() and not _SUSPICIOUS.search(text):
        return None
    for disguise in plain(text):
        if _SUSPICIOUS.search(disguise):
            found = _plain(disguise)
            if found is not None:
                return found
    return None


def _plain(text: str) -> Finding | None:
    for quote in _QUOTES:
        if quote not in text:
            continue
        for backslash in (False, True) if "\\" in text else (False,):
            ended = behind(text, quote, backslash=backslash)
            if ended is not None and ended[1]:
                rule = _quoted(ended[0], tokens(ended[1][:MOST]), quote)
                if rule:
                    return Finding(rule, quote)
    rule = _bare(text, tokens(text[:MOST])) or _in_brackets(text)
    if rule:
        return Finding(rule, "")
    return None


def _in_brackets(text: str) -> str:
    """The rule that a text breaks where it ends a name in brackets (SQL Server, Access)."""
    found = tokens(text.partition("]")[2][:MOST]) if "]" in text else []
    if not found or not (found[0].kind == "logic" or found[0].text in ARITHMETIC):
        return ""
    return _anywhere(found, 0, quoted=False)


def _quoted(before: str, found: list[Token], quote: str) -> str:
    """The rule that what follows an ended literal breaks; empty if it breaks none."""
    at = 0
    closed = False
    while at < len(found) and (found[at].kind in (")", "string") or found[at].text == "]"):
        closed |= found[at].kind == ")"
        at += 1
    if at == len(found):
        return ""
    first = found[at]
    if first.kind == "comment":
        quotes_a_word = quote in first.text and (quote == "`" or first.text.startswith("#"))
        return "" if quotes_a_word else "comment"
    rule = _statement(found, at, quoted=True) or _clause(found, at, quoted=True)
    if rule:
        return rule
    joins = first.kind in ("logic", ",", ";") or first.text in ARITHMETIC | COMPARING or first.text in PREDICATES
    if not joins:
        return ""
    rule = _anywhere(found, at, quoted=True)
    if rule:
        return rule
    return _comparison(before, found, at)


def _comparison(before: str, found: Sequence[Token], at: int) -> str:
    """A literal that goes on as a comparison or a concatenation."""
    first = found[at]
    following = operand(found, at + 1)
    if first.kind == "operator" and not before and len(found) == at + 2 and found[at + 1].text in ("'", '"'):
        return "bypass"
    compares = first.text in COMPARING - {"<", ">", "~"} or first.text in _LIKE
    if compares and following is not None and following.end >= len(found) - 1:
        return "comparison"
    if first.text == "IS" and at + 1 < len(found) and found[at + 1].text in ("NULL", "NOT"):
        return "comparison"
    if first.text == "||" and following is not None and at + 2 < len(found) and found[at + 2].text == "||":
        return "concatenation"
    return ""


def _bare(text: str, found: list[Token]) -> str:
    """The rule that a text breaks where a number should stand."""
    if not found:
        return ""
    first = operand(found, 0)
    if first is None or first.end == 0:
        return ""
    danger = _danger(first, alone=True)
    if "CASE" in first.calls and found[0].kind == "(" and any(token.text == "END" for token in found[: first.end]):
        danger = "function"
    if danger and first.end >= len(found) - 1:
        return danger
    at = first.end
    while at < len(found) and found[at].kind == ")":
        at += 1
    if at == len(found):
        return ""
    rule = _statement(found, at, quoted=False) or _clause(found, at, quoted=False)
    if rule:
        return rule
    if found[at].kind == "logic" or found[at].text in COMPARING | PREDICATES or found[at].kind == ",":
        rule = _anywhere(found, at, quoted=False, literal=first.constant and found[at].kind == "logic", first=first)
        if rule:
            return rule
        if _worth_parsing(found) and changes(text):
            return "structure"
    return ""


def _worth_parsing(found: Sequence[Token]) -> bool:
    words = {token.text for token in found}
    return "SELECT" in words or bool(words & DANGEROUS)


def _statement(found: Sequence[Token], at: int, *, quoted: bool) -> str:
    """A further statement, or a set operation."""
    token = found[at]
    if token.kind == ";":
        after = at + 1
        while after < len(found) and found[after].kind == ";":
            after += 1
        if after < len(found) and found[after].kind == "comment":
            return "comment" if quoted else ""
        return "stacked" if begins(found, after) else ""
    if token.text in _SETS:
        after = at + 1
        while after < len(found) and (
            found[after].text in ("ALL", "DISTINCT", "CORRESPONDING") or found[after].kind == "("
        ):
            after += 1
        word = found[after].text if after < len(found) else ""
        reads = word == "VALUES" or (word == "SELECT" and (quoted or selects(found, after + 1)))
        return "union" if reads or (word == "TABLE" and quoted) else ""
    after_literal = quoted or token.text == "WAITFOR" or found[0].kind in ("number", "string", "(", "operator")
    if token.text in ALONE and after_literal and begins(found, at):
        listed = at + 1 + (found[at + 1].text in ("ALL", "DISTINCT")) if at + 1 < len(found) else at
        words_only = token.text == "SELECT" and (listed >= len(found) or found[listed].kind == "string")
        return "" if words_only else "stacked"
    return ""


def _clause(found: Sequence[Token], at: int, *, quoted: bool) -> str:
    """A further clause of the statement: ORDER BY 5, INTO OUTFILE, HAVING, LIMIT, PROCEDURE ANALYSE."""
    word = found[at].text
    if word not in _CLAUSES or found[at].kind != "word":
        return ""
    following = found[at + 1] if at + 1 < len(found) else None
    if following is None:
        return ""
    ends = at + 3 >= len(found) or found[at + 3].kind in ("comment", ",", ";", ")") or quoted
    if word in ("ORDER", "GROUP"):
        return "clause" if following.text == "BY" and ends and operand(found, at + 2) is not None else ""
    if word == "INTO":
        return "clause" if following.text in ("OUTFILE", "DUMPFILE") or following.text.startswith("@") else ""
    if word == "PROCEDURE":
        return "clause" if following.text == "ANALYSE" else ""
    if word in ("LIMIT", "OFFSET"):
        number = following.kind == "number" and (
            at + 2 >= len(found)
            or found[at + 2].kind in ("comment", ",", ";")
            or found[at + 2].text in _SETS | _CLAUSES
        )
        return "clause" if number or following.kind == "(" else ""
    if word == "AS" and at + 2 < len(found) and found[at + 2].text == "WHERE":
        return _clause(found, at + 2, quoted=quoted)
    if word in ("HAVING", "WHERE"):
        one = operand(found, at + 1)
        if one is not None and _compares(found, one.end) and (quoted or one.constant):
            return "clause"
        return _anywhere(found, at + 1, quoted=quoted)
    return _anywhere(found, at, quoted=quoted) if quoted and word in ("FROM", "RETURNING", "ESCAPE") else ""


def _anywhere(
    found: Sequence[Token], start: int, *, quoted: bool, literal: bool = False, first: Operand | None = None
) -> str:
    """What is harmful wherever it stands in an expression: conditions, subqueries, calls, statements, catalogues."""
    conditions = 0
    for at in range(start, len(found)):
        token = found[at]
        if at > start and _breaks(found[at - 1], token):
            return ""
        if token.kind == "logic":
            conditions += 1
            rule = _condition(found, at, quoted=quoted, literal=literal and at == start, first=first)
            rule = rule or ("complexity" if conditions > CONDITIONS else "")
            if rule:
                return rule
        elif token.kind == "(" and at + 1 < len(found) and found[at + 1].text == "SELECT" and selects(found, at + 2):
            return "subquery"
        elif token.kind == ";" or token.text in _SETS:
            rule = _statement(found, at, quoted=quoted)
            if rule or token.kind == ";":
                return rule
        elif token.kind == "word":
            rule = _word(found, at, quoted=quoted)
            if rule:
                return rule
        elif token.kind == "comment" and quoted and (found[start].kind in (",", "logic") or found[start].text == "IN"):
            return "comment"
    return ""


def _word(found: Sequence[Token], at: int, *, quoted: bool) -> str:
    """A call, a catalogue, a statement or a clause that a word begins."""
    word = found[at].text
    called = at + 1 < len(found) and found[at + 1].kind == "("
    if called and (is_dangerous(word) or (quoted and is_known(word))):
        return "function"
    if _CATALOGUES.search(word):
        return "catalogue"
    if word in ("WAITFOR", "EXEC", "EXECUTE", "XP_CMDSHELL") and begins(found, at):
        return "stacked"
    if quoted and word == "CASE" and at + 1 < len(found) and found[at + 1].text == "WHEN":
        return "function"
    return "clause" if quoted and word in _CLAUSES and _clause(found, at, quoted=False) else ""


def _breaks(before: Token, token: Token) -> bool:
    """Whether no SQL goes on like this: two operands with nothing between them."""
    ends = before.kind in ("number", "string", ")") or (before.kind == "word" and before.text not in WORDS)
    goes_on = token.kind == "number" or (token.kind == "word" and token.text not in WORDS)
    return ends and goes_on and not token.text.startswith("@@")


def _condition(found: Sequence[Token], at: int, *, quoted: bool, literal: bool, first: Operand | None) -> str:
    """A condition that AND or OR adds: a comparison, a constant that is true, a call or a subquery."""
    one = operand(found, at + 1)
    if one is None:
        return ""
    danger = _danger(one, alone=False)
    if danger:
        return danger
    end = one.end
    if _compares(found, end):
        other = operand(
            found, end + 1 + (end + 1 < len(found) and found[end + 1].text in PREDICATES | {"NULL"} - {"IN"})
        )
        constant = one.constant and (other is None or other.constant)
        whole = other is None or other.end >= len(found) or found[other.end].kind in ("comment", ")", "logic", ";")
        if quoted or constant or (literal and whole):
            return "condition"
        return _danger(other, alone=False) if other is not None else ""
    if found[at].text == "||" and quoted and one.calls:
        return "function"
    closes = end >= len(found) or found[end].kind in ("comment", ";", ")", "logic")
    commented = end < len(found) and found[end].kind == "comment"
    if closes and one.constant and _is_true(one.truth):
        same = first is not None and first.truth == one.truth
        if quoted or same or one.truth == "TRUE" or (literal and commented):
            return "condition"
    if literal and one.constant and found[at].text in ("&&", "||") and closes:
        return "condition"
    return ""


def _compares(found: Sequence[Token], at: int) -> bool:
    return at < len(found) and (found[at].text in COMPARING or found[at].text in PREDICATES)


def _danger(one: Operand, *, alone: bool) -> str:
    if one.selects:
        return "subquery"
    if any(is_dangerous(name) or (not alone and is_known(name)) for name in one.calls):
        return "function"
    return ""


def _is_true(truth: str) -> bool:
    """Whether a database takes the literal for true."""
    text = truth.strip("'\"")
    return text.upper() == "TRUE" or bool(re.match(r"\s*[+-]?(?:0x)?0*\.?0*[1-9]", text))
