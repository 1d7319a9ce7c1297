"""A SQL Server whose tables a test changes, with change tables and change tracking as Microsoft's reference tells.

A mock: what is asked of it must be T-SQL that sqlglot reads; it is translated and run by DuckDB over the tables that
the reference describes (cdc.change_tables, cdc.captured_columns, cdc.lsn_time_mapping, cdc.ddl_history,
cdc.fn_cdc_get_all_changes_…, CHANGETABLE). No server was compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import transpile

from tongqu.testing.dbapi import Played, PlayedConnection, PlayedCursor, PlayedDriver, PlayedError, Row

Values = dict[str, Any]
Change = tuple[str, str, Values, Values]
"""Table, `insert`/`update`/`delete`, the row before (or its key), the values after."""
_DUCK = {"bigint": "BIGINT", "int": "INTEGER", "nvarchar(max)": "VARCHAR", "nvarchar(20)": "VARCHAR"}
_FUNCTION = re.compile(r"\[cdc\]\.\[fn_cdc_get_all_changes_(\w+)\]\(0x(\w{20}), 0x(\w{20}), N'([a-z ]+)'\)")
_TRACKED = re.compile(r"CHANGETABLE\(CHANGES \[(\w+)\]\.\[(\w+)\], (\d+)\)")
_OURS = re.compile(
    r"cdc\.|fn_cdc|\[cdc\]|msdb\.|CHANGE|sys\.(databases|dm_|configurations|change_)|NAME\(\)|HAS_PERMS|FROM \[\w+\]\."
)
_LOGIN = "SUSER_SNAME()"
_OTHERS = re.compile(r"sys\.objects o JOIN|^SELECT SCHEMA_NAME")
NO_LSN = b"\0" * 10


@dataclass
class Captured:
    """A capture instance of a table."""

    table: str
    name: str
    number: int
    start: int
    columns: list[str]
    altered: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """(lsn, seqval, operation, mask, values…)."""


@dataclass
class Held:
    """A table."""

    number: int
    columns: list[tuple[str, str]]
    rows: dict[Any, Values] = field(default_factory=dict)
    modified: int = 0
    since: int | None = None
    """The least valid version, where it is tracked."""
    tracked: list[tuple[int, str, Any]] = field(default_factory=list)


def lsn_of(number: int) -> bytes:
    """An LSN as the server gives it."""
    return number.to_bytes(10, "big")


class ChangingServer(Played):
    """Tables have the key `id`. `capture` is off while the capture job stands still; `snapshots`, `database`,
    `captures` and `version` are what the catalogue says."""

    def __init__(self) -> None:
        super().__init__("tsql")
        self.held: dict[str, Held] = {}
        self.captured: list[Captured] = []
        self.mapping: dict[int, datetime] = {}
        self.lsn, self.version = 0x27_0000_00F8, 0
        self.capture, self.captures, self.snapshots = True, False, True
        self.tracks, self.allowed = False, True
        self.database = "5A1B0000-0000-4000-8000-000000000001"
        self.agent, self.interval, self.retention, self.largest = "Running", 5, 4320, 65536
        self.lock = RLock()
        self._made: Any = None
        self._stamp: object = None
        self._waiting: list[tuple[int, Sequence[Change]]] = []
        self._clock = datetime(2026, 3, 1, 16)  # noqa: DTZ001  # the server's local time, 8 hours ahead of UTC

    # ---- what a test does

    def create(self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Values] = ()) -> None:
        """Make a table of the schema `own`."""
        self.held[name] = Held(len(self.held) + 101, list(columns))
        self.tables.add(name)
        for row in rows:
            self.held[name].rows[row["id"]] = dict(row)

    def enable(self, table: str, name: str = "", columns: Sequence[str] = ()) -> Captured:
        """sys.sp_cdc_enable_table: its changes are captured from now on."""
        self.captures = True
        start = self._next(dummy=True)
        all_columns = list(columns) or [column for column, _ in self.held[table].columns]
        made = Captured(table, name or f"own_{table}", 900 + len(self.captured), start, all_columns)
        self.captured.append(made)
        return made

    def track(self, table: str) -> None:
        """ALTER TABLE … ENABLE CHANGE_TRACKING."""
        self.tracks, self.held[table].since = True, self.version

    def commit(self, *changes: Change) -> None:
        """One transaction."""
        lsn = self._next()
        self.version += 1
        for table, what, old, new in changes:
            held = self.held[table]
            if what == "insert":
                held.rows[new["id"]] = dict(new)
            else:
                before = held.rows.pop(old["id"])
                old.update(before)
                if what == "update":
                    held.rows[new.get("id", old["id"])] = before | new
            if held.since is not None:
                held.tracked += _tracked(self.version, what, old, new)
        self._waiting.append((lsn, changes))
        if self.capture:
            self.run_capture()

    def run_capture(self) -> None:
        """The capture job writes what is waiting."""
        for lsn, changes in self._waiting:
            self.mapping[lsn] = self._clock
            for seq, (table, what, old, new) in enumerate(changes, 1):
                for instance in self.captured:
                    if instance.table == table and instance.start <= lsn:
                        instance.rows += _written(instance, lsn, lsn + seq, what, (old, new))
        self._waiting = []

    def alter(self, table: str, name: str, native: str) -> None:
        """ALTER TABLE … ADD: rows have null in it, change tables do not follow."""
        lsn, held = self._next(dummy=True), self.held[table]
        held.columns.append((name, native))
        held.modified += 1
        for row in held.rows.values():
            row[name] = None
        for instance in self.captured:
            if instance.table == table:
                instance.altered.append(lsn)

    def clean(self, upto: int | None = None) -> None:
        """Cleanup: what is before an LSN (now: everything) is gone."""
        mark = self.lsn if upto is None else upto
        for instance in self.captured:
            instance.rows = [row for row in instance.rows if row[0] >= mark]
            instance.start = max(instance.start, mark)
        self.mapping = {lsn: at for lsn, at in self.mapping.items() if lsn >= mark}
        for held in self.held.values():
            if held.since is not None:
                held.since = self.version
                held.tracked = []

    def _next(self, *, dummy: bool = False) -> int:
        self.lsn += 0x100
        self._clock += timedelta(seconds=1)
        if dummy and self.capture:
            self.mapping[self.lsn] = self._clock
        return self.lsn

    # ---- what is asked of it

    def answer(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[Row], int]:
        """See Played.answer."""
        if not _OURS.search(sql) or _OTHERS.search(sql) or sql.startswith(("SET ", "IF ")):
            return super().answer(sql, params)
        self.said.append(re.sub(r"\s+", " ", sql).strip())
        for pattern, error in list(self.fails):
            if re.search(pattern, sql):
                self.fails.remove((pattern, error))
                raise error
        if re.search(r"\bcdc\.|\[cdc\]", sql.replace("sys.fn_cdc", "")) and not self.captures:
            raise PlayedError("Invalid object name 'cdc.change_tables'.", driver_error="42S02")
        if "fn_cdc_get_max_lsn" in sql and not self.captures:
            raise PlayedError("Invalid object name 'cdc.lsn_time_mapping'.", driver_error="42S02")
        with self._lake() as lake:
            text = _FUNCTION.sub(lambda found: self._function(lake, found), sql)
            text = _TRACKED.sub(lambda found: self._changetable(lake, found), text)
            text = (
                text.replace("DATEPART(tz, SYSDATETIMEOFFSET())", "480").replace("N'", "'").replace(_LOGIN, "'reader'")
            )
            (query,) = transpile(text, read="tsql", write="duckdb")
            result: Any = lake.sql(query).to_arrow_table()
        self.arrow = result.combine_chunks().to_batches()
        rows = [
            tuple(row.values())
            for row in result.rename_columns([str(n) for n in range(result.num_columns)]).to_pylist()
        ]
        return rows, -1

    @contextmanager
    def _lake(self) -> Iterator[Any]:
        """A DuckDB with everything as it is now; made anew after a change."""
        shape = [(name, len(held.columns), held.since, len(held.rows)) for name, held in self.held.items()]
        captured = [(one.name, one.start, len(one.altered)) for one in self.captured]
        own = (self.database, self.agent, self.interval, self.retention, self.largest)
        stamp = (
            self.lsn, self.version, self.captures, self.snapshots, self.tracks, self.allowed, len(self.mapping), shape,
            captured, own,
        )  # fmt: skip
        if self._made is None or self._stamp != stamp:
            self.shut()
            self._made, self._stamp = duckdb.connect(), stamp
            self._fill(self._made)
        try:
            yield self._made
        finally:
            self._made.execute("DROP SCHEMA played CASCADE; CREATE SCHEMA played")

    def shut(self) -> None:
        """Let go of what answers."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _told(self, sql: str, params: Sequence[Any]) -> list[Row]:
        asked = self.held.get(str(params[1])) if len(params) > 1 else None
        if asked is not None:
            self.columns = [(name, native, int(name != "id"), None, None, 0, None) for name, native in asked.columns]
        return super()._told(sql, params)

    def _function(self, lake: Any, found: re.Match[str]) -> str:
        """cdc.fn_cdc_get_all_changes_<capture_instance>, which refuses ranges that it does not have with error 313."""
        name, first, last, option = found[1], int(found[2], 16), int(found[3], 16), found[4]
        instance = next(one for one in self.captured if one.name == name)
        if not (instance.start <= first <= last <= max(self.mapping)):
            raise PlayedError(
                "An insufficient number of arguments were supplied for the procedure or function "
                "cdc.fn_cdc_get_all_changes_ ... . (313)", driver_error="42000",
            )  # fmt: skip
        rows = [row for row in instance.rows if first <= row[0] <= last and (row[2] != 3 or option == "all update old")]
        natives = dict(self.held[instance.table].columns)
        own = ", ".join(f'"{column}" {_DUCK[natives[column]]}' for column in instance.columns)
        control = '"__$start_lsn" BLOB, "__$seqval" BLOB, "__$operation" INTEGER, "__$update_mask" BIGINT'
        lake.execute(f"CREATE TABLE played.fn_{name} ({control}, {own})")
        _insert(lake, f"played.fn_{name}", [(lsn_of(row[0]), lsn_of(row[1]), *row[2:]) for row in rows])
        return f"played.fn_{name}"

    def _changetable(self, lake: Any, found: re.Match[str]) -> str:
        """CHANGETABLE(CHANGES …): one row for each key that has changed since the version."""
        held, version = self.held[found[2]], int(found[3])
        last: dict[Any, tuple[int, str]] = {}
        for at, what, key in held.tracked:
            if at > version:
                before = last.get(key)
                again = before is not None and what == "I"
                made = before is not None and before[1] == "I" and what == "U"
                last[key] = (at, "U" if again else "I" if made else what)
        columns = "SYS_CHANGE_VERSION BIGINT, SYS_CHANGE_OPERATION VARCHAR, id BIGINT"
        lake.execute(f"CREATE TABLE played.changetable ({columns})")
        _insert(lake, "played.changetable", [(at, what, key) for key, (at, what) in last.items()])
        return "played.changetable"

    def _fill(self, lake: Any) -> None:
        """The catalogue and the tables."""
        for schema in ("sys", "cdc", "own", "played"):
            lake.execute(f"CREATE SCHEMA {schema}")
        lake.execute("ATTACH ':memory:' AS msdb")
        lake.execute("CREATE SCHEMA msdb.dbo")
        for name, columns, rows in self._catalogue():
            lake.execute(f"CREATE TABLE {name} ({columns})")
            _insert(lake, name, rows)
        for name, held in self.held.items():
            lake.execute(f"CREATE TABLE own.{name} ({', '.join(f'{n} {_DUCK[t]}' for n, t in held.columns)})")
            _insert(lake, f"own.{name}", [tuple(row[n] for n, _ in held.columns) for row in held.rows.values()])
        version = self.version if self.tracks else "NULL"
        for macro in (
            "db_id() AS 7", "db_name() AS 'plant'", "user_name() AS 'reader'",
            "serverproperty(n) AS 3", f"has_perms_by_name(a, b, c) AS {int(self.allowed)}",
            "object_id(t) AS (SELECT o.object_id FROM sys.objects o WHERE o.place = t)",
            "object_name(n) AS (SELECT o.name FROM sys.objects o WHERE o.object_id = n)",
            "object_schema_name(n) AS 'own'", f"change_tracking_current_version() AS {version}",
            "change_tracking_min_valid_version(n) AS (SELECT o.valid FROM sys.objects o WHERE o.object_id = n)",
            "sys.fn_cdc_get_max_lsn() AS (SELECT max(m.start_lsn) FROM cdc.lsn_time_mapping m)",
            "sys.fn_cdc_get_min_lsn(n) AS (SELECT t.start_lsn FROM cdc.change_tables t WHERE t.capture_instance = n)",
            "sys.fn_cdc_is_bit_set(n, mask) AS (mask >> (n - 1)) & 1",
        ):  # fmt: skip
            lake.execute(f"CREATE MACRO {macro}")

    def _catalogue(self) -> Sequence[tuple[str, str, Sequence[Row]]]:
        end = max(self.mapping, default=0)
        begun = [(one, lsn_of(one.start) if one.start <= end else NO_LSN) for one in self.captured]
        state = (7, self.database, self.captures, int(self.snapshots))
        objects = [
            (held.number, f"[own].[{name}]", name, held.since, str(held.modified)) for name, held in self.held.items()
        ]
        return [
            ("sys.databases", "database_id INT, service_broker_guid VARCHAR, is_cdc_enabled BOOL, "
             "snapshot_isolation_state INT", [state]),
            ("sys.objects", "object_id INT, place VARCHAR, name VARCHAR, valid BIGINT, modify_date VARCHAR", objects),
            ("cdc.change_tables", "source_object_id INT, capture_instance VARCHAR, object_id INT, start_lsn BLOB, "
             "create_date INT", [(self.held[one.table].number, one.name, one.number, start, one.number)
                                 for one, start in begun]),
            ("cdc.captured_columns", "object_id INT, column_name VARCHAR, column_ordinal INT, is_computed BOOL",
             [(one.number, name, at, False) for one in self.captured for at, name in enumerate(one.columns, 1)]),
            ("cdc.ddl_history", "object_id INT, ddl_lsn BLOB",
             [(one.number, lsn_of(lsn)) for one in self.captured for lsn in one.altered]),
            ("cdc.lsn_time_mapping", "start_lsn BLOB, tran_end_time TIMESTAMP, tran_id BLOB",
             [(lsn_of(lsn), at, b"\1") for lsn, at in sorted(self.mapping.items())]),
            ("sys.change_tracking_databases", "database_id INT, retention_period INT, retention_period_units_desc "
             "VARCHAR, is_auto_cleanup_on BOOL", [(7, 2, "DAYS", True)] if self.tracks else []),
            ("sys.configurations", "name VARCHAR, value_in_use BIGINT", [("max text repl size (B)", self.largest)]),
            ("sys.dm_server_services", "servicename VARCHAR, status_desc VARCHAR",
             [("SQL Server Agent (MSSQLSERVER)", self.agent)]),
            ("msdb.dbo.cdc_jobs", "database_id INT, job_type VARCHAR, pollinginterval INT, retention INT",
             [(7, "capture", self.interval, 0), (7, "cleanup", 0, self.retention)]),
        ]  # fmt: skip


