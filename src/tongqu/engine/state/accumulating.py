"""An aggregate that keeps a few numbers a group, and of its rows only what is needed to take them away again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Step
from tongqu.engine.segment import conform
from tongqu.engine.state.algebra import Algebra
from tongqu.engine.state.delta import Delta, Identity, moved
from tongqu.engine.state.node import Entry, Node, filling
from tongqu.engine.state.store import NOW, NUMBER, SINCE, UNTIL, Store, among
from tongqu.meaning.sandbox import quoted


class Accumulating(Node):
    """See the module. With `retract` rows of the input may change and go."""

    def __init__(
        self, step: Step, store: Store, entry: Entry, output: Dataset, *, identity: Identity, algebra: Algebra,
        retract: bool,
    ):  # fmt: skip
        self.step, self.output, self.identity = step, output, identity
        self._store, self._entry, self._algebra, self._retract = store, entry, algebra, retract
        self._by: tuple[str, ...] = getattr(step.operator, "by", ())
        self.kept = tuple(dict.fromkeys([*self._by, *algebra.columns]))
        schema = entry.dataset.schema
        self._table, self._groups = f"{step.id}.0", f"{step.id}.groups"
        self._row = pa.schema([*(schema.field(c).with_nullable(True) for c in self.kept), *entry.identity.fields(0)])
        if retract:
            store.table(self._table, self._row)
        self._schema = pa.schema([*output.schema, *identity.fields()])
        store.query(self._groups, self._declared())

    def _declared(self) -> str:
        """SQL that has the columns of the groups' table, without rows."""
        items = [f"{_null(self._entry.dataset.schema.field(c))} AS {quoted(c)}" for c in self.kept]
        rows = f"(SELECT {', '.join([*items, '1::BIGINT AS sign'])} LIMIT 0)"
        return self._delta(rows)

    def _delta(self, rows: str) -> str:
        """The numbers of the groups in some rows."""
        by = [f"{quoted(c)} AS g{n}" for n, c in enumerate(self._by)]
        made = [f"{part.made} AS {part.name}" for part in self._algebra.parts]
        return (
            f"SELECT {', '.join([*by, 'CAST(sum(sign) AS BIGINT) AS n', *made])} FROM {rows} "
            f"GROUP BY {', '.join(quoted(c) for c in self._by)}"
        )

    @property
    def _group(self) -> list[str]:
        return [f"g{n}" for n in range(len(self._by))]

    def _merged(self, first: str, second: str) -> str:
        """The numbers of both."""
        columns = ", ".join([*self._group, "n", *(part.name for part in self._algebra.parts)])
        made = ["CAST(sum(n) AS BIGINT) AS n", *(f"{p.merged}({p.name}) AS {p.name}" for p in self._algebra.parts)]
        return (
            f"SELECT {', '.join([*self._group, *made])} FROM (SELECT {columns} FROM {first} UNION ALL "
            f"SELECT {columns} FROM {second}) GROUP BY {', '.join(self._group)}"
        )

    def fill(self, number: int, rows: pa.Table) -> None:
        """See Node.fill."""
        del number
        kept = self._inside(rows)
        if self._retract:
            self._store.add(self._table, kept, 0)
        with self._store.registered("_rows", kept):
            self._store.database.execute(
                f"CREATE OR REPLACE TEMP TABLE delta AS {self._delta('(SELECT *, 1::BIGINT AS sign FROM _rows)')}"
            )
        self._apply(0)

    def everything(self) -> pa.Table:
        """See Node.everything."""
        return self._result(f"{quoted(self._groups)} WHERE {NOW}")

    def change(self, deltas: Sequence[Delta | None], version: int) -> Delta:
        """See Node.change."""
        (delta,) = deltas
        assert delta is not None  # noqa: S101  # the only input has changed
        store, kept = self._store, self._inside(delta.rows)
        columns = ", ".join(quoted(c) for c in self.kept)
        signed = f"SELECT {columns}, 1::BIGINT AS sign FROM _rows"
        with store.registered("_rows", kept):
            if self._retract:
                names = self._entry.identity.names(0)
                with store.registered("_keys", delta.keys.rename_columns(list(names))):
                    held = f"{NOW} AND {among(self._table, names, '_keys')}"
                    signed += f" UNION ALL SELECT {columns}, -1::BIGINT FROM {quoted(self._table)} WHERE {held}"
                    store.database.execute(f"CREATE OR REPLACE TEMP TABLE delta AS {self._delta(f'({signed})')}")
                    store.take_out(self._table, names, "_keys", version)
                store.add(self._table, kept, version)
            else:
                store.database.execute(f"CREATE OR REPLACE TEMP TABLE delta AS {self._delta(f'({signed})')}")
        self._apply(version)
        keys = store.rows(f"SELECT {', '.join(self._group)} FROM delta", pa.schema(self.identity.fields()))
        return Delta(keys, self._result("merged"))

    def identities(self, number: int) -> pa.Table:
        """See Node.identities."""
        parts = ", ".join(quoted(name) for name in self._entry.identity.names(number))
        schema = pa.schema(self._entry.identity.fields())
        return self._store.rows(f"SELECT {parts} FROM {quoted(self._table)} WHERE {NOW}", schema)

    def filled(self, number: int, rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """See Node.filled; columns that are not kept are not needed."""
        kept = {name: shown for name, shown in columns.items() if shown in self.kept}
        return filling(self._store, self._table, self._entry.identity.names(number), rows, kept)

    def over(self, condition: str, version: int) -> pa.Table:
        """See Node.over; the condition is one about columns of `by`."""
        store, groups = self._store, quoted(self._groups)
        mine = f"(SELECT *, {', '.join(f'g{n} AS {quoted(c)}' for n, c in enumerate(self._by))} FROM {groups})"
        store.database.execute(
            f"CREATE OR REPLACE TEMP TABLE merged AS SELECT * FROM {mine} WHERE {NOW} AND {condition}"
        )
        found = self._result("merged")
        store.take_out(self._groups, self._group, "merged", version)
        if self._retract:
            table = quoted(self._table)
            store.database.execute(f"UPDATE {table} SET {UNTIL} = {version} WHERE {NOW} AND {condition}")
        return found

    def _apply(self, version: int) -> None:
        """Bring the numbers of `delta` into the groups; `merged` are those of its groups now, without empty ones."""
        store, group = self._store, self._group
        held = f"(SELECT * FROM {quoted(self._groups)} WHERE {NOW} AND {among(self._groups, group, 'delta')})"
        store.database.execute(
            f"CREATE OR REPLACE TEMP TABLE merged AS SELECT * FROM ({self._merged(held, 'delta')}) WHERE n > 0"
        )
        if version:
            store.take_out(self._groups, group, "delta", version)
        else:
            store.database.execute(f"DELETE FROM {quoted(self._groups)} WHERE {among(self._groups, group, 'delta')}")
        store.database.execute(
            f"INSERT INTO {quoted(self._groups)} SELECT *, 0 AS {NUMBER}, {version} AS {SINCE}, NULL AS {UNTIL} "
            "FROM merged"
        )

    def _result(self, groups: str) -> pa.Table:
        """The rows that come out of groups."""
        made = {c: f"g{n}" for n, c in enumerate(self._by)} | dict(self._algebra.measures)
        items = [f"{made[name]} AS c{n}" for n, name in enumerate(self.output.columns)]
        parts = [f"g{n} AS p{n}" for n in range(len(self._by))]
        return self._store.rows(f"SELECT {', '.join([*items, *parts])} FROM {groups}", self._schema)

    def _inside(self, rows: pa.Table) -> pa.Table:
        own, parts = len(self._entry.dataset.columns), len(self._entry.identity.types)
        named = moved(rows, own, 0, parts)
        return conform(named.select(self._row.names), self._row)


def _null(field: pa.Field[Any]) -> str:
    """A null of the type that DuckDB gives a column of this field."""
    from tongqu.meaning.expressions import relation_types

    ((_, kind, _),) = relation_types("SELECT v FROM input", {"input": pa.schema([field.with_name("v")])})
    return f"CAST(NULL AS {kind})"
