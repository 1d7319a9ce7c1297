"""Follows change tables: what the capture job has written of each transaction, window after window of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mssql.log.changes import (
    CODE,
    COMMITTED,
    LSN,
    SEQ,
    TOUCHED,
    Places,
    asked,
    changed,
    merged,
    paired,
)
from tongqu.connectors.mssql.log.instances import (
    NO_LSN,
    Instance,
    Instances,
    after,
    before,
    boundary,
    hexed,
    holding,
    instances,
    live,
)
from tongqu.connectors.mssql.log.polling import Polling, empty
from tongqu.connectors.mssql.log.session import MOMENT, RESYNC, Followed
from tongqu.core.data import Batch, Position
from tongqu.core.errors import ConnectorError, LostPositionError, NotFoundError, ReadError, SchemaError
from tongqu.core.log import Follow, Lag
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.system import Reach

NOW = """
SELECT sys.fn_cdc_get_max_lsn(), LOWER(CAST(d.service_broker_guid AS char(36))), DATEPART(tz, SYSDATETIMEOFFSET())
FROM sys.databases d WHERE d.database_id = DB_ID()
"""
_SOME = """
SELECT COUNT(*), MAX(w.start_lsn) FROM (
SELECT TOP ({count}) m.start_lsn FROM cdc.lsn_time_mapping m WHERE m.start_lsn > 0x{after} AND m.start_lsn <= 0x{upto}
ORDER BY m.start_lsn) w
"""
_CHANGES = """
SELECT {columns} FROM {function}(0x{first}, 0x{last}, N'all update old') AS c
LEFT JOIN cdc.lsn_time_mapping AS m ON m.start_lsn = c.[__$start_lsn]
ORDER BY c.[__$start_lsn], c.[__$seqval], c.[__$operation]
"""
_AGAIN = "SELECT {columns} FROM {table} AS t"
_TOUCHED = " WHERE EXISTS (SELECT 1 FROM {function}(0x{first}, 0x{last}, N'all') AS c WHERE {same})"
_OLDEST = """
SELECT TOP (1) DATEDIFF(second, m.tran_end_time, GETDATE()) FROM cdc.lsn_time_mapping m
WHERE m.start_lsn > 0x{after} AND m.tran_id <> 0x00 ORDER BY m.start_lsn
"""
RETENTION = "SELECT j.retention FROM msdb.dbo.cdc_jobs j WHERE j.database_id = DB_ID() AND j.job_type = N'cleanup'"
"""Minutes."""
_FIRST, _MOST = 256, 65_536
"""Transactions of a window at first, and at most; rows of a window that are kept to be put in order."""


@dataclass(frozen=True)
class Now:
    """The end of the log, which database's it is, and how far its clock is ahead of UTC in minutes."""

    lsn: str
    database: str
    minutes: int

    def position(self, lsn: str) -> Position:
        """A place in the log."""
        return {"way": "tables", "lsn": lsn, "database": self.database}


@dataclass(frozen=True)
class Held:
    """A followed table, its capture instances, and the one that has what comes next."""

    one: Followed
    listed: Sequence[Instance]
    holder: Instance


@dataclass(frozen=True)
class Window:
    """Transactions behind one LSN up to another; `minutes` as in Now, `size` the rows of a batch."""

    lsn: str
    upto: str
    minutes: int
    size: int