def _insert(lake: Any, table: str, rows: Sequence[Row]) -> None:
    if rows:
        lake.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _tracked(version: int, what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[int, str, Any]]:
    if what == "insert":
        return [(version, "I", new["id"])]
    if what == "delete":
        return [(version, "D", old["id"])]
    if new.get("id", old["id"]) != old["id"]:
        return [(version, "D", old["id"]), (version, "I", new["id"])]
    return [(version, "U", old["id"])]


def _written(instance: Captured, lsn: int, seq: int, what: str, images: tuple[Values, Values]) -> list[Row]:
    """The rows of a change table for one change."""
    old, new = images
    after = {**old, **new}
    whole = (1 << len(instance.columns)) - 1
    if what != "update":
        image = new if what == "insert" else old
        return [(lsn, seq, 2 if what == "insert" else 1, whole, *(image.get(name) for name in instance.columns))]
    mask = sum(1 << at for at, name in enumerate(instance.columns) if after.get(name) != old.get(name))
    return [
        (lsn, seq, 3, mask, *(old.get(name) for name in instance.columns)),
        (lsn, seq, 4, mask, *(after.get(name) for name in instance.columns)),
    ]


class _Cursor(PlayedCursor):
    """A cursor with an answer of its own: several threads ask."""

    def __init__(self, server: ChangingServer):
        super().__init__(server)
        self._asked = server
        self._found: list[pa.RecordBatch] = []

    def execute(self, sql: str, params: Sequence[Any] = ()) -> PlayedCursor:
        """See PEP 249."""
        with self._asked.lock:
            super().execute(sql, params)
            self._found, self._asked.arrow = self._asked.arrow, []
        return self

    def arrow_batch(self, size: int) -> pa.RecordBatch:
        """See PlayedCursor.arrow_batch."""
        first = self._found.pop(0) if self._found else pa.RecordBatch.from_pylist([], schema=pa.schema([]))
        if first.num_rows > size:
            self._found.insert(0, first.slice(size))
        return first.slice(0, size)


class _Connection(PlayedConnection):
    """A connection whose cursors are those."""

    def __init__(self, server: ChangingServer):
        super().__init__(server)
        self._asked = server

    def cursor(self) -> PlayedCursor:
        """See PEP 249."""
        return _Cursor(self._asked)


class ChangingDriver(PlayedDriver):
    """The module that the connector imports instead of mssql-python."""

    def __init__(self, server: ChangingServer):
        super().__init__(server)
        self._asked = server

    def connect(self, *given: Any, **named: Any) -> PlayedConnection:
        """See PEP 249."""
        self._asked.connections.append({"": given, **named})
        return _Connection(self._asked)
