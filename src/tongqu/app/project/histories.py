"""Lookups as of the rows' own time that keep a history of what they look up: where that cannot be."""

from __future__ import annotations

from dataclasses import replace

from tongqu.app.project.model import PipelineEntry
from tongqu.core.data import Mode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.history import History
from tongqu.core.operator import Step
from tongqu.core.plan import Plan, trunk


def histories(plan: Plan) -> dict[str, tuple[Step, History]]:
    """The sources whose versions are kept, in whatever mode the rows come, each with a step that wants them."""
    found = {}
    for step in plan.steps:
        history = step.operator.side_history
        found.update({name: (step, history) for name in step.operator.side_names if history is not None})
    return found


def check_histories(plan: Plan, entry: PipelineEntry) -> None:
    """Raise InvalidPlanError where versions cannot be kept: of what is no followed source, beside steps that need all
    rows, for two steps that want different ones. `plan` is what one sink needs."""
    for name, (step, wanted) in histories(plan).items():
        where = f"step {step.id!r}: {step.verb}"
        if name not in plan.sources or entry.all_sources[name].read_mode is not Mode.CDC:
            raise InvalidPlanError(
                f"{where} keeps the history of {name!r}, which is no source with `mode: cdc`",
                path=step.path,
                hint="follow its log (`mode: cdc`), or name the columns of its versions: valid_from, valid_to",
            )
        if trunk(plan) is None:
            raise InvalidPlanError(
                f"{where} keeps the history of {name!r} where rows branch, meet others or are needed all at once",
                path=step.path,
                hint="look it up in a pipeline of its own, before or behind this one",
            )
        for other in plan.steps:
            kept = other.operator.side_history
            same = kept is not None and replace(kept, on=wanted.on, wait=wanted.wait) == wanted
            if name in other.operator.side_names and not same:
                raise InvalidPlanError(
                    f"steps {other.id!r} and {step.id!r} look up {name!r} with different histories",
                    path=other.path,
                    hint="say the same `retention`, `lateness` and `initial`, or add a second source of the dataset",
                )
