"""Splits of a pipeline on other machines: what they are told of the project, and how they carry it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tongqu.app.project.limits import limits
from tongqu.app.project.load import Project, checked
from tongqu.app.project.places import Places
from tongqu.app.services.origins import Applied
from tongqu.app.services.piping import Part, RunRequest, parts
from tongqu.app.services.standing_in import instead
from tongqu.app.services.versioning import FILES, contents
from tongqu.core.errors import InvalidPlanError
from tongqu.core.events import Committed, Event
from tongqu.engine.lending import Elsewhere, Order, carry
from tongqu.store.scrub import Scrubber

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

WORK = "tongqu.app.split:moved"
"""What workers do with an order."""
FOLDER = "TONGQU_WORKER_FOLDER"
"""Where the project's files are on a worker, if not at the same place as where the run began."""


def elsewhere(
    part: Part, project: Project, request: RunRequest, others: Mapping[str, str], scrubber: Scrubber
) -> Elsewhere | None:
    """The cluster that the project names, with what it must know of one sink of one pipeline; None if it names none.

    References (`${secret:…}`) go as they stand, and passwords that stand in the files go hidden: workers have their own
    secrets and files."""
    told = project.engine
    if told.runner != "dask" or told.scheduler is None or request.window:
        return None
    from tongqu.engine.runners.dask import DaskHands

    shared, overlay = contents(project, scrubber)
    plan = {
        "folder": str(project.folder.absolute()),
        "shared": shared,
        "overlay": overlay,
        "pipeline": part.name,
        "sink": part.sink_name,
        "full": request.full,
        "instead": dict(others),
    }
    tls = {name: str(project.folder / value) for name, value in told.tls.model_dump().items()} if told.tls else {}
    return Elsewhere(DaskHands(told.scheduler, WORK, tls), plan)


def carried(
    wire: Wire, told: Mapping[str, Any], order: Order, tell: Callable[[Mapping[str, Any]], None]
) -> Mapping[str, Any]:
    """On a worker: move the one split that an order names, telling its counts at every commit; its `counts`."""
    project = _project(wire, told)
    wire.project = project
    request = RunRequest((told["pipeline"],), full=bool(told["full"]))
    ends = wire.ends_of(lambda: project)
    [part] = [one for one in parts(told["pipeline"], request, project, ends) if one.sink_name == told["sink"]]
    part = instead(part, told["instead"], ends)

    def emit(event: Event) -> None:
        if isinstance(event, Committed):
            tell({"counts": event.counts.to_json()})

    with ExitStack() as stack:

        def keep(end: Any) -> Any:
            stack.callback(end.close)
            return end

        around = wire.surroundings
        planned = replace(part, stop=around.stop, lent=True).streams(keep)
        found = [stream for stream in planned if stream.name == order.stream]
        if not found:
            raise InvalidPlanError(f"a worker finds nothing that is called {order.stream!r}", path=order.stream)
        valves = keep(wire.governing.valves(part.connections)).several
        stream = replace(found[0], sync=order.sync, valves=valves)
        return {"counts": carry(stream, order, limits(part.entry), around, emit).to_json()}


def _project(wire: Wire, told: Mapping[str, Any]) -> Project:
    """The project as the run has it, with this machine's secrets. Raises InvalidPlanError if a file that it names is
    another one here."""
    shared = {name: values for name, values in told["shared"].items() if name != FILES}
    project = checked(wire.folder, (), shared, told["overlay"], Places(folder=wire.folder.absolute()))
    here = contents(project, wire.scrubber)[0].get(FILES, {})
    for name, digest in told["shared"].get(FILES, {}).items():
        if here.get(name) != digest:
            raise InvalidPlanError(
                f"the file {name!r} is another one on this worker, or is not there",
                path=name,
                hint=f"give the workers the project's folder; where it lies elsewhere, set {FOLDER}",
            )
    whole = Applied(wire.folder, wire.env, wire.home, wire.scrubber).whole(project.connections)
    return replace(project, connections=whole)
