"""`order=`: `ts.desc.nullslast,name`."""

from __future__ import annotations

from tongqu.gateway.asking import Order
from tongqu.gateway.rest.scanning import Scanner, json_path

_MOST = 16


def ordered(text: str, where: str = "order") -> tuple[Order, ...]:
    """The keys of the order; raises Problem `query.malformed` with the character."""
    scanner = Scanner(text, where)
    found: list[Order] = []
    while not scanner.done:
        while scanner.take(" "):
            pass
        name = scanner.name()
        path, as_text = json_path(scanner)
        descending, nulls = False, None
        while scanner.take("."):
            word = scanner.name()
            if word in ("asc", "desc"):
                descending = word == "desc"
            elif word in ("nullsfirst", "nullslast"):
                nulls = word == "nullsfirst"
            else:
                scanner.refuse("one of asc desc nullsfirst nullslast is expected")
        found.append(Order(name, descending, nulls, path, as_text))
        if not scanner.done:
            scanner.need(",")
        if len(found) > _MOST:
            scanner.refuse(f"more than {_MOST} keys are too many")
    return tuple(found)
