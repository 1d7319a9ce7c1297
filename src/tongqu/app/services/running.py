"""`run`: runs pipelines of a project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.elsewhere import elsewhere
from tongqu.app.services.ends import Ends
from tongqu.app.services.execution import Outcome, Run, Runner
from tongqu.app.services.flows import Names
from tongqu.app.services.hooking import make_topics
from tongqu.app.services.piping import Part, RunRequest, parts
from tongqu.app.services.standing_in import instead, taken
from tongqu.core.connector import Source
from tongqu.core.errors import InvalidPlanError
from tongqu.engine.job import Job


def run(request: RunRequest, project: Project, ends: Ends, runner: Runner, new_id: Callable[[], str]) -> Outcome:
    """Run the pipelines one after the other; each sink of each pipeline is a run of its own.

    All names and references are looked up before the first connection. A sink that fails does not keep the other sinks
    of its pipeline from their rows; a pipeline that failed ends the command. The sinks of a pipeline read a source at
    one instant if it can give one.
    """
    wanted = [parts(name, request, project, ends) for name in request.pipelines]
    endless = [part for several in wanted[:-1] for part in several if part.entry.endless and not part.full]
    if endless and not request.until_caught_up:
        raise InvalidPlanError(
            f"{endless[0].name!r} follows a log and does not end, so the pipelines after it would never run",
            path=endless[0].name,
            hint="run it by itself, or with --until-caught-up",
        )
    make_topics(project, request.pipelines, ends)
    outcomes: list[Outcome] = []
    for several in wanted:
        together: dict[str, Source] = {}
        try:
            found = [replace(part, together=together) for part in several] if len(several) > 1 else several
            outcomes += _Running(request, project, ends, runner).each(found, new_id)
        finally:
            for source in together.values():
                source.close()
        if runner.around.stop.is_set() or any(outcome.exit_code in (1, 2) for outcome in outcomes):
            break
    return combined(outcomes)


def with_sinks(request: RunRequest, project: Project) -> RunRequest:
    """The request with what stands behind pipelines that follow a log into several sinks. Raises InvalidPlanError where
    they would be followed without end: that takes a process for each."""
    several = next((name for name in request.pipelines if name in project.carried), None)
    if several is not None and not request.until_caught_up and not request.full:
        raise InvalidPlanError(
            f"{several!r} follows a log into several sinks, each at its own pace",
            path=several,
            hint="let `tongqu serve` keep it running, or run it with --until-caught-up",
        )
    asked = request.pipelines
    behind = {name: [one for one in project.carried.get(name, ()) if one not in asked] for name in asked}
    return replace(request, pipelines=tuple(one for name in asked for one in (name, *behind[name])))


@dataclass(frozen=True)
class _Running:
    request: RunRequest
    project: Project
    ends: Ends
    runner: Runner

    def each(self, several: Sequence[Part], new_id: Callable[[], str]) -> list[Outcome]:
        """The sinks of one pipeline, one after the other."""
        outcomes: list[Outcome] = []
        request, runner = self.request, self.runner
        for part in several:
            kept = (part.sink.kept,) if part.sink.kept else ()
            named = {name: end.name for name, end in part.ends.items()}
            names = Names(named, part.sink.name, "run", self.project.name, request.version, request.hash)
            told = Run("run", request.command, kept, names)
            outcomes.append(runner.execute(told, partial(self._planned, part, new_id())))
            if runner.around.stop.is_set():
                break
        return outcomes

    def _planned(self, part: Part, id: str) -> Job:
        """The job, read from alternatives where that is better, on other machines where the project says so, and
        within the budgets of its connections."""
        request, project, runner = self.request, self.project, self.runner
        others = taken(part, project, self.ends)
        part = instead(part, others, self.ends)
        job = replace(
            part.job(runner, id),
            elsewhere=elsewhere(part, project, request, others, runner.scrubber),
            shared=project.running.workers is not None and not request.until_caught_up,
        )
        if others:
            named = part.entry.all_sources
            runner.took({named[source].connection: other for source, other in others.items()})
            job = replace(job, streams=[replace(one, read_from=", ".join(others.values())) for one in job.streams])
        valves = runner.keep(runner.govern(part.connections)).several
        return replace(job, streams=[replace(stream, valves=valves) for stream in job.streams]) if valves else job


def combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Several outcomes as one document: all streams and problems, the worst status."""
    if len(outcomes) == 1:
        return outcomes[0]
    worst = max(outcomes, key=lambda outcome: (0, 3, 2, 1).index(outcome.exit_code))
    documents = [outcome.document for outcome in outcomes]
    lanes = {document["lane"] for document in documents if document.get("lane")}
    document: dict[str, Any] = {
        "run": documents[0].get("run", ""),
        "runs": [document["run"] for document in documents if "run" in document],
        "status": worst.document.get("status", "failed"),
        "attempts": max(document.get("attempts", 1) for document in documents),
        "lane": lanes.pop() if len(lanes) == 1 else "mixed" if lanes else "",
        "streams": [stream for document in documents for stream in document.get("streams", [])],
    }
    problems = [problem for found in documents for problem in found.get("problems", [])]
    if any("level" not in problem for problem in problems):
        document |= {"ok": False, "problems": problems}
    elif problems:
        document["problems"] = problems
    return Outcome(document, worst.exit_code)
