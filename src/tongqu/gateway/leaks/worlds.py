"""Two made-up tables that differ only in what one caller may not see: of both it must hear the same,
whatever it asks."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.policy.values import family
from tongqu.meaning.masks import KEYED, Mask, masked_value
from tongqu.meaning.sandbox import ROW_COLUMN, open_sandbox

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from sqlglot import exp

ROWS = 12
"""Rows that the caller sees, and as many that it does not see, if made-up rows of both kinds are found."""
TABLE = "world"
_TEXTS = ("A", "B", "C", "甲", "乙", "A1", "张三丰", "张四丰", "李小四", "李大四", "13812340001",
"13812990001", "ab@x.cn", "ac@x.cn",
          "110101199003071234", "110101198003071234", "6222020200112233", "6222020299992233")  # fmt: skip
_DAY = date(2026, 1, 1)
_TRIES = 12
_CANDIDATES = 400
_EXACT = Context(prec=100)


def pool(field: pa.Field[Any]) -> list[Any]:
    """Values of a field's type, few enough that rows share them; only nulls for a type that cannot be compared."""
    kind = family(field)
    made: dict[str, list[Any]] = {
        "int": [n for n in (0, 1, 2, 3, 7, 40, 41, 99, 100) if field.type != pa.int8() or n < 100],
        "decimal": [Decimal(n) / 2 for n in (0, 1, 2, 3, 9, 17)], "float": [0.0, 0.5, 1.5, 2.0, 40.25, 41.0],
        "text": list(_TEXTS), "bool": [True, False], "binary": [b"\x00", b"\x01\xff"],
        "date": [_DAY + timedelta(days=n) for n in (0, 1, 30, 31, 400, 401)],
        "timestamp": [datetime(2026, 1, 1 + n, n) for n in range(6)],  # noqa: DTZ001  a time without zone
        "instant": [datetime(2026, 1, 1 + n, n, tzinfo=UTC) for n in range(6)], "time": [time(n) for n in range(6)],
        "uuid": [f"00000000-0000-4000-8000-00000000000{n}" for n in range(6)], "json": ['{"a": 1}', '{"a": 2}'],
    }  # fmt: skip
    if pa.types.is_decimal(field.type):
        step, least = Decimal(1).scaleb(-field.type.scale), Decimal(1).scaleb(field.type.precision - field.type.scale)
        return [n.quantize(step, context=_EXACT) for n in made["decimal"] if n < least]
    if kind == "decimal":
        return [str(value) for value in made["decimal"]]
    return made.get(kind, [None])


class Worlds:
    """A pair of tables for one decision, in a private database. `twins` counts rows that differ."""

    def __init__(self, schema: pa.Schema, key: Sequence[str], decision: Decision, seed: int = 7) -> None:
        self.schema, self.decision = schema, decision
        self._key = set(key)
        self._random = random.Random(seed)  # noqa: S311  made-up rows, not secrets
        self._databases = (open_sandbox(threads=1, memory_mb=128), open_sandbox(threads=1, memory_mb=128))
        self._sql: dict[int, tuple[exp.Expr, str, frozenset[str]]] = {}
        visible, hidden = self._found()
        first, second = [*visible, *hidden], [*self._other(visible), *self._other(hidden[::2])]
        self.twins = sum(a != b for a, b in zip(first, second, strict=False))
        for database, rows in zip(self._databases, (first, second), strict=True):
            self._fill(database, rows)

    def close(self) -> None:
        """Release the memory."""
        for database in self._databases:
            database.close()

    def outcome(self, world: int, tree: exp.Expr, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query in one of the two worlds."""
        return self._run(self._databases[world], tree, params)

    def _found(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Made-up rows that the caller sees, and others that it does not see."""
        made = [self._row(number) for number in range(_CANDIDATES)]
        sight = self._sight(made)
        visible = [row for row, told in zip(made, sight, strict=True) if told[0]]
        hidden = [row for row, told in zip(made, sight, strict=True) if not told[0]]
        return visible[:ROWS], hidden[:ROWS]

    def _row(self, number: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for field in self.schema:
            values = pool(field)
            nothing = field.nullable and field.name not in self._key and self._random.random() < 0.15
            made[field.name] = None if nothing else self._random.choice(values)
            if field.name in self._key and family(field) == "int" and field.type.bit_width > 8:
                made[field.name] = number
        return made

    def _other(self, first: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same rows with other values wherever the caller cannot see them: hidden rows, hidden cells, and values
        behind a mask that shows the same."""
        if not first:
            return []
        before = self._sight(first)
        made = [dict(row) for row in first]
        for _ in range(_TRIES):
            tried = [
                self._changed(row, sight, number) for number, (row, sight) in enumerate(zip(made, before, strict=True))
            ]
            after = self._sight(tried)
            made = [new if a == b else old for old, new, a, b in zip(made, tried, before, after, strict=True)]
        return made

    def _changed(self, row: dict[str, Any], sight: tuple[bool, ...], number: int) -> dict[str, Any]:
        seen, cells = sight[0], dict(zip(self.decision.cells, sight[1:], strict=True))
        if not seen:
            return self._row(number)
        made = dict(row)
        for field in self.schema:
            name = field.name
            mask = self.decision.fields.get(name)
            if name not in self.decision.fields or not cells.get(name, True):
                made[name] = self._random.choice(pool(field))
            elif mask is not None and row[name] is not None:
                made[name] = self._random.choice(_twins(mask, row[name], pool(field)))
        return made

    def _sight(self, rows: Sequence[dict[str, Any]]) -> list[tuple[bool, ...]]:
        """Of each row: whether the caller sees it, and which of its partly given cells."""
        from sqlglot import exp

        true = exp.Boolean(this=True)
        items = [self.decision.rows or true, *self.decision.cells.values()]
        made = [exp.Is(this=exp.paren(item.copy()), expression=true) for item in items]
        tree = exp.select(*(exp.alias_(item, f"c{n}") for n, item in enumerate(made))).from_(TABLE).order_by(ROW_COLUMN)
        self._fill(self._databases[0], rows)
        return self._run(self._databases[0], tree, self.decision.params)

    def _fill(self, database: DuckDBPyConnection, rows: Sequence[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        database.register("given", table.append_column(ROW_COLUMN, pa.array(range(len(rows)), pa.int64())))
        database.execute(f"CREATE OR REPLACE TABLE {TABLE} AS SELECT * FROM given")
        database.unregister("given")

    def _run(self, database: DuckDBPyConnection, tree: exp.Expr, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        from sqlglot import exp

        kept = self._sql.get(id(tree))
        if kept is None or kept[0] is not tree:
            names = frozenset(node.name for node in tree.find_all(exp.Placeholder))
            kept = self._sql[id(tree)] = (tree, tree.sql("duckdb"), names)
        _, sql, names = kept
        return database.execute(sql, {name: params[name] for name in names} or None).fetchall()


def _twins(mask: Mask, value: Any, values: Sequence[Any]) -> list[Any]:
    """Values that the mask shows as it shows this one."""
    if mask.with_ == "encrypt":
        return [other for other in values if other is not None] or [value]
    if mask.with_ in KEYED:
        return [value]
    shown = masked_value(mask, value)
    return [other for other in values if other is not None and masked_value(mask, other) == shown] or [value]
