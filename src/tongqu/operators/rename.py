"""Give columns other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tongqu.core.columns import need_columns, no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.operator import Lineage, Operator, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column


class Rename(Operator):
    """Rename columns, old name to new name: `rename: {LOT: lot_no}`. Swapping two names in one step works."""

    verb = "rename"
    title: ClassVar[Mapping[str, str]] = {"zh": "重命名", "en": "Rename columns"}
    wraps = "columns"

    columns: dict[str, str] = titled("旧名到新名", "Old name to new name", min_length=1)
    """Each old name with its new name."""

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, list(self.columns))
        names = self._names(dataset)
        no_duplicates(list(names.values()), self.verb)
        fields = [dataset.schema.field(old).with_name(new) for old, new in names.items()]
        return reshaped(dataset, fields, {new: old for old, new in names.items()})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {new: {(0, old)} for old, new in self._names(inputs[0]).items()}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return set()

    def projection(self, dataset: Dataset) -> Projection:
        return Projection({new: column(old) for old, new in self._names(dataset).items()})

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def _names(self, dataset: Dataset) -> dict[str, str]:
        return {c: self.columns.get(c, c) for c in dataset.columns}


operator = Rename
