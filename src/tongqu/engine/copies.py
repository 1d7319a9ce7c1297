"""Which columns come through steps as they are, and which columns of different sources are equal where rows meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tongqu.core.data import Dataset
from tongqu.core.operator import Step
from tongqu.core.plan import Plan
from tongqu.meaning.expressions import is_column

Origin = tuple[str, str]
"""A source by its name in the plan, and a column of it."""
Copies = Mapping[str, Origin]


def copied(step: Step, inputs: Sequence[Dataset], kept: Sequence[Copies]) -> dict[str, Origin]:
    """What a step leaves of the columns that were unchanged copies in its inputs."""
    projection = step.operator.projection(inputs[0]) if len(inputs) == 1 else None
    if projection is not None:
        plain = {c: (0, tree.name) for c, tree in projection.columns.items() if is_column(tree)}
    else:
        plain = step.operator.copies(inputs)
    return {c: kept[number][old] for c, (number, old) in plain.items() if old in kept[number]}


def walked(
    plan: Plan, datasets: Mapping[str, Dataset], inputs_of: Callable[[Step], Sequence[Dataset]]
) -> tuple[dict[str, dict[str, Origin]], list[tuple[Origin, Origin]]]:
    """The unchanged copies in every source and step, and the pairs of source columns that steps match."""
    found: dict[str, dict[str, Origin]] = {
        name: {c: (name, c) for c in datasets[name].columns} for name in plan.sources
    }
    links: list[tuple[Origin, Origin]] = []
    for step in plan.steps:
        inputs = inputs_of(step)
        appended = len(inputs) < len(step.inputs)  # a row may come from any of them
        kept: list[dict[str, Origin]] = [{}] if appended else [found[name] for name in step.inputs]
        found[step.id] = copied(step, inputs, kept)
        for (first, mine), (second, theirs) in () if appended else step.operator.matches(inputs):
            if mine in kept[first] and theirs in kept[second]:
                links.append((kept[first][mine], kept[second][theirs]))
    return found, links
