"""Side outputs of a pipeline: late rows go to a sink of their own, through the same steps up to the windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongqu.app.project.places import Places
from tongqu.core.errors import InvalidSettingsError, TongquError

_HINT = "a side output needs `mode: stream`, an aggregate with a window, and a sink beside it for the windows"


@dataclass(frozen=True)
class Sides:
    """The steps that end in windows, and those that end in the rows which missed them."""

    windows: list[Any]
    late: list[Any]


def is_side(sink: Any) -> bool:
    """Whether a sink is a side output."""
    return isinstance(sink, Mapping) and bool(sink.get("side"))


def split(name: str, values: Mapping[str, Any], places: Places, problems: list[TongquError]) -> Sides | None:
    """The steps of a pipeline with several sinks, for windows and for late rows; None where no sink is a side output.
    What cannot have one, or asks for late rows that no sink takes, is a problem."""
    sinks, steps = values["sinks"], values.get("steps")
    aside = [one for one, sink in sinks.items() if is_side(sink)]
    last = _last(steps)
    if not aside:
        _unclaimed(name, values, places, problems)
        return None
    wrong = None
    if last is None:
        wrong = f"{aside[0]!r} is a side output, and no step has windows for which rows could be late"
    elif values["source"].get("mode") != "stream":
        wrong = f"{aside[0]!r} is a side output, and late rows of changes cannot be told apart"
    elif len(aside) == len(sinks):
        wrong = "all sinks are side outputs"
    if wrong is not None:
        path = places.path(("pipelines", name, "sinks", aside[0], "side"))
        problems.append(InvalidSettingsError(wrong, path=path, hint=_HINT))
        return None
    assert isinstance(steps, list) and last is not None  # noqa: S101  # a step was found in it
    before, step, behind = steps[:last], steps[last], steps[last + 1 :]
    return Sides(
        [*before, _with(step, late="side"), *behind],
        [*before, _with(step, late="side", emit="late")],
    )


def check_sides(pipelines: Mapping[str, Any], places: Places, problems: list[TongquError]) -> None:
    """Side outputs, and late rows that ask for one, in pipelines that do not follow a log into several sinks."""
    for name, values in pipelines.items():
        if not isinstance(values, Mapping):
            continue
        sinks = values.get("sinks") if isinstance(values.get("sinks"), Mapping) else {"": values.get("sink")}
        assert isinstance(sinks, Mapping)  # noqa: S101  # looked at just now
        for one, sink in sinks.items():
            if is_side(sink):
                key = ("sinks", one) if one else ("sink",)
                path = places.path(("pipelines", name, *key, "side"))
                problems.append(InvalidSettingsError("there is nothing that it could be beside", path=path, hint=_HINT))
        _unclaimed(name, values, places, problems)


def _unclaimed(name: str, values: Mapping[str, Any], places: Places, problems: list[TongquError]) -> None:
    steps = values.get("steps")
    for number, step in enumerate(steps if isinstance(steps, list) else ()):
        window = _window(step)
        if window is not None and (window.get("late") == "side" or window.get("emit") == "late"):
            path = places.path(("pipelines", name, "steps", number))
            message = "late rows are given to a side output, and no sink is one"
            hint = "sinks: {windows: {connection: …}, late: {connection: …, side: late}}"
            problems.append(InvalidSettingsError(message, path=path, hint=hint))


def _window(step: Any) -> Mapping[str, Any] | None:
    made = step.get("aggregate") if isinstance(step, Mapping) else None
    window = made.get("window") if isinstance(made, Mapping) else None
    return window if isinstance(window, Mapping) else None


def _last(steps: Any) -> int | None:
    found = [number for number, step in enumerate(steps if isinstance(steps, list) else ()) if _window(step)]
    return found[-1] if found else None


def _with(step: Mapping[str, Any], **words: str) -> dict[str, Any]:
    """The step with more said of its window."""
    made = step["aggregate"]
    return {**step, "aggregate": {**made, "window": {**made["window"], **words}}}
