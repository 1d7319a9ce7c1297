"""Which connection is read: the one that is named, or one of its alternatives while it fails or has too much to do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from tongqu.app.project.load import Project
from tongqu.app.project.rules import TakeWhen
from tongqu.app.services.ends import End, Ends
from tongqu.core.data import Mode
from tongqu.core.errors import TongquError
from tongqu.core.feeling import Felt

if TYPE_CHECKING:
    from tongqu.app.services.piping import Part

_READS = (Mode.FULL, Mode.INCREMENTAL)
"""What follows a log has a position of that very system, which means nothing to another one."""


def taken(part: Part, project: Project, ends: Ends) -> dict[str, str]:
    """The alternatives that the sources of a part are read from now, by the source's name. One that is in trouble
    itself is not taken; where all are, the connection that is named is read, and says what is wrong with it."""
    found = {}
    for name, end in part.ends.items():
        rules = project.rules.get(end.name)
        if rules is None or not rules.alternatives or part.mode(name) not in _READS:
            continue
        if not trouble(end, rules.take_when):
            continue
        well = (one for one in rules.alternatives if not trouble(ends.end(one), rules.take_when))
        other = next(well, None)
        if other is not None:
            found[name] = other
    return found


def instead(part: Part, others: Mapping[str, str], ends: Ends) -> Part:
    """The part that reads those; it is the same sync, and goes on where the other one stopped."""
    if not others:
        return part
    stand = {name: replace(ends.end(other), stands_for=part.ends[name].identity) for name, other in others.items()}
    return replace(part, ends={**part.ends, **stand})


def trouble(end: End, when: TakeWhen) -> str:
    """Why another one shall be read; empty if there is nothing wrong."""
    try:
        with closing(end.source()) as source:
            if not isinstance(source, Felt):
                for _ in source.check():
                    continue
                return ""
            feeling = source.feel()
    except TongquError as error:
        return error.message if when.failed else ""
    if when.latency_ms is not None and feeling.seconds * 1000 > when.latency_ms:
        return f"a small question takes {feeling.seconds * 1000:.1f} ms"
    if when.lag_seconds is not None and (feeling.lag_seconds or 0.0) > when.lag_seconds:
        return f"it lags by {feeling.lag_seconds:.1f} s"
    return ""
