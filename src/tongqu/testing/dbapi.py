"""A database driver that plays answers and keeps what was said to it: for systems of which no server can be had."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from sqlglot import exp, parse_one

Row = tuple[Any, ...]
_OURS = ("_tongqu_checkpoint", "_tongqu_quarantine")


def _one_line(sql: str) -> str:
    return re.sub(r"[ \n\t]+", " ", sql).strip(" ")


@dataclass
class Played:
    """A server as a test sees it.

    `tables` are there, with their columns as the catalogue describes them (seven values each); what CREATE, INTO, DROP
    and renames do to their names is followed. Statements about the ledger are translated by sqlglot and run for real in
    SQLite, so they must be good SQL of the dialect. Everything else is answered by the first of `answers` whose
    pattern is found in it, once if it is in `once`, and otherwise with nothing.
    """

    dialect: str
    """sqlglot's name."""
    columns: Sequence[Row] = ()
    """Of every table."""
    primary: Sequence[str] = ("id",)
    tables: set[str] = field(default_factory=set)
    answers: list[tuple[str, list[Row]]] = field(default_factory=list)
    arrow: list[pa.RecordBatch] = field(default_factory=list)
    """What the next query for Arrow batches gives."""
    fails: list[tuple[str, BaseException]] = field(default_factory=list)
    """Statements, by pattern, that raise; each once."""
    said: list[str] = field(default_factory=list)
    bound: list[tuple[str, list[Row]]] = field(default_factory=list)
    """INSERTs of many rows."""
    loaded: list[tuple[str, pa.Table]] = field(default_factory=list)
    """Bulk loads."""
    connections: list[dict[str, Any]] = field(default_factory=list)
    """What each connection was asked for."""

    def __post_init__(self) -> None:
        self._ledger = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)

    def answer(self, sql: str, params: Sequence[Any] = ()) -> tuple[list[Row], int]:
        """The rows of a statement and how many it changed."""
        self.said.append(_one_line(sql))
        for pattern, error in list(self.fails):
            if re.search(pattern, sql):
                self.fails.remove((pattern, error))
                raise error
        if any(name in sql for name in _OURS) and "sys." not in sql and "all_" not in sql:
            return self._booked(sql, params)
        self._follow(sql)
        return self._told(sql, params), -1

    def _booked(self, sql: str, params: Sequence[Any]) -> tuple[list[Row], int]:
        block = re.search(r"CREATE TABLE .*?\((?:[^'()]|\([^()]*\))*\)", sql, re.DOTALL)
        text = block[0] if block else re.sub(r" WITH \(\w+, \w+\)| FOR UPDATE$", "", re.sub(r":\d+", "?", sql))
        tree = parse_one(text, read=self.dialect)
        for table in tree.find_all(exp.Table):
            table.set("db", None)
        if block:
            names = [column.name for column in tree.find_all(exp.ColumnDef)]
            key = "PRIMARY KEY (sync, stream, split)" if "split" in names else "PRIMARY KEY (id)"
            (table,) = tree.find_all(exp.Table)
            made = f'CREATE TABLE IF NOT EXISTS "{table.name}" ({", ".join(f"{n!r}" for n in names)}, {key})'
            self._ledger.execute(made.replace("'", '"'))
            self.tables.add(table.name)
            return [], -1
        cursor = self._ledger.execute(tree.sql("sqlite"), [str(v) if isinstance(v, str) else v for v in params])
        return cursor.fetchall(), cursor.rowcount

    def _follow(self, sql: str) -> None:
        words = sql.replace("''", "'")
        made = re.search(
            r"CREATE (?:GLOBAL TEMPORARY )?TABLE (?:\S+\.)?[\[\"](.+?)[\]\"] |INTO (?:\S+\.)?\[(.+?)\] FROM \(", words
        )
        gone = re.search(r"DROP TABLE (?:IF EXISTS )?(?:\S+\.)?[\[\"](.+?)[\]\"](?: |'|$)", words)
        moved = re.search(r"sp_rename N'(?:\[.+?\]\.)?\[(.+?)\]', N'(.+?)'$", words) or re.search(
            r"ALTER TABLE (?:\S+\.)?\"(.+?)\" RENAME TO \"(.+?)\"", words
        )
        if moved:
            self.tables.discard(moved[1])
            self.tables.add(moved[2])
        elif gone:
            self.tables.discard(gone[1])
        elif made:
            self.tables.add(made[1] or made[2])

    def _told(self, sql: str, params: Sequence[Any]) -> list[Row]:
        for pattern, rows in self.answers:
            if re.search(pattern, sql):
                return rows
        if re.search(r"SCHEMA_NAME\(\)|CURRENT_SCHEMA", sql):
            return [("own",)]
        asked = params[1] if len(params) > 1 else None
        if re.search(
            r"FROM (sys\.objects o JOIN sys\.schemas s ON s\.schema_id = o\.schema_id WHERE|all_objects)", sql
        ):
            return [(name, 0) for name in sorted(self.tables) if asked in (None, name)]
        if asked not in self.tables:
            return []
        if "sys.columns c ON c.object_id = o.object_id LEFT" in sql or "all_tab_cols" in sql:
            return list(self.columns)
        if "is_primary_key = 1" in sql or "constraint_type = 'P' ORDER" in sql:
            return [(name,) for name in self.primary]
        return []


