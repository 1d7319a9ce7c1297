"""Filters in PostgREST's grammar: `not.`, `any` and `all`, lists, quoted values, trees of `and` and `or`."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from tongqu.gateway.asking import Compare, Condition, Joined, Negated, Operator
from tongqu.gateway.rest.scanning import DEEPEST, Scanner, json_path

_OPERATORS = frozenset(get_args(Operator))
_QUANTIFIED = frozenset(("eq", "like", "ilike", "gt", "gte", "lt", "lte", "match", "imatch"))
_PATTERNS = frozenset(("like", "ilike"))
_IS = {
    "null": "null", "not_null": "not_null", "true": "true", "false": "false", "unknown": "unknown",
}  # fmt: skip
_WORD = re.compile(r"[a-z]+")


def condition(name: str, text: str) -> Condition:
    """One parameter: `qty=gt.5`, `or=(a.eq.1,b.is.null)`, `not.and=(…)`. `name` may walk into JSON."""
    scanner = Scanner(text, name)
    negated, word = (True, name[4:]) if name.startswith("not.") else (False, name)
    found: Condition
    if word in ("and", "or"):
        found = _tree(scanner, "and" if word == "and" else "or", 0)
        if not scanner.done:
            scanner.refuse("nothing is expected behind the closing bracket")
        return Negated(found) if negated else found
    subject = Scanner(name, name)
    field = subject.name()
    path, as_text = json_path(subject)
    if not subject.done:
        subject.refuse("a field is expected")
    return _comparison(scanner, field, path, as_text, inside=False)


def _tree(scanner: Scanner, word: Literal["and", "or"], depth: int) -> Condition:
    if depth > DEEPEST:
        scanner.refuse("it nests too deep")
    scanner.need("(")
    parts: list[Condition] = []
    while True:
        while scanner.take(" "):
            pass
        parts.append(_part(scanner, depth))
        if not scanner.take(","):
            break
    scanner.need(")")
    return Joined(word, tuple(parts))


def _part(scanner: Scanner, depth: int) -> Condition:
    for prefix, negated in (("not.", True), ("", False)):
        for word in ("and", "or"):
            if scanner.peek(f"{prefix}{word}("):
                scanner.need(f"{prefix}{word}")
                found = _tree(scanner, "and" if word == "and" else "or", depth + 1)
                return Negated(found) if negated else found
    field = scanner.name()
    path, as_text = json_path(scanner)
    scanner.need(".")
    return _comparison(scanner, field, path, as_text, inside=True)


def _comparison(scanner: Scanner, field: str, path: tuple[str, ...], as_text: bool, inside: bool) -> Condition:
    negated = scanner.take("not.")
    match = _WORD.match(scanner.text, scanner.at)
    word = match.group() if match else ""
    operator: Operator | None = next((known for known in get_args(Operator) if known == word), None)
    if operator is None:
        scanner.refuse(f"an operator is expected, one of {' '.join(sorted(_OPERATORS))}")
    scanner.at += len(word)
    quantifier: Literal["", "any", "all"] = ""
    if operator in _QUANTIFIED:
        quantifier = "any" if scanner.take("(any)") else "all" if scanner.take("(all)") else ""
    scanner.need(".")
    value = _value(scanner, operator, quantifier, inside)
    compare = Compare(field, operator, value, quantifier, path, as_text)
    return Negated(compare) if negated else compare


def _value(scanner: Scanner, operator: Operator, quantifier: str, inside: bool) -> Any:
    if operator == "in":
        return tuple(_list(scanner, "(", ")", inside))
    if operator in ("cs", "cd", "ov"):
        return tuple(_list(scanner, "{", "}", inside)) if scanner.peek("{") else _single(scanner, inside)
    if quantifier:
        words = _list(scanner, "{", "}", inside)
        return tuple(_pattern(word) if operator in _PATTERNS else word for word in words)
    text = _single(scanner, inside)
    if operator == "is":
        known = _IS.get(text.lower())
        if known is None:
            scanner.refuse(f"`is` takes one of {' '.join(_IS)}")
        return known
    return _pattern(text) if operator in _PATTERNS else text


def _single(scanner: Scanner, inside: bool) -> str:
    """A value: the rest of a parameter, or inside a tree up to a comma or bracket unless quoted."""
    if not inside:
        rest = scanner.text[scanner.at :]
        scanner.at = len(scanner.text)
        return rest
    if scanner.peek('"'):
        return scanner.quoted()
    if scanner.peek("{"):  # a JSON value or array literal keeps its commas
        begin = scanner.at
        scanner.until("}")
        scanner.need("}")
        return scanner.text[begin : scanner.at]
    return scanner.until(",)")


def _list(scanner: Scanner, begin: str, end: str, inside: bool) -> list[str]:
    scanner.need(begin)
    found: list[str] = []
    if scanner.take(end):
        return found
    while True:
        while scanner.take(" "):
            pass
        found.append(scanner.quoted() if scanner.peek('"') else scanner.until(f",{end}"))
        if not scanner.take(","):
            break
    scanner.need(end)
    if not inside and not scanner.done:
        scanner.refuse("nothing is expected behind the closing bracket")
    return found


def _pattern(text: str) -> str:
    """`*` is another way to write `%`, which addresses must encode."""
    return text.replace("*", "%")
