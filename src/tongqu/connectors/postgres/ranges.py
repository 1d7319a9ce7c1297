"""Cuts a table into key ranges: split bounds, chunk bounds and the SQL conditions between them.

A bound is the list of the key's values in their text form; all comparing is done by the database, so its own
collations and type rules hold. Ranges are `(lower, upper]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from tongqu.connectors.postgres.db import PgDb, literal, quoted

Bound = list[str]


@dataclass(frozen=True)
class Ordering:
    """The columns a read is cut along, with their types; `closed` includes rows equal to the very first bound."""

    table: str
    """Quoted, with schema."""
    columns: tuple[str, ...]
    types: tuple[str, ...]

    def condition(self, lower: Bound | None, upper: Bound | None, *, closed: bool = False) -> str:
        """The SQL condition of the range; `TRUE` if it has no bound."""
        parts = []
        if lower is not None:
            parts.append(f"{self._tuple()} {'>=' if closed else '>'} {self._values(lower)}")
        if upper is not None:
            parts.append(f"{self._tuple()} <= {self._values(upper)}")
        return " AND ".join(parts) or "TRUE"

    def probe(self, lower: Bound | None, upper: Bound | None, rows: int, *, closed: bool = False) -> str:
        """The query for the bound after `rows` more rows; it finds nothing if fewer are left."""
        names = ", ".join(quoted(name) for name in self.columns)
        texts = self._texts()
        return (
            f"SELECT {texts} FROM {self.table} WHERE {self.condition(lower, upper, closed=closed)} "
            f"ORDER BY {names} LIMIT 1 OFFSET {rows - 1}"
        )

    def last(self) -> str:
        """The query for the greatest key."""
        texts = self._texts()
        names = ", ".join(f"{quoted(name)} DESC" for name in self.columns)
        return f"SELECT {texts} FROM {self.table} ORDER BY {names} LIMIT 1"

    def _texts(self) -> str:
        """The columns as text under names of their own: ORDER BY would take a text column of the same name instead."""
        return ", ".join(f'{quoted(name)}::text AS "bound {at}"' for at, name in enumerate(self.columns))

    def _tuple(self) -> str:
        names = ", ".join(quoted(name) for name in self.columns)
        return f"({names})" if len(self.columns) > 1 else names

    def _values(self, bound: Bound) -> str:
        values = ", ".join(f"{literal(value)}::{kind}" for value, kind in zip(bound, self.types, strict=True))
        return f"({values})" if len(self.columns) > 1 else values


def split_bounds(db: PgDb, ordering: Ordering, oid: int, wanted: int) -> list[tuple[Bound | None, Bound | None]]:
    """At most `wanted` ranges of about equal size that together end at today's greatest key.

    The cuts come from the planner's histogram of the first key column, or from the middle of an integer key's values;
    without either there is one range. Rows added above the greatest key later are not part of the read.
    """
    greatest = db.rows(ordering.last())
    upper = [str(value) for value in greatest[0]] if greatest else None
    if wanted < 2 or upper is None:
        return [(None, upper)]
    cuts = _histogram(db, ordering, oid, wanted) or _middles(db, ordering, wanted)
    if len(ordering.columns) > 1:
        cuts = []
    bounds: list[Bound | None] = [None, *[[cut] for cut in cuts], upper]
    return list(pairwise(bounds))


def _histogram(db: PgDb, ordering: Ordering, oid: int, wanted: int) -> list[str]:
    found = db.rows(
        "SELECT s.histogram_bounds::text::text[] FROM pg_catalog.pg_stats s JOIN pg_catalog.pg_class c "
        "ON c.relname = s.tablename JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "AND n.nspname = s.schemaname WHERE c.oid = ?::oid AND s.attname = ? AND s.histogram_bounds IS NOT NULL",
        (oid, ordering.columns[0]),
    )
    values: list[str] = list(found[0][0]) if found else []
    if len(values) < wanted + 1:
        return []
    step = (len(values) - 1) / wanted
    return _distinct(values[round(step * part)] for part in range(1, wanted))


def _middles(db: PgDb, ordering: Ordering, wanted: int) -> list[str]:
    if ordering.types[0] not in ("smallint", "integer", "bigint"):
        return []
    name = quoted(ordering.columns[0])
    found = db.rows(f"SELECT min({name})::numeric, max({name})::numeric FROM {ordering.table}")
    low, high = found[0]
    if low is None or high - low < wanted:
        return []
    return _distinct(str(int(low + (high - low) * part // wanted)) for part in range(1, wanted))


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
