"""Keep the rows for which a condition is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tongqu.core.data import Dataset
from tongqu.core.operator import Lineage, Operator, Place, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column, parsed, predicate


class Filter(Operator):
    """Keep rows where the condition is true (not false, not null): `filter: "weight is not null"`.

    Over changes (`mode: incremental`) a row that no longer meets it is deleted in a target that is written by key, or
    its version is ended (`history`), or it is marked (`deletes: soft`). It stays where the key is made by a step, where
    another pipeline writes the same target, and where the sink says `leaving: keep`: `tongqu plan` tells.
    """

    verb = "filter"
    title: ClassVar[Mapping[str, str]] = {"zh": "过滤", "en": "Filter rows"}
    wraps = "where"

    where: str = titled("条件", "Condition")
    """A boolean expression over the columns."""

    def bound(self, surroundings: Place) -> Filter:
        parsed(self.where)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        predicate(self.where, inputs[0].schema)
        return inputs[0]

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in predicate(self.where, inputs[0].schema).columns}

    def projection(self, dataset: Dataset) -> Projection:
        made = predicate(self.where, dataset.schema)
        return Projection({c: column(c) for c in dataset.columns}, made.tree)


operator = Filter
