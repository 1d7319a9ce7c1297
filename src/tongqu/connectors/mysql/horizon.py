"""The safe upper end of an incremental read: no row at or below it can still be committed by an open transaction.

Time cursors: a transaction that is open now wrote its rows after its start, so the end lies before the oldest start in
information_schema.innodb_trx. Number cursors: the end is the greatest value seen before all transactions that were
writing then have ended. Seeing others' transactions needs the PROCESS privilege; without it `lag_seconds` is used.
"""

from __future__ import annotations

import logging
import time

from tongqu.connectors.mysql.db import MysqlDb, literal, quoted
from tongqu.connectors.mysql.ranges import Ordering
from tongqu.connectors.mysql.types import INTEGERS
from tongqu.core.data import Dataset, Position
from tongqu.core.errors import BusyError, InvalidPlanError, PrivilegeError, SchemaError

_log = logging.getLogger(__name__)
_TIMES = ("datetime", "timestamp", "date")
_OTHERS = "FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID()"
_WRITING = f"SELECT trx_id {_OTHERS} AND (trx_rows_modified > 0 OR trx_tables_locked > 0 OR trx_state <> 'RUNNING')"


def horizon(
    db: MysqlDb, dataset: Dataset, ordering: Ordering, after: Position | None, *, ties: bool
) -> Position | None:
    """`{"cursor": [text]}`, or None if nothing can be read yet. Raises SchemaError when cursors are null and
    InvalidPlanError when the column's type cannot order changes."""
    cursor, kind = ordering.columns[0], ordering.types[0]
    name, table = quoted(cursor), ordering.table
    if kind.name not in (*_TIMES, *INTEGERS, "decimal"):
        raise InvalidPlanError(
            f"{cursor!r} is {kind.name}, which cannot order changes", path=dataset.name,
            hint="use a number or time column, or --mode full",
        )  # fmt: skip
    nulls = db.rows(f"SELECT COUNT(*) FROM {table} WHERE {name} IS NULL")[0][0]
    if nulls:
        raise SchemaError(
            f"{nulls} rows of {dataset.name!r} have no {cursor!r} and would never be read", path=dataset.name,
            field=cursor, hint="fill the column, choose another cursor, or use --mode full",
        )  # fmt: skip
    greatest = f"SELECT CAST(MAX({name}) AS CHAR) FROM {table}"
    if kind.name in _TIMES:
        return _by_time(db, ordering, greatest, after, ties=ties)
    return _by_number(db, greatest, after)


def _by_time(db: MysqlDb, ordering: Ordering, greatest: str, after: Position | None, *, ties: bool) -> Position | None:
    """The open transactions are read before the table, so one that ends in between only makes the end earlier."""
    kind = ordering.types[0]
    limits = []
    lag = max(db.settings.lag_seconds, 0.0 if ties else 1.0)
    seen = True
    try:
        now = _system_now(db)
        _refreshed(db)
        age = db.rows(f"SELECT MAX(TIMESTAMPDIFF(SECOND, trx_started, {now})) {_OTHERS}")[0][0]
        if age is not None:  # starts are whole seconds: one more keeps the end before the oldest of them
            limits.append(f"UTC_TIMESTAMP(6) - INTERVAL {int(age) + 1} SECOND")
    except PrivilegeError:
        seen = False
        _log.warning(
            "open transactions cannot be seen without the PROCESS privilege; incremental reads of %s stay %s seconds "
            "behind (lag_seconds)", ordering.table, lag,
        )  # fmt: skip
    if lag or not seen:
        limits.append(f"UTC_TIMESTAMP(6) - INTERVAL {lag} SECOND")
    value = db.rows(greatest)[0][0]
    if value is None:
        return None
    bound = literal(_text(value))
    if limits:
        cap = f"LEAST({', '.join([*limits, limits[0]])})"
        if kind.name != "timestamp":
            cap = f"({cap} + INTERVAL {_offset(db)} SECOND)"
        if kind.name == "date":
            bound = f"LEAST(DATE({bound}), DATE({cap}) - INTERVAL 1 DAY)"
        else:
            bound = f"LEAST(CAST({bound} AS DATETIME(6)), CAST({cap} AS DATETIME(6)))"
    if after:
        form = "DATE" if kind.name == "date" else "DATETIME(6)"
        bound = f"GREATEST(CAST({bound} AS {form}), CAST({literal(after['cursor'][0])} AS {form}))"
    return {"cursor": [_text(db.rows(f"SELECT CAST({bound} AS CHAR)")[0][0])]}


def _by_number(db: MysqlDb, greatest: str, after: Position | None) -> Position | None:
    """The greatest value, then wait until everyone who was writing then has ended; if not, stay."""
    value = db.rows(greatest)[0][0]
    try:
        _refreshed(db)
        waiting = {row[0] for row in db.rows(_WRITING)}
        deadline = time.monotonic() + db.settings.wait_seconds
        while waiting:
            if time.monotonic() > deadline:
                return after
            _refreshed(db)
            waiting &= {row[0] for row in db.rows(_WRITING)}
    except PrivilegeError:
        _log.warning("without the PROCESS privilege open transactions are not seen: rows committed late may be missed")
    return None if value is None else {"cursor": [_text(value)]}


def _refreshed(db: MysqlDb) -> None:
    """Make INNODB_TRX show the present: it is a copy that is renewed only when nobody looked at it for 0.1 s, so wait
    that long and look whether a transaction of ours that has just begun is in it."""
    for _ in range(20):
        db.run("ROLLBACK")
        db.rows("SELECT SLEEP(0.12)")
        db.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        own = db.rows("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = CONNECTION_ID()")
        db.run("ROLLBACK")
        if own[0][0]:
            return
    raise BusyError(
        "the list of open transactions stays old because others read it all the time", path=db.settings.display(),
        hint="stop the program that polls information_schema.INNODB_TRX, or run later",
    )  # fmt: skip


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _system_now(db: MysqlDb) -> str:
    """The server's system time, which INNODB_TRX is written in, as an expression in our UTC session."""
    return f"(UTC_TIMESTAMP() + INTERVAL {_zone_seconds(db, 'SYSTEM')} SECOND)"


def _offset(db: MysqlDb) -> int:
    """How far naive cursors run before UTC: the connection's `timezone`, or the server's own default zone."""
    zone = db.settings.timezone or str(db.rows("SELECT @@GLOBAL.time_zone")[0][0])
    return _zone_seconds(db, zone)


def _zone_seconds(db: MysqlDb, zone: str) -> int:
    db.run(f"SET SESSION time_zone = {literal(zone)}")
    try:
        return int(db.rows("SELECT ROUND(TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()) / 60) * 60")[0][0])
    finally:
        db.run("SET SESSION time_zone = '+00:00'")
