"""Takes rows with a fault out before a step that needs all rows sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Fault, Operator, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import column


class Gate(Operator):
    """The faults of another operator and nothing else; never a step of a file."""

    inner: Operator = titled("算子", "Operator")
    """Whose faults they are."""

    def projection(self, dataset: Dataset) -> Projection:
        return Projection({c: column(c) for c in dataset.columns})

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        return self.inner.faults(dataset)

    def relations(self) -> Mapping[str, pa.Table]:
        return self.inner.relations()

    def may_fail(self, dataset: Dataset) -> bool:
        return False
