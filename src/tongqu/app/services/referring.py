"""Fetches the values that `reference` rules allow, so that rows can be held to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tongqu.app.project.places import nearest
from tongqu.app.services.ends import End
from tongqu.core.arrow import pa
from tongqu.core.connector import Source
from tongqu.core.data import Dataset, Read
from tongqu.core.errors import NotFoundError, learnt
from tongqu.core.kernels import pc
from tongqu.core.operator import Step
from tongqu.core.plan import Plan
from tongqu.meaning.dataset_rules import Reference


def knowing(plan: Plan, ends: Mapping[str, End]) -> Plan:
    """The plan whose steps know the values that their references allow; `ends` are the connections they name.

    A field's distinct values are held in memory. Raises NotFoundError for a dataset or field that is not there.
    """
    if not any(step.operator.references for step in plan.steps):
        return plan
    fetched: dict[str, pa.Array[Any]] = {}
    with learnt():
        return replace(plan, steps=tuple(_knowing(step, ends, fetched) for step in plan.steps))


def _knowing(step: Step, ends: Mapping[str, End], fetched: dict[str, pa.Array[Any]]) -> Step:
    references: Mapping[str, Reference] = step.operator.references
    if not references:
        return step
    for reference in references.values():
        if str(reference) not in fetched:
            source = ends[reference.connection].source()
            try:
                fetched[str(reference)] = values(source, reference.dataset, reference.field, step.path)
            finally:
                source.close()
    known = {name: fetched[str(reference)] for name, reference in references.items()}
    return replace(step, operator=step.operator.knowing(known))


def values(source: Source, dataset: str, field: str, path: str) -> pa.Array[Any]:
    """The distinct values of a field, without null."""
    found = source.datasets([dataset])
    if not found:
        raise NotFoundError(
            f"the dataset {dataset!r} that a reference names is not there",
            path=path,
            hint=nearest(dataset, [other.name for other in source.datasets(None)]),
            params={"name": dataset},
        )
    there = found[0]
    if field not in there.columns:
        raise NotFoundError(
            f"{dataset!r} has no field {field!r}, which a reference names",
            path=path,
            hint=nearest(field, list(there.columns)),
            params={"name": field},
        )
    return _distinct(source, there, field)


def _distinct(source: Source, dataset: Dataset, field: str) -> pa.Array[Any]:
    kind = dataset.schema.field(field).type
    kept: pa.Array[Any] = pa.array([], kind)
    for split in source.splits(dataset, 1):
        for batch in source.read(Read(dataset, split, columns=(field,))):
            if batch.rows.num_rows:
                column = batch.rows.column(field)
                fresh = pc.unique(column.cast(kind) if column.type != kind else column)
                kept = pc.unique(pa.concat_arrays([kept, fresh]))
    return kept.drop_null()
