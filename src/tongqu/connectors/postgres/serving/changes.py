"""Changes of rows over PostgreSQL: one statement each, all in one transaction with the Idempotency-Key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from tongqu.connectors.postgres.db import quoted
from tongqu.connectors.postgres.serving.catalog import place
from tongqu.connectors.postgres.serving.connection import Connection, TooWideError
from tongqu.connectors.postgres.serving.errors import AGAIN, NAMELESS, STALE, failures, told
from tongqu.connectors.postgres.serving.sql import Statement, as_json, numbered
from tongqu.core.data import Meta
from tongqu.core.errors import (
    AccessError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    RefusedRowsError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.core.server import Change, Idempotency, Limits, Outcome, Page, Query
from tongqu.kit.serving import idempotency as keys
from tongqu.kit.serving.encode import dumps
from tongqu.kit.serving.pool import Pool

if TYPE_CHECKING:
    from tongqu.connectors.postgres.serving.server import PostgresServer

_TRIES = 4
_TOUCHED = "_tongqu_touched"
_ROW = "_tongqu_row"
_ROWS = "_tongqu_rows"
_NEW = "_tongqu_new"
_KEYS = keys.Keys(keys.TABLE, {"id": "char(64)", "long": "bigint", "blob": "bytea"})


@dataclass(frozen=True)
class Done:
    """What one change came to."""

    touched: int
    inserted: int
    page: Page | None


class Changes:
    """The writing half of a server."""

    def __init__(self, server: PostgresServer, pool: Pool[Connection], clock: Callable[[], float] = time.time):
        self._server = server
        self._pool = pool
        self._clock = clock
        self._purged = 0.0
        self._kept = False
        """Whether the table of keys is known to be there."""

    def close(self) -> None:
        """Drop the connections."""
        self._pool.close()

    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None,
        answer: Callable[[Outcome], bytes] | None,
    ) -> Outcome:
        """See Server.transact. Whoever loses against others by a deadlock or a serialization failure tries again."""
        for attempt in range(1, _TRIES + 1):
            connection = await self._pool.take(limits.seconds)
            broken = True
            try:
                if idempotency is not None:
                    await self._ready(connection)
                outcome = await self._whole(connection, changes, limits, idempotency, answer)
                broken = False
                return outcome
            except failures() as error:
                failed = told(error, self._server.where, writing=True)
                broken = not await self._undone(connection)
                lost = isinstance(failed, ConnectError) and not connection.alive
                if lost:
                    self._pool.forget()  # nothing was committed: who was lost before COMMIT may try again
                state = getattr(error, "sqlstate", "")
                if altered := state == STALE or state in NAMELESS:
                    connection.forget(names=state in NAMELESS)
                if attempt == _TRIES or not (lost or altered or state in AGAIN):
                    raise failed from None
            except TongquError:
                broken = not await self._undone(connection)
                raise
            finally:
                self._pool.give(connection, broken=broken)
        raise ConnectError("the changes could not be made", path=self._server.where)

    async def _undone(self, connection: Connection) -> bool:
        if not connection.alive:
            return False
        with suppress(*failures()):
            if connection.raw.is_in_transaction():
                await connection.raw.execute("ROLLBACK", timeout=5)
            return True
        return False

    async def _ready(self, connection: Connection) -> None:
        """The table of keys, in a transaction of its own; keys whose time is over are deleted now and then."""
        now = self._clock()
        if not self._kept:
            found = await connection.raw.fetchval("SELECT to_regclass($1) IS NOT NULL", keys.TABLE)
            if not found:
                await self._create(connection)
            self._kept = True
        if now - self._purged >= keys.PURGE_SECONDS:
            self._purged = now
            await connection.fetch(_dollars(_KEYS.purge), [int(now)], 10.0)

    async def _create(self, connection: Connection) -> None:
        try:
            await connection.raw.execute(_KEYS.create)
        except failures() as error:
            state = getattr(error, "sqlstate", "")
            if state == "42501":
                raise PrivilegeError(
                    f"the login may not create {keys.TABLE!r}, which keeps Idempotency-Keys",
                    path=self._server.where,
                    hint="grant CREATE on the schema once, or create the table for it",
                ) from None
            if state not in ("23505", "42P07", "42710"):  # two created it at the same time
                raise

    async def _whole(
        self,
        connection: Connection,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None,
        answer: Callable[[Outcome], bytes] | None,
    ) -> Outcome:
        most = max(int(limits.seconds * 1000), 1)
        wait = max(most * 4 // 5, 1)  # so that a lock is told as what it is
        await connection.raw.execute(f"BEGIN; SET LOCAL lock_timeout = {wait}; SET LOCAL statement_timeout = {most}")
        if idempotency is not None:
            replayed = await self._replayed(connection, idempotency)
            if replayed is not None:
                await connection.raw.execute("ROLLBACK")
                return Outcome(replayed=replayed)
        done = [await self._one(connection, change) for change in changes]
        outcome = Outcome(
            tuple(one.touched for one in done), tuple(one.inserted for one in done), tuple(one.page for one in done)
        )
        if idempotency is not None:
            kept = keys.row(idempotency, answer(outcome) if answer else b"", self._clock())
            await connection.raw.execute(_dollars(_KEYS.keep), *kept)
        await self._committed(connection, idempotency)
        return outcome

    async def _replayed(self, connection: Connection, idempotency: Idempotency) -> bytes | None:
        if not await connection.raw.fetchval("SELECT pg_try_advisory_xact_lock($1)", keys.lock_number(idempotency)):
            raise keys.busy()
        me = keys.identity(idempotency)
        found = await connection.raw.fetchrow(_dollars(_KEYS.find), me)
        stored = keys.Stored(*found) if found else None
        answer = keys.replay(idempotency, stored, self._clock())
        if answer is None and stored is not None:
            await connection.raw.execute(_dollars(_KEYS.forget), me)
        return answer

    async def _committed(self, connection: Connection, idempotency: Idempotency | None) -> None:
        """COMMIT. Where its reply is lost, the key tells what became of it: it was kept in the same transaction."""
        try:
            await connection.raw.execute("COMMIT")
        except failures() as error:
            failed = told(error, self._server.where, writing=True)
            if not isinstance(failed, ConnectError) and connection.alive:
                raise
            if idempotency is None or not await self._was_kept(idempotency):
                raise UnknownOutcomeError(
                    "the connection was lost while the changes were committed: nobody knows whether they were",
                    path=self._server.where,
                    hint="call again with the same Idempotency-Key, or look whether the rows are there",
                ) from None

    async def _was_kept(self, idempotency: Idempotency) -> bool:
        """Whether the key was kept, asked once the lost transaction has ended: it held the lock on the key."""
        self._pool.forget()
        connection: Connection | None = None
        try:
            connection = await self._pool.take(5.0)
            await connection.raw.execute("BEGIN; SET LOCAL lock_timeout = 5000")
            await connection.raw.execute("SELECT pg_advisory_xact_lock($1)", keys.lock_number(idempotency))
            found = await connection.raw.fetchrow(_dollars(_KEYS.find), keys.identity(idempotency))
            await connection.raw.execute("ROLLBACK")
            return found is not None and bool(found[0] == keys.print_of(idempotency))
        except TongquError:
            return False
        except failures():
            return False
        finally:
            if connection is not None:
                self._pool.give(connection, broken=not connection.alive or connection.raw.is_in_transaction())

    # ---- one change

    async def _one(self, connection: Connection, change: Change) -> Done:
        schema, table = await place(connection, change.table)
        target = f"{quoted(schema)}.{quoted(table)}"
        wide: frozenset[str] = frozenset()
        while True:
            statement = await self._statement(connection, change, target, wide)
            given: dict[str, Any] = {**(change.returning.params if change.returning else {}), **change.params}
            given[_ROWS] = _rows_json(change)
            prepared = await connection.prepare(statement.sql)
            try:
                values = prepared.values([given[name] for name in statement.names])
                break
            except TooWideError as error:
                wide |= {statement.names[error.place]}
        touched, inserted, broken, *pages = (await prepared.statement.fetch(*values))[0]
        _hold(change, touched, broken)
        return Done(touched, inserted, _page(change.returning, pages[0]) if change.returning else None)

    async def _statement(self, connection: Connection, change: Change, target: str, wide: frozenset[str]) -> Statement:
        """One statement that changes, counts, checks the rule over the rows as they are then, and shows them."""
        names = [_ROWS] if change.rows else []
        where = await self._condition(connection, change.where, target, (names, wide))
        names = list(where.names)
        changing = _changing(change, target, where.sql)
        checked = change.check if change.verb != "delete" else None
        check = await self._condition(connection, checked, target, (names, wide))
        names = list(check.names)
        broken = f"count(*) FILTER (WHERE ({check.sql}) IS NOT TRUE)" if checked is not None else "0"
        new = f"count(*) FILTER (WHERE {_NEW})" if change.verb in ("insert", "upsert", "ignore") else "0"
        touched = quoted(_TOUCHED)
        sql = f"WITH {touched} AS ({changing}) SELECT count(*), {new}, {broken}"
        if change.returning is not None:
            shown = await self._shown(connection, change, names, wide)
            names = list(shown.names)
            sql += f", ARRAY({shown.sql})"
        return Statement(f"{sql} FROM {touched} AS {quoted(_ROW)}", tuple(names))

    async def _condition(
        self,
        connection: Connection,
        condition: exp.Expr | None,
        target: str,
        known: tuple[Sequence[str], frozenset[str]],
    ) -> Statement:
        """A condition over the row called `_tongqu_row`; `known` are the parameters before it, and the wide ones."""
        names, wide = known
        if condition is None:
            return Statement("", tuple(names))
        select = exp.select("1").from_(
            exp.alias_(exp.maybe_parse(target, into=exp.Table, dialect="postgres"), _ROW, table=True, quoted=True)
        )
        tree = await self._server.written(connection, select.where(_of_row(condition)))
        return numbered(tree.args["where"].this, wide, names)

    async def _shown(
        self, connection: Connection, change: Change, names: Sequence[str], wide: frozenset[str]
    ) -> Statement:
        assert change.returning is not None  # noqa: S101  # asked before
        tree = change.returning.tree.copy()
        plain = await self._server.written(connection, change.returning.tree.copy())
        found = (await connection.prepare(numbered(plain, wide).sql)).attributes()
        for node in list(tree.find_all(exp.Table)):
            if node.name == change.table and not node.args.get("db"):
                node.set("this", exp.to_identifier(_TOUCHED, quoted=True))
        inner = numbered(await self._server.written(connection, tree), wide, names)
        return Statement(as_json(inner.sql, change.returning, found, change.returning.keys), inner.names)


def _changing(change: Change, target: str, where: str) -> str:
    me = f"{target} AS {quoted(_ROW)}"
    found = f" WHERE {where}" if where else ""
    names = [quoted(field.name) for field in change.columns]
    if change.verb == "delete":
        return f"DELETE FROM {me}{found} RETURNING {quoted(_ROW)}.*"
    if change.verb == "update":
        given = f"SELECT {', '.join(names)} FROM json_populate_record(NULL::{target}, $1::json)"
        made = f"({', '.join(names)}) = ({given})" if len(names) > 1 else f"{names[0]} = ({given})"
        return f"UPDATE {me} SET {made}{found} RETURNING {quoted(_ROW)}.*"
    listed = ", ".join(names)
    sql = f"INSERT INTO {me} ({listed}) SELECT {listed} FROM json_populate_recordset(NULL::{target}, $1::json)"
    conflict = ", ".join(quoted(name) for name in change.conflict)
    if change.verb == "ignore":
        sql += f" ON CONFLICT ({conflict}) DO NOTHING" if conflict else " ON CONFLICT DO NOTHING"
    elif change.verb == "upsert":
        kept = [quoted(field.name) for field in change.columns if field.name not in change.conflict]
        sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in kept or [quoted(change.conflict[0])])
        sql += f" ON CONFLICT ({conflict}) DO UPDATE SET {sets}{found}"
    new = f"{quoted(_ROW)}.xmax = 0" if change.verb == "upsert" else "true"
    return f"{sql} RETURNING {quoted(_ROW)}.*, {new} AS {_NEW}"


def _of_row(condition: exp.Expr) -> exp.Expr:
    """The condition with its columns named as those of the changed row; columns of SELECTs within stay theirs."""
    tree = condition.copy()
    for node in list(tree.find_all(exp.Column)):
        if not node.table and node.find_ancestor(exp.Select) is None:
            node.set("table", exp.to_identifier(_ROW, quoted=True))
    return tree


def _rows_json(change: Change) -> str:
    """The rows as the JSON that the database makes records of; each value is read by its type's own input."""
    names = [field.name for field in change.columns]
    documents = {
        place
        for place, field in enumerate(change.columns)
        if (field.metadata or {}).get(Meta.LOGICAL.value.encode()) == b"json"
    }
    made = [
        {
            name: _document(value) if place in documents else _value(value)
            for place, (name, value) in enumerate(zip(names, row, strict=True))
        }
        for row in change.rows
    ]
    return dumps(made[0] if change.verb == "update" and made else made).decode()


def _document(value: Any) -> Any:
    import orjson

    return orjson.Fragment(value) if isinstance(value, str) else value


def _value(value: Any) -> Any:
    return "\\x" + bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else value


def _hold(change: Change, touched: int, broken: int) -> None:
    if broken:
        raise AccessError("the change would make a row that the caller has no right to", params={"rows": broken})
    if change.limit is not None and touched > change.limit:
        raise RefusedRowsError(
            f"the change touches {touched} rows, at most {change.limit} are allowed",
            params={"kind": "limit", "rows": touched, "limit": change.limit},
        )
    if change.expected is not None and touched != change.expected:
        raise NotFoundError("the row is not there", params={"touched": touched, "expected": change.expected})


def _page(query: Query, rows: Sequence[str]) -> Page:
    if not query.after:
        return Page(("[" + ",".join(rows) + "]").encode(), len(rows))
    made = [json.loads(row, parse_float=Decimal) for row in rows]
    for row in made:
        for name, change in query.after.items():
            row[name] = change(row[name])
    return Page(dumps(made), len(rows))


def _dollars(sql: str) -> str:
    parts = sql.split("?")
    return parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
