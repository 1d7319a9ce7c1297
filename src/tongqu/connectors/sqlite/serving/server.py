"""Answers the gateway's questions from a SQLite file: readers that never write, and one writer."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.sqlite import catalog
from tongqu.connectors.sqlite.db import open_source
from tongqu.connectors.sqlite.serving.changes import SqliteHands
from tongqu.connectors.sqlite.serving.costs import cost
from tongqu.connectors.sqlite.serving.functions import MASK, install, stored
from tongqu.connectors.sqlite.serving.rows import Backticks, Columns, approved_schema, in_sqlite, moments, stands
from tongqu.connectors.sqlite.settings import SqliteSettings
from tongqu.core.data import Dataset
from tongqu.core.errors import (
    CastError,
    ConnectorError,
    DuplicateError,
    InvalidPlanError,
    NotFoundError,
    ReadError,
    RefusedRowsError,
    TongquError,
)
from tongqu.core.server import Change, Cost, Format, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.kit.local_path import absolute
from tongqu.kit.serving.changing import Asked, Told, transact
from tongqu.kit.serving.duck import hidden
from tongqu.kit.serving.encode import page, pieces, within
from tongqu.kit.serving.idempotency import PURGE_SECONDS, TABLE, Keys
from tongqu.kit.serving.statements import Statement, Statements
from tongqu.kit.serving.threads import Running, Workers
from tongqu.kit.serving.trees import bind
from tongqu.kit.sqlite import SqliteDb, busy, connect, quoted
from tongqu.meaning.masks import Mask

T = TypeVar("T")
_WORKERS = 4
_BLOCK = 1000
_STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""
_SECONDS = 30.0
"""For what is asked while publishing."""
_KEYS = Keys(quoted(TABLE), {"id": "TEXT", "long": "BIGINT", "blob": "BLOB"})
_RETURNING = (3, 35, 0)


class SqliteServer(Server):
    """Serves one SQLite file. Readers are connections that cannot write; in WAL mode they and a writer, also one of
    another process, do not wait for each other. Changes come one after the other, each in BEGIN IMMEDIATE."""

    dialect = "sqlite"

    def __init__(self, settings: SqliteSettings, *, now: Callable[[], float] = time.time):
        self._settings, self._now = settings, now
        self._workers: Workers | None = None
        self._tables: dict[str, exp.Expr | None] = {}
        self._fields: dict[str, pa.Field[Any]] = {}
        self._statements = Statements(Backticks, self._tables.get, in_sqlite)
        self._free: list[tuple[int, SqliteDb]] = []
        self._writer: tuple[int, SqliteDb] | None = None
        self._lock = Lock()
        self._purged = 0.0

    @property
    def connections(self) -> tuple[int, int] | None:
        """See Server.connections."""
        return self._workers.numbers if self._workers is not None else None

    async def open(self) -> None:
        """See Server.open."""
        self._workers = Workers(_WORKERS, "tongqu-sqlite")
        await self._run(lambda running: self._read(running, catalog.names), _SECONDS)

    async def describe(self, name: str) -> Dataset:
        """See Server.describe."""

        def found(db: SqliteDb) -> Dataset:
            table = catalog.need(db, name)
            self._know(name, table)
            return catalog.dataset(db, table)

        return await self._run(lambda running: self._read(running, found), _SECONDS)

    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """See Server.columns."""
        tree = bind(sql, self.dialect)

        def found(_: Running) -> pa.Schema:
            db = open_source(self._settings)
            try:
                install(db.connection)
                return approved_schema(db, tree, dict(params))
            finally:
                db.close()

        return await self._run(found, _SECONDS)

    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """See Server.query."""

        def made(running: Running) -> Page:
            return self._read(running, lambda db: self._page(db, query, format, limits))

        return await self._run(made, limits.seconds)

    async def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """See Server.stream. All pieces are of one state of the file."""

        def made(running: Running) -> Iterator[bytes]:
            with self._reader(running) as db:
                statement = self._written(db, query.tree)
                columns = Columns(query, self._fields.get)
                tables = (columns.table(block) for block in self._blocks(db, statement, query.params))
                yield from pieces(tables, query, format, limits, columns.table([]).schema)

        async for piece in self._need().each(made, limits.seconds):
            yield piece

    async def explain(self, query: Query) -> Cost:
        """See Server.explain: SQLite's plan, with the rows that ANALYZE has counted, or a count."""

        def told(db: SqliteDb) -> Cost:
            statement = self._written(db, query.tree)
            return cost(db, query.tree, statement, self._values(statement, query.params))

        return await self._run(lambda running: self._read(running, told), _SECONDS)

    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None = None,
        answer: Callable[[Outcome], bytes] | None = None,
    ) -> Outcome:
        """See Server.transact. Needs SQLite 3.35 (RETURNING)."""
        if sqlite3.sqlite_version_info < _RETURNING:
            raise InvalidPlanError(f"changes need SQLite 3.35 or newer, this is {sqlite3.sqlite_version}")

        asked = Asked(changes, limits, idempotency, answer)
        return await self._need().alone(lambda running: self._changed(asked, running), limits.seconds)

    def mask(self, mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
        """See Server.mask: a function over the stored value."""
        if hidden(mask, column) is None:
            return None
        kind = column.type
        read = "decimal" if pa.types.is_decimal(kind) else "date" if pa.types.is_date(kind) else moments(kind)
        told = exp.Literal.string(mask.model_dump_json(by_alias=True))
        named = exp.column(column.name, quoted=True)
        return exp.Anonymous(this=MASK, expressions=[told, exp.Literal.string(read), named])

    async def close(self) -> None:
        """See Server.close."""
        workers, self._workers = self._workers, None
        if workers is None:
            return
        await workers.close()
        free, self._free = self._free, []
        writer, self._writer = self._writer, None
        for _, db in [*free, *([writer] if writer else [])]:
            db.close()

    # ---- in workers

    def _need(self) -> Workers:
        if self._workers is None:
            raise InvalidPlanError(f"{self._settings.display()} is not open for serving")
        return self._workers

    async def _run(self, call: Callable[[Running], T], seconds: float) -> T:
        return await self._need().run(call, seconds)

    def _read(self, running: Running, work: Callable[[SqliteDb], T]) -> T:
        with self._reader(running) as db:
            return work(db)

    @contextmanager
    def _reader(self, running: Running) -> Iterator[SqliteDb]:
        """A reading connection of one's own, from those that wait, of the file that has the path now."""
        inode = self._inode()
        with self._lock:
            free = self._free.pop() if self._free else None
        if free is not None and free[0] != inode:
            free[1].close()
            free = None
        if free is None:
            db = open_source(self._settings)
            install(db.connection)
            db.connection.execute("PRAGMA query_only = ON")
            free = (inode, db)
        try:
            with self._watched(free[1], running):
                yield free[1]
        finally:
            with self._lock:
                self._free.append(free)

    @contextmanager
    def _watched(self, db: SqliteDb, running: Running) -> Iterator[None]:
        """SQLite's errors as ours; its machine stops when the time is over."""
        connection = db.connection
        connection.set_progress_handler(lambda: running.over, _STEPS)
        try:
            with running.interruptible(connection.interrupt):
                yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise running.timed_out() if code == sqlite3.SQLITE_INTERRUPT else self._error(error, code) from error
        finally:
            connection.set_progress_handler(None, 0)

    def _inode(self) -> int:
        try:
            return Path(absolute(self._settings.path)).stat().st_ino
        except OSError:
            return 0  # opening it tells what is wrong

    def _know(self, name: str, table: catalog.Relation | None) -> None:
        made = stands(table) if table is not None else None
        if name not in self._tables or self._tables[name] != made:
            self._tables[name] = made
            self._statements.forget()
        if table is not None:
            self._fields.update({field.name: field for field in catalog.schema(table)})

    def _written(self, db: SqliteDb, tree: exp.Expr) -> Statement:
        before = self._statements.kept(tree)
        if before is not None:
            return before
        for table in tree.find_all(exp.Table):
            if table.name not in self._tables and not table.db:
                self._know(table.name, catalog.relation(db, table.name))
        return self._statements.of(tree)

    def _values(self, statement: Statement, params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: stored(value) for key, value in statement.values(params).items()}

    def _page(
        self, db: SqliteDb, query: Query, format: Format, limits: Limits, written: Statement | None = None
    ) -> Page:
        statement = written or self._written(db, query.tree)
        columns = Columns(query, self._fields.get)
        tables, rows, size = [columns.table([])], 0, 0
        for block in self._blocks(db, statement, query.params):
            rows += len(block)
            within(limits, rows=rows)
            tables.append(columns.table(block))
            size += tables[-1].nbytes
            within(limits, size=size // 2)  # Arrow may need more bytes than the answer
        whole = pa.concat_tables(tables[1:], promote_options="permissive") if len(tables) > 1 else tables[0]
        return page(whole, query, format, limits)

    def _blocks(self, db: SqliteDb, statement: Statement, params: Mapping[str, Any]) -> Iterator[list[Any]]:
        cursor = db.connection.cursor()
        try:
            cursor.execute(statement.sql, self._values(statement, params))
            while block := cursor.fetchmany(_BLOCK):
                yield block
        finally:
            cursor.close()

    def _changed(self, asked: Asked, running: Running) -> Outcome:
        inode, now = self._inode(), self._now()
        if self._writer is not None and self._writer[0] != inode:
            self._writer[1].close()
            self._writer = None
        if self._writer is None:
            made = connect(self._settings, "rw")
            install(made.connection)
            made.connection.execute("PRAGMA foreign_keys = ON")
            self._writer = (inode, made)
        db = self._writer[1]
        try:
            with self._watched(db, running):
                if asked.idempotency is not None:
                    db.connection.execute(_KEYS.create)
                    if now - self._purged >= PURGE_SECONDS:
                        self._purged = now
                        db.connection.execute(_KEYS.purge, (int(now),))
                db.connection.execute("BEGIN IMMEDIATE")

                def answer(query: Query, limits: Limits, written: Statement) -> Page:
                    return self._page(db, query, "json", limits, written)

                hands = SqliteHands(db, self._statements, answer)
                outcome = transact(hands, asked, Told(_KEYS, hands.run, now))
                db.connection.execute("COMMIT")
        finally:
            db.rollback()
        return outcome

    def _error(self, error: sqlite3.Error, code: int) -> TongquError:
        """Our error without values and SQL."""
        where, said = self._settings.display(), str(error)
        if isinstance(error, sqlite3.IntegrityError):
            extended = getattr(error, "sqlite_errorname", "")
            if extended in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"):
                return DuplicateError(f"{where}: a row of this key is there already")
            column = re.search(r"constraint failed: \S*?\.(\w+)$", said)
            return RefusedRowsError(f"{where}: a row breaks a constraint", field=column[1] if column else "")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return busy(self._settings)
        if said.startswith("user-defined"):
            return CastError(f"{where}: a value cannot be computed with")
        if "decode to UTF-8" in said:
            return CastError(f"{where}: a text is not UTF-8")
        if said.startswith("no such table"):
            return NotFoundError(f"{where}: a table of the query is not there", hint="was it renamed or dropped?")
        if said.startswith(("no such column", "near ", "ambiguous")):
            return ReadError(f"{where}: the query does not fit the table", hint="was a column renamed or dropped?")
        if code == sqlite3.SQLITE_TOOBIG or isinstance(error, sqlite3.DataError):
            return RefusedRowsError(f"{where}: a value is too large for SQLite")
        failed: ConnectorError = ReadError(f"{where}: the query failed ({getattr(error, 'sqlite_errorname', 'error')})")
        return failed
