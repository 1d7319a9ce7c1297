"""Changes in an embedded database: one writer, so that who is there already is looked up and not raced for.

The database gives statements with RETURNING and two temporary relations: the rows that were given, and those that were
touched, as they are after the change (before a delete).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from tongqu.core.errors import AccessError, DuplicateError, InvalidPlanError, NotFoundError, RefusedRowsError
from tongqu.core.server import Change, Idempotency, Limits, Outcome, Page, Query
from tongqu.kit.serving.idempotency import Keys, Stored, identity, replay, row
from tongqu.kit.serving.statements import Statement

GIVEN, TOUCHED = "_tongqu_given", "_tongqu_touched"


def quoted(text: str) -> str:
    """An identifier, quoted."""
    return '"' + text.replace('"', '""') + '"'


class Hands(ABC):
    """What an embedded database does inside a transaction that was begun."""

    @abstractmethod
    def table(self, dataset: str) -> str:
        """The quoted table; NotFoundError if it is not there."""

    @abstractmethod
    def columns(self, dataset: str) -> Sequence[str]:
        """All its columns."""

    @abstractmethod
    def written(self, condition: exp.Expr) -> Statement:
        """A condition over the columns of a table."""

    @abstractmethod
    def give(self, change: Change, rows: Sequence[Sequence[Any]]) -> None:
        """Make GIVEN, whose columns are `given.name(number)`."""

    @abstractmethod
    def value(self, change: Change, number: int) -> str:
        """A given column as its target column takes it."""

    @abstractmethod
    def forget(self, dataset: str) -> None:
        """Make TOUCHED, with the table's columns and no rows."""

    @abstractmethod
    def touch(self, sql: str, values: dict[str, Any]) -> int:
        """Run a statement with RETURNING; its rows go into TOUCHED. Gives their number."""

    @abstractmethod
    def broken(self, rule: Statement, values: dict[str, Any]) -> bool:
        """Whether a row of TOUCHED does not fulfil the rule."""

    @abstractmethod
    def page(self, query: Query, limits: Limits) -> Page:
        """A query as JSON, in which the table's name stands for TOUCHED."""


@dataclass
class _Done:
    touched: int = 0
    inserted: int = 0


def change(hands: Hands, asked: Change, limits: Limits) -> tuple[int, int, Page | None]:
    """Do one change: rows touched, of them inserted, and what is given back. See `core.server.Change`."""
    hands.forget(asked.table)
    if asked.verb == "delete":
        done = _Done(_delete(hands, asked))
    elif not asked.columns:
        raise InvalidPlanError(f"{asked.verb} of no column")
    elif asked.verb == "update":
        hands.give(asked, asked.rows[:1])
        done = _Done(_update(hands, asked, ()))
    else:
        done = _insert(hands, asked)
    if asked.limit is not None and done.touched > asked.limit:
        raise RefusedRowsError(
            f"the change would touch more than {asked.limit} rows",
            hint="name fewer rows",
            params={"limit": asked.limit},
        )
    if asked.expected is not None and done.touched != asked.expected:
        raise NotFoundError("not as many rows as were expected", hint="it may have been changed or deleted meanwhile")
    if asked.check is not None and asked.verb != "delete" and done.touched:
        rule = hands.written(asked.check)
        if hands.broken(rule, rule.values(asked.params)):
            raise AccessError("a row would be one that the caller may not change")
    return done.touched, done.inserted, hands.page(asked.returning, limits) if asked.returning is not None else None


@dataclass(frozen=True)
class Asked:
    """What `Server.transact` was called with."""

    changes: Sequence[Change]
    limits: Limits
    idempotency: Idempotency | None = None
    answer: Callable[[Outcome], bytes] | None = None


@dataclass(frozen=True)
class Told:
    """Where answers of keys are: the statements, how one is run with `?` values, and the time."""

    keys: Keys
    run: Callable[[str, Sequence[Any]], list[Any]]
    now: float


