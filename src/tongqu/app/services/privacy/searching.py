"""What published tables hold of one person: counted, shown, erased, with every table asked under one condition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from tongqu.app.services.privacy.catalogue import Place
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, TongquError
from tongqu.core.server import Change, Limits, Query, Server
from tongqu.gateway.policy.values import family, fitted
from tongqu.store.subjects import Hold, folded, text_of

if TYPE_CHECKING:
    from sqlglot import exp

    from tongqu.app.services.ends import Ends
    from tongqu.core.data import Dataset

_LIMITS = Limits(seconds=120.0, rows=100_000, bytes=256 << 20)
_COUNT = pa.field("rows", pa.int64(), nullable=False)
_ERASED = "erased"


@dataclass(frozen=True)
class Subject:
    """Somebody, by an identity (`employee`) and its value as text."""

    identity: str
    value: str

    @classmethod
    def read(cls, told: str) -> Subject:
        """`employee=E7`; raises InvalidSettingsError, which does not show the value."""
        identity, sign, value = told.partition("=")
        if not sign or not identity or not value:
            raise InvalidSettingsError("a person is named by an identity and its value", path="--subject",
                                       hint="--subject employee=E7")  # fmt: skip
        return cls(identity, value)


@dataclass(frozen=True)
class Table:
    """A published table that is open, as its source describes it now."""

    place: Place
    dataset: Dataset
    server: Server

    def fields(self) -> dict[str, pa.Field[Any]]:
        """The field of each identity, of those that are there."""
        found = self.place.entry.subject
        return {i: self.dataset.schema.field(name) for i, name in found.items() if name in self.dataset.columns}

    def where(self, subjects: Sequence[Subject]) -> tuple[exp.Expr | None, dict[str, Any]]:
        """The condition of rows that belong to the person, and its values; None if the table knows none of these
        identities. Texts are the same whatever their case and the spaces at their end, as digests are; of other types
        a value that is not written as the field has it belongs to nobody there."""
        from sqlglot import exp

        parts: list[exp.Expr] = []
        params: dict[str, Any] = {}
        for one in subjects:
            field = self.fields().get(one.identity)
            if field is None:
                continue
            name = f"person_{len(params)}"
            try:
                value = fitted(one.value, field)
            except ValueError:
                continue
            if folded(text_of(value)) != folded(one.value):  # then the digest would be another one than that of the row
                continue
            column = exp.column(field.name, quoted=True)
            params[name] = value
            parts.append(exp.EQ(this=column, expression=exp.Placeholder(this=name)))
            if isinstance(value, str) and family(field) == "text":
                params[f"{name}_folded"] = folded(value)
                bare = exp.Lower(this=exp.Trim(this=column.copy(), position="TRAILING"))
                parts.append(exp.EQ(this=bare, expression=exp.Placeholder(this=f"{name}_folded")))
        return (exp.or_(*parts) if parts else None), params

    async def count(self, subjects: Sequence[Subject]) -> int | None:
        """How many rows belong to the person; None if it cannot stand here."""
        where, params = self.where(subjects)
        return None if where is None else await self.number(where, params)

    async def rows(self, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
        """The person's rows with all fields but those of class `secret`; raises AnswerError beyond 100,000."""
        from sqlglot import exp

        where, params = self.where(subjects)
        if where is None:
            return []
        told = self.place.entry.fields
        shown = [f for f in self.dataset.schema if f.name not in told or told[f.name].class_ != "secret"]
        tree = exp.select(*(exp.column(f.name, quoted=True) for f in shown)).from_(self._name()).where(where)
        page = await self.server.query(Query(tree, params, tuple(shown)), "rows", _LIMITS)
        return [dict(zip((f.name for f in shown), row, strict=True)) for row in page.values]

    async def persons(self, identity: str) -> list[Any]:
        """All values of an identity that stand here."""
        from sqlglot import exp

        field = self.fields()[identity]
        column = exp.column(field.name, quoted=True)
        tree = exp.select(column).distinct().from_(self._name())
        page = await self.server.query(Query(tree, {}, (field,)), "rows", Limits(120.0, 1_000_000, 256 << 20))
        return [row[0] for row in page.values if row[0] is not None]

    async def spellings(self, subjects: Sequence[Subject]) -> dict[str, int]:
        """In how many ways the person is written here, by identity."""
        from sqlglot import exp

        told: dict[str, int] = {}
        for one in subjects:
            where, params = self.where([one])
            if where is not None:
                field = self.fields()[one.identity]
                tree = exp.select(exp.column(field.name, quoted=True)).distinct().from_(self._name()).where(where)
                page = await self.server.query(Query(tree, params, (field,)), "rows", _LIMITS)
                told[one.identity] = len(page.values)
        return told

    def unclearable(self) -> list[str]:
        """Personal fields that can neither be emptied nor given a word instead."""
        fields = [self.dataset.schema.field(name) for name in self.place.personal if name in self.dataset.columns]
        return [f.name for f in fields if self._fixed(f) and family(f) != "text"]

    async def erase(self, subjects: Sequence[Subject], word: str) -> int:
        """Do what the dictionary says in one transaction; how many rows it touched. `word` stands where a text must."""
        where, params = self.where(subjects)
        if where is None:
            return 0
        if self.place.entry.erase == "delete":
            change = Change("delete", self.place.table, (), where=where, params=params)
        else:
            names = [name for name in self.place.personal if name in self.dataset.columns]
            fields = tuple(self.dataset.schema.field(name) for name in names)
            row = [f"{_ERASED}-{word}" if self._fixed(field) else None for field in fields]
            change = Change("update", self.place.table, fields, [row], where=where, params=params)
        outcome = await self.server.transact([change], _LIMITS)
        return sum(outcome.touched)

    async def due(self, since: str, before: datetime, emptied: Sequence[str], kept: exp.Expr | None) -> Due:
        """Rows whose time is over: `since` lies before an instant and, where fields are to be emptied, one of them is
        not; `kept` is the condition of rows that a hold protects. Raises InvalidPlanError if `since` is no time."""
        from sqlglot import exp

        kind = family(self.dataset.schema.field(since)) if since in self.dataset.columns else ""
        if kind not in ("date", "timestamp", "instant", "text"):
            raise InvalidPlanError(f"{since!r} of {self.place.table} is no date or time to count from",
                                   path=f"datasets.{self.place.meaning}.retention.since")  # fmt: skip
        told = before.date().isoformat() if kind in ("date", "text") else before.replace(tzinfo=None).isoformat()
        value = fitted(told, self.dataset.schema.field(since))
        over: exp.Expr = exp.LT(this=exp.column(since, quoted=True), expression=exp.Placeholder(this="before"))
        if emptied:
            full = [exp.Not(this=exp.Is(this=exp.column(n, quoted=True), expression=exp.Null())) for n in emptied]
            over = exp.and_(over, exp.paren(exp.or_(*full)))
        return Due(self, over, kept, {"before": value})

    def among(self, identity: str, values: Sequence[Any], params: dict[str, Any]) -> exp.Expr:
        """The condition of rows of some persons, whose values join `params`."""
        from sqlglot import exp

        names = [f"held_{len(params) + n}" for n in range(len(values))]
        params.update(zip(names, values, strict=True))
        column = exp.column(self.fields()[identity].name, quoted=True)
        return exp.In(this=column, expressions=[exp.Placeholder(this=name) for name in names])

    async def protected(
        self, holds: Sequence[Hold], digest: Callable[[str, Any], str], params: dict[str, Any]
    ) -> exp.Expr | None:
        """The condition of rows of persons who are held, whose values join `params`; None if there are none."""
        from sqlglot import exp

        parts: list[exp.Expr] = []
        for identity in self.fields():
            wanted = {one.digest for one in holds if one.identity == identity}
            values = [v for v in await self.persons(identity) if digest(identity, v) in wanted] if wanted else []
            if values:
                parts.append(self.among(identity, values, params))
        return exp.or_(*parts) if parts else None

    async def held(self, subjects: Sequence[Subject], holds: Sequence[Hold], digest: Callable[[str, Any], str]) -> int:
        """How many rows of the person are also those of somebody who is held."""
        from sqlglot import exp

        where, params = self.where(subjects)
        kept = await self.protected(holds, digest, params) if where is not None else None
        if where is None or kept is None:
            return 0
        return await self.number(exp.and_(exp.paren(where), exp.paren(kept)), params)

    async def number(self, where: exp.Expr, params: Mapping[str, Any]) -> int:
        """How many rows fulfil a condition."""
        from sqlglot import exp

        counted = exp.Cast(this=exp.Count(this=exp.Star()), to=exp.DataType.build("BIGINT"))
        tree = exp.select(exp.alias_(counted, "rows", quoted=True)).from_(self._name()).where(where.copy())
        names = {node.name for node in tree.find_all(exp.Placeholder)}
        given = {name: value for name, value in params.items() if name in names}
        page = await self.server.query(Query(tree, given, (_COUNT,)), "rows", _LIMITS)
        return int(page.values[0][0])

    async def change(self, verb: Literal["delete", "update"], names: Sequence[str], due: Due) -> int:
        """Delete what is due, or empty fields of it, in one transaction; how many rows it touched."""
        fields = tuple(self.dataset.schema.field(name) for name in names)
        rows = [[None] * len(fields)] if verb == "update" else []
        where, params = due.open()
        outcome = await self.server.transact(
            [Change(verb, self.place.table, fields, rows, where, params=params)], _LIMITS
        )
        return sum(outcome.touched)

    def _fixed(self, field: pa.Field[Any]) -> bool:
        return not field.nullable or field.name in self.dataset.key

    def _name(self) -> exp.Table:
        from sqlglot import exp

        return exp.Table(this=exp.to_identifier(self.place.table, quoted=True))


