"""Query strings that differ in values only are one pattern: it is read once, and the values are told beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from urllib.parse import unquote

from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Slot

_VALUE = re.compile(
    r"(?:^|(?<=&))(?!(?:select|order|limit|offset|columns|on_conflict|and|or)=)"
    r"([A-Za-z_]\w*=(?:not\.)?(?:eq|neq|gt|gte|lt|lte)\.)([^&]*)",
    re.ASCII,
)
"""A plain comparison of a field, and its value, which is all that follows."""
_MARK = "%00"
"""Begins what stands for a value while a pattern is read; queries that hold it themselves are no patterns."""
_MOST = 50
_BETWEEN = "\n"


def split(query: str) -> tuple[str, list[str]] | None:
    """The pattern of a query and its values, decoded; None for a query without any."""
    parts = _VALUE.split(query)
    if len(parts) == 1 or len(parts) > 3 * _MOST or _MARK in query or _BETWEEN in query:
        return None
    values = parts[2::3]
    del parts[2::3]
    return _BETWEEN.join(parts), [_decoded(value) if "%" in value or "+" in value else value for value in values]


def _decoded(value: str) -> str:
    return unquote(value.replace("+", " "), errors="replace")  # as `parse_qsl` does


def marked(pattern: str) -> tuple[str, int]:
    """A query of the pattern with marks for its values, and how many."""
    made, count = "", -1
    for number, part in enumerate(pattern.split(_BETWEEN)):
        made += part  # texts and names of compared fields, in turn
        if number % 2:
            count += 1
            made += f"{_MARK}{count}"
    return made, count + 1


def slotted(ask: Ask, count: int) -> Ask | None:
    """The question with slots for its marked values; None unless all of them are there."""
    found: list[int] = []

    def put(part: Condition) -> Condition:
        if isinstance(part, Negated):
            return Negated(put(part.part))
        if isinstance(part, Joined):
            return Joined(part.word, tuple(put(one) for one in part.parts))
        if isinstance(part.value, str) and part.value.startswith("\0"):
            found.append(int(part.value[1:]))
            return replace(part, value=Slot(found[-1]))
        return part

    made = replace(ask, where=put(ask.where)) if ask.where is not None else ask
    return made if found == [*range(count)] else None


@lru_cache(maxsize=1024)
def row(key: tuple[str, ...]) -> Condition:
    """The condition that finds a row by its key, whose values are told beside it."""
    parts = tuple(Compare(name, "eq", Slot(place)) for place, name in enumerate(key))
    return parts[0] if len(parts) == 1 else Joined("and", parts)
