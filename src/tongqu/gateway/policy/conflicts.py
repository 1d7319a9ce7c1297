"""Finds grants that together come to something that none of them says alone, for the owner to look at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from tongqu.gateway.policy.decision import Conflict
from tongqu.gateway.policy.field_rules import FieldRule
from tongqu.gateway.policy.grants import Grant


def conflicts(fields: Sequence[FieldRule], grants: Sequence[Grant]) -> tuple[Conflict, ...]:
    """Roles that lift a field in rows which another role gives, and rules with different fields of different rows."""
    reading = [grant for grant in grants if not grant.deny and "read" in grant.actions]
    return (*_lifted(fields, reading), *_apart(fields, reading))


def _lifted(fields: Sequence[FieldRule], reading: Sequence[Grant]) -> list[Conflict]:
    readers = frozenset(role for grant in reading for role in grant.roles or ())
    anyone = any(grant.roles is None and not grant.public for grant in reading)
    lifting: dict[str, list[str]] = {}
    for one in fields:
        for role in one.entry.roles if one.entry is not None else ():
            if role not in readers and not anyone:
                lifting.setdefault(role, []).append(one.name)
    return [
        Conflict("lifted", role, other, tuple(names)) for role, names in lifting.items() for other in sorted(readers)
    ]


def _apart(fields: Sequence[FieldRule], reading: Sequence[Grant]) -> list[Conflict]:
    found = []
    every = frozenset(one.name for one in fields)
    for first, second in combinations(reading, 2):
        differ = (first.fields or every) ^ (second.fields or every)
        closed = {one.name for one in fields if one.entry is None and one.level > 1}
        named = {name for one in (first, second) for name in one.fields or ()} & closed
        if first.rows != second.rows and (differ or named):
            names = tuple(one.name for one in fields if one.name in differ | named)
            found.append(Conflict("apart", first.name, second.name, names))
    return found