class PlayedCursor:
    """A cursor of the DB-API, with the Arrow batches of mssql-python."""

    def __init__(self, server: Played):
        self._server = server
        self._rows: list[Row] = []
        self.rowcount = -1
        self.arraysize = 1
        self.sizes: tuple[Any, ...] = ()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> PlayedCursor:
        """See PEP 249."""
        self._rows, self.rowcount = self._server.answer(sql, params)
        return self

    def executemany(self, sql: str, rows: Sequence[Row]) -> None:
        """See PEP 249."""
        if any(name in sql for name in _OURS):
            for row in rows:
                self._server.answer(sql, row)
            return
        self._server.answer(sql)
        self._server.bound.append((_one_line(sql), list(rows)))
        self.rowcount = len(rows)

    def setinputsizes(self, *sizes: Any) -> None:
        """See PEP 249."""
        self.sizes = sizes

    def fetchall(self) -> list[Row]:
        """See PEP 249."""
        rows, self._rows = self._rows, []
        return rows

    def fetchmany(self, size: int) -> list[Row]:
        """See PEP 249."""
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def arrow_batch(self, size: int) -> pa.RecordBatch:
        """The next batch of a query, as mssql-python gives it; empty at the end."""
        del size
        return self._server.arrow.pop(0) if self._server.arrow else pa.RecordBatch.from_pylist([], schema=pa.schema([]))

    def bulkcopy_arrow(self, table: str, rows: pa.Table, **options: Any) -> None:
        """A bulk copy of mssql-python."""
        del options
        self._server.loaded.append((table, rows))

    def close(self) -> None:
        """See PEP 249."""


class PlayedConnection:
    """A connection of the DB-API, with the Arrow batches and the direct path of oracledb."""

    def __init__(self, server: Played):
        self._server = server

    def cursor(self) -> PlayedCursor:
        """See PEP 249."""
        return PlayedCursor(self._server)

    def fetch_df_batches(self, statement: str, **options: Any) -> Iterator[pa.RecordBatch]:
        """The batches of a query, as oracledb gives them."""
        del options
        self._server.answer(statement)
        while self._server.arrow:
            yield self._server.arrow.pop(0)

    def direct_path_load(self, schema_name: str, table_name: str, column_names: list[str], data: pa.Table) -> None:
        """A direct path load of oracledb."""
        del column_names
        self._server.loaded.append((f"{schema_name}.{table_name}", data))

    def commit(self) -> None:
        """See PEP 249."""
        self._server.said.append("(commit)")

    def rollback(self) -> None:
        """See PEP 249."""
        self._server.said.append("(rollback)")

    def close(self) -> None:
        """See PEP 249."""


class PlayedError(Exception):
    """What the played driver raises, with what both drivers put into their errors."""

    def __init__(self, text: str, *, code: int = 0, driver_error: str = ""):
        super().__init__(text)
        self.message = text
        self.code = code
        self.driver_error = driver_error
        self.ddbc_error = text
        if code:
            self.args = (self,)

    def __str__(self) -> str:
        return self.message


class PlayedDriver:
    """The module that a connector imports: put it in `sys.modules` under the driver's name."""

    Error = PlayedError
    OperationalError = IntegrityError = DataError = type("Unused", (PlayedError,), {})
    DB_TYPE_CLOB, DB_TYPE_BLOB = "clob", "blob"

    class defaults:  # noqa: N801  # oracledb's name
        """oracledb's defaults."""

        fetch_lobs = True

    def __init__(self, server: Played):
        self._server = server

    def pooling(self, **options: Any) -> None:
        """mssql-python's switch."""

    def sqlstate_to_exception(self, state: str, text: str) -> PlayedError:
        """mssql-python's table of errors: here the driver says the state itself."""
        return PlayedError(text, driver_error=state)

    def connect(self, *given: Any, **named: Any) -> PlayedConnection:
        """See PEP 249."""
        self._server.connections.append({"": given, **named})
        return PlayedConnection(self._server)
