"""Compute columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.columns import no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.operator import Lineage, Operator, Place, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import Typed, column, is_column, parsed, typed


class Derive(Operator):
    """Compute columns: `derive: {c: "a || b"}`. All expressions see the columns as they come in; a name that exists is
    replaced in its place, a new one is added at the end. A plain column is copied with its title and unit."""

    verb = "derive"
    title: ClassVar[Mapping[str, str]] = {"zh": "计算字段", "en": "Derive columns"}
    wraps = "columns"

    columns: dict[str, str] = titled("字段与表达式", "Column and expression", min_length=1)
    """Each column's name with its expression."""

    def bound(self, surroundings: Place) -> Derive:
        for text in self.columns.values():
            parsed(text)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        no_duplicates(list(self.columns), self.verb)
        fields: dict[str, pa.Field[Any]] = {field.name: field for field in dataset.schema}
        copies = {c: c for c in dataset.columns if c not in self.columns}
        for name, made in self._typed(dataset).items():
            fields[name] = made.field(name)
            if is_column(made.tree):
                fields[name] = dataset.schema.field(made.columns[0]).with_name(name)
                copies[name] = made.columns[0]
        return reshaped(dataset, list(fields.values()), copies)

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made = self._typed(inputs[0])
        plain: Lineage = {c: {(0, c)} for c in inputs[0].columns if c not in made}
        return plain | {name: {(0, c) for c in e.columns} for name, e in made.items()}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for e in self._typed(inputs[0]).values() for c in e.columns}

    def projection(self, dataset: Dataset) -> Projection:
        trees = {c: column(c) for c in dataset.columns}
        return Projection(trees | {name: made.tree for name, made in self._typed(dataset).items()})

    def _typed(self, dataset: Dataset) -> dict[str, Typed]:
        return {name: typed(text, dataset.schema) for name, text in self.columns.items()}


operator = Derive
