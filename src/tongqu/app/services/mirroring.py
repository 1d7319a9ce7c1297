"""What steps look up while a log is followed, where it is followed by its own log: a copy in the project's home."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tongqu.app.project.histories import histories
from tongqu.app.services.following import FOLLOWING
from tongqu.app.services.graph_source import graph_of, looked_up
from tongqu.app.services.kept_logs import note_log, own_name
from tongqu.core.connector import Can
from tongqu.core.data import Dataset, Mode
from tongqu.core.errors import InvalidPlanError
from tongqu.core.plan import Plan, Trunk, toward, trunk
from tongqu.engine.job import Limits

if TYPE_CHECKING:
    from tongqu.app.services.ends import End
    from tongqu.app.services.piping import Part
    from tongqu.core.connector import Source
    from tongqu.engine.sides import Side


def mirrored(plan: Plan, modes: Mapping[str, Mode]) -> tuple[str, ...]:
    """The sources that steps look up, and that are followed beside the source whose rows look them up."""
    along = trunk(plan)
    if along is None:
        return ()
    followed = modes.get(along.source) in FOLLOWING
    kept = histories(plan)
    return tuple(name for name in along.sides if name in kept or (followed and modes.get(name) is Mode.CDC))


def check_told(plan: Plan, ends: Mapping[str, End]) -> None:
    """Raise InvalidPlanError where a history comes through a queue or broker and nobody says how late."""
    for name, (step, wanted) in histories(plan).items():
        if Can.STREAM in ends[name].connector.can and not wanted.bounded:
            raise InvalidPlanError(
                f"step {step.id!r} follows {name!r} through {ends[name].connector.name}, into which changes come later",
                path=step.path,
                hint="say how late they may come: `at: {lateness: 5s}`",
            )


def sides_of(
    part: Part, along: Trunk, sources: Mapping[str, Source], found: Mapping[str, Sequence[Dataset]]
) -> dict[str, Side]:
    """What steps look up, each as a graph of its own that is read whole."""
    if not along.sides:
        return {}
    from tongqu.engine.sides import Side

    memory, sides = (part.entry.limit.memory_mb or Limits().memory_mb) // 2, {}
    for name in along.sides:
        own = toward(part.plan, {name: name})
        whole = graph_of(own, {n: found[n][0] for n in own.sources}, memory_mb=memory)
        read = partial(looked_up, whole, sources, name, part.stop)
        sides[name] = Side(whole.outputs[name], read, whole.recipe, part.stop)
    return sides


def with_mirrors(
    part: Part,
    sides: Mapping[str, Side],
    sources: Mapping[str, Source],
    found: Mapping[str, Sequence[Dataset]],
    keep: Callable[[Any], Any],
) -> dict[str, Side]:
    """The sides, each that is followed with its copy in the sink's folder of the project's home. `keep` is given the
    copies, to be closed. A worker's have none: it reads what a split of all rows looks up. Raises InvalidPlanError
    without a home or a key, and for a worker that would need a history."""
    made, kept = dict(sides), histories(part.plan)
    if part.lent and kept:
        raise InvalidPlanError(
            f"the history of {next(iter(kept))!r} is kept by one process, and a worker would need it too",
            path=part.name,
            hint="run this pipeline without other workers: `engine: {runner: local}`",
        )
    for name in () if part.lent else mirrored(part.plan, part.modes):
        if part.sink.lodging is None:
            raise InvalidPlanError(
                f"{name!r} is looked up and followed, and its copy needs a project's home",
                path=part.name,
                hint="set TONGQU_HOME",
            )
        from tongqu.engine.mirror import Mirror

        dataset = found[name][0]
        told = [part.name, part.sink_name, name, part.ends[name].identity, dataset.name]
        file = f"tongqu_side_{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}.duckdb"
        log = own_name(part.ends[name], "side", part.name, part.sink_name, part.sink.identity, name, dataset.name)
        left = note_log(part.ends[name], log, part.name)
        own = tuple(part.entry.all_sources[name].key)
        dataset = dataset.bound(dataset.name, own) if own else dataset
        place = (part.sink.lodging / "sides" / file, log)
        history = kept[name][1] if name in kept else None
        mirror = keep(Mirror(sources[name], dataset, place, part.stop, anew=part.restart, history=history, left=left))
        made[name] = replace(made[name], mirror=mirror)
    return made
