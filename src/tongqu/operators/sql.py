"""Any SELECT over the inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.columns import no_duplicates
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Lineage, Operator, Place
from tongqu.core.settings import titled
from tongqu.meaning.expressions import arrow_type, relation_types
from tongqu.meaning.queries import Query, query
from tongqu.meaning.sandbox import relation_names


class Sql(Operator):
    """A SELECT in DuckDB's SQL: `sql: "select plant, count(*) as n from input group by plant"`.

    One input is called `input`; several have the names under `from`. It can join, group, window and use the functions
    of expressions; it reads nothing but its inputs.
    """

    verb = "sql"
    title: ClassVar[Mapping[str, str]] = {"zh": "SQL", "en": "SQL"}
    wraps = "text"
    row_wise = False
    arity = (1, 16)

    text: str = titled("查询", "Query")
    """One SELECT statement."""
    names: tuple[str, ...] = titled("输入名", "Names of inputs", ("input",))
    """What the inputs are called in the query."""

    def bound(self, surroundings: Place) -> Sql:
        several = len(surroundings.inputs) > 1
        made = self.model_copy(update={"names": surroundings.inputs}) if several else self
        query(made.text, made.names)
        return made

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        checked = self._query(inputs)
        fields: list[pa.Field[Any]] = []
        schemas = {name: d.schema for name, d in zip(self.names, inputs, strict=True)}
        for name, duckdb_type, kind in relation_types(checked.sql, schemas):
            found, logical = arrow_type(duckdb_type, kind)
            old = [d.schema.field(name) for d in inputs if name in d.columns and d.schema.field(name).type == found]
            plain = pa.field(name, found, metadata={"tongqu.logical": logical} if logical else None)
            fields.append(old[0].with_nullable(True) if old and name in checked.plain else plain)
        no_duplicates([field.name for field in fields], self.verb)
        return Dataset(inputs[0].name, pa.schema(fields))

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        """By name where a column keeps its name, else from every column the query mentions (never too little)."""
        mentioned = self.reads(inputs)
        made: Lineage = {}
        for name in self.output(inputs).columns:
            same = {(n, c) for n, c in mentioned if c == name}
            made[name] = same if name in self._query(inputs).plain and same else set(mentioned)
        return made

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        checked = self._query(inputs)
        folded = {c.casefold() for c in checked.mentioned}
        return {(n, c) for n, d in enumerate(inputs) for c in d.columns if checked.star or c.casefold() in folded}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        return query(self.text, self.names, dict(zip(self.names, relations, strict=True))).sql

    def _query(self, inputs: Sequence[Dataset]) -> Query:
        for dataset in inputs:
            changed = [c for c, name in relation_names(dataset.columns).items() if c != name]
            if changed:
                raise InvalidPlanError(
                    f"{changed[0]!r} differs from another column only by case", hint="rename it before"
                )
        return query(self.text, self.names)


operator = Sql
