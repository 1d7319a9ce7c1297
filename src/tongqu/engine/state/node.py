"""A step that keeps its input: what a chunk changes is the step over the groups it touches, before and after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Step
from tongqu.engine.segment import conform
from tongqu.engine.state.delta import Delta, Identity, distinct, moved
from tongqu.engine.state.store import NOW, NUMBER, SINCE, UNTIL, Store, among
from tongqu.meaning.sandbox import quoted, relation_names


@dataclass(frozen=True)
class Entry:
    """One input of a step: its rows' columns and what tells them apart."""

    dataset: Dataset
    identity: Identity


class Node(ABC):
    """One step that keeps state, for one thread. Its tables are declared when it is made."""

    step: Step
    output: Dataset
    """What comes out, without the columns of the identity."""
    identity: Identity

    @abstractmethod
    def fill(self, number: int, rows: pa.Table) -> None:
        """Rows of an input as they are at version 0, with their identity, before any change."""

    @abstractmethod
    def everything(self) -> pa.Table:
        """All rows that come out now, with their identity."""

    @abstractmethod
    def change(self, deltas: Sequence[Delta | None], version: int) -> Delta:
        """What a chunk's changes of the inputs change in the output."""

    @abstractmethod
    def over(self, condition: str, version: int) -> pa.Table:
        """Stop keeping what a condition holds for, and give what came out of it last. Such rows are not taken back."""

    @abstractmethod
    def identities(self, number: int) -> pa.Table:
        """The identities of all rows of an input that are kept."""

    @abstractmethod
    def filled(self, number: int, rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """Rows of an input's source, with their identity, whose `columns` are null: with what is kept of them in those
        columns (each with the name that it has at this step), without the rows of which nothing is kept."""


def filling(store: Store, table: str, parts: Sequence[str], rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """See Node.filled: from a table with these columns and the identity in `parts`."""
    own = len(rows.schema.names) - len(parts)
    plain = [f"c{n}" for n in range(own)] + [f"i{n}" for n in range(len(parts))]
    items = [
        f"t.{quoted(columns[name])}" if name in columns else f"p.{shown}"
        for name, shown in zip(rows.schema.names[:own], plain, strict=False)
    ]
    items = [f"{item} AS c{n}" for n, item in enumerate(items)] + [f"p.i{n} AS i{n}" for n in range(len(parts))]
    match = " AND ".join(f"p.i{n} IS NOT DISTINCT FROM t.{quoted(part)}" for n, part in enumerate(parts))
    schema = pa.schema([field.with_nullable(True) for field in rows.schema])
    with store.registered("_part", rows.rename_columns(plain)):
        return store.rows(
            f"SELECT DISTINCT {', '.join(items)} FROM _part AS p JOIN {quoted(table)} AS t ON {match} WHERE t.{NOW}",
            schema,
        )


@dataclass
class Keeping(Node):
    """Keeps all rows of its inputs. A chunk touches groups, the rows with the same `groups` columns (one tuple for each
    input); the step's own SQL runs over the rows they had and over those they have, so the result is the batch's.

    `step` runs over `inputs`, which are the entries with their identity as further columns; `identifies` are the
    columns of its result that make up its identity.
    """

    step: Step
    store: Store
    entries: Sequence[Entry]
    output: Dataset
    identity: Identity
    groups: Sequence[tuple[str, ...]]
    identifies: tuple[str, ...]
    winners: bool = False
    """Whether only rows that come out need be kept (of one input whose rows are only added)."""
    inputs: list[Dataset] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs, self._tables, self._names = [], [], []
        for number, entry in enumerate(self.entries):
            plain = [one.with_nullable(True) for one in entry.dataset.schema]
            schema = pa.schema([*plain, *entry.identity.fields(number)])
            made = Dataset(entry.dataset.name, schema, entry.dataset.key)
            names = relation_names(made.columns)
            table = f"{self.step.id}.{number}"
            self.inputs.append(made)
            self._names.append(names)
            self._tables.append(table)
            self.store.table(table, pa.schema([f.with_name(names[f.name]) for f in schema]))
        self._result = self.step.operator.output(self.inputs)
        out = relation_names(self._result.columns)
        self._columns = [out[name] for name in self.output.columns]
        self._parts = [out[name] for name in self.identifies]
        self._schema = pa.schema([*self.output.schema, *self.identity.fields()])

    def fill(self, number: int, rows: pa.Table) -> None:
        """See Node.fill."""
        self.store.add(self._tables[number], self._inside(number, rows), 0)

    def everything(self) -> pa.Table:
        """See Node.everything."""
        for number in range(len(self.inputs)):
            self._view("after", number, NOW, "")
        return self._made("after")

    def change(self, deltas: Sequence[Delta | None], version: int) -> Delta:
        """See Node.change."""
        store = self.store
        self._touched(deltas)
        for number, delta in enumerate(deltas):
            if delta is not None and delta:
                keys = self._identities(number)
                with store.registered("_keys", delta.keys.rename_columns(list(keys))):
                    store.take_out(self._tables[number], keys, "_keys", version)
                store.add(self._tables[number], self._inside(number, delta.rows), version)
        for number in range(len(self.inputs)):
            self._view("after", number, NOW, "touched")
            past = f"{SINCE} < {version} AND ({NOW} OR {UNTIL} = {version})"
            self._view("before", number, past, "touched")
        found = self._differences(self._made("before"), self._made("after"))
        if self.winners:
            self._losers(version)
        return found

    def identities(self, number: int) -> pa.Table:
        """See Node.identities."""
        parts = ", ".join(quoted(name) for name in self._identities(number))
        schema = pa.schema(self.entries[number].identity.fields())
        return self.store.rows(f"SELECT {parts} FROM {quoted(self._tables[number])} WHERE {NOW}", schema)

    def filled(self, number: int, rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """See Node.filled."""
        names = self._names[number]
        inside = {name: names[shown] for name, shown in columns.items()}
        return filling(self.store, self._tables[number], self._identities(number), rows, inside)

    def over(self, condition: str, version: int) -> pa.Table:
        """See Node.over; the condition is one about the first input's rows."""
        self._view("after", 0, f"{NOW} AND {condition}", "")
        self.drop(0, condition, version)
        return self._made("after")

    def drop(self, number: int, condition: str, version: int) -> None:
        """Stop keeping the rows of an input for which a condition holds; what came of them stays."""
        table = quoted(self._tables[number])
        self.store.database.execute(f"UPDATE {table} SET {UNTIL} = {version} WHERE {NOW} AND {condition}")

    def _losers(self, version: int) -> None:
        """Of rows that are only added, those that are not in the result of their group never will be."""
        parts, table = self._identities(0), self._tables[0]
        names = self._names[0]
        match = " AND ".join(f"g.g{n} IS NOT DISTINCT FROM {quoted(table)}.{quoted(names[c])}"
                             for n, c in enumerate(self.groups[0]))  # fmt: skip
        result = self.step.operator.sql([quoted("after0")], self.inputs)
        self.store.database.execute(f"CREATE OR REPLACE TEMP TABLE winners AS SELECT * FROM ({result})")
        self.drop(
            0,
            f"EXISTS (SELECT 1 FROM touched AS g WHERE {match}) AND NOT {among(table, parts, 'winners')}",
            version,
        )

    def _touched(self, deltas: Sequence[Delta | None]) -> None:
        """A temporary table of the groups that rows which go or come belong to."""
        store, found = self.store, []
        for number, delta in enumerate(deltas):
            if delta is None or not delta:
                continue
            names, table = self._names[number], self._tables[number]
            group = ", ".join(f"{quoted(names[c])} AS g{n}" for n, c in enumerate(self.groups[number])) or "1 AS g"
            keys = self._identities(number)
            with store.registered("_keys", delta.keys.rename_columns(list(keys))):
                store.database.execute(
                    f"CREATE OR REPLACE TEMP TABLE touched{number} AS SELECT {group} FROM {quoted(table)} "
                    f"WHERE {NOW} AND {among(table, keys, '_keys')}"
                )
            with store.registered("_rows", self._inside(number, delta.rows)):
                store.database.execute(f"INSERT INTO touched{number} SELECT {group} FROM _rows")
            found.append(f"SELECT * FROM touched{number}")
        union = " UNION ".join(found)
        store.database.execute(f"CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT * FROM ({union})")

    def _view(self, when: str, number: int, holds: str, touched: str) -> None:
        """A temporary table `when<number>` of rows that hold then, all or those of touched groups."""
        table, names = quoted(self._tables[number]), self._names[number]
        columns = ", ".join(quoted(name) for name in names.values())
        match = " AND ".join(
            f"g.g{n} IS NOT DISTINCT FROM t.{quoted(names[c])}" for n, c in enumerate(self.groups[number])
        )
        within = f" AND EXISTS (SELECT 1 FROM {touched} AS g WHERE {match or 'true'})" if touched else ""
        self.store.database.execute(
            f"CREATE OR REPLACE TEMP TABLE {when}{number} AS SELECT {columns} FROM {table} AS t "
            f"WHERE {holds}{within} ORDER BY {NUMBER}"
        )

    def _made(self, when: str) -> pa.Table:
        """The step over these tables, and the identity of what comes out behind it."""
        relations = [quoted(f"{when}{number}") for number in range(len(self.inputs))]
        query = self.step.operator.sql(relations, self.inputs)
        columns = ", ".join(f"{quoted(name)} AS c{n}" for n, name in enumerate(self._columns))
        parts = ", ".join(f"{quoted(name)} AS p{n}" for n, name in enumerate(self._parts))
        some = ", ".join(text for text in (columns, parts) if text)
        return self.store.rows(f"SELECT {some} FROM ({query})", self._schema)

    def _differences(self, old: pa.Table, new: pa.Table) -> Delta:
        """What is in the one and not in the other; rows that stayed as they were are left out."""
        own, parts = len(self.output.columns), self.identity.names()
        plain = [f"c{n}" for n in range(own)] + list(parts)
        store = self.store
        listed = ", ".join(parts) or "1 AS one"
        with store.registered("_old", old.rename_columns(plain)), store.registered("_new", new.rename_columns(plain)):
            rows = store.rows("SELECT * FROM _new EXCEPT ALL SELECT * FROM _old", self._schema)
            keys = store.rows(
                f"SELECT DISTINCT {listed} FROM (SELECT * FROM _old EXCEPT ALL SELECT * FROM _new)",
                pa.schema(self.identity.fields()),
            )
        return Delta(distinct([keys, rows.select(list(parts))]), rows)

    def names(self, number: int) -> Mapping[str, str]:
        """The names of an input's columns as they are kept."""
        return self._names[number]

    def _identities(self, number: int) -> tuple[str, ...]:
        return self.entries[number].identity.names(number)

    def _inside(self, number: int, rows: pa.Table) -> pa.Table:
        """Rows with their identity, as they are kept."""
        own, parts = len(self.entries[number].dataset.columns), len(self.entries[number].identity.types)
        made = conform(moved(rows, own, number, parts), self.inputs[number].schema)
        return made.rename_columns(list(self._names[number].values()))
