"""The part of a plan that quarantined rows go through when they go in again: from the step that refused them."""

from __future__ import annotations

from dataclasses import replace

from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.core.operator import Step
from tongqu.core.plan import Plan, toward

ENTRY = "quarantine"


def reentry(plan: Plan, step: str | None) -> tuple[Plan, str]:
    """The plan with one source more, from which rows enter at `step` (None: where the only source's rows enter), and
    that source's name; what the steps do not need is left out.

    Raises UnknownNameError if the pipeline has no such step, InvalidPlanError if the rows would meet steps that need
    all rows: those rows go in by mending the source, or a rule of the dictionary, and running the pipeline again.
    """
    name = ENTRY
    while name in plan.sources or plan.step(name) is not None:
        name = f"_{name}"
    steps = tuple(replace(one, operator=one.operator.replayed()) for one in plan.steps)
    if step is None:
        if len(plan.sources) != 1:
            raise InvalidPlanError(
                "rows that a source could not read cannot go in again where there are several sources",
                path=plan.path,
                hint="mend them at the source and run the pipeline again",
            )
        old = plan.sources[0]
        entered = [replace(one, inputs=tuple(name if n == old else n for n in one.inputs)) for one in steps]
        sinks = {sink: name if taken == old else taken for sink, taken in plan.sinks.items()}
    else:
        if plan.step(step) is None:
            valid = ", ".join(one.id for one in plan.steps) or "none"
            raise UnknownNameError(
                f"the pipeline has no step {step!r} any more, which refused these rows",
                path=plan.path,
                hint=f"steps: {valid}; give the step its old `id` back, or run the pipeline again",
            )
        entered = [_entered(one, name) if one.id == step else one for one in steps]
        sinks = dict(plan.sinks)
    made = toward(replace(plan, sources=(*plan.sources, name), steps=tuple(entered), sinks=sinks), sinks)
    if step is not None and made.step(step) is None:
        raise InvalidPlanError(f"no rows of step {step!r} reach this sink any more", path=plan.path)
    _check(made, name)
    return made, name


def _entered(step: Step, name: str) -> Step:
    sides = step.operator.side_names
    return replace(step, inputs=(name, *sides))


def _check(plan: Plan, name: str) -> None:
    touched = {name}
    for step in plan.steps:
        for number, taken in enumerate(step.inputs):
            if taken in touched and step.operator.needs_all(number):
                raise InvalidPlanError(
                    f"the rows go through step {step.id!r}, and {step.verb} needs all rows at once",
                    path=step.path,
                    hint="mend the source or the rule, and run the pipeline again: it reads these rows anew",
                )
        if touched.intersection(step.inputs):
            touched.add(step.id)
