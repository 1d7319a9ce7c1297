"""`select=`: fields, aliases, casts, steps into JSON, aggregates and related APIs, as outputs that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from tongqu.gateway.asking import Aggregate, Wanted
from tongqu.gateway.rest.scanning import DEEPEST, Scanner, json_path

_AGGREGATES = get_args(Aggregate)
ALL = Wanted("*")
"""All fields that the caller may see, at this place of a list."""


@dataclass
class Selected:
    """What one level of `select` says, before conditions are added to it."""

    wanted: list[Wanted] = field(default_factory=list)
    related: list[Embedded] = field(default_factory=list)


@dataclass
class Embedded:
    """A related API in a `select`."""

    relation: str
    inside: Selected
    name: str = ""
    inner: bool = False
    spread: bool = False


def selected(text: str, where: str = "select") -> Selected:
    """The parsed text; raises Problem `query.malformed` with the character. An empty text means all fields."""
    scanner = Scanner(text, where)
    if not text.strip():
        return Selected([ALL])
    found = _level(scanner, 0)
    if not scanner.done:
        scanner.refuse("a comma is expected")
    return found


def _level(scanner: Scanner, depth: int) -> Selected:
    if depth > DEEPEST:
        scanner.refuse("it nests too deep")
    level = Selected()
    while True:
        while scanner.take(" "):
            pass
        _item(scanner, level, depth)
        if not scanner.take(","):
            return level


def _item(scanner: Scanner, level: Selected, depth: int) -> None:
    if scanner.take("..."):
        level.related.append(_embedded(scanner, scanner.name(), "", depth, spread=True))
        return
    if scanner.take("*"):
        level.wanted.append(ALL)
        return
    name, alias = scanner.name(), ""
    if scanner.peek(":") and not scanner.peek("::"):
        scanner.need(":")
        alias, name = name, scanner.name()
    if name == "count" and scanner.take("()"):
        level.wanted.append(Wanted("", alias or "count", _cast(scanner), "count"))
    elif scanner.peek("!") or scanner.peek("("):
        level.related.append(_embedded(scanner, name, alias, depth, spread=False))
    else:
        level.wanted.append(_field(scanner, name, alias))


def _field(scanner: Scanner, name: str, alias: str) -> Wanted:
    path, text = json_path(scanner)
    aggregate: Aggregate | None = None
    cast = _cast(scanner)
    if scanner.take("."):
        word = scanner.name()
        aggregate = next((known for known in _AGGREGATES if known == word), None)
        if aggregate is None or not scanner.take("()"):
            scanner.refuse(f"one of {', '.join(f'{known}()' for known in _AGGREGATES)} is expected")
        if cast:
            scanner.refuse("a cast stands behind its aggregate")
        cast = _cast(scanner)
    if not alias:
        alias = aggregate or next((step for step in reversed(path) if not step.isdigit()), "")
    return Wanted(name, alias, cast, aggregate, path, text)


def _cast(scanner: Scanner) -> str:
    if not scanner.take("::"):
        return ""
    word = scanner.until("(,).")
    if not word:
        scanner.refuse("the name of a type is expected")
    if scanner.take("("):
        word += f"({scanner.until(')')})"
        scanner.need(")")
    return word


def _embedded(scanner: Scanner, relation: str, alias: str, depth: int, spread: bool) -> Embedded:
    inner = False
    while scanner.take("!"):
        hint = scanner.name()
        if hint not in ("inner", "left"):
            scanner.refuse("a relation has one name: only `!inner` and `!left` can follow it")
        inner = hint == "inner"
    scanner.need("(")
    inside = Selected() if scanner.peek(")") else _level(scanner, depth + 1)
    scanner.need(")")
    return Embedded(relation, inside, alias, inner, spread)
