"""The fields by which addresses name a record: `/orders/{id}` tells that `id` is the key of an order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tongqu.catalog.assessing.shapes import Interface, Member, Operation, Shape, fields
from tongqu.catalog.assessing.words import parts
from tongqu.kit.openapi.vocabulary import plain

_HOLE = re.compile(r"^\{([^{}]+)\}$")
_ENVELOPE = 1
"""A record in an answer stands so many levels down at most: `{code, data: {id}}`."""


def path_keys(interface: Interface) -> frozenset[str]:
    """The places of fields that stand in addresses, in the record that the address gives or takes and in those of the
    list above it. A name is the field's own, or has what it is of before it: `{order_id}` is the `id` of `/orders`,
    `{id}` its `order_id`."""
    lists: dict[tuple[str, ...], list[Shape]] = {}
    for one in interface.operations:
        if one.records is not None:
            lists.setdefault(_segments(one.path), []).append(one.records)
    return frozenset(member.place for one in interface.operations for member in _keys(one, lists))


def _keys(operation: Operation, lists: dict[tuple[str, ...], list[Shape]]) -> Iterator[Member]:
    raw = [part for part in operation.path.split("/") if part]
    segments = _segments(operation.path)
    for number, part in enumerate(raw):
        hole = _HOLE.match(part)
        if hole is None:
            continue
        shapes = list(lists.get(segments[:number], ()))
        if number == len(raw) - 1:
            shapes += [one for one in (operation.gives, operation.sends) if one is not None]
        noun = parts(raw[number - 1]) if number else ()
        for shape in shapes:
            yield from _named(shape, hole[1], noun)


def _segments(path: str) -> tuple[str, ...]:
    """A path's parts; what its holes are called makes no difference."""
    return tuple("{}" if _HOLE.match(part) else part for part in path.split("/") if part)


def _named(shape: Shape, hole: str, noun: Sequence[str]) -> Iterator[Member]:
    name, of = plain(hole), "".join(noun)
    rest = name.removeprefix(of) if of else name
    near: dict[str, Member] = {}
    for path, member in fields(shape):
        if path.count(".") <= _ENVELOPE:
            near.setdefault(plain(member.name), member)
    found = next((near[one] for one in (name, rest, of + name) if one in near), None)
    if found is not None:
        yield found
