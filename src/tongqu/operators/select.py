"""Keep some columns, in the order given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.operator import Lineage, Operator, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column


class Select(Operator):
    """Keep these columns: `select: [a, b]`."""

    verb = "select"
    title: ClassVar[Mapping[str, str]] = {"zh": "选择字段", "en": "Select columns"}
    wraps = "columns"

    columns: tuple[str, ...] = titled("字段", "Columns", min_length=1)
    """Columns to keep, in this order."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, self.columns)
        no_duplicates(self.columns, self.verb)
        return reshaped(dataset, [dataset.schema.field(c) for c in self.columns], {c: c for c in self.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in self.columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return set()

    def projection(self, dataset: Dataset) -> Projection:
        return Projection({c: column(c) for c in self.columns})

    def may_fail(self, dataset: Dataset) -> bool:
        return False


operator = Select
