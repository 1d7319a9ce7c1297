"""A pipeline's shape as pure data: named sources, steps that name their inputs, sinks that name what they take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


@dataclass(frozen=True)
class Trunk:
    """A plan whose rows flow from one source through row-wise steps to one sink; what those steps look up beside it
    comes from other sources, and is read whole."""

    source: str
    steps: tuple[Step, ...]
    sides: tuple[str, ...]
    """The sources and steps that are looked up."""


def trunk(plan: Plan) -> Trunk | None:
    """The plan as a trunk, or None if rows of several inputs meet, branch, or are needed all at once."""
    if len(plan.sinks) != 1:
        return None
    steps: list[Step] = []
    name = next(iter(plan.sinks.values()))
    while plan.consumers(name) == 1 and (step := plan.step(name)) is not None:
        if not step.operator.chunk_safe or step.inputs[1:] != step.operator.side_names:
            return None
        steps.insert(0, step)
        name = step.inputs[0]
    if plan.consumers(name) != 1:
        return None
    return Trunk(name, tuple(steps), tuple(dict.fromkeys(n for step in steps for n in step.inputs[1:])))


def toward(plan: Plan, targets: Mapping[str, str]) -> Plan:
    """The part of a plan that these sinks need (sink to the source or step it takes)."""
    needed = set(targets.values())
    for step in reversed(plan.steps):
        if step.id in needed:
            needed |= set(step.inputs)
    sources = tuple(name for name in plan.sources if name in needed)
    return replace(plan, sources=sources, steps=tuple(s for s in plan.steps if s.id in needed), sinks=targets)


def check_changes(plan: Plan, changing: Collection[str], *, appends: bool = False) -> None:
    """Raise InvalidPlanError for the first step whose result would be silently wrong when the sources `changing` give
    only changes: it needs all rows of an input, or a changed row may leave rows of its earlier self behind (unless the
    sink `appends`, where every version stays anyway)."""
    touched = set(changing)
    for step in plan.steps:
        for number, name in enumerate(step.inputs):
            if name in touched and step.operator.needs_all(number):
                what = "looks up" if name in step.operator.side_names else "needs"
                raise InvalidPlanError(
                    f"step {step.id!r}: {step.verb} {what} all rows, but {name!r} gives only changes",
                    hint="read that source with `mode: full`, or run it with --full",
                    path=step.path,
                )
        if touched.intersection(step.inputs):
            touched.add(step.id)
            if step.operator.leaves_rows and not appends:
                raise InvalidPlanError(
                    f"step {step.id!r}: {step.verb} may make other rows of a changed one, and old ones stay",
                    hint="read the source with `mode: full`, or write with `append`, which keeps every version",
                    path=step.path,
                )


KEEPS = ("aggregate", "deduplicate", "join", "window")
"""The steps that can keep state of changing inputs."""


def check_keeps(plan: Plan) -> None:
    """Raise InvalidPlanError for the first step that can neither take changes one by one nor keep state."""
    for step in plan.steps:
        if not step.operator.chunk_safe and step.verb not in KEEPS:
            raise InvalidPlanError(
                f"step {step.id!r}: {step.verb} needs all rows, and its source gives only changes",
                path=step.path,
                hint=f"read the source with `mode: full`, or use steps that keep state: {', '.join(KEEPS)}",
            )
        for name in step.operator.side_names:
            raise InvalidPlanError(
                f"step {step.id!r}: {step.verb} looks up {name!r} in a pipeline whose steps keep state",
                path=step.path,
                hint="join it (how: left) and follow it too, or look it up in a pipeline behind this one's table",
            )


def plan(sources: Sequence[str], steps: Sequence[Step], sinks: Mapping[str, str | None], path: str = "") -> Plan:
    """Put steps and sinks together. A step without inputs follows the one above (the first one follows the only
    source); a sink without one takes the last step. Several inputs of a step that takes one are appended to each other.
    A step with branches becomes one step `id.branch` for each, side by side over the same input.

    Raises InvalidPlanError (two names the same, cycle, wrong number of inputs, a step nobody takes) and
    UnknownNameError, with the step's path.
    """
    names: set[str] = set()
    for name, where in [(s, path) for s in sources] + [(s.id, s.path) for s in steps]:
        if name in names:
            raise InvalidPlanError(f"two sources or steps are named {name!r}", path=where, hint="give one an `id`")
        names.add(name)
    forks = {step.id: tuple(step.operator.branches) for step in steps if step.operator.branches}
    names |= {f"{fork}.{branch}" for fork, branches in forks.items() for branch in branches}
    placed: list[Step] = []
    for number, step in enumerate(steps):
        inputs = tuple(name or _above(sources, steps, number, path) for name in step.inputs or ("",))
        for name in inputs:
            _known(name, names, step.path, forks)
        least, most = step.operator.arity
        if len(inputs) < least or (len(inputs) > most and most != 1):
            raise InvalidPlanError(f"{step.verb} takes {least} to {most} inputs, not {len(inputs)}", path=step.path)
        placed += _branched(replace(step, inputs=inputs))
    last = steps[-1].id if steps else sources[0] if len(sources) == 1 else None
    targets: dict[str, str] = {}
    for sink, taken in sinks.items():
        found = taken or last
        if found is None:
            raise InvalidPlanError(f"the sink {sink!r} must say which source it takes", path=path, hint="add `from`")
        _known(found, names, path, forks)
        targets[sink] = found
    claimed = {*targets.values(), *(name for step in placed for name in step.inputs)}
    unclaimed = {f"{step.id}.{branch}" for step in steps for branch in step.operator.dropped} - claimed
    placed = [step for step in placed if step.id not in unclaimed]
    made = Plan(tuple(sources), tuple(_ordered(placed, set(sources))), targets, path)
    for step in made.steps:
        if not made.consumers(step.id):
            fork, _, branch = step.id.partition(".")
            hint = f"add a sink, or `drop: [{branch}]`" if fork in forks else "add a sink"
            raise InvalidPlanError(f"nothing takes the rows of step {step.id!r}", path=step.path, hint=hint)
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


def _branched(step: Step) -> list[Step]:
    branches = step.operator.branches
    if not branches:
        return [step]
    return [replace(step, id=f"{step.id}.{name}", operator=branch) for name, branch in branches.items()]


def _known(name: str, names: set[str], path: str, forks: Mapping[str, Sequence[str]]) -> None:
    fork, _, branch = name.partition(".")
    if fork in forks and branch not in forks[fork]:
        what = f"has no branch {branch!r}" if branch else "has branches; say which one"
        valid = ", ".join(f"{fork}.{known}" for known in forks[fork])
        raise UnknownNameError(f"step {fork!r} {what}", path=path, hint=f"branches: {valid}")
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
