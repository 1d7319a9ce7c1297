"""Answers the gateway's questions from a DuckDB file, which it holds only while questions come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.duckdb import catalog
from tongqu.connectors.duckdb.db import DuckDb, parts, place
from tongqu.connectors.duckdb.serving_file import IDLE_SECONDS, PATIENCE_SECONDS, Holder
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.connectors.duckdb.types import kind_of
from tongqu.core.data import Dataset
from tongqu.core.errors import BusyError, InvalidPlanError
from tongqu.core.server import Change, Cost, Format, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.kit.serving.changing import GIVEN, TOUCHED, Asked, Hands, Told, over_touched, quoted, transact
from tongqu.kit.serving.duck import Duck, hidden
from tongqu.kit.serving.given import given, name
from tongqu.kit.serving.idempotency import PURGE_SECONDS, TABLE, Keys
from tongqu.kit.serving.statements import Statement, Statements, columns_as, over_columns
from tongqu.kit.serving.threads import Running, Workers
from tongqu.kit.serving.trees import bind
from tongqu.meaning.masks import Mask

T = TypeVar("T")
_WORKERS = 4
_TRIES = 3
_SECONDS = 30.0
"""For what is asked while publishing."""
_KEYS = Keys(place(TABLE), {"id": "VARCHAR", "long": "BIGINT", "blob": "BLOB"})


def _kind(native: str) -> tuple[str | None, str | None]:
    """Types as the connector reads them, but nested ones as such: the encoder keeps each of their digits."""
    found = kind_of(native)
    if native.endswith("]") or native.startswith(("STRUCT(", "MAP(")):
        return None, None
    return found.cast, found.logical


class DuckdbServer(Server):
    """Serves one DuckDB file. Queries have connections of their own, changes come one after the other."""

    dialect = "duckdb"

    def __init__(
        self, settings: DuckdbSettings, *, idle: float = IDLE_SECONDS, patience: float = PATIENCE_SECONDS,
        now: Callable[[], float] = time.time,
    ):  # fmt: skip
        self._settings, self._now = settings, now
        self._holder = Holder(settings, idle=idle, patience=patience)
        self._workers: Workers | None = None
        self._tables: dict[str, exp.Expr] = {}
        self._statements = Statements("duckdb", self._stands)
        self._duck = Duck(self._statements, settings.display(), _kind)
        self._purged = 0.0

    @property
    def connections(self) -> tuple[int, int] | None:
        """See Server.connections."""
        return self._workers.numbers if self._workers is not None else None

    async def open(self) -> None:
        """See Server.open. The file must be there; it is closed again until something is asked."""
        self._workers = Workers(_WORKERS, "tongqu-duckdb")
        await self._run(lambda _: self._names(), _SECONDS)

    async def describe(self, name: str) -> Dataset:
        """See Server.describe."""
        return await self._run(lambda running: self._described(name, running), _SECONDS)

    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """See Server.columns."""
        tree = bind(sql, self.dialect)

        def found(running: Running) -> pa.Schema:
            with self._holder.reading(running.left) as db:
                return self._duck.schema(db.connection, tree, params)

        return await self._run(found, _SECONDS)

    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """See Server.query."""

        def page(running: Running) -> Page:
            with self._holder.reading(running.left) as db:
                return self._duck.page(db.connection, query, format, limits, running)

        return await self._run(page, limits.seconds)

    async def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """See Server.stream. The file is held until the last piece was taken."""

        def pieces(running: Running) -> Iterator[bytes]:
            with self._holder.reading(running.left) as db:
                yield from self._duck.pieces(db.connection, query, format, limits, running)

        async for piece in self._need().each(pieces, limits.seconds):
            yield piece

    async def explain(self, query: Query) -> Cost:
        """See Server.explain: DuckDB's own estimates."""

        def cost(running: Running) -> Cost:
            with self._holder.reading(running.left) as db:
                return self._duck.cost(db.connection, query)

        return await self._run(cost, _SECONDS)

    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None = None,
        answer: Callable[[Outcome], bytes] | None = None,
    ) -> Outcome:
        """See Server.transact."""

        asked = Asked(changes, limits, idempotency, answer)
        return await self._need().alone(lambda running: self._tried(asked, running), limits.seconds)

    def mask(self, mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
        """See Server.mask."""
        return hidden(mask, column)

    async def close(self) -> None:
        """See Server.close."""
        workers, self._workers = self._workers, None
        if workers is not None:
            await workers.close()
            self._holder.close()

    # ---- in workers

    def _need(self) -> Workers:
        if self._workers is None:
            raise InvalidPlanError(f"{self._settings.display()} is not open for serving")
        return self._workers

    async def _run(self, call: Callable[[Running], T], seconds: float) -> T:
        return await self._need().run(call, seconds)

    def _names(self) -> list[str]:
        with self._holder.reading() as db:
            return catalog.names(db)

    def _described(self, name: str, running: Running) -> Dataset:
        with self._holder.reading(running.left) as db:
            table = catalog.need(db, name)
            found = catalog.dataset(table)
            columns = _compared(db, table)
        stands: exp.Expr = columns_as(_table(table.name), columns) if columns else _table(table.name)
        if self._tables.get(name) != stands:
            self._tables[name] = stands
            self._statements.forget()
        return found

    def _stands(self, name: str) -> exp.Expr | None:
        return self._tables.get(name) or (_table(name) if "." in name else None)

    def _tried(self, asked: Asked, running: Running) -> Outcome:
        """Rows that somebody else in this process changes at the same time are tried again."""
        for attempt in range(1, _TRIES + 1):
            try:
                with self._holder.writing(running.left) as db:
                    return self._changed(db, asked, running)
            except BusyError:
                if attempt == _TRIES or running.over:
                    raise
        raise running.timed_out()

    def _changed(self, db: DuckDb, asked: Asked, running: Running) -> Outcome:
        now = self._now()
        with self._duck.told():
            if asked.idempotency is not None:
                db.connection.execute(_KEYS.create)
                if now - self._purged >= PURGE_SECONDS:
                    self._purged = now
                    db.connection.execute(_KEYS.purge, [int(now)])
            with running.interruptible(db.connection.interrupt):
                db.connection.execute("BEGIN TRANSACTION")
                try:
                    hands = _Hands(db, self._duck, self._statements, running)
                    outcome = transact(hands, asked, Told(_KEYS, hands.run, now))
                except BaseException:
                    db.connection.execute("ROLLBACK")
                    raise
            db.connection.execute("COMMIT")
        return outcome


def _table(name: str) -> exp.Table:
    schema, table = parts(name)
    return exp.Table(this=exp.to_identifier(table, quoted=True), db=exp.to_identifier(schema, quoted=True))


def _compared(db: DuckDb, table: catalog.Relation) -> dict[str, exp.Expr]:
    """Each column as it is compared, texts by code point; empty where no column has a collation of its own."""
    sql = db.rows(
        "SELECT sql FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? "
        "AND table_name = ?", (table.schema, table.table),
    )  # fmt: skip
    if not sql or "COLLATE" not in str(sql[0][0]).upper():
        return {}
    named = {column.name: exp.column(column.name, quoted=True) for column in table.columns}
    texts = {column.name for column in table.columns if column.type == "VARCHAR"}
    by_code_point = exp.Var(this="C")
    return {n: exp.Collate(this=c, expression=by_code_point.copy()) if n in texts else c for n, c in named.items()}


class _Hands(Hands):
    """Changes over one connection of DuckDB."""

    def __init__(self, db: DuckDb, duck: Duck, statements: Statements, running: Running):
        self._db, self._duck, self._statements, self._running = db, duck, statements, running
        self._known: dict[str, catalog.Relation] = {}
        self._dataset = ""

    def run(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """A statement with `?` values."""
        found: list[Any] = self._db.connection.execute(sql, list(values)).fetchall()
        return found

    def _relation(self, dataset: str) -> catalog.Relation:
        if dataset not in self._known:
            self._known[dataset] = catalog.need(self._db, dataset)
        return self._known[dataset]

    def table(self, dataset: str) -> str:
        return place(self._relation(dataset).name)

    def columns(self, dataset: str) -> Sequence[str]:
        return [column.name for column in self._relation(dataset).columns]

    def written(self, condition: exp.Expr) -> Statement:
        columns = _compared(self._db, self._relation(self._dataset))
        return self._statements.written(over_columns(condition, columns))

    def give(self, change: Change, rows: Sequence[Sequence[Any]]) -> None:
        self._db.connection.register(GIVEN, given(rows, change.columns))

    def value(self, change: Change, number: int) -> str:
        types = {column.name: column.type for column in self._relation(change.table).columns}
        wanted = change.columns[number].name
        return f"CAST({quoted(name(number))} AS {types[wanted]})" if wanted in types else quoted(name(number))

    def forget(self, dataset: str) -> None:
        self._dataset = dataset
        self._db.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {TOUCHED} AS SELECT * FROM {self.table(dataset)} LIMIT 0"
        )

    def touch(self, sql: str, values: dict[str, Any]) -> int:
        found = self._db.connection.sql(sql, params=values or None).to_arrow_table()
        self._db.connection.register("_tongqu_returned", found)
        self._db.connection.execute(f"INSERT INTO {TOUCHED} SELECT * FROM _tongqu_returned")
        self._db.connection.unregister("_tongqu_returned")
        return int(found.num_rows)

    def broken(self, rule: Statement, values: dict[str, Any]) -> bool:
        sql = f"SELECT count(*) FROM {TOUCHED} AS {quoted(self._dataset)} WHERE ({rule.sql}) IS NOT TRUE"
        return bool(self._db.connection.execute(sql, values or None).fetchall()[0][0])

    def page(self, query: Query, limits: Limits) -> Page:
        return self._duck.page(self._db.connection, over_touched(query, self._dataset), "json", limits, self._running)
