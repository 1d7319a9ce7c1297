"""Change columns' types; values that cannot be converted go to quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.operator import Fault, Lineage, Operator, Place, Projection
from tongqu.core.settings import titled
from tongqu.meaning.expressions import arrow_type, cast, column, parse_type, type_of
from tongqu.meaning.fields import recast
from tongqu.meaning.rules import not_castable
from tongqu.meaning.widening import always_fits


class Cast(Operator):
    """Convert columns to types: `cast: {weight: "decimal(12,3)"}`.

    A value that the type cannot hold quarantines its row as `cast.invalid`; null stays null. Numbers that gain too many
    decimals are rounded half away from zero.
    """

    verb = "cast"
    title: ClassVar[Mapping[str, str]] = {"zh": "转换类型", "en": "Cast columns"}
    wraps = "columns"

    columns: dict[str, str] = titled("字段与类型", "Column and type", min_length=1)
    """Each column's name with its type in DuckDB's spelling."""

    def bound(self, surroundings: Place) -> Cast:
        for kind in self.columns.values():
            parse_type(kind)
        return self

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, list(self.columns))
        trees = [cast(column(name), kind, trying=True) for name, kind in self.columns.items()]
        types = dict(zip(self.columns, type_of(trees, dataset.schema), strict=True))
        fields: list[pa.Field[Any]] = []
        for field in dataset.schema:
            if field.name in types:
                fields.append(recast(field, *arrow_type(*types[field.name])))
            else:
                fields.append(field)
        return reshaped(dataset, fields, {c: c for c in dataset.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in self.columns}

    def projection(self, dataset: Dataset) -> Projection:
        risky = {fault.field for fault in self.faults(dataset)}
        trees = {c: column(c) for c in dataset.columns}
        for name, kind in self.columns.items():
            trees[name] = cast(column(name), kind, trying=name in risky)
        return Projection(trees)

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        out = self.output([dataset]).schema
        return [
            Fault("cast.invalid", name, not_castable(column(name), kind), f"is not a {kind}")
            for name, kind in self.columns.items()
            if not always_fits(dataset.schema.field(name), out.field(name))
        ]

    def may_fail(self, dataset: Dataset) -> bool:
        return False


operator = Cast
