"""Key ranges of a table in the words of its dialect."""

from __future__ import annotations

from dataclasses import dataclass

from tongqu.kit.sql.key_ranges import Bound, KeyRanges
from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native


@dataclass(frozen=True)
class Ordering(KeyRanges):
    """The columns a read is cut along, with their types; `table` is quoted."""

    dialect: Dialect
    table: str
    columns: tuple[str, ...]
    types: tuple[Native, ...]

    def probe(self, lower: Bound | None, upper: Bound | None, rows: int, *, closed: bool = False) -> str:
        """See KeyRanges.probe."""
        where = self.condition(lower, upper, closed=closed)
        query = f"SELECT {self._texts()} FROM {self.table} WHERE {where} ORDER BY {self.ordered()}"
        return self.dialect.page(query, 1, rows - 1)

    def last(self) -> str:
        """The query for the greatest key."""
        query = f"SELECT {self._texts()} FROM {self.table} ORDER BY {self.ordered(' DESC')}"
        return self.dialect.page(query, 1)

    def greatest(self) -> str:
        """The query for the greatest value of the first column."""
        name = f"MAX({self.dialect.quote(self.columns[0])})"
        return f"SELECT {self.dialect.bound(name, self.types[0])} FROM {self.table}"

    def names(self) -> list[str]:
        """See KeyRanges.names."""
        return [self.dialect.quote(name) for name in self.columns]

    def literals(self, bound: Bound) -> list[str]:
        """See KeyRanges.literals."""
        return [self.dialect.bound_literal(v, kind) for v, kind in zip(bound, self.types, strict=True)]

    def _texts(self) -> str:
        pairs = zip(self.columns, self.types, strict=True)
        forms = [self.dialect.bound(self.dialect.quote(name), kind) for name, kind in pairs]
        return ", ".join(f"{form} AS {self.dialect.quote(f'bound {at}')}" for at, form in enumerate(forms))