@dataclass(frozen=True)
class Due:
    """Rows of a table whose time is over, and those of them that a hold protects."""

    table: Table
    over: exp.Expr
    kept: exp.Expr | None
    params: Mapping[str, Any]

    def open(self) -> tuple[exp.Expr, dict[str, Any]]:
        """The condition of what may be purged: a row whose person is unknown is of nobody who is protected."""
        from sqlglot import exp

        if self.kept is None:
            return self.over.copy(), dict(self.params)
        free = exp.Is(this=exp.paren(self.kept.copy()), expression=exp.Boolean(this=True))
        return exp.and_(self.over.copy(), exp.Not(this=exp.paren(free))), dict(self.params)

    async def rows(self) -> int:
        """How many may be purged."""
        return await self.table.number(*self.open())

    async def protected(self) -> int:
        """How many are over and stay."""
        return 0 if self.kept is None else await self.table.number(self.over, self.params) - await self.rows()


@dataclass(frozen=True)
class Searching:
    """Opens the connections of a project's published tables."""

    ends: Ends
    problem: Callable[[TongquError], Mapping[str, Any]]
    """An error as it may be shown."""

    @asynccontextmanager
    async def tables(self, found: Sequence[Place]) -> AsyncIterator[tuple[list[Table], list[Mapping[str, Any]]]]:
        """The tables that can be asked, and what is wrong with the others."""
        from tongqu.app.services.publishing import opened

        servers: dict[str, Server] = {}
        failed: dict[str, Mapping[str, Any]] = {}
        tables: list[Table] = []
        problems: list[Mapping[str, Any]] = []
        try:
            for place in found:
                try:
                    if place.connection in failed:
                        continue
                    if place.connection not in servers:
                        servers[place.connection] = await opened(
                            await asyncio.to_thread(self.ends.end, place.connection)
                        )
                    server = servers[place.connection]
                    tables.append(Table(place, await server.describe(place.table), server))
                except TongquError as error:
                    told = {**self.problem(error), "path": f"connections.{place.connection}"}
                    problems.append(told)
                    if place.connection not in servers:
                        failed[place.connection] = told
            yield tables, problems
        finally:
            await asyncio.gather(*(server.close() for server in servers.values()), return_exceptions=True)

    async def each(
        self, tables: Sequence[Table], ask: Callable[[Table], Awaitable[dict[str, Any] | None]]
    ) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
        """What every table says, and what is wrong with those that failed."""
        told: list[dict[str, Any]] = []
        problems: list[Mapping[str, Any]] = []
        for table in tables:
            try:
                found = await ask(table)
            except TongquError as error:
                where = f"{table.place.connection}/{table.place.table}"
                problems.append({**self.problem(error), "path": where})
                continue
            if found is not None:
                told.append({"connection": table.place.connection, "table": table.place.table,
                             "apis": table.place.apis, **found})  # fmt: skip
        return told, problems
