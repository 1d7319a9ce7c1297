"""An Oracle database whose tables a test changes, with redo that LogMiner tells as Oracle's documentation says.

A mock: what is asked of it must be SQL that sqlglot reads as Oracle's; it is translated and run by SQLite over views as
the Database Reference describes them (V$LOGMNR_CONTENTS, V$LOG, V$ARCHIVED_LOG, V$THREAD, GV$TRANSACTION, …). Redo is
written by several threads, interleaved, undone to savepoints, kept in files that are switched, archived and purged, and
seen only once it is flushed. What was written before a table was altered is told as by the online catalog ("Using the
Online Catalog", Utilities): not. No server was compared with it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from threading import RLock
from typing import Any

import pyarrow as pa
from sqlglot import transpile

from tongqu.testing.dbapi import Played, PlayedConnection, PlayedCursor, PlayedDriver, PlayedError, Row
from tongqu.testing.mined_redo import DDL, Held, LogFile, Redo, Transaction, Values

_OURS = re.compile(
    r"V\$|ALL_OBJECTS o|ALL_LOG_GROUPS|ALL_TABLES t|SESSION_(PRIVS|ROLES)|FROM DUAL|FROM \"own\"|DBMS_LOGMNR"
)
_AS_OF = re.compile(r'"own"\."(\w+)" AS OF SCN (\d+)')
_START = re.compile(r"STARTSCN => (\d+), ENDSCN => (\d+)")
_ADD = re.compile(r"LOGFILENAME => '([^']+)', OPTIONS => DBMS_LOGMNR\.(\w+)")
_BOUND = re.compile(r"TO_CHAR\((\"\w+\"|MAX\(\"\w+\"\)), 'TM9'\)")
_ZONE = "TO_CHAR(SYSTIMESTAMP, 'TZH:TZM')"
_NEVER = 1 << 60


class MinedServer(Played):
    """Tables are of the schema `own` and have the key `id`. What a test may set: `cdb` (the container database's name),
    `rights`, `mode`, `minimal`, `forced`, `zone`, `piece` (how long SQL_REDO may be), `database`, `incarnation`."""

    def __init__(self, threads: int = 1) -> None:
        super().__init__("oracle")
        self.held: dict[str, Held] = {}
        self.open: list[Transaction] = []
        self.redo: list[Redo] = []
        self.logs: list[LogFile] = []
        self.scn = 1_000
        self.database, self.incarnation = 4711, 1
        self.mode, self.minimal, self.all_columns, self.forced = "ARCHIVELOG", "YES", "NO", "YES"
        self.cdb, self.user, self.zone = "", "ETL", "+00:00"
        self.rights = {"LOGMINING", "SELECT ANY TRANSACTION", "EXECUTE_CATALOG_ROLE", "SELECT_CATALOG_ROLE",
                       "FLASHBACK ANY TABLE", "SET CONTAINER"}  # fmt: skip
        self.kept, self.ages, self.oldest = 5 * 86_400, (0, 0), 0
        self.piece, self.groups = 4000, 3
        self.waiting: set[int] = set()
        """Threads whose redo waits in memory."""
        self.windows: list[tuple[int, int]] = []
        """The SCNs that were mined."""
        self.lock = RLock()
        self.closed: set[int] = set()
        self._numbers = 0
        self._clock = datetime(2026, 3, 1, 16)  # noqa: DTZ001  # the server's local time, 8 hours ahead of UTC
        for thread in range(1, threads + 1):
            self.logs.append(LogFile(thread, 1, self.scn, thread * 10))

    # ---- what a test does

    def create(self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Values] = ()) -> None:
        """Make a table."""
        held = self.held[name] = Held(name, 7000 + len(self.held) + len(self.redo), list(columns))
        self.tables.add(name)
        for row in rows:
            held.committed[row["id"]] = dict(row)
            held.present[row["id"]] = dict(row)
            held.rowids[row["id"]] = self.rowid()
        held.history.append((0, {key: dict(row) for key, row in held.committed.items()}))

    def begin(self, thread: int = 1) -> Transaction:
        """A transaction, which has its first change soon."""
        self._numbers += 1
        made = Transaction(self, thread, self._numbers)
        self.open.append(made)
        return made

    def commit(self, *changes: tuple[str, str, Any, Values], thread: int = 1) -> None:
        """One transaction: table, `insert`/`update`/`delete`, key, values."""
        one = self.begin(thread)
        for table, what, key, new in changes:
            if what == "insert":
                one.insert(table, new)
            elif what == "update":
                one.update(table, key, **new)
            else:
                one.delete(table, key)
        one.commit()

    def define(self, table: str, sql: str) -> None:
        """A DDL statement, in a transaction of its own; what it does to the table is up to the test."""
        one = self.begin()
        self.write(one, DDL, self.held[table], "", sql)
        one.commit()

    def alter(self, table: str, name: str, native: str) -> None:
        """ALTER TABLE … ADD: what was written before cannot be told any more."""
        held = self.held[table]
        held.columns.append((name, native))
        held.version += 1
        for rows in (held.committed, held.present):
            for row in rows.values():
                row[name] = None
        self.define(table, f'ALTER TABLE "own"."{table}" ADD ("{name}" {native})')

    def truncate(self, table: str) -> None:
        """TRUNCATE TABLE."""
        held = self.held[table]
        held.committed, held.present, held.rowids = {}, {}, {}
        held.history.append((self.scn, {}))
        self.define(table, f"truncate table own.{table}")

    def write(
        self, one: Transaction, code: int, held: Held | None, row: str, sql: str, *, undo: bool = False
    ) -> int:  # fmt: skip
        """A redo record of a transaction; its SCN."""
        scn, log = self.tick(), self.current(one.thread)
        record = (log.sequence, len(self.redo) + 2, 16)
        version = held.version if held is not None else 0
        self.redo.append(
            Redo(
                one.thread,
                scn,
                record,
                code,
                one,
                held,
                version,
                row,
                sql,
                self._clock,
                undo,
                one.thread not in self.waiting,
            )
        )
        return scn

    def flush(self, thread: int) -> None:
        """LGWR of an instance writes what waits."""
        self.waiting.discard(thread)
        for one in self.redo:
            one.flushed = one.flushed or one.thread == thread

    def current(self, thread: int) -> LogFile:
        """The log that a thread writes."""
        return next(one for one in self.logs if one.thread == thread and one.next is None)

    def switch(self, thread: int = 1) -> None:
        """ALTER SYSTEM SWITCH LOGFILE; the log is archived, its group used again by and by."""
        self.flush(thread)
        log = self.current(thread)
        log.next, log.archived = self.tick(), True
        group = thread * 10 + log.sequence % self.groups
        for one in self.logs:
            if one.thread == thread and one.group == group:
                one.group = 0
        self.logs.append(LogFile(thread, log.sequence + 1, log.next, group))

    def purge(self, thread: int = 1, *, entries: bool = False) -> None:
        """RMAN deletes what is archived; with `entries` the control file has forgotten it too."""
        for one in list(self.logs):
            if one.thread == thread and one.archived:
                one.purged, one.group = True, 0
                if entries:
                    self.logs.remove(one)

    def tick(self) -> int:
        """The next SCN."""
        self.scn += 1
        self._clock += timedelta(seconds=1)
        return self.scn

    def rowid(self) -> str:
        """A ROWID that no other row has."""
        self._numbers += 1
        return f"AAAR{self._numbers:014d}"

    # ---- what is asked of it

    def ask(self, mined: Mined, sql: str, params: Sequence[Any]) -> tuple[list[Row], int]:
        """The answer to a statement over one connection."""
        if sql.startswith("ALTER SESSION SET CONTAINER = "):
            mined.container = sql.rpartition(" ")[2]
        if not _OURS.search(sql) or "CURRENT_SCHEMA" in sql:
            return self.answer(sql, params)
        self.said.append(" ".join(sql.split()))
        for pattern, error in list(self.fails):
            if re.search(pattern, sql):
                self.fails.remove((pattern, error))
                raise error
        if sql.startswith("BEGIN DBMS_LOGMNR"):
            self._mine(mined, sql)
            return [], -1
        found = self._measured(sql)
        return ([found], -1) if found is not None else (self._run(mined, sql), -1)

    def _measured(self, sql: str) -> Row | None:
        """What has to do with time."""
        if "SCN_TO_TIMESTAMP" in sql:
            return (self.ages.__getitem__(int(re.findall(r"SCN_TO_TIMESTAMP\((\d+)\)", sql)[0]) < self.scn),)
        if "FIRST_TIME" in sql:
            return (self.kept if any(one.archived and not one.purged for one in self.logs) else None,)
        if "START_DATE" in sql:
            return (self.oldest, min((one.start for one in self.open), default=None))
        return None

    def _mine(self, mined: Mined, sql: str) -> None:
        if self.cdb and mined.container != "CDB$ROOT":
            raise PlayedError("ORA-65040: operation not allowed from within a pluggable database", code=65040)
        added, window = _ADD.search(sql), _START.search(sql)
        if added:
            if not any(self._name(one) == added[1] and not one.purged for one in self.logs):
                raise PlayedError(f"ORA-01284: file {added[1]} cannot be opened", code=1284)
            mined.files = [added[1]] if added[2] == "NEW" else [*mined.files, added[1]]
        elif window:
            first, last = int(window[1]), int(window[2])
            have = {(one.thread, one.sequence) for one in self.logs if {one.name, self._name(one)} & set(mined.files)}
            if any(first <= one.scn <= last and (one.thread, one.record[0]) not in have for one in self.redo):
                raise PlayedError("ORA-01291: missing log file", code=1291)
            mined.window = (first, last)
            self.windows.append((first, last))

    def _name(self, log: LogFile) -> str:
        return log.name if log.archived else f"/redo/{log.group}.log"

    def _contents(self, mined: Mined) -> Iterator[Row]:
        """V$LOGMNR_CONTENTS of a window, in the order of SCNs."""
        if mined.window is None:
            raise PlayedError("ORA-01306: dbms_logmnr.start_logmnr() must be invoked before", code=1306)
        first, last = mined.window
        names = {(one.thread, one.sequence): self._name(one) for one in self.logs}
        for one in sorted(self.redo, key=lambda each: (each.scn, each.thread, each.record)):
            if not (one.flushed and first <= one.scn <= last and names.get((one.thread, one.record[0])) in mined.files):
                continue
            owner, name, number, status, info, sql = None, None, None, 0, None, one.sql
            if one.table is not None:
                owner, name, number = "own", one.table.name, one.table.number
                if one.code != DDL and self.held.get(name) is not one.table:
                    owner, name, status, info = "UNKNOWN", f"OBJ# {number}", 2, "Dictionary Mismatch"
                elif one.code != DDL and one.version != one.table.version:
                    status, info = 2, "Dictionary Version Mismatch"
                    sql = f"insert into own.{name}(col#1) values (hextoraw('c102'))"
            xid = one.transaction.xid
            if one.undo and one.transaction.start < first:
                xid = xid[:8] + "ffffffff"
            pieces = [sql[at : at + self.piece] for at in range(0, len(sql), self.piece)]
            for at, piece in enumerate(pieces, 1):
                yield (
                    one.thread, one.scn, *one.record, one.code, int(one.undo), int(at < len(pieces)), xid.upper(),
                    owner, name, number, one.row, status, info, one.when.isoformat(" "), piece, "PLANT",
                )  # fmt: skip

    def _run(self, mined: Mined, sql: str) -> list[Row]:
        text = _AS_OF.sub(lambda found: f'"own"."{found[1]}@{found[2]}"', sql).replace(_ZONE, "'+08:00'")
        text = _BOUND.sub(r"\1", text)
        here = mined.container or ("PLANT" if self.cdb else "")
        known = {"CDB_NAME": self.cdb or None, "CON_NAME": here, "SESSION_USER": self.user}
        database = sqlite3.connect(":memory:")
        try:
            database.execute("ATTACH ':memory:' AS own")
            database.create_function("rawtohex", 1, lambda value: value)
            database.create_function("sys_context", 2, lambda _, name: known[name])
            for name, columns, rows in self._views(mined, text):
                database.execute(f"CREATE TABLE {name} ({columns})")
                if rows:
                    database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            return database.execute(_translated(text)).fetchall()
        finally:
            database.close()

    def _views(self, mined: Mined, sql: str) -> Iterator[tuple[str, str, list[Row]]]:
        """The views that a statement asks for."""
        for name, (columns, made) in self._catalogue(mined).items():
            if re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$#])", sql):
                listed = ", ".join(f'"{column}"' for column in columns.split())
                yield f'"{name}"', listed, made()
        for name, held in self.held.items():
            for asked in sorted(set(re.findall(rf'"own"\."({name}(?:@\d+)?)"', sql))):
                listed = ", ".join(f'"{column}"' for column, _ in held.columns)
                scn = int(asked.partition("@")[2] or _NEVER)
                rows = next(rows for at, rows in reversed(held.history) if at <= scn)
                yield f'own."{asked}"', listed, [tuple(row.get(n) for n, _ in held.columns) for row in rows.values()]

    def _catalogue(self, mined: Mined) -> dict[str, tuple[str, Any]]:
        online = [one for one in self.logs if one.group]
        self.scn += 1  # asking for CURRENT_SCN takes one
        return {
            "V$DATABASE": (
                "CURRENT_SCN DBID RESETLOGS_CHANGE# LOG_MODE SUPPLEMENTAL_LOG_DATA_MIN SUPPLEMENTAL_LOG_DATA_ALL "
                "FORCE_LOGGING", lambda: [(self.scn, self.database, self.incarnation, self.mode, self.minimal,
                                           self.all_columns, self.forced)]),
            "V$LOGFILE": ("GROUP# MEMBER TYPE STATUS",
                          lambda: [(one.group, f"/redo/{one.group}.log", "ONLINE", None) for one in online]),
            "V$LOG": ("THREAD# SEQUENCE# FIRST_CHANGE# NEXT_CHANGE# STATUS GROUP#",
                      lambda: [(one.thread, one.sequence, one.first, one.next or _NEVER,
                                "INACTIVE" if one.next else "CURRENT", one.group) for one in online]),
            "V$LOGMNR_CONTENTS": (
                "THREAD# SCN RBASQN RBABLK RBABYTE OPERATION_CODE ROLLBACK CSF XID SEG_OWNER TABLE_NAME DATA_OBJ# "
                "ROW_ID STATUS INFO TIMESTAMP SQL_REDO SRC_CON_NAME", lambda: list(self._contents(mined))),
            "V$ARCHIVED_LOG": (
                "THREAD# SEQUENCE# FIRST_CHANGE# NEXT_CHANGE# NAME STATUS DELETED STANDBY_DEST RESETLOGS_CHANGE#",
                lambda: [(one.thread, one.sequence, one.first, one.next, None if one.purged else one.name,
                          "D" if one.purged else "A", "YES" if one.purged else "NO", "NO", self.incarnation)
                         for one in self.logs if one.archived]),
            "V$THREAD": ("THREAD# STATUS ENABLED",
                         lambda: [(one, "CLOSED" if one in self.closed else "OPEN", "PUBLIC")
                                  for one in sorted({log.thread for log in self.logs})]),
            "GV$TRANSACTION": ("START_SCN", lambda: [(one.start,) for one in self.open]),
            "ALL_OBJECTS": ("OWNER OBJECT_NAME OBJECT_TYPE OBJECT_ID",
                            lambda: [("own", held.name, "TABLE", held.number) for held in self.held.values()]),
            "ALL_LOG_GROUPS": ("OWNER TABLE_NAME LOG_GROUP_TYPE",
                               lambda: [("own", one.name, "ALL COLUMN LOGGING") for one in self.held.values()
                                        if one.logged]),
            "ALL_TABLES": ("OWNER TABLE_NAME IOT_TYPE TEMPORARY LOGGING",
                           lambda: [("own", one.name, *one.kind) for one in self.held.values()]),
            "SESSION_PRIVS": ("PRIVILEGE", lambda: [(one,) for one in sorted(self.rights) if "ROLE" not in one]),
            "SESSION_ROLES": ("ROLE", lambda: [(one,) for one in sorted(self.rights) if "ROLE" in one]),
            "DUAL": ("DUMMY DBTIMEZONE", lambda: [("X", self.zone)]),
        }  # fmt: skip

    def _told(self, sql: str, params: Sequence[Any]) -> list[Row]:
        asked = self.held.get(str(params[1])) if len(params) > 1 else None
        if asked is not None:
            self.columns = [(name, native, int(name != "id"), None, None, 0, None) for name, native in asked.columns]
        return super()._told(sql, params)


@cache
def _translated(sql: str) -> str:
    (made,) = transpile(sql, read="oracle", write="sqlite", identify=True)
    return made


@dataclass
class Mined:
    """What one connection has told LogMiner, and its container."""

    container: str = ""
    files: list[str] = field(default_factory=list)
    window: tuple[int, int] | None = None


class _Cursor(PlayedCursor):
    """A cursor of one connection."""

    def __init__(self, server: MinedServer, mined: Mined):
        super().__init__(server)
        self._asked, self._mined = server, mined

    def execute(self, sql: str, params: Sequence[Any] = ()) -> PlayedCursor:
        """See PEP 249."""
        with self._asked.lock:
            self._rows, self.rowcount = self._asked.ask(self._mined, sql, params)
        return self


class _Connection(PlayedConnection):
    """A connection, which is a session of LogMiner of its own."""

    def __init__(self, server: MinedServer):
        super().__init__(server)
        self._asked, self._mined = server, Mined()

    def cursor(self) -> PlayedCursor:
        """See PEP 249."""
        return _Cursor(self._asked, self._mined)

    def fetch_df_batches(self, statement: str, **options: Any) -> Iterator[pa.RecordBatch]:
        """The batches of a query, as oracledb gives them."""
        with self._asked.lock:
            rows, _ = self._asked.ask(self._mined, statement, ())
        size = max(1, int(options.get("size", 1)))
        for at in range(0, len(rows), size):
            columns = [pa.array(list(column)) for column in zip(*rows[at : at + size], strict=True)]
            yield pa.RecordBatch.from_arrays(columns, names=[f"c{n}" for n in range(len(columns))])


class MinedDriver(PlayedDriver):
    """The module that the connector imports instead of oracledb."""

    def __init__(self, server: MinedServer):
        super().__init__(server)
        self._asked = server

    def connect(self, *given: Any, **named: Any) -> PlayedConnection:
        """See PEP 249."""
        self._asked.connections.append({"": given, **named})
        return _Connection(self._asked)
