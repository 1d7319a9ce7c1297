"""Cuts a table into key ranges `(lower, upper]` with the database's own comparisons, and walks over them.

A bound is the list of the key's values as text. Row comparisons are written out (`a > x OR (a = x AND b > y)`), since
not every database knows `(a, b) > (x, y)` or uses an index for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tongqu.core.data import Position, Read

Bound = list[str]
EVERYTHING = "1 = 1"
"""The condition that every row meets."""


class KeyRanges(ABC):
    """The columns that a read is cut along, in the words of one system."""

    def condition(self, lower: Bound | None, upper: Bound | None, *, closed: bool = False) -> str:
        """The SQL condition of the range; `1 = 1` if it has no bound."""
        sides = []
        if lower is not None:
            sides.append(self._side(lower, ">", last=">=" if closed else ">"))
        if upper is not None:
            sides.append(self._side(upper, "<", last="<="))
        return " AND ".join(sides) or EVERYTHING

    @abstractmethod
    def probe(self, lower: Bound | None, upper: Bound | None, rows: int, *, closed: bool = False) -> str:
        """The query for the bound after `rows` more rows; it finds nothing if fewer are left."""

    @abstractmethod
    def names(self) -> list[str]:
        """The columns, quoted."""

    @abstractmethod
    def literals(self, bound: Bound) -> list[str]:
        """The bound's values as literals that compare as the columns do."""

    def ordered(self, way: str = "") -> str:
        """What stands behind ORDER BY."""
        return ", ".join(name + way for name in self.names())

    def _side(self, bound: Bound, sign: str, *, last: str) -> str:
        names, values = self.names(), self.literals(bound)
        terms = []
        for at, name in enumerate(names):
            same = [f"{n} = {v}" for n, v in zip(names[:at], values[:at], strict=True)]
            compare = last if at == len(names) - 1 else sign
            terms.append("(" + " AND ".join([*same, f"{name} {compare} {values[at]}"]) + ")")
        # the first column's plain comparison lets the optimizer use a range of the index
        wide = [f"{names[0]} {sign}= {values[0]}"] if len(names) > 1 else []
        return " AND ".join([*wide, "(" + " OR ".join(terms) + ")"])


def limits(read: Read, kind: str) -> tuple[Bound | None, Bound | None, bool]:
    """Lower bound, upper bound and whether the lower one is included; `kind` is `key` or `cursor`."""
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


def walked(
    read: Read, kind: str, ranges: KeyRanges | None, rows: Callable[[str], Sequence[Sequence[Any]]], *, one: bool
) -> Iterator[tuple[str, Position]]:  # fmt: skip
    """The conditions of a read's ranges of about `chunk_rows` rows, each with the position after it. `rows` runs a
    query; without `ranges`, or for `one`, the whole read is one range."""
    lower, upper, closed = limits(read, kind)
    while True:
        bound, last = upper, True
        if ranges is not None and not one:
            found = bounds(rows(ranges.probe(lower, upper, read.chunk_rows, closed=closed)))
            if found is not None:
                bound, last = found, found == upper
        condition = ranges.condition(lower, bound, closed=closed) if ranges is not None else EVERYTHING
        position: dict[str, Any] = {kind: bound} if bound is not None else {}
        if last:
            position = read.until or (position | {"end": True})
        yield condition, position
        if last or read.stop.is_set():
            return
        lower, closed = bound, False
