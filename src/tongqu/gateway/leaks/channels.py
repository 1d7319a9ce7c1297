"""Every way in which a question can touch a field, as a table: what the leak suite tries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tongqu.gateway.asking import Ask, Compare, Joined, Negated, Order, Wanted
from tongqu.gateway.leaks.worlds import pool
from tongqu.gateway.policy.values import family


def naming(name: str, visible: str) -> Iterator[tuple[str, Ask]]:
    """Questions that name a field the caller may not know; `visible` is one that it may, or empty."""
    yield "select", Ask((Wanted(name),))
    yield "alias", Ask((Wanted(name, "other"),))
    yield "alias as a visible name", Ask((Wanted(name, visible or "x"),))
    yield "cast", Ask((Wanted(name, cast="text"),))
    yield "JSON path", Ask((Wanted(name, "x", path=("a",), text=True),))
    yield "group", Ask((Wanted(name), Wanted("", aggregate="count")))
    for aggregate in ("count", "sum", "avg", "min", "max"):
        yield f"{aggregate}()", Ask((Wanted(name, aggregate=aggregate),))
    for operator, value in (
        ("eq", "1"), ("neq", "1"), ("gt", "0"), ("lt", "0"), ("like", "%"), ("ilike", "%"), ("match", "."),
        ("in", ("1",)),
        ("is", "null"), ("isdistinct", "1"), ("cs", ("1",)),
    ):  # fmt: skip
        yield f"filter {operator}", Ask(where=Compare(name, operator, value), count="exact")  # type: ignore[arg-type]
    yield "filter in a tree", Ask(where=Joined("or", (Negated(Compare(name, "is", "null")),)))
    yield "filter in JSON", Ask(where=Compare(name, "eq", "1", path=("a",), text=True))
    yield "order", Ask(order=(Order(name),))
    yield "order behind a cursor", Ask(order=(Order(name, True, True),), after="x")
    yield "order by a visible field and it", Ask(order=(*((Order(visible),) if visible else ()), Order(name)))
    yield "relation", Ask(where=Compare(f"{name}.x", "eq", "1"))


def asking(field: pa.Field[Any], key: str) -> Iterator[tuple[str, Ask]]:
    """Questions about a field that the caller sees, or sees masked: their answers may not tell what lies behind it."""
    name, kind = field.name, family(field)
    yield "select", Ask((Wanted(name),))
    yield "filter null", Ask(where=Compare(name, "is", "null"), count="exact")
    if kind in ("json", "list", "other"):
        return
    for number, value in enumerate(pool(field)[:8]):
        yield f"filter eq {number}", Ask(where=Compare(name, "eq", value), count="exact")
        if kind != "bool" and kind not in ("uuid", "binary"):
            yield f"filter gt {number}", Ask(where=Compare(name, "gt", value), count="exact")
            yield f"filter lte {number}", Ask(where=Negated(Compare(name, "lte", value)), count="exact")
        if kind == "text":
            yield f"filter like {number}", Ask(where=Compare(name, "like", f"{value}%"), count="exact")
    yield "filter in", Ask(where=Compare(name, "in", tuple(pool(field)[:3])), count="exact")
    yield "distinct", Ask(where=Compare(name, "isdistinct", pool(field)[0]), count="exact")
    yield "group", Ask((Wanted(name), Wanted("", aggregate="count")))
    if kind != "binary":
        yield "order", Ask(order=(Order(name),), limit=3)
        yield "order down", Ask(((Wanted(key),) if key else None), order=(Order(name, True),), limit=3)
    if kind in ("int", "decimal", "float", "text", "date", "timestamp", "instant"):
        for aggregate in ("min", "max"):
            yield f"{aggregate}()", Ask((Wanted(name, aggregate=aggregate),))
    if kind in ("int", "decimal", "float"):
        yield "sum()", Ask((Wanted(name, aggregate="sum"), Wanted(name, aggregate="avg")))
    yield "cast", Ask((Wanted(name, cast="text"),))


def whole(keys: tuple[str, ...]) -> Iterator[tuple[str, Ask]]:
    """Questions about all that there is."""
    yield "everything", Ask(count="exact")
    yield "number of rows", Ask((Wanted("", aggregate="count"),))
    yield "page", Ask(limit=5, count="exact")
    yield "offset", Ask(offset=3, limit=5)
    for name in keys:
        yield "order by key", Ask(order=(Order(name, True),), limit=5)
