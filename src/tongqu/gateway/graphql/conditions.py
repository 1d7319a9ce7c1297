"""What the arguments of a field say, in the gateway's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Order, Related
from tongqu.gateway.graphql.inputs import FIELD
from tongqu.gateway.problems import Problem

_SEVERAL = ("in", "cs", "cd", "ov")


def condition(where: Mapping[str, Any] | None, place: str = "where") -> Condition | None:
    """All that a filter demands; None where it demands nothing.

    A null, and a list without anything in it, are refused: where a variable was forgotten, no more rows are meant.
    Raises Problem `value.invalid`.
    """
    if where is None:
        return None
    parts: list[Condition] = []
    for word, value in where.items():
        if value is None:
            raise _nothing(f"{place}.{word.removeprefix(FIELD)}")
        if word.startswith(FIELD):
            parts += _compared(word.removeprefix(FIELD), value, place)
        elif word == "not":
            inner = condition(value, f"{place}.not")
            if inner is None:
                raise _nothing(f"{place}.not")
            parts.append(Negated(inner))
        else:
            parts.append(_joined("or" if word == "or" else "and", value, f"{place}.{word}"))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))


def _joined(word: Any, several: Sequence[Mapping[str, Any]], place: str) -> Condition:
    made = [condition(one, place) for one in several]
    found = [one for one in made if one is not None]
    if not found or len(found) < len(made):
        raise _nothing(place)
    return Joined(word, tuple(found))


def _compared(name: str, asked: Mapping[str, Any], place: str) -> list[Condition]:
    made: list[Condition] = []
    for operator, value in asked.items():
        if value is None:
            raise _nothing(f"{place}.{name}")
        if operator == "is":
            made.append(Compare(name, "is", "null" if value else "not_null"))
        else:
            known: Any = operator
            made.append(Compare(name, known, tuple(value) if operator in _SEVERAL else value))
    if not made:
        raise _nothing(f"{place}.{name}")
    return made


def _nothing(place: str) -> Problem:
    detail = "null, or nothing, is no condition: leave it out, or ask `isNull`"
    return Problem("value.invalid", f"`{place}`: {detail}",
                   errors=[{"parameter": place, "code": "value.invalid", "detail": detail}])  # fmt: skip


def keyed(arguments: Mapping[str, Any]) -> Condition:
    """The condition that finds the row of a key."""
    parts = tuple(
        Compare(name.removeprefix(FIELD), "eq", value) for name, value in arguments.items() if name.startswith(FIELD)
    )
    return parts[0] if len(parts) == 1 else Joined("and", parts)


def dropping(arguments: Mapping[str, Any]) -> tuple[Related, ...]:
    """The relations that rows must have, or must not."""
    made: list[Related] = []
    for word, none in (("with", False), ("without", True)):
        for relation, where in (arguments.get(word) or {}).items():
            if where is None:
                raise _nothing(f"{word}.{relation}")
            inside = Ask(wanted=(), where=condition(where, f"{word}.{relation}"))
            made.append(Related(relation, inside, inner=not none, none=none))
    return tuple(made)


def ordered(arguments: Mapping[str, Any]) -> tuple[Order, ...]:
    """The order."""
    made = []
    for one in arguments.get("orderBy") or ():
        for name, (descending, nulls_first) in one.items():
            made.append(Order(name, descending, nulls_first))
    return tuple(made)


def asked(arguments: Mapping[str, Any], **more: Any) -> Ask:
    """The question of these arguments."""
    return Ask(
        where=condition(arguments.get("where")), order=ordered(arguments), limit=arguments.get("limit"),
        offset=arguments.get("offset") or 0, after=arguments.get("after") or "",
        arguments=dict(arguments.get("arguments") or {}), **more,
    )  # fmt: skip


def texts(arguments: Any, name: str = "") -> list[tuple[str, str]]:
    """All texts of arguments with the name they stand under, for the shield."""
    found: list[tuple[str, str]] = []
    waiting = [(name, arguments)]
    while waiting:
        under, value = waiting.pop()
        if isinstance(value, str):
            found.append((under, value))
        elif isinstance(value, list | tuple):
            waiting += [(under, one) for one in value]
        elif isinstance(value, dict):
            waiting += [(str(key), one) for key, one in value.items()]
    return found