class TablesLog(Polling):
    """The changes of tables that have a change table. A position is the LSN of a commit, with all of its changes
    before it: `{way: "tables", lsn: "20 hex digits", database: "guid"}`."""

    def __init__(self, reach: Reach, followed: Sequence[Followed]):
        super().__init__(reach, followed)
        self._transactions = _FIRST
        self._looked = ""
        self._again: set[tuple[str, int]] = set()

    def begun(self, some: Sequence[Followed]) -> Position:
        """See Polling.begun. The capture job is behind the tables, so whatever it has not written yet comes later."""
        with self.asking.look() as db:
            now = self._now(db)
            found = instances(db, some)
            begun = []
            for one in some:
                listed = found[one.table.schema, one.table.table]
                newest = (live(listed) or [holding(one, listed, now.lsn, db.where)])[-1]
                begun.append(newest.start)
                _whole(one, newest)
            return now.position(max([now.lsn, *begun]))

    def head(self) -> Position:
        """See Log.head."""
        with self.asking.look() as db:
            now = self._now(db)
            return now.position(now.lsn)

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return "lsn" in until and lsn_of(position) >= lsn_of(until)

    def _now(self, db: TableDb) -> Now:
        try:
            lsn, database, minutes = db.rows(NOW)[0]
        except NotFoundError:
            raise ReadError(
                "change data capture is off", path=db.where, hint="EXEC sys.sp_cdc_enable_db, then cdc doctor"
            ) from None
        if lsn is None:
            hint = "start SQL Server Agent (Azure SQL needs none); `tongqu cdc doctor` tells more"
            raise ReadError("the capture job has never run", path=db.where, hint=hint)
        return Now(hexed(lsn), str(database), int(minutes))

    # ---- reading

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        self._again.clear()
        self._looked = ""
        yield from super().read(follow)

    def known(self, at: Position) -> None:
        """See Polling.known."""
        with self.reading.look() as db:
            now = self._now(db)
            if at["database"] != now.database:
                raise LostPositionError("the place is of another database", path=db.where, hint=RESYNC)
            found = instances(db, self.followed)
            self._ahead(db, lsn_of(at), now, found)
            self._held(db, found, lsn_of(at))

    def step(self, at: Position, follow: Follow) -> Iterator[Batch]:
        """See Polling.step: one window of whole transactions."""
        with self.reading.look() as db:
            now, lsn = self._now(db), lsn_of(at)
            self.more = False
            if lsn >= now.lsn and self._looked == lsn:
                return
            found = instances(db, self.followed)
            self._looked = lsn
            tables = self._held(db, found, lsn)
            for table in tables:
                try:
                    yield from self._altered(db, at, table, follow.batch_rows)
                except SchemaError as error:
                    self.lose(table.one, error)
            tables = [table for table in tables if table.one in self.left]
            if lsn < now.lsn:
                yield from self._window(db, lsn, now, tables, max(1, follow.batch_rows))

    def _held(self, db: TableDb, found: Instances, lsn: str) -> list[Held]:
        """What has the changes behind a place; a table of which nothing has them is lost."""
        held = []
        for one in tuple(self.left):
            listed = found[one.table.schema, one.table.table]
            try:
                held.append(Held(one, listed, holding(one, listed, lsn, db.where)))
            except (LostPositionError, NotFoundError) as error:
                self.lose(one, error)
        return held

    def _ahead(self, db: TableDb, lsn: str, now: Now, found: Instances) -> None:
        """A place behind the end of the log is right only where a change table began after it."""
        begun = max((one.start for listed in found.values() for one in listed), default=NO_LSN)
        if lsn > max(now.lsn, begun):
            text = f"the log ends at 0x{now.lsn}, before 0x{lsn}, where we are: the database was restored"
            raise LostPositionError(text, path=db.where, hint=RESYNC)

    def _window(self, db: TableDb, lsn: str, now: Now, tables: Sequence[Held], size: int) -> Iterator[Batch]:
        ends = [boundary(table.listed, table.holder, lsn) for table in tables]
        upto = min([now.lsn, *(end for end in ends if end is not None)])
        count, last = db.rows(_SOME.format(count=self._transactions, after=lsn, upto=upto))[0]
        full = int(count) >= self._transactions
        window = Window(lsn, hexed(last) if full else upto, now.minutes, size)
        held: Batch | None = None
        rows = 0
        for batch in self._ordered(db, window, tables):
            rows += batch.rows.num_rows
            if held is not None:
                yield held
            held = batch
        self._held(db, instances(db, self.followed), lsn)  # nothing of it was cleaned up while it was read
        if rows > size:
            self._transactions = max(1, self._transactions // 2)
        elif full and rows * 2 < size:
            self._transactions = min(self._transactions * 2, _MOST)
        self.more = window.upto < now.lsn
        place = now.position(window.upto)
        yield replace(held, position=place) if held is not None else self.sign(place)

    def _ordered(self, db: TableDb, window: Window, tables: Sequence[Held]) -> Iterator[Batch]:
        """The changes of a window in the order of the log; of one too large to be kept, table by table."""
        kept: list[tuple[int, Places, pa.RecordBatch]] = []
        rows = 0
        for number, table in enumerate(tables):
            for places, batch in self._changes(db, window, table):
                rows += batch.num_rows
                kept.append((number, places, batch))
                if rows > _MOST:
                    for each, _, some in kept:
                        for start in range(0, some.num_rows, window.size):
                            yield Batch(tables[each].one.dataset.name, some.slice(start, window.size), None)
                    kept = []
        if rows <= _MOST and kept:
            for each, some in merged(kept, window.size):
                yield Batch(tables[each].one.dataset.name, some, None)

    def _changes(self, db: TableDb, window: Window, table: Held) -> Iterator[tuple[Places, pa.RecordBatch]]:
        """The changes of one table between two places."""
        one, holder = table.one, table.holder
        names = [field.name for field in one.fields]
        large = [name for name in names if one.large(name)]
        columns = [
            f"c.[__$start_lsn] AS [{LSN}]", f"c.[__$seqval] AS [{SEQ}]",
            f"CAST(c.[__$operation] AS int) AS [{CODE}]", f"m.tran_end_time AS [{COMMITTED}]",
            *(f"CAST(sys.fn_cdc_is_bit_set({holder.columns[name]}, c.[__$update_mask]) AS int) AS "
              f"{db.quote(TOUCHED + name)}" for name in large),
            *(f"{one.read(db, 'c', name)} AS {db.quote(name)}" for name in names),
        ]  # fmt: skip
        sql = _CHANGES.format(
            columns=", ".join(columns), function=holder.function(db), first=after(window.lsn), last=window.upto
        )
        for raw in paired(db.batches(sql, asked(one.cells(), large), _MOST)):
            places, made = changed(raw, one.cells(), one.dataset.key, large, window.minutes)
            if made.num_rows:
                yield places, made

    # ---- tables that were altered

    def _altered(self, db: TableDb, at: Position, table: Held, size: int) -> Iterator[Batch]:
        """What is new of a table's columns from this place on, and the rows that were changed before a new column was
        captured: as they are now."""
        one, holder = table.one, table.holder
        marker = (holder.number, holder.altered[1])
        if one.marker != marker:
            now = self.reach.catalogue(db).find(one.table.name)
            if now is None:
                raise SchemaError(f"{one.dataset.name!r} is gone", path=db.where, hint=RESYNC)
            told = one.seen(db, now, _captured(holder))
            one.marker = marker
            if told:
                yield Batch(one.dataset.name, empty(one.schema()), None, kind="schema")
        again = (one.dataset.name, holder.number)
        older = before(table.listed, holder)
        if older is not None and one.dataset.key and holder.start == lsn_of(at) and again not in self._again:
            yield from self._read_again(db, at, table, older, size)
            self._again.add(again)

    def _read_again(self, db: TableDb, at: Position, table: Held, older: Instance, size: int) -> Iterator[Batch]:
        """The rows that were changed between the first DDL that the older instance did not follow and the newer one's
        beginning; all of them where that is no longer known."""
        one, holder = table.one, table.holder
        columns = ", ".join(f"{one.read(db, 't', field.name)} AS {db.quote(field.name)}" for field in one.fields)
        sql = _AGAIN.format(columns=columns, table=one.place(db))
        first = older.altered[0]
        if first >= older.start:
            same = " AND ".join(f"c.{db.quote(name)} = t.{db.quote(name)}" for name in one.dataset.key)
            sql += _TOUCHED.format(function=older.function(db), first=first, last=holder.start, same=same)
        held: Batch | None = None
        for rows in db.batches(sql, pa.schema(one.cells()), max(1, size)):
            if not rows.num_rows:
                continue
            if held is not None:
                yield held
            letters: Any = pa.array(np.full(rows.num_rows, "r"))
            moments: Any = pa.array([None] * rows.num_rows, MOMENT)
            made = pa.RecordBatch.from_arrays([*rows.columns, letters, moments], schema=one.changes(moments=True))
            held = Batch(one.dataset.name, made, None)
        if held is not None:
            yield replace(held, position=at)

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: by the times of the transactions that the capture job has written."""
        with self.asking.look() as db:
            found = db.rows(_OLDEST.format(after=lsn_of(position)))
            age = float(max(0, int(found[0][0] or 0))) if found else 0.0
            try:
                kept = db.rows(RETENTION)
            except ConnectorError:
                kept = []
        return Lag(seconds=age, until_loss=max(0.0, float(kept[0][0]) * 60 - age) if kept else None)


def lsn_of(position: Position) -> str:
    """The LSN of a position: 20 digits and nothing else."""
    return f"{int(str(position['lsn']), 16):020x}"


def _captured(holder: Instance) -> list[str]:
    return [name for name in holder.columns if name not in holder.computed]


def _whole(one: Followed, holder: Instance) -> None:
    """Raise SchemaError if a column would never be told."""
    lacks = [name for name in one.dataset.columns if name not in _captured(holder)]
    if lacks:
        raise SchemaError(
            f"the change table of {one.dataset.name!r} does not tell {', '.join(lacks)}", path=one.dataset.name,
            hint="`tongqu cdc doctor` gives the statement; computed columns need changes: tracking",
        )  # fmt: skip
