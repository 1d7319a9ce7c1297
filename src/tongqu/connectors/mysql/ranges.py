"""Cuts a table into key ranges; every comparison is the database's own, with the column's collation.

A bound is the list of the key's values as text. Ranges are `(lower, upper]`. Row comparisons are written out
(`a > x OR (a = x AND b > y)`), because MySQL does not use an index for `(a, b) > (x, y)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tongqu.connectors.mysql.db import literal, quoted
from tongqu.connectors.mysql.types import INTEGERS, Native, is_bytes

Bound = list[str]
_ORDERED = INTEGERS | {"decimal", "year", "char", "varchar", "date", "time", "datetime", "timestamp", "binary",
                       "varbinary", "uuid"}  # fmt: skip


def orders(native: Native) -> bool:
    """Whether ranges can be cut along such a column: literals compare in the order the index has (ENUM sorts by number
    and compares by name; floats have no exact literal)."""
    return native.name in _ORDERED


@dataclass(frozen=True)
class Ordering:
    """The columns a read is cut along, with their types; `table` is quoted."""

    table: str
    columns: tuple[str, ...]
    types: tuple[Native, ...]

    def condition(self, lower: Bound | None, upper: Bound | None, *, closed: bool = False) -> str:
        """The SQL condition of the range; `TRUE` if it has no bound."""
        sides = []
        if lower is not None:
            sides.append(self._side(lower, ">", last=">=" if closed else ">"))
        if upper is not None:
            sides.append(self._side(upper, "<", last="<="))
        return " AND ".join(sides) or "TRUE"

    def probe(self, lower: Bound | None, upper: Bound | None, rows: int, *, closed: bool = False) -> str:
        """The query for the bound after `rows` more rows; it finds nothing if fewer are left."""
        where = self.condition(lower, upper, closed=closed)
        order = f"ORDER BY {self._names()} LIMIT 1 OFFSET {rows - 1}"
        return f"SELECT {self._texts()} FROM {self.table} WHERE {where} {order}"

    def last(self) -> str:
        """The query for the greatest key."""
        return f"SELECT {self._texts()} FROM {self.table} ORDER BY {self._names(' DESC')} LIMIT 1"

    def _names(self, way: str = "") -> str:
        return ", ".join(quoted(name) + way for name in self.columns)

    def _texts(self) -> str:
        forms = []
        for number, (name, kind) in enumerate(zip(self.columns, self.types, strict=True)):
            forms.append(f"{f'HEX({quoted(name)})' if is_bytes(kind) else quoted(name)} AS `bound {number}`")
        return ", ".join(forms)

    def _side(self, bound: Bound, sign: str, *, last: str) -> str:
        values = [self._literal(value, kind) for value, kind in zip(bound, self.types, strict=True)]
        names = [quoted(name) for name in self.columns]
        terms = []
        for at, name in enumerate(names):
            same = [f"{n} = {v}" for n, v in zip(names[:at], values[:at], strict=True)]
            compare = last if at == len(names) - 1 else sign
            terms.append("(" + " AND ".join([*same, f"{name} {compare} {values[at]}"]) + ")")
        # the first column's plain comparison lets the optimizer use a range of the index
        wide = [f"{names[0]} {sign}= {values[0]}"] if len(names) > 1 else []
        return " AND ".join([*wide, "(" + " OR ".join(terms) + ")"])

    @staticmethod
    def _literal(value: str, kind: Native) -> str:
        if is_bytes(kind):
            return f"X'{value}'" if value else "X''"
        number = kind.name in INTEGERS or kind.name in ("decimal", "year")
        return value if number and re.fullmatch(r"-?\d+(\.\d+)?", value) else literal(value)
