"""Answers the gateway's queries over a MariaDB or MySQL database with bound parameters; rows are encoded by the kit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import reduce
from operator import mul
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.mysql import catalog
from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.serving.changes import Changes
from tongqu.connectors.mysql.serving.connection import Connection, bound, connected, place_of, shown
from tongqu.connectors.mysql.serving.errors import failures, told
from tongqu.connectors.mysql.serving.masks import mask_sql
from tongqu.connectors.mysql.serving.rights import may_create
from tongqu.connectors.mysql.serving.sql import (
    LACKS,
    Statement,
    by_code_point,
    collation_of,
    field_of,
    known,
    marked,
    placed,
)
from tongqu.core.errors import ConnectError, ExpressionError, NotFoundError
from tongqu.core.server import Change, Cost, Format, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.kit.drivers import driver
from tongqu.kit.serving.encode import Encoder, page, table_of, within
from tongqu.kit.serving.idempotency import TABLE
from tongqu.kit.serving.pool import Pool
from tongqu.kit.serving.trees import WIDE, Known, bind, holes, known_columns

if TYPE_CHECKING:
    from tongqu.connectors.mysql.settings import MysqlSettings
    from tongqu.core.data import Dataset

T = TypeVar("T")
READERS = 10
"""Connections that read at the same time."""
WRITERS = 4
_PLANS = 1024
_PIECE_ROWS = 1000
_MOST = "_tongqu_most"
"""The limit of a query that has none of its own: an outer one would make the system forget the order."""
_ALL = 2**63 - 1


@dataclass
class Plan:
    """What a tree came to."""

    tree: exp.Query
    statement: Statement
    columns: tuple[pa.Field[Any], ...]


class MysqlServer(Server):
    """One database behind a pool that reads and a small one that writes."""

    dialect = "mysql"
    lacks = LACKS

    def __init__(self, settings: MysqlSettings):
        self._settings = settings
        self._where = settings.display()
        self._readers = self._pool(writing=False, size=READERS)
        self._writers = self._pool(writing=True, size=WRITERS)
        self._changes = Changes(self, self._writers)
        self._plans: OrderedDict[tuple[int, int], Plan] = OrderedDict()
        self._places: dict[str, tuple[str, str]] = {}
        self._known: dict[str, Mapping[str, Known]] = {}
        self._version = ""

    def _pool(self, *, writing: bool, size: int) -> Pool[Connection]:
        return Pool(lambda: connected(self._settings, writing=writing), lambda one: one.alive, Connection.drop, size)

    @property
    def where(self) -> str:
        """The database, as errors name it."""
        return self._where

    @property
    def settings(self) -> MysqlSettings:
        """The connection's settings."""
        return self._settings

    @property
    def connections(self) -> tuple[int, int]:
        """See Server.connections: those that read and those that write together."""
        (reading, readers), (writing, writers) = self._readers.numbers, self._writers.numbers
        return reading + writing, readers + writers

    async def open(self) -> None:
        """See Server.open."""
        async with self._reading(self._settings.connect_seconds) as connection:
            self._version = connection.version

    async def keeps_keys(self) -> bool | None:
        """See Server.keeps_keys."""
        async with self._reading(self._settings.connect_seconds) as connection:
            told = "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?"
            if (await connection.run(told, (TABLE,))).rows[0][0]:
                return True
            database = str((await connection.run("SELECT DATABASE()", ())).rows[0][0])
            return may_create([str(row[0]) for row in (await connection.run("SHOW GRANTS", ())).rows], database)

    async def close(self) -> None:
        """See Server.close. Connections end in the loop's next rounds."""
        self._readers.close()
        self._changes.close()
        for _ in range(3):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def _reading(self, seconds: float) -> AsyncIterator[Connection]:
        connection = await self._readers.take(seconds)
        broken = True
        try:
            yield connection
            broken = False
        except failures() as error:
            raise told(error, self._where) from None
        finally:
            self._readers.give(connection, broken=broken)

    # ---- what there is

    async def describe(self, name: str) -> Dataset:
        """See Server.describe."""
        found = await asyncio.to_thread(described, self._settings, name)
        self._places.pop(name, None)
        self._plans.clear()
        self._known.clear()
        return catalog.dataset(found)

    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """See Server.columns. The statement is asked for no row, so that it is not run."""
        tree = bind(sql, "mysql")
        unknown = sorted({hole.name for hole in holes(tree)} - set(params))
        if unknown:
            raise ExpressionError(f"the statement has a parameter that is not declared: {', '.join(unknown)}")
        statement = marked(tree)
        values = [bound(params[name]) for name in statement.names]
        async with self._reading(self._settings.connect_seconds) as connection:
            try:
                found = await connection.run(f"SELECT * FROM ({statement.sql}) q LIMIT 0", values)
            except driver("asyncmy.errors", "mysql").MySQLError as error:
                failed = told(error, self._where)
                if isinstance(failed, ConnectError):
                    raise
                raise ExpressionError(f"the database does not take the statement: {failed.message}") from None
            return pa.schema([field_of(packet) for packet in found.fields])

    def mask(self, mask: Any, column: pa.Field[Any]) -> exp.Expr | None:
        """See Server.mask."""
        return mask_sql(mask, column, collation_of(self._version), mariadb="mariadb" in self._version.lower())

    # ---- questions

    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """See Server.query."""

        async def work(connection: Connection, plan: Plan, values: Sequence[Any]) -> Page:
            found = await connection.run(plan.statement.sql, values, limits.seconds)
            fields = [*query.columns, *(field_of(packet) for packet in found.fields[len(query.columns) :])]
            return page(table_of(shown(found.rows, fields), fields), query, format, limits)

        return await self._asked(bounded(query, limits), limits, work)

    async def _asked(
        self, query: Query, limits: Limits, work: Callable[[Connection, Plan, Sequence[Any]], Awaitable[T]]
    ) -> T:
        """What the work gives: once more on a new connection after a lost one, since nothing is changed by it."""
        for attempt in (1, 2):
            connection = await self._readers.take(limits.seconds)
            broken = True
            try:
                await connection.within(limits.seconds)
                plan = await self._plan(connection, query)
                made = await work(connection, plan, [bound(query.params[name]) for name in plan.statement.names])
            except failures() as error:
                failed = told(error, self._where)
                broken = isinstance(failed, ConnectError) or not connection.alive
                if attempt == 2 or not isinstance(failed, ConnectError):
                    raise failed from None
                self._readers.forget()
            else:
                broken = False
                return made
            finally:
                self._readers.give(connection, broken=broken and not connection.alive)
        raise ConnectError("the question could not be asked", path=self._where)

    async def _plan(self, connection: Connection, query: Query) -> Plan:
        """The SQL of a query, kept by the identity of its tree."""
        key = (id(query.tree), query.keys)
        found = self._plans.get(key)
        if found is not None and found.tree is query.tree:
            self._plans.move_to_end(key)
            return found
        tree = query.tree.copy() if query.tree.args.get("limit") else query.tree.limit(exp.Placeholder(this=_MOST))
        tree = await self.written(connection, tree, query.params)
        made = Plan(query.tree, marked(tree), query.columns)
        if len(made.statement.names) > WIDE:
            return made
        self._plans[key] = made
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return made

    async def written(self, connection: Connection, tree: exp.Expr, params: Mapping[str, Any]) -> Any:
        """The tree with its tables placed and its text compared by code point; changed in place."""

        async def resolve(name: str) -> tuple[str, str]:
            if name not in self._places:
                self._places[name] = await place_of(connection, name)
            return self._places[name]

        async def describe(source: exp.Expr) -> Mapping[str, Known]:
            bare = source.copy()
            bare.set("alias", None)
            statement = marked(bare)
            if statement.sql not in self._known:
                values = [bound(params.get(name)) for name in statement.names]
                result = await connection.run(f"SELECT * FROM {statement.sql} q LIMIT 0", values)
                self._known[statement.sql] = known(result.fields)
            return self._known[statement.sql]

        tree = await placed(tree, resolve)
        return by_code_point(tree, await known_columns(tree, describe), collation_of(self._version))

    async def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """See Server.stream. A statement whose rows come one after the other cannot be prepared with this driver: its
        values are written as literals by the driver."""
        async with self._reading(limits.seconds) as connection:
            await connection.within(limits.seconds)
            query = bounded(query, limits)
            plan = await self._plan(connection, query)
            values = tuple(bound(query.params[name]) for name in plan.statement.names)
            cursor = connection.raw.cursor(driver("asyncmy.cursors", "mysql").SSCursor)
            try:
                await cursor.execute(plan.statement.formatted, values or None)
                packets = connection.raw._result.fields
                fields = [*query.columns, *(field_of(packet) for packet in packets[len(query.columns) :])]
                encoder = Encoder(query, format, pa.schema(fields))
                rows = size = 0
                piece = encoder.head()
                while found := await cursor.fetchmany(_PIECE_ROWS):
                    rows += len(found)
                    within(limits, rows=rows)
                    piece += encoder.piece(table_of(shown(found, fields), fields))
                    size += len(piece)
                    within(limits, size=size)
                    yield piece
                    piece = b""
                yield piece + encoder.tail()
            except BaseException:
                connection.drop()  # rows that nobody takes are still under way
                raise
            await cursor.close()

    async def explain(self, query: Query) -> Cost:
        """See Server.explain. The figure is the number of rows that are looked at."""

        async def work(connection: Connection, plan: Plan, values: Sequence[Any]) -> Cost:
            found = await connection.run(f"EXPLAIN {plan.statement.sql}", values)
            names = [packet.name for packet in found.fields]
            return _cost([dict(zip(names, row, strict=True)) for row in found.rows])

        return await self._asked(bounded(query, Limits(rows=_ALL - 1)), Limits(), work)

    # ---- changes

    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None = None,
        answer: Callable[[Outcome], bytes] | None = None,
    ) -> Outcome:
        """See Server.transact."""
        return await self._changes.transact(changes, limits, idempotency, answer)