def transact(hands: Hands, asked: Asked, told: Told) -> Outcome:
    """All changes, inside the transaction that is open. Nothing is changed if the key has an answer."""
    idempotency = asked.idempotency
    if idempotency is not None:
        found = told.run(told.keys.find, (identity(idempotency),))
        stored = Stored(str(found[0][0]), bytes(found[0][1]), int(found[0][2])) if found else None
        before = replay(idempotency, stored, told.now)
        if before is not None:
            return Outcome(replayed=before)
        told.run(told.keys.forget, (identity(idempotency),))
    done = [change(hands, one, asked.limits) for one in asked.changes]
    outcome = Outcome(tuple(t for t, _, _ in done), tuple(i for _, i, _ in done), tuple(page for _, _, page in done))
    if idempotency is not None:
        answer = asked.answer(outcome) if asked.answer is not None else b""
        told.run(told.keys.keep, row(idempotency, answer, told.now))
    return outcome


def _insert(hands: Hands, asked: Change) -> _Done:
    rows, places = asked.rows, [[f.name for f in asked.columns].index(column) for column in asked.conflict]
    if places:
        keys = [tuple(one[place] for place in places) for one in rows]
        first = {key: number for number, key in reversed(list(enumerate(keys)))}
        if len(first) < len(rows):
            if asked.verb == "upsert":
                raise DuplicateError("two of the given rows have the same key")
            rows = [rows[number] for number in sorted(first.values())]
    hands.give(asked, rows)
    table, conflict = hands.table(asked.table), asked.conflict if asked.verb != "insert" else ()
    touched = _update(hands, asked, conflict) if asked.verb == "upsert" else 0
    names = ", ".join(quoted(field.name) for field in asked.columns)
    values = ", ".join(hands.value(asked, number) for number in range(len(asked.columns)))
    sql = f"INSERT INTO {table} ({names}) SELECT {values} FROM {GIVEN}"
    if conflict:
        sql += (
            f" WHERE NOT EXISTS (SELECT 1 FROM {table} AS _there WHERE {_matching(asked, conflict, hands, '_there')})"
        )
    inserted = hands.touch(sql + _returning(hands, asked), {})
    return _Done(touched + inserted, inserted)


def _matching(asked: Change, conflict: Sequence[str], hands: Hands, table: str) -> str:
    names = [field.name for field in asked.columns]
    return " AND ".join(f"{table}.{quoted(key)} = {hands.value(asked, names.index(key))}" for key in conflict)


def _update(hands: Hands, asked: Change, conflict: Sequence[str]) -> int:
    """Rows of the table become what is given: those of the same key, or all that the condition finds."""
    table = hands.table(asked.table)
    sets = [
        f"{quoted(field.name)} = {hands.value(asked, number)}"
        for number, field in enumerate(asked.columns)
        if field.name not in conflict
    ]
    if not sets:  # nothing but the key is given: the row stays as it is
        sets = [f"{quoted(conflict[0])} = {_value_of(asked, conflict[0], hands)}"]
    conditions = [_matching(asked, conflict, hands, table)] if conflict else []
    sql, values = _where(hands, asked, conditions)
    return hands.touch(f"UPDATE {table} SET {', '.join(sets)} FROM {GIVEN}{sql}{_returning(hands, asked)}", values)


def _value_of(asked: Change, column: str, hands: Hands) -> str:
    return hands.value(asked, [field.name for field in asked.columns].index(column))


def _delete(hands: Hands, asked: Change) -> int:
    sql, values = _where(hands, asked, [])
    return hands.touch(f"DELETE FROM {hands.table(asked.table)}{sql}{_returning(hands, asked)}", values)


def _where(hands: Hands, asked: Change, conditions: list[str]) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {}
    if asked.where is not None:
        rule = hands.written(asked.where)
        values = rule.values(asked.params)
        conditions = [*conditions, f"({rule.sql})"]
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _returning(hands: Hands, asked: Change) -> str:
    return " RETURNING " + ", ".join(quoted(column) for column in hands.columns(asked.table))


def over_touched(query: Query, dataset: str) -> Query:
    """The query with TOUCHED where the dataset stood."""
    tree = query.tree.copy()
    for table in list(tree.find_all(exp.Table)):
        if table.name == dataset and not table.db:
            table.set("alias", table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(dataset, quoted=True)))
            table.set("this", exp.to_identifier(TOUCHED, quoted=True))
    return replace(query, tree=tree)
