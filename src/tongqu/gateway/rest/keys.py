"""The key of one row in an address: `/api/v1/items/7`, composite keys comma separated, percent-encoded inside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote, unquote

from tongqu.gateway.asking import Compare, Condition, Joined
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api


def key_condition(api: Api, decision: Decision, segment: str) -> Condition:
    """The condition that finds the row; `segment` is still encoded, so that a comma inside a value is told from one
    between values. An API without key, or whose key the caller does not see as it is, has no rows by key: Problem
    `row.unknown`, as for a row that is not there. The same object for the same key."""
    return _condition(visible_key(api, decision), segment)


def visible_key(api: Api, decision: Decision) -> tuple[str, ...]:
    """The fields of the key, if the caller sees them as they are. Raises Problem `row.unknown`."""
    key = api.dataset.key
    if not key or not all(name in decision.fields and decision.fields[name] is None for name in key):
        raise Problem("row.unknown")
    return key


def segment_values(key: tuple[str, ...], segment: str) -> list[str]:
    """The texts of the key's values. Raises Problem `row.unknown` for another number of them."""
    values = [unquote(part, errors="strict") for part in segment.split(",")]
    if len(values) != len(key):
        raise Problem("row.unknown")
    return values


@lru_cache(maxsize=2048)
def _condition(key: tuple[str, ...], segment: str) -> Condition:
    values = segment_values(key, segment)
    parts = tuple(Compare(name, "eq", value) for name, value in zip(key, values, strict=True))
    return parts[0] if len(parts) == 1 else Joined("and", parts)


def key_values(api: Api, segment: str) -> dict[str, str]:
    """The key's values as texts, by field; Problem `row.unknown` for another number of them."""
    values = [unquote(part, errors="strict") for part in segment.split(",")]
    if not api.dataset.key or len(values) != len(api.dataset.key):
        raise Problem("row.unknown")
    return dict(zip(api.dataset.key, values, strict=True))


def equal_values(api: Api, where: Condition | None) -> dict[str, str]:
    """The key's values out of conditions `key=eq.value` that name all of it and nothing else, as PostgREST's PUT has
    them. Raises Problem `query.malformed` for other conditions."""
    parts = where.parts if isinstance(where, Joined) and where.word == "and" else (where,)
    found = {
        part.field: str(part.value)
        for part in parts
        if isinstance(part, Compare) and part.operator == "eq" and not part.path and not part.quantifier
    }
    if len(found) != len(parts) or set(found) != set(api.dataset.key) or not found:
        raise Problem("query.malformed", "PUT names one row: in the address, or by `eq` filters on its whole key")
    return found


def location(api: Api, key: Sequence[str]) -> str:
    """The address of a row."""
    return f"{api.path}/{','.join(quote(value, safe='') for value in key)}"
