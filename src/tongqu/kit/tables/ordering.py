"""Cuts a table into key ranges; every comparison is the database's own.

A bound is the list of the key's values as text. Ranges are `(lower, upper]`, row comparisons are written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tongqu.core.data import Read
from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native

Bound = list[str]


@dataclass(frozen=True)
class Ordering:
    """The columns a read is cut along, with their types; `table` is quoted."""

    dialect: Dialect
    table: str
    columns: tuple[str, ...]
    types: tuple[Native, ...]

    def condition(self, lower: Bound | None, upper: Bound | None, *, closed: bool = False) -> str:
        """The SQL condition of the range; `1 = 1` if it has no bound."""
        sides = []
        if lower is not None:
            sides.append(self._side(lower, ">", last=">=" if closed else ">"))
        if upper is not None:
            sides.append(self._side(upper, "<", last="<="))
        return " AND ".join(sides) or "1 = 1"

    def probe(self, lower: Bound | None, upper: Bound | None, rows: int, *, closed: bool = False) -> str:
        """The query for the bound after `rows` more rows; it finds nothing if fewer are left."""
        where = self.condition(lower, upper, closed=closed)
        query = f"SELECT {self._texts()} FROM {self.table} WHERE {where} ORDER BY {self._names()}"
        return self.dialect.page(query, 1, rows - 1)

    def last(self) -> str:
        """The query for the greatest key."""
        query = f"SELECT {self._texts()} FROM {self.table} ORDER BY {self._names(' DESC')}"
        return self.dialect.page(query, 1)

    def greatest(self) -> str:
        """The query for the greatest value of the first column."""
        name = f"MAX({self.dialect.quote(self.columns[0])})"
        return f"SELECT {self.dialect.bound(name, self.types[0])} FROM {self.table}"

    def _names(self, way: str = "") -> str:
        return ", ".join(self.dialect.quote(name) + way for name in self.columns)

    def _texts(self) -> str:
        pairs = zip(self.columns, self.types, strict=True)
        forms = [self.dialect.bound(self.dialect.quote(name), kind) for name, kind in pairs]
        return ", ".join(f"{form} AS {self.dialect.quote(f'bound {at}')}" for at, form in enumerate(forms))

    def _side(self, bound: Bound, sign: str, *, last: str) -> str:
        values = [self.dialect.bound_literal(v, kind) for v, kind in zip(bound, self.types, strict=True)]
        names = [self.dialect.quote(name) for name in self.columns]
        terms = []
        for at, name in enumerate(names):
            same = [f"{n} = {v}" for n, v in zip(names[:at], values[:at], strict=True)]
            compare = last if at == len(names) - 1 else sign
            terms.append("(" + " AND ".join([*same, f"{name} {compare} {values[at]}"]) + ")")
        # the first column's plain comparison lets the optimizer use a range of the index
        wide = [f"{names[0]} {sign}= {values[0]}"] if len(names) > 1 else []
        return " AND ".join([*wide, "(" + " OR ".join(terms) + ")"])


def limits(read: Read, kind: str) -> tuple[Bound | None, Bound | None, bool]:
    """Lower bound, upper bound and whether the lower one is included."""
    spec = read.split.spec
    start = (spec.get("after") or {}).get(kind) if kind == "cursor" else spec.get("lower")
    end = (spec.get("until") or {}).get(kind) if kind == "cursor" else spec.get("upper")
    resumed = (read.after or {}).get(kind)
    if read.until is not None:
        end = read.until.get(kind, end)
    closed = kind == "cursor" and resumed is None and read.ties
    return (resumed if resumed is not None else start), end, closed


def bounds(rows: Sequence[Sequence[Any]]) -> Bound | None:
    """The bound in a query's only row; None if there is none."""
    if not rows or rows[0][0] is None:
        return None
    return [value.decode() if isinstance(value, bytes | bytearray) else str(value) for value in rows[0]]
