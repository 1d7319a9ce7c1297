"""Follows change tracking: which keys have changed since a version, with the rows as they are in the same instant.

Sources: CHANGETABLE, CHANGE_TRACKING_CURRENT_VERSION and CHANGE_TRACKING_MIN_VALID_VERSION in Microsoft's Transact-SQL
reference; "Work with change tracking" for the transaction that sees one instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from tongqu.connectors.mssql.log.polling import Polling, empty
from tongqu.connectors.mssql.log.session import RESYNC, Followed
from tongqu.core.data import Batch, Position
from tongqu.core.errors import InvalidPlanError, LostPositionError, NotFoundError, SchemaError
from tongqu.core.log import Follow, Lag
from tongqu.kit.tables.db import TableDb

NOW = """
SELECT CHANGE_TRACKING_CURRENT_VERSION(), LOWER(CAST(d.service_broker_guid AS char(36))), d.snapshot_isolation_state
FROM sys.databases d WHERE d.database_id = DB_ID()
"""
_VALID = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID({table})), o.modify_date FROM sys.objects o "
_WHICH = "WHERE o.object_id = OBJECT_ID({table})"
_CHANGES = """
SELECT {columns} FROM CHANGETABLE(CHANGES {table}, {version}) AS c LEFT JOIN {table} AS t ON {same}
ORDER BY c.SYS_CHANGE_VERSION, c.SYS_CHANGE_OPERATION
"""
_LETTER = "CASE c.SYS_CHANGE_OPERATION WHEN 'I' THEN 'c' WHEN 'D' THEN 'd' ELSE 'u' END"
NO_SNAPSHOT = "ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON"


class TrackingLog(Polling):
    """The changes of tables that are tracked: of each key the last one since the place, without the row that was
    deleted. A position is a version: `{way: "tracking", version: 17, database: "guid"}`."""

    def begun(self, some: Sequence[Followed]) -> Position:
        """See Polling.begun."""
        with self.asking.look() as db:
            now = self._now(db)
            for one in some:
                if tuple(one.dataset.key) != tuple(one.table.primary):
                    raise InvalidPlanError(
                        f"change tracking tells the primary key of {one.dataset.name!r} only", path=one.dataset.name,
                        hint="follow it by its primary key, or capture it (changes: tables)",
                    )  # fmt: skip
                self._valid(db, one, None)
            return now

    def head(self) -> Position:
        """See Log.head."""
        with self.asking.look() as db:
            return self._now(db)

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return "version" in until and int(position["version"]) >= int(until["version"])

    def _now(self, db: TableDb) -> Position:
        version, database, snapshots = db.rows(NOW)[0]
        name = db.quote(db.rows("SELECT DB_NAME()")[0][0]) if version is None or int(snapshots) != 1 else ""
        if version is None:
            fix = f"ALTER DATABASE {name} SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)"
            raise NotFoundError("change tracking is off", path=db.where, hint=fix)
        if int(snapshots) != 1:
            raise InvalidPlanError(
                "change tracking is followed in snapshots, which the database does not allow", path=db.where,
                hint=NO_SNAPSHOT.format(database=name),
            )  # fmt: skip
        return {"way": "tracking", "version": int(version), "database": str(database)}

    def _valid(self, db: TableDb, one: Followed, version: int | None) -> object:
        """When the table was last altered. Raises LostPositionError if the changes behind a version are gone."""
        table = db.dialect.literal(one.place(db))
        found = db.rows(_VALID.format(table=table) + _WHICH.format(table=table))
        if not found or found[0][0] is None:
            hint = f"ALTER TABLE {one.place(db)} ENABLE CHANGE_TRACKING"
            raise NotFoundError(f"{one.dataset.name!r} is not tracked", path=db.where, hint=hint)
        least, altered = found[0]
        if version is not None and version < int(least):
            raise LostPositionError(
                f"the changes of {one.dataset.name!r} are kept from version {least} on, we are at {version}: they were "
                "cleaned up, or the table was emptied", path=db.where, hint=RESYNC,
            )  # fmt: skip
        return altered

    def known(self, at: Position) -> None:
        """See Polling.known."""
        with self.reading.look() as db:
            self._here(at, self._now(db), db)
            for one in tuple(self.left):
                try:
                    self._valid(db, one, int(at["version"]))
                except (LostPositionError, NotFoundError) as error:
                    self.lose(one, error)

    @staticmethod
    def _here(at: Position, now: Position, db: TableDb) -> None:
        if at["database"] != now["database"] or int(at["version"]) > int(now["version"]):
            raise LostPositionError("the place is of another database", path=db.where, hint=RESYNC)

    def step(self, at: Position, follow: Follow) -> Iterator[Batch]:
        """See Polling.step: everything up to the present version."""
        with self.reading.look() as db:
            now, version = self._now(db), int(at["version"])
            self._here(at, now, db)
            for one in tuple(self.left):
                try:
                    altered = self._valid(db, one, version)
                    if one.marker != altered:
                        yield from self._altered(db, one)
                        one.marker = altered
                except (LostPositionError, NotFoundError, SchemaError) as error:
                    self.lose(one, error)
            if version == int(now["version"]):
                return
            held: Batch | None = None
            for one in self.left:
                for batch in self._changes(db, one, version, follow.batch_rows):
                    if held is not None:
                        yield held
                    held = batch
            yield replace(held, position=now) if held is not None else self.sign(now)

    def _altered(self, db: TableDb, one: Followed) -> Iterator[Batch]:
        now = self.reach.catalogue(db).find(one.table.name)
        if now is None:
            raise SchemaError(f"{one.dataset.name!r} is gone", path=db.where, hint=RESYNC)
        if one.seen(db, now, [column.name for column in now.columns]):
            yield Batch(one.dataset.name, empty(one.schema()), None, kind="schema")

    def _changes(self, db: TableDb, one: Followed, version: int, size: int) -> Iterator[Batch]:
        keys = one.dataset.key
        cells = [f"{one.read(db, 'c' if f.name in keys else 't', f.name)} AS {db.quote(f.name)}" for f in one.fields]
        sql = _CHANGES.format(
            columns=", ".join([*cells, f"{_LETTER} AS [_op]"]), table=one.place(db), version=version,
            same=" AND ".join(f"t.{db.quote(name)} = c.{db.quote(name)}" for name in keys),
        )  # fmt: skip
        for rows in db.batches(sql, one.changes(moments=False), max(1, size)):
            if rows.num_rows:
                yield Batch(one.dataset.name, pa.RecordBatch.from_arrays(rows.columns, schema=rows.schema), None)

    def lag(self, position: Position) -> Lag:
        """See Log.lag: tracking keeps no times."""
        with self.asking.look() as db:
            now = self._now(db)
        return Lag(seconds=0.0) if self.reached(position, now) else Lag()
