"""Leaves out the rows of erased persons right behind a source, so that no run brings them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import PrivateAttr

from tongqu.core.arrow import pa
from tongqu.core.data import Dataset
from tongqu.core.kernels import pc
from tongqu.core.operator import Lineage, Operator, Step
from tongqu.core.plan import Plan
from tongqu.core.settings import titled

Digest = Callable[[str, Any], str]
"""The digest of a person, of an identity and its value."""
_ID = "_erased"


class Forgetting(Operator):
    """Keep the rows that belong to no erased person; never a step of a file. A field that is not there is passed by."""

    fields: dict[str, dict[str, str]] = titled("字段", "Fields", default_factory=dict)
    """By dataset (empty: any) the field of each identity."""
    _digest: Digest | None = PrivateAttr(None)
    _erased: Mapping[str, frozenset[str]] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(
        cls, fields: Mapping[str, Mapping[str, str]], erased: Mapping[str, frozenset[str]], digest: Digest
    ) -> Forgetting | None:
        """The step for datasets whose persons stand in these fields; None if nobody of them was erased."""
        wanted = {d: {i: name for i, name in told.items() if erased.get(i)} for d, told in fields.items()}
        if not any(wanted.values()):
            return None
        made = cls(fields={dataset: told for dataset, told in wanted.items() if told})
        made._digest, made._erased = digest, erased
        return made

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        return inputs[0]

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, name) for name in self._fields(inputs[0]).values() if name in inputs[0].columns}

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        """The rows of everybody else, in order; each distinct value is digested once."""
        table = tables[0]
        for identity, name in self._fields(inputs[0]).items():
            if name in table.column_names and self._digest is not None:
                coded = table.column(name).combine_chunks().dictionary_encode()
                gone = [
                    place
                    for place, value in enumerate(coded.dictionary.to_pylist())
                    if value is not None and self._digest(identity, value) in self._erased[identity]
                ]
                if gone:
                    theirs = pc.is_in(coded.indices, value_set=pa.array(gone, pa.int32()))
                    table = table.filter(pc.invert(theirs))
        return table

    def _fields(self, dataset: Dataset) -> Mapping[str, str]:
        return {**self.fields.get("", {}), **self.fields.get(dataset.name, {})}


def guarded(plan: Plan, sources: Mapping[str, Forgetting | None], sinks: Mapping[str, Forgetting | None]) -> Plan:
    """The plan with such a step right behind each of these sources and right before each of these sinks."""
    for source, operator in sources.items():
        if operator is None or source not in plan.sources:
            continue
        name = f"{source}{_ID}"
        step = Step(name, "forget", operator, (source,), plan.path)
        others = tuple(
            replace(one, inputs=tuple(name if given == source else given for given in one.inputs)) for one in plan.steps
        )
        taking = {sink: name if taken == source else taken for sink, taken in plan.sinks.items()}
        plan = replace(plan, steps=(step, *others), sinks=taking)
    for sink, operator in sinks.items():
        if operator is not None and sink in plan.sinks:
            name = f"{sink}{_ID}_before"
            step = Step(name, "forget", operator, (plan.sinks[sink],), plan.path)
            plan = replace(plan, steps=(*plan.steps, step), sinks={**plan.sinks, sink: name})
    return plan
