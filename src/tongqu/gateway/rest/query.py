"""A query string as an `Ask`: what is selected, filtered, ordered and cut, on every level of embedding."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Order, Related, Wanted
from tongqu.gateway.problems import malformed
from tongqu.gateway.rest.filtering import condition
from tongqu.gateway.rest.ordering import ordered
from tongqu.gateway.rest.selecting import ALL, Embedded, Selected, selected

MOST_OUTPUTS = 500
MOST_CONDITIONS = 100
MOST_RELATIONS = 12
_BIGGEST = 2**53
_LOGIC = ("and", "or", "not.and", "not.or")
_SINGLE = ("select", "columns", "on_conflict")
_CUT = ("order", "limit", "offset")
_BRANCH = ("order", "limit", "offset", *_LOGIC)


@dataclass
class Level:
    """One level of a query while it is read."""

    chosen: Selected
    where: list[Condition] = field(default_factory=list)
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    below: list[tuple[Embedded, Level]] = field(default_factory=list)
    without: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Words:
    """What a query string says: the question, and what only writes use."""

    ask: Ask
    filtered: bool
    """Whether any condition limits the rows of the first level."""
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] = ()


def words(pairs: Sequence[tuple[str, str]], arguments: Collection[str] = ()) -> Words:
    """The parsed query; `arguments` are the names of an SQL source's parameters, which are given as plain values.

    Raises Problem `query.malformed` naming the parameter. A name that is not reserved is a field; in double quotes any
    name is. Whether fields exist is not known here.
    """
    root = _levels(selected(_once(pairs, arguments).get("select", "*")))
    given: dict[str, Any] = {}
    columns: tuple[str, ...] | None = None
    conflict: tuple[str, ...] = ()
    for name, text in pairs:
        if name == "select":
            continue
        if name == "columns":
            columns = _names(text, "columns")
        elif name == "on_conflict":
            conflict = _names(text, "on_conflict")
        elif name in arguments:
            given[name] = text
        else:
            _place(root, name, text)
    ask = _ask(root)
    _bounded(ask)
    return Words(Ask(**{**ask.__dict__, "arguments": given}), bool(root.where), columns, conflict)


def _once(pairs: Sequence[tuple[str, str]], arguments: Collection[str]) -> dict[str, str]:
    """What says something only once; raises Problem where it says two things: a proxy before us may have read the
    other one."""
    found: dict[str, str] = {}
    for name, text in pairs:
        single = name in _SINGLE or name.rpartition(".")[2] in _CUT or name in arguments
        if single and found.setdefault(name, text) != text:
            raise malformed(name, f"`{name}` is given twice")
    return found


def _names(text: str, where: str) -> tuple[str, ...]:
    level = selected(text, where)
    if level.related or any(item.path or item.cast or item.aggregate or item == ALL for item in level.wanted):
        raise malformed(where, f"`{where}` takes names of fields")
    return tuple(item.field for item in level.wanted)


def _levels(chosen: Selected) -> Level:
    return Level(chosen, below=[(child, _levels(child.inside)) for child in chosen.related])


def _place(root: Level, name: str, text: str) -> None:
    level, rest = root, name
    while True:
        child = next(((e, sub) for e, sub in level.below if rest.startswith(f"{e.name or e.relation}.")), None)
        if child is None:
            break
        level, rest = child[1], rest[len(child[0].name or child[0].relation) + 1 :]
    if rest == "order":
        level.order = ordered(text, name)
    elif rest in ("limit", "offset"):
        setattr(level, rest, _number(text, name))
    else:
        level.where.extend(() if _existence(level, rest, text) else (condition(rest, text),))


def _existence(level: Level, rest: str, text: str) -> bool:
    """`relation=is.null` and `relation=not.is.null` keep rows without, or with, related ones."""
    for number, (child, _) in enumerate(level.below):
        if rest == (child.name or child.relation) and text.lower() in ("is.null", "not.is.null", "is.not_null"):
            if text.lower() == "is.null":
                level.without.add(number)
            else:
                child.inner = True
            return True
    return False


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:20]) > _BIGGEST:
        raise malformed(name, f"`{name}` takes a whole number, not below 0")
    return int(text)


def _ask(level: Level) -> Ask:
    wanted = tuple(level.chosen.wanted)
    return Ask(
        wanted=None if wanted == (ALL,) else wanted,
        where=_all(level.where),
        order=level.order,
        limit=level.limit,
        offset=level.offset,
        related=tuple(
            Related(child.relation, _ask(sub), child.name, child.inner, child.spread, none=number in level.without)
            for number, (child, sub) in enumerate(level.below)
        ),
    )


def _all(parts: Sequence[Condition]) -> Condition | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    return Joined("and", tuple(parts))


def _bounded(ask: Ask) -> None:
    outputs, conditions, relations = _sizes(ask)
    for count, most, what in (
        (outputs, MOST_OUTPUTS, "outputs"),
        (conditions, MOST_CONDITIONS, "conditions"),
        (relations, MOST_RELATIONS, "embedded APIs"),
    ):
        if count > most:
            raise malformed("select" if what != "conditions" else "and", f"more than {most} {what} are too many")


def _sizes(ask: Ask) -> tuple[int, int, int]:
    inner = [_sizes(related.ask) for related in ask.related]
    own: tuple[Wanted, ...] = ask.wanted or ()
    return (
        len(own) + sum(size[0] for size in inner),
        _conditions(ask.where) + sum(size[1] for size in inner),
        len(ask.related) + sum(size[2] for size in inner),
    )


def _conditions(where: Condition | None) -> int:
    if where is None or isinstance(where, Compare):
        return 0 if where is None else 1
    return _conditions(where.part) if isinstance(where, Negated) else sum(_conditions(part) for part in where.parts)
