"""The safe upper end of an incremental read: no row at or below it can still be committed by an open transaction.

Time cursors: a row written by a transaction that is open now has, by `now()`, a time not before that transaction's
start, so the end is put before the oldest start. Number cursors: whoever has written to the table and not committed
holds a ROW EXCLUSIVE lock on it, visible to everyone in pg_locks; the end is the greatest value seen before all of
them ended. (PostgreSQL docs: 28.2.3 pg_stat_activity, 54.12 pg_locks, 13.3.1 table-level locks.)
"""

from __future__ import annotations

import time

from tongqu.connectors.postgres.db import PgDb, quoted
from tongqu.connectors.postgres.ranges import Ordering
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.connectors.postgres.types import PgType
from tongqu.core.data import Dataset, Position
from tongqu.core.errors import InvalidPlanError, SchemaError

_TIMES = ("timestamp without time zone", "timestamp with time zone", "date")
_NUMBERS = ("smallint", "integer", "bigint", "numeric")

_OPEN = """
SELECT least(min(a.xact_start), (SELECT min(prepared) FROM pg_catalog.pg_prepared_xacts
                                 WHERE database = current_database()))
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
  AND a.application_name <> 'tongqu source'
"""
_UNSEEN = """
SELECT count(*) FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query = '<insufficient privilege>'
"""
_WRITERS = """
SELECT count(*) FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' AND l.relation = ?::regclass
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
"""


def horizon(
    db: PgDb,
    settings: PostgresSettings,
    dataset: Dataset,
    ordering: Ordering,
    after: Position | None,
    *,
    ties: bool,
) -> Position | None:
    """`{"cursor": [text]}`, or None if nothing can be read yet. Raises SchemaError when cursors are null and
    InvalidPlanError when the column's type cannot order changes."""
    cursor = ordering.columns[0]
    kind = PgType(ordering.types[0]).name
    name, table = quoted(cursor), ordering.table
    if kind not in (*_TIMES, *_NUMBERS):
        raise InvalidPlanError(
            f"{cursor!r} is {ordering.types[0]}, which cannot order changes",
            path=dataset.name,
            hint=f"use a number or time column: {_candidates(dataset) or 'this table has none; use --mode full'}",
        )
    if dataset.nullable(cursor):
        nulls = int(db.rows(f"SELECT count(*) FROM {table} WHERE {name} IS NULL")[0][0])
        if nulls:
            raise SchemaError(
                f"{nulls} rows of {dataset.name!r} have no {cursor!r} and would never be read",
                path=dataset.name,
                field=cursor,
                hint="fill the column, choose another cursor, or use --mode full",
            )
    infinite = f" WHERE isfinite({name})" if kind in _TIMES else ""
    greatest = f"SELECT max({name})::text FROM {table}{infinite}"
    if kind in _TIMES:
        return _by_time(db, settings, ordering, greatest, after=after, ties=ties)
    return _by_number(db, settings, table, greatest, after)


def _by_time(
    db: PgDb, settings: PostgresSettings, ordering: Ordering, greatest: str, *, after: Position | None, ties: bool
) -> Position | None:
    """Read the open transactions before the table, so one that ends in between only makes the end earlier.

    Where equal values are not read again (append), the current second is left for the next run. The end never
    moves back.
    """
    oldest = db.rows(_OPEN)[0][0]
    limits = []
    if oldest is not None:
        limits.append(f"timestamptz '{oldest.isoformat()}' - interval '1 microsecond'")
    lag = max(settings.lag_seconds, 0.0 if ties else 1.0)
    if int(db.rows(_UNSEEN)[0][0]) or lag:
        limits.append(f"clock_timestamp() - interval '{lag} seconds'")
    value = db.rows(greatest)[0][0]
    if value is None:
        return None
    kind = ordering.types[0]
    bound = f"'{value}'::{kind}"
    if limits:
        cap = f"least({', '.join(limits)})"
        if PgType(kind).name == "date":
            cap = f"({cap})::date - 1"
        bound = f"least({bound}, ({cap})::{kind})"
    if after:
        bound = f"greatest({bound}, '{after['cursor'][0]}'::{kind})"
    return {"cursor": [str(db.rows(f"SELECT ({bound})::text")[0][0])]}


def _by_number(
    db: PgDb, settings: PostgresSettings, table: str, greatest: str, after: Position | None
) -> Position | None:
    """The greatest value, then wait until everyone who was writing then has ended; if not, stay."""
    value = db.rows(greatest)[0][0]
    deadline = time.monotonic() + settings.wait_seconds
    while int(db.rows(_WRITERS, (table,))[0][0]):
        if time.monotonic() > deadline:
            return after
        db.rows("SELECT pg_sleep(0.05)")
    return None if value is None else {"cursor": [str(value)]}


def _candidates(dataset: Dataset) -> str:
    import pyarrow as pa

    fits = [f.name for f in dataset.schema if pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type)]
    return ", ".join(fits)
