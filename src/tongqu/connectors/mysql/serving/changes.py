"""Changes of rows over MariaDB and MySQL: rows are locked by key, changed, checked and shown in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.mysql.db import quoted
from tongqu.connectors.mysql.serving.connection import Connection, bound, place_of, shown, stored
from tongqu.connectors.mysql.serving.errors import DEADLOCK, failures, number, told
from tongqu.connectors.mysql.serving.sql import Statement, field_of, marked
from tongqu.core.errors import (
    AccessError,
    ConnectError,
    DuplicateError,
    InvalidPlanError,
    NotFoundError,
    PrivilegeError,
    RefusedRowsError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.core.server import Change, Idempotency, Limits, Outcome, Page
from tongqu.kit.serving import idempotency as keys
from tongqu.kit.serving.encode import page, table_of
from tongqu.kit.serving.pool import Pool

if TYPE_CHECKING:
    from tongqu.connectors.mysql.serving.server import MysqlServer
    from tongqu.core.data import Dataset

_TRIES = 4
_AT_ONCE = 500
"""Keys of one statement."""
_KEYS = keys.Keys(
    quoted(keys.TABLE),
    {"id": "char(64) CHARACTER SET ascii COLLATE ascii_bin", "long": "bigint", "blob": "longblob"},
)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Done:
    """What one change came to."""

    touched: int
    inserted: int
    page: Page | None


@dataclass
class Work:
    """One change on its way. `target` is the quoted table, `key` its key columns."""

    connection: Connection
    change: Change
    target: str
    key: tuple[str, ...]
    counted: str
    """The key column that the database counts up, if it has one."""

    @property
    def names(self) -> list[str]:
        """The columns that are given."""
        return [field.name for field in self.change.columns]

    def matching(self, found: Sequence[Key]) -> tuple[str, list[Any]]:
        """The condition for rows of these keys, and its values."""
        listed = ", ".join(quoted(name) for name in self.key)
        holes = ", ".join(["(" + ", ".join("?" * len(self.key)) + ")"] * len(found))
        return f"({listed}) IN ({holes})", [value for one in found for value in one]

    def parts(self, found: Sequence[Key]) -> Iterator[tuple[str, list[Any]]]:
        """The same for some keys at a time."""
        for start in range(0, len(found), _AT_ONCE):
            yield self.matching(found[start : start + _AT_ONCE])


class Changes:
    """The writing half of a server."""

    def __init__(self, server: MysqlServer, pool: Pool[Connection], clock: Callable[[], float] = time.time):
        self._server = server
        self._pool = pool
        self._clock = clock
        self._purged = 0.0
        self._kept = False
        self._tables: dict[str, tuple[str, tuple[str, ...], str]] = {}

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
        """See Server.transact. Whoever loses against others by a deadlock tries again."""
        for attempt in range(1, _TRIES + 1):
            connection = await self._pool.take(limits.seconds)
            try:
                if idempotency is not None:
                    await self._ready(connection)
                return await self._whole(connection, changes, limits, idempotency, answer)
            except failures() as error:
                failed = told(error, self._server.where, writing=True)
                await self._undone(connection, idempotency)
                if isinstance(failed, ConnectError):
                    connection.drop()
                    self._pool.forget()  # nothing was committed: who was lost before COMMIT may try again
                if attempt == _TRIES or not (isinstance(failed, ConnectError) or number(error) == DEADLOCK):
                    raise failed from None
            except TongquError:
                await self._undone(connection, idempotency)
                raise
            finally:
                self._pool.give(connection)
        raise ConnectError("the changes could not be made", path=self._server.where)

    async def _undone(self, connection: Connection, idempotency: Idempotency | None) -> None:
        if connection.alive:
            with suppress(*failures()):
                await connection.say("ROLLBACK")
                await self._unlock(connection, idempotency)
                return
            connection.drop()

    async def _unlock(self, connection: Connection, idempotency: Idempotency | None) -> None:
        if idempotency is not None:
            await connection.run("SELECT RELEASE_LOCK(?)", (keys.lock_name(idempotency),))

    async def _ready(self, connection: Connection) -> None:
        """The table of keys; keys whose time is over are deleted now and then."""
        now = self._clock()
        if not self._kept:
            try:
                await connection.say(_KEYS.create)
            except failures() as error:
                failed = told(error, self._server.where, writing=True)
                if isinstance(failed, PrivilegeError):
                    failed.hint = f"grant CREATE on the database once, or create {keys.TABLE!r}, which keeps the keys"
                raise failed from None
            self._kept = True
        if now - self._purged >= keys.PURGE_SECONDS:
            self._purged = now
            await connection.run(_KEYS.purge, (int(now),))

    async def _whole(
        self,
        connection: Connection,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None,
        answer: Callable[[Outcome], bytes] | None,
    ) -> Outcome:
        await connection.within(limits.seconds)
        await connection.say(f"SET SESSION innodb_lock_wait_timeout = {max(int(limits.seconds), 1)}")
        if idempotency is not None and not await self._lock(connection, idempotency, 0):
            raise keys.busy()
        await connection.say("START TRANSACTION")
        if idempotency is not None:
            replayed = await self._replayed(connection, idempotency)
            if replayed is not None:
                await connection.say("ROLLBACK")
                await self._unlock(connection, idempotency)
                return Outcome(replayed=replayed)
        done = [await self._one(connection, change, limits) for change in changes]
        outcome = Outcome(
            tuple(one.touched for one in done), tuple(one.inserted for one in done), tuple(one.page for one in done)
        )
        if idempotency is not None:
            await connection.run(_KEYS.keep, keys.row(idempotency, answer(outcome) if answer else b"", self._clock()))
        await self._committed(connection, idempotency)
        if connection.alive:
            await self._unlock(connection, idempotency)
        return outcome

    async def _lock(self, connection: Connection, idempotency: Idempotency, seconds: int) -> bool:
        found = await connection.run("SELECT GET_LOCK(?, ?)", (keys.lock_name(idempotency), seconds))
        return bool(found.rows[0][0] == 1)

    async def _stored(self, connection: Connection, idempotency: Idempotency) -> keys.Stored | None:
        found = await connection.run(_KEYS.find, (keys.identity(idempotency),))
        return keys.Stored(*found.rows[0]) if found.rows else None

    async def _replayed(self, connection: Connection, idempotency: Idempotency) -> bytes | None:
        kept = await self._stored(connection, idempotency)
        answer = keys.replay(idempotency, kept, self._clock())
        if answer is None and kept is not None:
            await connection.run(_KEYS.forget, (keys.identity(idempotency),))
        return answer

    async def _committed(self, connection: Connection, idempotency: Idempotency | None) -> None:
        """COMMIT. Where its reply is lost, the key tells what became of it: it was kept in the same transaction."""
        try:
            await connection.say("COMMIT")
        except failures() as error:
            if not isinstance(told(error, self._server.where, writing=True), ConnectError) and connection.alive:
                raise
            connection.drop()
            if idempotency is None or not await self._was_kept(idempotency):
                raise UnknownOutcomeError(
                    "the connection was lost while the changes were committed: nobody knows whether they were",
                    path=self._server.where,
                    hint="call again with the same Idempotency-Key, or look whether the rows are there",
                ) from None

    async def _was_kept(self, idempotency: Idempotency) -> bool:
        """Whether the key was kept, asked once the lost session has ended: it held the lock on the key."""
        self._pool.forget()
        connection: Connection | None = None
        try:
            connection = await self._pool.take(5.0)
            if not await self._lock(connection, idempotency, 5):
                return False
            kept = await self._stored(connection, idempotency)
            await self._unlock(connection, idempotency)
            return kept is not None and kept.fingerprint == keys.print_of(idempotency)
        except TongquError:
            return False
        except failures():
            return False
        finally:
            if connection is not None:
                self._pool.give(connection)

    # ---- one change

    async def _one(self, connection: Connection, change: Change, limits: Limits) -> Done:
        work = await self._work(connection, change)
        inserted = 0
        if change.verb in ("update", "delete"):
            found = await self._found(work)
        else:
            found, inserted = await self._put(work)
        _hold(change, len(found))
        page = None
        if change.verb == "delete":
            page = await self._back(work, found, limits)
            for condition, values in work.parts(found):
                await connection.run(f"DELETE FROM {work.target} WHERE {condition}", values)
        elif change.verb == "update":
            found = await self._set(work, found, change.rows[0])
        if change.verb != "delete":
            await self._checked(work, found)
            page = await self._back(work, found, limits)
        return Done(len(found), inserted, page)

    async def _work(self, connection: Connection, change: Change) -> Work:
        if change.table not in self._tables:
            described: Dataset = await self._server.describe(change.table)
            schema, table = await place_of(connection, change.table)
            counted = [field.name for field in described.schema if b"auto_increment" in (field.metadata or {}).values()]
            place = f"{quoted(schema)}.{quoted(table)}"
            self._tables[change.table] = (place, described.key, counted[0] if counted else "")
        target, key, counted_up = self._tables[change.table]
        if not key:
            raise InvalidPlanError(f"{change.table!r} has no key: its rows cannot be told apart to be changed")
        return Work(connection, change, target, key, counted_up)

    async def _condition(self, work: Work, condition: exp.Expr | None) -> Statement:
        if condition is None:
            return Statement("TRUE", ())
        table = exp.maybe_parse(work.target, into=exp.Table, dialect="mysql")
        select = exp.select("1").from_(table).where(condition.copy())
        tree = await self._server.written(work.connection, select, work.change.params)
        return marked(tree.args["where"].this)

    def _values(self, work: Work, statement: Statement) -> list[Any]:
        given: Mapping[str, Any] = work.change.params
        return [bound(given[name]) for name in statement.names]

    async def _found(self, work: Work) -> list[Key]:
        """The keys of the rows that the condition finds, which are locked."""
        where = await self._condition(work, work.change.where)
        most = f" LIMIT {work.change.limit + 1}" if work.change.limit is not None else ""
        listed = ", ".join(quoted(name) for name in work.key)
        found = await work.connection.run(
            f"SELECT {listed} FROM {work.target} WHERE {where.sql}{most} FOR UPDATE", self._values(work, where)
        )
        return [tuple(row) for row in found.rows]

    async def _set(self, work: Work, found: Sequence[Key], row: Sequence[Any]) -> list[Key]:
        """Change the rows; their keys afterwards."""
        given = {field.name: stored(value, field) for field, value in zip(work.change.columns, row, strict=True)}
        if not given:
            return list(found)
        sets = ", ".join(f"{quoted(name)} = ?" for name in given)
        for condition, values in work.parts(found):
            sql = f"UPDATE {work.target} SET {sets} WHERE {condition}"
            await work.connection.run(sql, [*given.values(), *values])
        return [tuple(given.get(name, value) for name, value in zip(work.key, one, strict=True)) for one in found]

    async def _put(self, work: Work) -> tuple[list[Key], int]:
        """Add rows, or merge them with those that are there; the keys of those touched, and how many are new."""
        change = work.change
        where = await self._condition(work, change.where) if change.verb == "upsert" else Statement("TRUE", ())
        touched: dict[Key, None] = {}
        inserted = 0
        for row in change.rows:
            there = await self._there(work, row, where) if change.verb != "insert" else None
            if there is None:
                key = await self._insert(work, row)
                inserted += 1
            elif change.verb == "ignore" or not there[1]:
                continue
            else:
                (key,) = await self._set(work, [there[0]], row)
            if key in touched:
                raise DuplicateError("the same key comes twice")
            touched[key] = None
        return list(touched), inserted

    async def _there(self, work: Work, row: Sequence[Any], where: Statement) -> tuple[Key, bool] | None:
        """The key of the row that is there for a new one, locked, and whether it may be changed."""
        change = work.change
        fields = {field.name: (field, value) for field, value in zip(change.columns, row, strict=True)}
        wanted = " AND ".join(f"{quoted(name)} = ?" for name in change.conflict)
        listed = ", ".join(quoted(name) for name in work.key)
        values = [stored(fields[name][1], fields[name][0]) for name in change.conflict]
        found = await work.connection.run(
            f"SELECT {listed}, ({where.sql}) IS TRUE FROM {work.target} WHERE {wanted} FOR UPDATE",
            [*self._values(work, where), *values],
        )
        return (tuple(found.rows[0][:-1]), bool(found.rows[0][-1])) if found.rows else None

    async def _insert(self, work: Work, row: Sequence[Any]) -> Key:
        given = {field.name: stored(value, field) for field, value in zip(work.change.columns, row, strict=True)}
        listed = ", ".join(quoted(name) for name in given)
        sql = f"INSERT INTO {work.target} ({listed}) VALUES ({', '.join('?' * len(given))})"
        made = await work.connection.run(sql, list(given.values()))
        if work.counted and given.get(work.counted) is None:
            given[work.counted] = made.insert_id
        missing = [name for name in work.key if name not in given]
        if missing:
            raise InvalidPlanError(f"a new row must have its key: {', '.join(missing)}")
        return tuple(given[name] for name in work.key)

    async def _checked(self, work: Work, found: Sequence[Key]) -> None:
        if work.change.check is None:
            return
        check = await self._condition(work, work.change.check)
        broken = 0
        for condition, values in work.parts(found):
            sql = f"SELECT COUNT(*) FROM {work.target} WHERE {condition} AND ({check.sql}) IS NOT TRUE"
            result = await work.connection.run(sql, [*values, *self._values(work, check)])
            broken += result.rows[0][0]
        if broken:
            raise AccessError("the change would make a row that the caller has no right to", params={"rows": broken})

    async def _back(self, work: Work, found: Sequence[Key], limits: Limits) -> Page | None:
        """The page of the touched rows, by what is given back."""
        back = work.change.returning
        if back is None:
            return None
        tree = back.tree.copy()
        named = {f"_tongqu_{place}": value for place, value in enumerate(value for one in found for value in one)}
        for node in list(tree.find_all(exp.Table)):
            if node.name == work.change.table and not node.args.get("db"):
                node.replace(self._touched(work, node.alias_or_name, len(found)))
        given = {**back.params, **work.change.params, **named}
        statement = marked(await self._server.written(work.connection, tree, given))
        result = await work.connection.run(statement.sql, [bound(given[name]) for name in statement.names])
        more = [field_of(packet) for packet in result.fields[len(back.columns) :]]
        fields: list[pa.Field[Any]] = [*back.columns, *more]
        return page(table_of(shown(result.rows, fields), fields), back, "json", limits)

    def _touched(self, work: Work, alias: str, count: int) -> exp.Subquery:
        table = exp.maybe_parse(work.target, into=exp.Table, dialect="mysql")
        width = len(work.key)
        listed = exp.Tuple(expressions=[exp.column(name, quoted=True) for name in work.key])
        one = [
            exp.Tuple(expressions=[exp.Placeholder(this=f"_tongqu_{row * width + place}") for place in range(width)])
            for row in range(count)
        ]
        condition = exp.In(this=listed, expressions=one) if one else exp.false()
        return exp.select("*").from_(table).where(condition).subquery(alias)


def _hold(change: Change, touched: int) -> None:
    if change.limit is not None and touched > change.limit:
        raise RefusedRowsError(
            f"the change touches more rows than the {change.limit} that are allowed",
            params={"kind": "limit", "limit": change.limit},
        )
    if change.expected is not None and touched != change.expected:
        raise NotFoundError("the row is not there", params={"touched": touched, "expected": change.expected})
