"""Writes MariaDB and MySQL: LOAD DATA into the target, a chunk or a staged generation, merged or swapped by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.connectors.mysql import copy_in, ddl, merging, undoing
from tongqu.connectors.mysql.db import MysqlDb, quoted
from tongqu.connectors.mysql.encode import Target as Place
from tongqu.connectors.mysql.encode import lines, tuples
from tongqu.connectors.mysql.evicting import Mark, SinkDb
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.connectors.mysql.types import field_of, is_binary
from tongqu.core.data import Bytes, Started, Write, Written
from tongqu.core.errors import ConnectError, DataError, PrivilegeError, RefusedRowsError
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import Landing, Target
from tongqu.kit.sql.sink import SqlSink
from tongqu.meaning.settling import Alterations

_STATEMENT = 4 << 20


class MysqlSink(SqlSink):
    """Exactly-once effect: data, quarantine, counts and checkpoint commit in one InnoDB transaction; a replaced
    generation appears by one atomic RENAME, which commits on its own and is found done after a crash."""

    formats = ("pgcopy-text",)
    ddl_commits: ClassVar[bool] = True

    def __init__(self, settings: MysqlSettings, now: Callable[[], str] | None = None):
        if now is None:
            super().__init__()
        else:
            super().__init__(now)
        self._settings = settings
        self._loads: bool | None = None
        self._mark: Mark | None = None

    def check(self) -> Iterator[str]:
        """See Sink.check."""
        yield from self._settings.stages()
        db = self._my(self.control())
        yield "tls" if db.encrypted else "tls: not used"
        yield "login"
        probe = ddl.place(db, "_tongqu_check")
        try:
            db.run(f"CREATE TABLE IF NOT EXISTS {probe} (a int) ENGINE=InnoDB")
            db.run(f"DROP TABLE {probe}")
        except PrivilegeError as error:
            raise PrivilegeError(
                error.message, path=self._settings.display(),
                hint="GRANT CREATE, DROP, ALTER, INDEX, SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES",
            ) from None  # fmt: skip
        yield "privilege"
        yield "load data" if self._can_load(db) else "load data: off (local_infile), rows go in by INSERT"

    def connect(self) -> MysqlDb:
        """See SqlSink.connect."""
        db = SinkDb(self._settings, lambda: self._mark)
        logged = db.rows("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format')")
        if not {("log_bin", "ON"), ("binlog_format", "STATEMENT")} <= set(logged):
            # no gap locks, so that splits do not wait for each other; a statement binlog could not replay it
            db.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return db

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start. From now on its sessions are known by sync, run and attempt."""
        started = super().start(sync, run, restart)
        self._mark = Mark(sync, started.run, started.attempt)
        return started

    @staticmethod
    def _my(db: Db) -> MysqlDb:
        assert isinstance(db, MysqlDb)  # noqa: S101  # this sink makes all its connections itself
        return db

    def _can_load(self, db: MysqlDb) -> bool:
        if self._loads is None:
            found = db.rows("SHOW GLOBAL VARIABLES LIKE 'local_infile'")
            self._loads = self._settings.load_data and bool(found) and str(found[0][1]).upper() in ("ON", "1")
        return self._loads

    def identity(self, name: str) -> str:
        """See Sink.identity. Whether letter case counts is the server's setting."""
        with self._lock:
            my = self._my(self.control())
            folds = int(my.rows("SELECT @@lower_case_table_names")[0][0]) > 0
            place = ddl.place(my, name)
        return place.lower() if folds else place

    # ---- tables

    def has_table(self, db: Db, name: str) -> bool:
        """See SqlSink.has_table."""
        return ddl.has_table(self._my(db), name)

    def target(self, db: Db, name: str) -> Target | None:
        """See SqlSink.target."""
        return ddl.target(self._my(db), name)

    def create_target(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_target."""
        ddl.create_table(self._my(db), landing.write, landing.write.dataset.name)

    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """See SqlSink.add_columns."""
        my = self._my(db)
        ddl.add_columns(my, landing.write.dataset.name, fields, ddl.column_types(my, landing.write))

    def _prepare_target(self, db: Db, landing: Landing) -> None:
        super()._prepare_target(db, landing)
        ddl.add_technical(self._my(db), landing)

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See SqlSystem.field."""
        return field_of(name, native)

    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """See SqlSystem.same_type."""
        return ddl.would_be(self._my(db), native, field)

    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """See SqlSystem.alter."""
        ddl.alter(self._my(db), name, alterations)

    def create_stage(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_stage."""
        ddl.create_stage(self._my(db), landing)

    def drop(self, db: Db, name: str) -> None:
        """See SqlSink.drop."""
        db.run(f"DROP TABLE IF EXISTS {ddl.place(self._my(db), name)}")

    def create_chunk(self, db: Db, landing: Landing) -> None:
        """See SqlSink.create_chunk."""
        ddl.create_chunk(self._my(db), landing)

    def places(self, db: Db, landing: Landing) -> tuple[str, str, str]:
        """See Quarantining.places."""
        name = landing.write.dataset.name
        own = self._my(db)
        return ddl.place(own, name), quoted(landing.chunk.rpartition(".")[2]), ddl.place(own, landing.stage)

    def remove(self, db: Db, target: str, chunk: str, key: Sequence[str]) -> int:
        """See SqlSystem.remove: by a join, which uses the target's index."""
        same = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in key)
        return db.run(f"DELETE t FROM {target} t JOIN {chunk} s ON {same}")

    def update_from(
        self, db: Db, tables: tuple[str, str], key: Sequence[str], columns: Sequence[str], also: str = ""
    ) -> None:
        """See SqlSystem.update_from."""
        sets = ", ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in columns)
        same = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in key)
        db.run(f"UPDATE {tables[0]} t JOIN {tables[1]} s ON {same}{also} SET {sets}")

    def instant(self, started_at: str) -> str:
        """See SqlSystem.instant."""
        return merging.instant(started_at)

    def retire(self, db: Db, landing: Landing, target: str, chunk: str) -> int:
        """See SqlSystem.retire: by a join, as `remove`."""
        del target
        return merging.Merge(self._my(db), landing, chunk).retire()

    # ---- rows

    def accepts(self, write: Write, format: str, types: Sequence[str]) -> Sequence[str | None]:
        """See Sink.accepts."""
        landing = self.landing(write)
        names = write.dataset.schema.names
        with self._lock:  # streams are planned side by side and share the control connection
            able = format in self.formats and self._can_load(self._my(self.control()))
        if not able:
            return [None] * len(types)
        written = set(ddl.load_columns(landing)) - landing.sieving.columns
        return [
            copy_in.fit(kind, landing.types[name]) if name in written and name in landing.types else None
            for name, kind in zip(names, types, strict=True)
        ]

    def _into(self, my: MysqlDb, landing: Landing) -> str:
        return quoted(landing.chunk.rpartition(".")[2]) if landing.merges else ddl.place(my, landing.into)

    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """See SqlSink.load."""
        my = self._my(db)
        rows = rows.select([name for name in ddl.load_columns(landing) if name in rows.schema.names])
        places = [Place(name, landing.types[name]) for name in rows.schema.names]
        if not self._can_load(my):
            return self._insert(my, landing, rows, places)
        listed, sets = [], []
        for number, (place, field) in enumerate(zip(places, rows.schema, strict=True)):
            call = _through(place, field)
            listed.append(f"@v{number}" if call else quoted(place.name))
            if call:
                sets.append(f"{quoted(place.name)} = {call.format(f'@v{number}')}")
        return self._load(my, landing, lines(rows, places), listed=listed, sets=sets, expected=rows.num_rows)

    def _load(
        self,
        my: MysqlDb,
        landing: Landing,
        blocks: Iterable[bytes | memoryview],
        *,
        listed: list[str],
        sets: list[str],
        expected: int | None = None,
    ) -> int:
        replace = "REPLACE " if landing.merges else ""
        done = my.load(
            f"LOAD DATA LOCAL INFILE {{file}} {replace}INTO TABLE {self._into(my, landing)} CHARACTER SET utf8mb4 "
            "FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' "
            f"({', '.join(listed)}){' SET ' + ', '.join(sets) if sets else ''}",
            blocks,
        )
        if expected is not None and done != expected:
            raise ConnectError(f"LOAD DATA took {done} of {expected} rows", path=self._settings.display())
        return done

    def _insert(self, my: MysqlDb, landing: Landing, rows: pa.Table, places: list[Place]) -> int:
        verb = "REPLACE" if landing.merges else "INSERT"
        names = ", ".join(quoted(place.name) for place in places)
        done = 0
        step = max(1, min(4096, _STATEMENT * max(rows.num_rows, 1) // max(rows.nbytes, 1)))
        for start in range(0, rows.num_rows, step):
            for count, values in tuples(rows.slice(start, step), places):
                affected = my.strict(f"{verb} INTO {self._into(my, landing)} ({names}) VALUES {values}")
                my.superseded += affected - count if landing.merges else 0
                done += count
        return done

    def copy_bytes(self, db: Db, landing: Landing, data: Bytes) -> int:
        """See SqlSink.copy_bytes."""
        my = self._my(db)
        listed, sets = copy_in.columns(data.columns, landing.types)
        return self._load(my, landing, copy_in.unescape(data.chunks), listed=listed, sets=sets)

    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """See SqlSink.merge."""
        return merging.merge(self._my(db), landing, source)

    def append_stage(self, db: Db, landing: Landing) -> int:
        """See SqlSink.append_stage."""
        my = self._my(db)
        names = ", ".join(quoted(name) for name in ddl.load_columns(landing))
        return db.run(
            f"INSERT INTO {ddl.place(my, landing.write.dataset.name)} ({names}) SELECT {names} "
            f"FROM {ddl.place(my, landing.stage)} ORDER BY {quoted(ddl.SEQUENCE)}"
        )

    def publish(self, db: Db, landing: Landing) -> Written | None:
        """See SqlSink.publish. A table with foreign keys or triggers is refilled in one transaction instead."""
        my = self._my(db)
        now = ddl.target(my, landing.write.dataset.name)
        if now is None or not now.pinned:
            if now is not None:
                self.drop(my, landing.previous)
            self._hold(my, landing)
            ddl.swap(my, landing)
            return None
        undoing.keep(my, landing.write.dataset.name, now)
        self.alter(my, landing.write.dataset.name, landing.alterations)
        missing = [landing.write.dataset.schema.field(n) for n in landing.missing if n not in now.columns]
        if missing:
            ddl.add_columns(my, landing.write.dataset.name, missing, ddl.column_types(my, landing.write))
        self._hold(my, landing)
        try:
            written = merging.refill(my, landing)
        except RefusedRowsError as error:
            raise DataError(
                f"{landing.write.dataset.name!r} cannot be refilled: {error.message}", path=landing.write.stream,
                hint=f"it is held by {', '.join(now.pinned)}",
            ) from None  # fmt: skip
        self.drop(my, landing.stage)  # ends the transaction: the refill is visible, the stage is gone
        return written

    def _hold(self, db: MysqlDb, landing: Landing) -> None:
        """Lock the stream's row again: the definitions that were changed have committed, and with it given it back."""
        self.ledger(db).hold(landing.write.sync, landing.write.stream, landing.fence)

    def put_back(self, db: Db, name: str) -> int:
        """See SqlSink.put_back."""
        return undoing.put_back(self._my(db), name)


def _through(place: Place, field: pa.Field[Any]) -> str:
    """The expression a loaded text goes through on its way into a column, with `{}` for it."""
    if is_binary(field.type):
        return "UNHEX({})"
    return "CAST({} AS UNSIGNED)" if place.native.name == "bit" else ""
