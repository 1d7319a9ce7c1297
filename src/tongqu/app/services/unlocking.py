"""What the home adds to a pipeline's steps before they run: their keys, and which persons they leave out."""

from __future__ import annotations

from dataclasses import replace

from tongqu.app.project.load import Project
from tongqu.app.project.model import PipelineEntry
from tongqu.app.services.ends import Ends
from tongqu.core.errors import SecretError
from tongqu.core.operator import Step
from tongqu.core.plan import Plan
from tongqu.engine.forgetting import Forgetting, guarded


def unlocked(step: Step, ends: Ends) -> Step:
    """The step with the keys that it refers to."""
    try:
        return replace(step, operator=step.operator.unlocked(ends.secret))
    except SecretError as error:
        error.path = error.path or step.path
        raise


def guarding(whole: Plan, entry: PipelineEntry, project: Project, ends: Ends) -> Plan:
    """The plan that leaves out erased persons: by what the dictionary says of what is read and of what is written."""
    named = {name: told.subject for name, told in project.dictionary.items() if told.subject}
    if not named:
        return whole
    sources: dict[str, Forgetting | None] = {}
    for source, reads in entry.all_sources.items():
        meaning = reads.as_ or reads.dataset
        sources[source] = ends.forgetting({"": named.get(meaning, {})} if meaning else named)
    sinks = {sink: ends.forgetting({"": named.get(told.dataset or "", {})}) for sink, told in entry.all_sinks.items()}
    return guarded(whole, sources, sinks)
