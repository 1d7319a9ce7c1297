"""The safe upper end of an incremental read: nothing below it can still appear."""

from __future__ import annotations

import logging
import time

import pyarrow as pa

from tongqu.core.data import Dataset, Position
from tongqu.core.errors import NotFoundError, PrivilegeError, SchemaError
from tongqu.kit.sql.key_ranges import bounds
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.ordering import Ordering
from tongqu.kit.tables.system import Reach

_log = logging.getLogger(__name__)
_PAUSE = 0.1


def horizon(
    db: TableDb, reach: Reach, dataset: Dataset, ordering: Ordering, after: Position | None, *, ties: bool
) -> Position | None:
    """See Source.horizon. Moments stay below the oldest open transaction of others, or `lag_seconds` behind where it
    cannot be seen; numbers wait until everybody who was writing has ended."""
    cursor, native, dialect = ordering.columns[0], ordering.types[0], db.dialect
    name = dialect.quote(cursor)
    kind = dialect.kind(native)
    if kind is None or not dialect.orders(native):
        raise SchemaError(
            f"{cursor!r} of {dataset.name!r} is {native.name}, which no incremental read can follow",
            path=dataset.name, field=cursor, hint="choose a number that grows or a moment of change as cursor",
        )  # fmt: skip
    nulls = db.rows(f"SELECT COUNT(*) FROM {ordering.table} WHERE {name} IS NULL")[0][0]
    if nulls:
        raise SchemaError(
            f"{nulls} rows of {dataset.name!r} have no {cursor!r} and would never be read", path=dataset.name,
            field=cursor, hint="fill the column, choose another cursor, or use --mode full",
        )  # fmt: skip
    if pa.types.is_temporal(kind[0]) and not pa.types.is_time(kind[0]):
        return _by_moment(db, reach, ordering, after, ties=ties)
    return _by_number(db, reach, ordering, after)


def _by_moment(db: TableDb, reach: Reach, ordering: Ordering, after: Position | None, *, ties: bool) -> Position | None:
    """The open transactions are read before the table, so one that ends in between only makes the end earlier."""
    age, seen = _age(db)
    db.rollback()  # what is read next is seen as it is after that look
    back = max(age, 0.0 if ties else 1.0, 0.0 if seen else reach.lag_seconds)
    native, dialect = ordering.types[0], db.dialect
    name = dialect.quote(ordering.columns[0])
    where = []
    if back:
        where.append(f"{name} <= {dialect.ago(int(back) + 1, native, reach.timezone)}")
    if after:
        where.append(f"{name} >= {dialect.bound_literal(after['cursor'][0], native)}")
    found = bounds(db.rows(ordering.greatest() + (f" WHERE {' AND '.join(where)}" if where else "")))
    return {"cursor": found} if found else after


def _age(db: TableDb) -> tuple[float, bool]:
    """Seconds since the oldest open writing transaction of others began, and whether it could be seen."""
    query = db.dialect.oldest_writer()
    if not query:
        return 0.0, False
    try:
        found = db.rows(query)[0][0]
    except (PrivilegeError, NotFoundError) as error:
        db.rollback()
        _log.warning("open transactions cannot be seen (%s): incremental reads stay lag_seconds behind", error.message)
        return 0.0, False
    return (0.0 if found is None else float(found) + 1), True


def _by_number(db: TableDb, reach: Reach, ordering: Ordering, after: Position | None) -> Position | None:
    """The greatest value, once everyone who was writing when it was read has ended; if they do not, stay."""
    held = db.dialect.held(db.dialect.quote(ordering.columns[0]), ordering.types[0])
    found = bounds(db.rows(ordering.greatest() + (f" WHERE {held}" if held else "")))
    query = db.dialect.writers()
    if query and not held:
        try:
            db.rollback()
            waiting = {row[0] for row in db.rows(query)}
            deadline = time.monotonic() + reach.wait_seconds
            while waiting:
                if time.monotonic() > deadline:
                    return after
                time.sleep(_PAUSE)
                db.rollback()
                waiting &= {row[0] for row in db.rows(query)}
        except (PrivilegeError, NotFoundError):
            db.rollback()
            _log.warning("open transactions cannot be seen: rows of %s committed late may be missed", ordering.table)
    return {"cursor": found} if found else after