def described(settings: MysqlSettings, name: str) -> catalog.TableInfo:
    """A table or view; blocking."""
    db = MysqlDb(settings, reading=True)
    try:
        found = catalog.find(db, name)
    finally:
        db.close()
    if found is None:
        raise NotFoundError(f"there is no table or view {name!r}", path=settings.display())
    return found


def bounded(query: Query, limits: Limits) -> Query:
    """The query, asked for at most one row more than the limits allow."""
    limit = query.tree.args.get("limit")
    name = limit.expression.name if limit is not None and isinstance(limit.expression, exp.Placeholder) else _MOST
    asked = query.params.get(name, _ALL)
    return replace(query, params={**query.params, name: min(asked, limits.rows + 1)})


def _cost(rows: Sequence[Mapping[str, Any]]) -> Cost:
    """Of each SELECT the product of the rows of its tables, since each is looked at for every row of the one before."""
    selects: dict[Any, list[float]] = {}
    lines = []
    for row in rows:
        selects.setdefault(row["id"], []).append(float(row["rows"] or 1))
        lines.append(f"{row['select_type']} {row['table']} {row['type']} {row['key']} rows={row['rows']}")
    whole = float(sum(reduce(mul, found, 1.0) for found in selects.values()))
    return Cost(whole, whole, "\n".join(lines))
