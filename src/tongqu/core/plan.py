"""A pipeline's shape as pure data: named sources, steps that name their inputs, sinks that name what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.core.operator import Step


@dataclass(frozen=True)
class Plan:
    """Made by `plan`, so it is sound: names are unique and known, there is no cycle, and `steps` stand in an order in
    which every step comes after its inputs."""

    sources: tuple[str, ...]
    steps: tuple[Step, ...]
    sinks: Mapping[str, str]
    """Each sink with the source or step whose rows it takes."""
    path: str = ""

    def step(self, name: str) -> Step | None:
        """The step of that name, or None for a source."""
        return next((step for step in self.steps if step.id == name), None)

    def consumers(self, name: str) -> int:
        """How many steps and sinks take this source's or step's rows."""
        return sum(step.inputs.count(name) for step in self.steps) + list(self.sinks.values()).count(name)

    @property
    def linear(self) -> bool:
        """Whether it is one source, steps in a row, one sink: a chain."""
        last = self.sources[0] if len(self.sources) == 1 else ""
        for step in self.steps:
            if step.inputs != (last,):
                return False
            last = step.id
        return len(self.sinks) == 1 and next(iter(self.sinks.values())) == last


def plan(sources: Sequence[str], steps: Sequence[Step], sinks: Mapping[str, str | None], path: str = "") -> Plan:
    """Put steps and sinks together. A step without inputs follows the one above (the first one follows the only
    source); a sink without one takes the last step. Several inputs of a step that takes one are appended to each other.

    Raises InvalidPlanError (two names the same, cycle, wrong number of inputs, a step nobody takes) and
    UnknownNameError, with the step's path.
    """
    names: set[str] = set()
    for name, where in [(s, path) for s in sources] + [(s.id, s.path) for s in steps]:
        if name in names:
            raise InvalidPlanError(f"two sources or steps are named {name!r}", path=where, hint="give one an `id`")
        names.add(name)
    placed: list[Step] = []
    for number, step in enumerate(steps):
        inputs = step.inputs or (_above(sources, steps, number, path),)
        for name in inputs:
            _known(name, names, step.path)
        least, most = step.operator.arity
        if len(inputs) < least or (len(inputs) > most and most != 1):
            raise InvalidPlanError(f"{step.verb} takes {least} to {most} inputs, not {len(inputs)}", path=step.path)
        placed.append(replace(step, inputs=inputs))
    last = steps[-1].id if steps else sources[0] if len(sources) == 1 else None
    targets: dict[str, str] = {}
    for sink, taken in sinks.items():
        found = taken or last
        if found is None:
            raise InvalidPlanError(f"the sink {sink!r} must say which source it takes", path=path, hint="add `from`")
        _known(found, names, path)
        targets[sink] = found
    made = Plan(tuple(sources), tuple(_ordered(placed, set(sources))), targets, path)
    for step in made.steps:
        if not made.consumers(step.id):
            raise InvalidPlanError(f"nothing takes the rows of step {step.id!r}", path=step.path, hint="add a sink")
    return made


def _above(sources: Sequence[str], steps: Sequence[Step], number: int, path: str) -> str:
    if number:
        return steps[number - 1].id
    if len(sources) == 1:
        return sources[0]
    raise InvalidPlanError(
        "the first step must say which source it takes",
        path=steps[0].path or path,
        hint=f"add `from`; sources: {', '.join(sources)}",
    )


def _known(name: str, names: set[str], path: str) -> None:
    if name not in names:
        raise UnknownNameError(
            f"there is no source or step {name!r}", path=path, hint=f"valid names: {', '.join(sorted(names))}"
        )


def _ordered(steps: Sequence[Step], done: set[str]) -> list[Step]:
    left, found = list(steps), []
    while left:
        ready = [step for step in left if all(name in done for name in step.inputs)]
        if not ready:
            circle = " → ".join(_circle(left))
            raise InvalidPlanError(f"the steps go in a circle: {circle}", path=left[0].path, hint="cut one `from`")
        for step in ready:
            found.append(step)
            done.add(step.id)
            left.remove(step)
    return found


def _circle(left: Sequence[Step]) -> list[str]:
    waiting = {step.id: [name for name in step.inputs if name in {s.id for s in left}] for step in left}
    name, seen = left[0].id, []
    while name not in seen:
        seen.append(name)
        name = waiting[name][0]
    return [*seen[seen.index(name) :], name]
