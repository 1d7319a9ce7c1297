"""Key ranges of a table; every comparison is the database's own, with the column's collation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tongqu.connectors.mysql.db import literal, quoted
from tongqu.connectors.mysql.types import INTEGERS, Native, is_bytes
from tongqu.kit.sql.key_ranges import Bound, KeyRanges

_ORDERED = INTEGERS | {"decimal", "year", "char", "varchar", "date", "time", "datetime", "timestamp", "binary",
                       "varbinary", "uuid"}  # fmt: skip


def orders(native: Native) -> bool:
    """Whether ranges can be cut along such a column: literals compare in the order the index has (ENUM sorts by number
    and compares by name; floats have no exact literal)."""
    return native.name in _ORDERED


@dataclass(frozen=True)
class Ordering(KeyRanges):
    """The columns a read is cut along, with their types; `table` is quoted."""

    table: str
    columns: tuple[str, ...]
    types: tuple[Native, ...]

    def probe(self, lower: Bound | None, upper: Bound | None, rows: int, *, closed: bool = False) -> str:
        """See KeyRanges.probe."""
        where = self.condition(lower, upper, closed=closed)
        order = f"ORDER BY {self.ordered()} LIMIT 1 OFFSET {rows - 1}"
        return f"SELECT {self._texts()} FROM {self.table} WHERE {where} {order}"

    def last(self) -> str:
        """The query for the greatest key."""
        return f"SELECT {self._texts()} FROM {self.table} ORDER BY {self.ordered(' DESC')} LIMIT 1"

    def names(self) -> list[str]:
        """See KeyRanges.names."""
        return [quoted(name) for name in self.columns]

    def literals(self, bound: Bound) -> list[str]:
        """See KeyRanges.literals."""
        return [self._literal(value, kind) for value, kind in zip(bound, self.types, strict=True)]

    def _texts(self) -> str:
        forms = []
        for number, (name, kind) in enumerate(zip(self.columns, self.types, strict=True)):
            forms.append(f"{f'HEX({quoted(name)})' if is_bytes(kind) else quoted(name)} AS `bound {number}`")
        return ", ".join(forms)

    @staticmethod
    def _literal(value: str, kind: Native) -> str:
        if is_bytes(kind):
            return f"X'{value}'" if value else "X''"
        number = kind.name in INTEGERS or kind.name in ("decimal", "year")
        return value if number and re.fullmatch(r"-?\d+(\.\d+)?", value) else literal(value)
