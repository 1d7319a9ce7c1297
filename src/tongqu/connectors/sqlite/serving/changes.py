"""Changes that the gateway asks for, over the one writing connection to a SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.sqlite import catalog
from tongqu.connectors.sqlite.encode import encode
from tongqu.connectors.sqlite.serving.functions import stored
from tongqu.connectors.sqlite.serving.rows import as_compared
from tongqu.core.errors import CastError, RefusedRowsError
from tongqu.core.server import Change, Limits, Page, Query
from tongqu.kit.serving.changing import GIVEN, TOUCHED, Hands, over_touched
from tongqu.kit.serving.given import given, name
from tongqu.kit.serving.statements import Statement, Statements, over_columns
from tongqu.kit.sqlite import SqliteDb, quoted

Answer = Callable[[Query, Limits, "Statement"], Page]


class SqliteHands(Hands):
    """Changes inside the transaction that a connection has begun."""

    def __init__(self, db: SqliteDb, statements: Statements, answer: Answer):
        self._db, self._statements, self._answer = db, statements, answer
        self._known: dict[str, catalog.Relation] = {}
        self._dataset = ""

    def run(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """A statement with `?` values."""
        return self._db.connection.execute(sql, tuple(values)).fetchall()

    def _relation(self, dataset: str) -> catalog.Relation:
        if dataset not in self._known:
            self._known[dataset] = catalog.need(self._db, dataset)
        return self._known[dataset]

    def table(self, dataset: str) -> str:
        return quoted(self._relation(dataset).name)

    def columns(self, dataset: str) -> Sequence[str]:
        return [column.name for column in self._relation(dataset).columns]

    def written(self, condition: exp.Expr) -> Statement:
        return self._statements.written(over_columns(condition, as_compared(self._relation(self._dataset))))

    def give(self, change: Change, rows: Sequence[Sequence[Any]]) -> None:
        table = given(rows, change.columns)
        relation = self._relation(change.table)
        for number, field in enumerate(change.columns):
            if field.name in relation.required and table.column(number).null_count:  # SQLite would number a row itself
                raise RefusedRowsError(f"{field.name!r} must have a value", field=field.name)
        declared = {column.name: column.declared for column in relation.columns}
        cells = [_cells(table.column(n), declared.get(f.name, ""), f.name) for n, f in enumerate(change.columns)]
        names = [quoted(name(number)) for number in range(len(cells))]
        self.run(f"DROP TABLE IF EXISTS temp.{GIVEN}", ())
        self.run(f"CREATE TEMP TABLE {GIVEN} ({', '.join(names)})", ())
        self._db.connection.executemany(
            f"INSERT INTO {GIVEN} VALUES ({', '.join('?' * len(names))})", zip(*cells, strict=True)
        )

    def value(self, change: Change, number: int) -> str:
        del change
        return quoted(name(number))

    def forget(self, dataset: str) -> None:
        self._dataset = dataset
        names = [f"{quoted(column.name)} {_affine(column.declared)}" for column in self._relation(dataset).columns]
        self.run(f"DROP TABLE IF EXISTS temp.{TOUCHED}", ())
        self.run(f"CREATE TEMP TABLE {TOUCHED} ({', '.join(names)})", ())

    def touch(self, sql: str, values: dict[str, Any]) -> int:
        rows = self._db.connection.execute(sql, {key: stored(value) for key, value in values.items()}).fetchall()
        if rows:
            holes = ", ".join("?" * len(rows[0]))
            self._db.connection.executemany(f"INSERT INTO temp.{TOUCHED} VALUES ({holes})", rows)
        return len(rows)

    def broken(self, rule: Statement, values: dict[str, Any]) -> bool:
        sql = f"SELECT 1 FROM temp.{TOUCHED} AS {quoted(self._dataset)} WHERE ({rule.sql}) IS NOT TRUE LIMIT 1"
        return bool(self._db.connection.execute(sql, {key: stored(value) for key, value in values.items()}).fetchall())

    def page(self, query: Query, limits: Limits) -> Page:
        asked = over_touched(query, self._dataset)
        compared = as_compared(self._relation(self._dataset))
        plain = all(isinstance(column, exp.Column) for column in compared.values())

        def stands(table: str) -> exp.Expr | None:
            if table != TOUCHED or plain:
                return None
            made = [exp.alias_(column.copy(), named, quoted=True) for named, column in compared.items()]
            source = exp.Table(this=exp.to_identifier(TOUCHED, quoted=True), db=exp.to_identifier("temp", quoted=True))
            return exp.Subquery(this=exp.select(*made).from_(source))

        return self._answer(asked, limits, self._statements.written(asked.tree, stands))


def _cells(column: pa.ChunkedArray[Any], declared: str, field: str) -> list[Any]:
    try:
        return encode(column, declared, field)
    except CastError:
        raise CastError(f"a value does not fit the field {field!r}", field=field) from None


def _affine(declared: str) -> str:
    """The declaration, as far as it says how values are kept."""
    return f'"{declared.replace(chr(34), "")}"' if declared else ""
