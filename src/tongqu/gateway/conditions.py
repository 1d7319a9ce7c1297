"""What a condition holds: the relations it reaches into, and how many values it compares with."""

from __future__ import annotations

from collections.abc import Iterator

from tongqu.gateway.asking import Compare, Condition, Negated


def relations_in(where: Condition | None) -> Iterator[str]:
    """The relations whose fields a condition names."""
    if isinstance(where, Compare):
        if "." in where.field:
            yield where.field.partition(".")[0]
    elif isinstance(where, Negated):
        yield from relations_in(where.part)
    elif where is not None:
        for part in where.parts:
            yield from relations_in(part)


def values_in(where: Condition | None) -> int:
    """How many values a condition compares with."""
    if isinstance(where, Compare):
        return len(where.value) if isinstance(where.value, tuple | list) else 1
    if isinstance(where, Negated):
        return values_in(where.part)
    return sum(map(values_in, where.parts)) if where is not None else 0
