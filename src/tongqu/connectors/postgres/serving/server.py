"""Answers the gateway's queries over a PostgreSQL database: one round trip a page, its JSON made by the database."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import pyarrow as pa

from tongqu.connectors.postgres.serving import catalog
from tongqu.connectors.postgres.serving.batches import Shape, can_join, joined_sql
from tongqu.connectors.postgres.serving.changes import Changes
from tongqu.connectors.postgres.serving.connection import Connection, TooWideError, connected
from tongqu.connectors.postgres.serving.errors import NAMELESS, STALE, failures, in_our_words, told
from tongqu.connectors.postgres.serving.masks import mask_sql
from tongqu.connectors.postgres.serving.sql import (
    SEPARATOR,
    Statement,
    as_json,
    as_page,
    as_records,
    by_code_point,
    doubled_keys,
    numbered,
    patterned,
    placed,
)
from tongqu.core.errors import ConnectError, TongquError
from tongqu.core.server import Change, Cost, Format, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.kit.serving.encode import Encoder, page, table_of, within
from tongqu.kit.serving.idempotency import TABLE
from tongqu.kit.serving.pool import Pool
from tongqu.kit.serving.texts import plain
from tongqu.kit.serving.trees import WIDE, Known, known_columns, texts

if TYPE_CHECKING:
    from sqlglot import exp

    from tongqu.connectors.postgres.settings import PostgresSettings
    from tongqu.core.data import Dataset

T = TypeVar("T")
_NARROW: frozenset[str] = frozenset()
_EXACT = json.JSONDecoder(parse_float=Decimal)
READERS = 10
"""Connections that read at the same time."""
WRITERS = 4
_PLANS = 1024
_PIECE_ROWS = 1000


@dataclass
class Plan:
    """What a tree came to: SQL that gives rows as JSON texts, or as records of fields; the keys are behind."""

    tree: exp.Query
    statement: Statement
    sql: str
    keys: int
    doubled: tuple[int, ...] = ()
    """The columns that are the keys; then no keys are behind."""
    fields: tuple[pa.Field[Any], ...] = field(default=())
    columns: tuple[pa.Field[Any], ...] = field(default=())
    types: tuple[str, ...] | None = None
    """The types of the parameters, where many sets of them can be asked for at once."""
    paged: bool = False
    """Whether a page comes as one value."""
    shapes: dict[Limits, Shape] = field(default_factory=dict)

    def text(self, limits: Limits) -> str:
        """The SQL of one page; a row more than allowed shows that there are too many."""
        most = limits.rows + 1
        return as_page(self.sql, most) if self.paged else f"{self.sql} LIMIT {most}"


_KEEPS_KEYS = """SELECT CASE WHEN to_regclass($1::text) IS NULL
  THEN coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
  ELSE has_table_privilege(to_regclass($1::text), 'SELECT') AND has_table_privilege(to_regclass($1::text), 'INSERT')
    AND has_table_privilege(to_regclass($1::text), 'DELETE') END"""


class PostgresServer(Server):
    """One database behind a pool that reads and a small one that writes."""

    dialect = "postgres"

    def __init__(self, settings: PostgresSettings):
        self._settings = settings
        self._where = settings.display()
        self._readers = self._pool(writing=False, size=READERS)
        self._writers = self._pool(writing=True, size=WRITERS)
        self._changes = Changes(self, self._writers)
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self._places: dict[str, tuple[str, str]] = {}
        self._texts: OrderedDict[str, Mapping[str, Known]] = OrderedDict()
        self._collations = catalog.Collations()

    def _pool(self, *, writing: bool, size: int) -> Pool[Connection]:
        return Pool(lambda: connected(self._settings, writing=writing), lambda one: one.alive, Connection.drop, size)

    @property
    def where(self) -> str:
        """The database, as errors name it."""
        return self._where

    @property
    def connections(self) -> tuple[int, int]:
        """See Server.connections: those that read and those that write together."""
        (reading, readers), (writing, writers) = self._readers.numbers, self._writers.numbers
        return reading + writing, readers + writers

    async def open(self) -> None:
        """See Server.open."""
        async with self.reading(self._settings.connect_seconds) as connection:
            self._collations = await catalog.collations(connection)

    async def keeps_keys(self) -> bool:
        """See Server.keeps_keys."""
        async with self.reading(self._settings.connect_seconds) as connection:
            return bool(await connection.raw.fetchval(_KEEPS_KEYS, TABLE))

    async def close(self) -> None:
        """See Server.close."""
        self._readers.close()
        self._changes.close()

    @asynccontextmanager
    async def reading(self, seconds: float) -> AsyncIterator[Connection]:
        """A connection that reads; dropped if what is done with it fails in the middle."""
        connection = await self._readers.take(seconds)
        broken = True
        try:
            with in_our_words(self._where):
                yield connection
            broken = False
        finally:
            self._readers.give(connection, broken=broken)

    # ---- what there is

    async def describe(self, name: str) -> Dataset:
        """See Server.describe."""
        found = await asyncio.to_thread(catalog.described, self._settings, name)
        async with self.reading(self._settings.connect_seconds) as connection:
            self._collations = await catalog.collations(connection)
        self._places.pop(name, None)
        self._plans.clear()
        self._texts.clear()
        return found

    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """See Server.columns."""
        statement = catalog.approved(sql, params)
        return await asyncio.to_thread(catalog.columns_of, self._settings, statement)

    def mask(self, mask: Any, column: pa.Field[Any]) -> exp.Expr | None:
        """See Server.mask."""
        return mask_sql(mask, column)

    # ---- questions

    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """See Server.query."""
        if format != "json" or query.after:
            plan, records = await self._rows(query, True, limits)
            return page(_table(records, plan, query, format), query, format, limits)
        plan, rows = await self._json_rows(query, limits)
        if plan.keys:
            within(limits, rows=len(rows))
            body = ("[" + ",".join([row[0] for row in rows]) + "]").encode()
            count, last = len(rows), _keys(rows)
        else:
            told: bytes = rows[0][0] or b""
            count = told.count(SEPARATOR) + 1 if told else 0
            within(limits, rows=count)
            body = b"[" + told.replace(SEPARATOR, b",") + b"]"
            last = _last(plan, told.rpartition(SEPARATOR)[2]) if told and plan.doubled else ()
        within(limits, size=len(body))
        return Page(body, count, last)

    async def _json_rows(self, query: Query, limits: Limits) -> tuple[Plan, Sequence[Any]]:
        """Rows of JSON; together with others of the shape, if its plan is known and many of them are under way."""
        plan = self._plans.get((id(query.tree), query.keys, False, _NARROW))
        if plan is None or plan.tree is not query.tree or plan.columns != query.columns or plan.types is None:
            return await self._rows(query, False, limits)
        shape = plan.shapes.get(limits)
        if shape is None:
            shape = plan.shapes[limits] = self._shape(plan, query, limits)
        return plan, await shape.ask([query.params[name] for name in plan.statement.names])

    def _shape(self, plan: Plan, query: Query, limits: Limits) -> Shape:
        types = plan.types or ()
        sql = joined_sql(plan.text(limits), types) if types else ""

        async def alone(values: Sequence[Any]) -> Sequence[Any]:
            one = replace(query, params=dict(zip(plan.statement.names, values, strict=True)))
            return (await self._rows(one, False, limits))[1]

        async def together(many: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
            if not sql:
                return [await alone(())] * len(many)
            async with self.reading(limits.seconds) as connection:
                found = await connection.fetch(sql, list(zip(*many, strict=True)), limits.seconds)
            rows: list[list[Any]] = [[] for _ in many]
            for row in found:
                rows[row[0] - 1].append(row[1:])
            return list(rows)

        return Shape(alone, together)

    async def _rows(self, query: Query, records: bool, limits: Limits) -> tuple[Plan, list[Any]]:
        async def work(connection: Connection, plan: Plan, values: Sequence[Any]) -> tuple[Plan, list[Any]]:
            return plan, await connection.fetch(plan.text(limits), values, limits.seconds)

        return await self._asked(query, records, limits, work)

    async def _asked(
        self,
        query: Query,
        records: bool,
        limits: Limits,
        work: Callable[[Connection, Plan, Sequence[Any]], Awaitable[T]],
    ) -> T:
        """What the work gives: once more on a new connection after a lost one, or with new statements after the tables
        were altered; nothing is changed by asking twice."""
        wide = _NARROW
        for attempt in (1, 2, 3):
            connection = await self._readers.take(limits.seconds)
            broken = True
            try:
                plan = await self.plan(connection, query, records, wide)
                values = [query.params[name] for name in plan.statement.names]
                made = await work(connection, plan, values)
            except TooWideError as error:
                wide |= {plan.statement.names[error.place]}
                broken = False
            except TongquError:  # refused before anything was sent
                broken = False
                raise
            except failures() as error:
                state = getattr(error, "sqlstate", "")
                altered = state == STALE or state in NAMELESS
                failed = told(error, self._where)
                broken = not altered and (isinstance(failed, ConnectError) or not connection.alive)
                if altered:
                    connection.forget(names=state in NAMELESS)
                    self._plans.clear()
                elif isinstance(failed, ConnectError):
                    self._readers.forget()
                if attempt == 3 or not (altered or isinstance(failed, ConnectError)):
                    raise failed from None
            else:
                broken = False
                return made
            finally:
                self._readers.give(connection, broken=broken)
        raise ConnectError("the question could not be asked", path=self._where)

    async def plan(self, connection: Connection, query: Query, records: bool, wide: frozenset[str]) -> Plan:
        """The SQL of a query, kept by the identity of its tree."""
        key = (id(query.tree), query.keys, records, wide)
        found = self._plans.get(key)
        if found is not None and found.tree is query.tree and found.columns == query.columns:
            self._plans.move_to_end(key)
            return found
        made = await self._planned(connection, query, records, wide)
        if len(made.statement.names) > WIDE:
            return made
        self._plans[key] = made
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return made

    async def _planned(self, connection: Connection, query: Query, records: bool, wide: frozenset[str]) -> Plan:
        short = doubled_keys(query) if query.keys and not records else None
        tree = short[0] if short else query.tree.copy()
        keys = 0 if short else query.keys
        statement = numbered(await self.written(connection, tree), wide)
        found = (await connection.prepare(statement.sql)).attributes()
        doubled = short[1] if short else ()
        if records:
            sql, fields = as_records(statement.sql, query, found, keys)
            return Plan(query.tree, statement, sql, keys, (), fields, query.columns)
        sql = as_json(statement.sql, query, found, keys)
        types = (await connection.prepare(statement.sql)).types()
        joins = len(types) == len(statement.names) and can_join(sql, types) and not patterned(query.tree)
        return Plan(
            query.tree, statement, sql, keys, doubled, (), query.columns, types if joins else None, paged=not keys
        )

    async def written(self, connection: Connection, tree: exp.Expr) -> Any:
        """The tree with its tables placed and its text compared by code point; changed in place."""

        async def resolve(name: str) -> tuple[str, str]:
            if name not in self._places:
                self._places[name] = await catalog.place(connection, name)
            return self._places[name]

        tree = await placed(tree, resolve)
        if self._collations.plain:
            return tree

        async def describe(source: exp.Expr) -> Mapping[str, Known]:
            bare = source.copy()
            bare.set("alias", None)
            inner = numbered(bare)
            if inner.sql not in self._texts:
                attributes = (await connection.prepare(f"SELECT * FROM {inner.sql} q")).attributes()
                self._texts[inner.sql] = {one.name: Known(catalog.is_text(one)) for one in attributes}
            return self._texts[inner.sql]

        is_text = texts(await known_columns(tree, describe))
        return by_code_point(tree, is_text, equality=self._collations.loose)

    async def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """See Server.stream."""
        async with self.reading(limits.seconds) as connection:
            plan = await self.plan(connection, query, True, frozenset())
            await connection.within(limits.seconds)
            encoder = Encoder(query, format, pa.schema(list(plan.fields)))
            rows = size = 0
            async with connection.raw.transaction(isolation="repeatable_read", readonly=True):
                prepared = await connection.prepare(plan.sql)
                values = prepared.values([query.params[name] for name in plan.statement.names])
                cursor = await prepared.statement.cursor(*values)
                piece = encoder.head()
                while found := await cursor.fetch(_PIECE_ROWS):
                    rows += len(found)
                    within(limits, rows=rows)
                    piece += encoder.piece(_table(found, plan, query, format))
                    size += len(piece)
                    within(limits, size=size)
                    yield piece
                    piece = b""
                yield piece + encoder.tail()

    async def explain(self, query: Query) -> Cost:
        """See Server.explain."""

        async def work(connection: Connection, plan: Plan, values: Sequence[Any]) -> Cost:
            rows = await connection.fetch(f"EXPLAIN (FORMAT JSON) {plan.statement.sql}", values, 10.0)
            return catalog.cost(json.loads(rows[0][0]))

        return await self._asked(query, True, Limits(), work)

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


def _table(rows: Sequence[Any], plan: Plan, query: Query, format: Format) -> pa.Table:
    """Dates that Arrow has not may be texts, unless it is asked for, or a mask takes dates."""
    return table_of([tuple(row) for row in rows], plan.fields, texts=format != "arrow" and not query.after)


def _keys(rows: Sequence[Any]) -> tuple[Any, ...]:
    """The keys behind the last row."""
    return tuple(plain(value if _simple(value) else str(value)) for value in rows[-1][1:]) if rows else ()


def _values(row: bytes, places: Sequence[int]) -> list[Any]:
    """The values of a row, those at these places exactly."""
    try:
        found = [*orjson.loads(row).values()]
    except orjson.JSONDecodeError:  # a JSON column may hold what is not Unicode
        found = []
    if found and not any(isinstance(found[place], float) for place in places):
        return found
    return [*_EXACT.decode(row.decode()).values()]


def _last(plan: Plan, row: bytes) -> tuple[Any, ...]:
    """The keys that are columns of the row."""
    shown = _values(row, plan.doubled)
    found = []
    for place in plan.doubled:
        value = shown[place]
        floating = pa.types.is_floating(plan.columns[place].type)
        found.append(float(value) if floating and isinstance(value, int | Decimal) else value)
    return tuple(found)


def _simple(value: Any) -> bool:
    return value is None or type(value).__module__ in ("builtins", "datetime", "decimal")
