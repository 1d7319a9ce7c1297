"""Remove columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Lineage, Operator, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column


class Drop(Operator):
    """Remove these columns: `drop: [x]`."""

    verb = "drop"
    title: ClassVar[Mapping[str, str]] = {"zh": "删除字段", "en": "Drop columns"}
    wraps = "columns"

    columns: tuple[str, ...] = titled("字段", "Columns", min_length=1)
    """Columns to remove."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, self.columns)
        kept = self._kept(dataset)
        if not kept:
            raise InvalidPlanError(f"drop would leave no column of {dataset.name!r}")
        return reshaped(dataset, [dataset.schema.field(c) for c in kept], {c: c for c in kept})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in self._kept(inputs[0])}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return set()

    def projection(self, dataset: Dataset) -> Projection:
        return Projection({c: column(c) for c in self._kept(dataset)})

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def _kept(self, dataset: Dataset) -> list[str]:
        return [c for c in dataset.columns if c not in self.columns]


operator = Drop
