"""An API over a real table in DuckDB or SQLite, as the rewriter's tests ask it: its SQL is run as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from tongqu.core.data import Dataset
from tongqu.core.policy import Actor
from tongqu.core.server import Page, Query
from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.policy.compiling import compile_policy
from tongqu.gateway.policy.settings import Access
from tongqu.gateway.publication import Api, Relation
from tongqu.gateway.rewrite import Cursors
from tongqu.meaning.masks import Mask, masked

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CURSORS = Cursors(b"k" * 32, "7", lambda: 1000.0)


class Database:
    """One table in one database, and what a `Server` would say of masks."""

    def __init__(self, dialect: str, name: str, table: pa.Table, *, masks: bool = True) -> None:
        self.dialect, self._masks, self._schema = dialect, masks, table.schema
        if dialect == "duckdb":
            self.duckdb = duckdb.connect()
            self.duckdb.execute("SET TimeZone = 'UTC'")
            self.add(name, table)
        else:
            self.sqlite = sqlite3.connect(":memory:")
            columns = ", ".join(f'"{field.name}"' for field in table.schema)
            self.sqlite.execute(f'CREATE TABLE "{name}" ({columns})')
            holes = ", ".join("?" * table.num_columns)
            rows = [[_plain(value) for value in row.values()] for row in table.to_pylist()]
            self.sqlite.executemany(f'INSERT INTO "{name}" VALUES ({holes})', rows)

    def add(self, name: str, table: pa.Table) -> None:
        """One more table (DuckDB)."""
        self.duckdb.register("given", table)
        self.duckdb.execute(f'CREATE TABLE "{name}" AS SELECT * FROM given')
        self.duckdb.unregister("given")

    def mask(self, mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
        """DuckDB's own SQL of a mask; nothing for a database that has none."""
        return masked(mask, column.name, self._schema) if self._masks and self.dialect == "duckdb" else None

    def rows(self, query: Query) -> list[tuple[Any, ...]]:
        """The rows of a query, keys of the order among them."""
        return self.run(query.tree, query.params)

    def run(self, tree: exp.Expr, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a tree; it must have a placeholder for each value that is used, and a value for each of them."""
        names = {node.name for node in tree.find_all(exp.Placeholder)}
        assert names <= set(params), f"no values for {names - set(params)}"
        given = {name: params[name] for name in names}
        if self.dialect == "duckdb":
            return self.duckdb.execute(tree.sql("duckdb"), given or None).fetchall()
        return self.sqlite.execute(tree.sql("sqlite"), {n: _plain(v) for n, v in given.items()}).fetchall()

    def page(self, query: Query) -> Page:
        """A page as a server gives it."""
        rows = self.rows(query)
        count = len(query.columns)
        after = [query.after.get(field.name) for field in query.columns]
        shown = [[call(v) if call else v for call, v in zip(after, row, strict=False)] for row in rows]
        return Page(b"", len(rows), tuple(rows[-1][count:]) if rows else (), shown)

    def close(self) -> None:
        """Close the database."""
        (self.duckdb if self.dialect == "duckdb" else self.sqlite).close()


def _plain(value: Any) -> Any:
    """A value as SQLite keeps it in these tests: numbers as numbers, dates as their ISO text."""
    if isinstance(value, Decimal):
        return float(value) if value % 1 else int(value)
    return (
        value.isoformat(" ") if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else value
    )


def api(
    database: Database, table: pa.Table, access: Mapping[str, Any], *, key: tuple[str, ...] = ("id",),
    name: str = "items", now: Callable[[], datetime] = lambda: NOON, entry: Mapping[str, Any] | None = None,
    relations: Mapping[str, Relation] | None = None, secret: Callable[[str], bytes] | None = None, sql: str = "",
) -> Api:  # fmt: skip
    """An API over the table with these access rules."""
    made = ApiEntry.parse({"source": {"connection": "c", "dataset": name}, "access": dict(access), **(entry or {})})
    dataset = Dataset(name, table.schema, key)
    policy = compile_policy(Access.parse(access), dataset, now=now, secret=secret, path=f"apis.{name}.access")
    server: Any = database
    return Api(
        name, "v1", made, dataset, server, "c", policy, table="" if sql else name, sql=sql, relations=relations or {}
    )


def actor(*roles: str, purpose: str = "", address: str = "", **attributes: Any) -> Actor:
    """A client with these roles and attributes."""
    return Actor("client:test", roles=frozenset(roles), attributes=attributes, purpose=purpose, address=address)


def people() -> pa.Table:
    """Six inspections: a public number, plants with a gap, a personal name with a mask, a secret."""
    fields: list[pa.Field[Any]] = [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("plant", pa.string()),
        pa.field("weight", pa.decimal128(12, 3)),
        pa.field("made", pa.date32()),
        pa.field("inspector", pa.string(), metadata={"tongqu.class": "personal", "tongqu.mask": "name"}),
        pa.field("salary", pa.int64(), metadata={"tongqu.class": "secret"}),
    ]
    return pa.table(
        [
            [1, 2, 3, 4, 5, 6],
            ["A", "A", "B", "B", None, "A"],
            [Decimal("1.5"), Decimal(2), None, Decimal(4), Decimal(5), Decimal(2)],
            [date(2026, 1, day) for day in (1, 2, 3, 4, 5, 6)],
            ["张三丰", "李四", "张三丰", None, "王五", "欧阳娜娜"],
            [100, 200, 300, 400, 500, 600],
        ],
        schema=pa.schema(fields),
    )
