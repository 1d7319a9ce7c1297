"""Cuts a table into key ranges: split bounds, chunk bounds and the SQL conditions between them.

A bound is the list of the key's values in their text form; all comparing is done by the database, so its own
collations and type rules hold. Ranges are `(lower, upper]`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil, inf

from tongqu.connectors.postgres.db import PgDb, literal, quoted

Bound = list[str]
_SLACK = 1.25
"""A chunk may be larger than was asked for by this, rather than leave a small one."""


@dataclass(frozen=True)
class Ordering:
    """The columns a read is cut along, with their types; `closed` includes rows equal to the very first bound."""

    table: str
    """Quoted, with schema."""
    columns: tuple[str, ...]
    types: tuple[str, ...]

    def condition(
        self, lower: Bound | None, upper: Bound | None, *, closed: bool = False, within: Bound | None = None
    ) -> str:
        """The SQL condition of the range, which ends at `within` even if `upper` is above it; `TRUE` if it has no
        bound."""
        parts = []
        if lower is not None:
            parts.append(f"{self._tuple()} {'>=' if closed else '>'} {self._values(lower)}")
        if upper is not None:
            parts.append(f"{self._tuple()} <= {self._values(upper)}")
        if within is not None and within != upper:
            parts.append(f"{self._tuple()} <= {self._values(within)}")
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


@dataclass(frozen=True)
class Cuts:
    """What the planner's statistics say about a table: keys in ascending order that are about `step` rows apart, from
    the least to the greatest of its sample. They make it needless to count rows off to find where a chunk ends."""

    keys: tuple[str, ...]
    step: float

    def next(self, lower: Bound | None, upper: Bound | None, rows: int) -> tuple[Bound | None, bool] | None:
        """The end of a chunk of about `rows` rows after `lower`, and whether it is the last before `upper`; None if
        the statistics do not tell."""
        index = self._index
        first = 0 if lower is None else index.get(lower[0])
        last = len(self.keys) - 1 if upper is None else index.get(upper[0], len(self.keys) - 1)
        if first is None or (lower is not None and first >= last) or self.step > rows * _SLACK:
            return None
        pieces = max(1, ceil((last - first) * self.step / (rows * _SLACK)))
        if pieces == 1:
            return upper, True
        return [self.keys[first + max(1, round((last - first) / pieces))]], False

    def tail(self, upper: Bound | None) -> str | None:
        """The last known key if the range up to `upper` ends above it: nobody knows how many rows are there."""
        return None if upper is None or upper[0] in self._index else self.keys[-1]

    def split(self, wanted: int) -> list[str]:
        """The keys between `wanted` parts of equal size; none if the statistics are too coarse for that."""
        if len(self.keys) < wanted + 1:
            return []
        each = (len(self.keys) - 1) / wanted
        return _distinct(self.keys[round(each * part)] for part in range(1, wanted))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: at for at, key in enumerate(self.keys)}


def cuts(db: PgDb, ordering: Ordering, oid: int) -> Cuts | None:
    """The cuts of a table with a key of one column; None if it was never analysed or has grown by a fifth since."""
    if len(ordering.columns) > 1:
        return None
    found = db.rows(
        "SELECT s.histogram_bounds::text::text[], c.reltuples::float8, c.relkind = 'r' "
        "AND pg_catalog.pg_relation_size(c.oid) <= "
        "(c.relpages * 1.2 + 8) * pg_catalog.current_setting('block_size')::bigint "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_stats s ON c.relname = s.tablename AND n.nspname = s.schemaname "
        "WHERE c.oid = ?::oid AND s.attname = ? AND s.histogram_bounds IS NOT NULL",
        (oid, ordering.columns[0]),
    )
    if not found:
        return None
    keys, rows, fresh = tuple(found[0][0]), found[0][1], found[0][2]
    if len(keys) < 2 or len(set(keys)) < len(keys):
        return None
    return Cuts(keys, max(rows, 1) / (len(keys) - 1) if fresh else inf)


def chunk_end(
    ordering: Ordering | None,
    known: Cuts | None,
    lower: Bound | None,
    upper: Bound | None,
    rows: int,
    *,
    closed: bool = False,
) -> Generator[str, Sequence[Sequence[object]], tuple[Bound | None, bool]]:
    """Find the end of a chunk of about `rows` rows after `lower`, and whether it is the last up to `upper`.

    Yields queries and is sent their rows, so that whoever drives it may wait in the way it likes. An end that comes
    from statistics may lie above `upper`: the chunk's condition must name both.
    """
    if ordering is None or rows <= 0:
        return upper, True
    found = known.next(lower, upper, rows) if known is not None and upper is not None else None
    if known is not None and found is not None:
        if not found[1]:
            return found
        above = known.tail(upper)
        if above is None or not (yield ordering.probe([above], upper, max(1, rows // 2))):
            return found
        return [above], False
    counted = yield ordering.probe(lower, upper, rows, closed=closed)
    if not counted:
        return upper, True
    bound = [str(value) for value in counted[0]]
    return bound, bound == upper


def split_bounds(
    db: PgDb, ordering: Ordering, known: Cuts | None, wanted: int
) -> list[tuple[Bound | None, Bound | None]]:
    """At most `wanted` ranges of about equal size that together end at today's greatest key.

    The cuts come from the planner's histogram of the key, or from the middle of an integer key's values; without
    either there is one range. Rows added above the greatest key later are not part of the read.
    """
    greatest = db.rows(ordering.last())
    upper = [str(value) for value in greatest[0]] if greatest else None
    if wanted < 2 or upper is None or len(ordering.columns) > 1:
        return [(None, upper)]
    between = (known.split(wanted) if known else []) or _middles(db, ordering, wanted)
    bounds: list[Bound | None] = [None, *[[key] for key in between], upper]
    return list(pairwise(bounds))


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
