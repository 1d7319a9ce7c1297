"""`quarantine list|show`: looks at dirty rows where they are kept, in the sinks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongqu.app.services.ends import End, Ends
from tongqu.core.connector import Sink
from tongqu.core.dirty import REPAIRED, STATES, Dirty
from tongqu.core.errors import InvalidSettingsError, NotFoundError

LISTED = tuple(state for state in STATES if state != REPAIRED)
"""The states that are listed unless others are asked for: the rows that are missing, or were, in the target."""
_INNER = ("shape", "sync")


def states(given: str, default: Sequence[str] = LISTED) -> tuple[str, ...]:
    """The states of a comma list, or the default; `all` means every one. Raises InvalidSettingsError."""
    if not given:
        return tuple(default)
    names = tuple(name.strip() for name in given.split(","))
    if names == ("all",):
        return STATES
    unknown = [name for name in names if name not in STATES]
    if unknown:
        valid = ", ".join((*STATES, "all"))
        raise InvalidSettingsError(f"unknown state {unknown[0]!r}", path="--state", hint=f"states: {valid}")
    return names


def rows(where: Sequence[str], ends: Ends, which: Dirty) -> dict[str, Any]:
    """The newest dirty rows of these sinks, each with its cause and original, and the sink it is kept in.

    A sink that is not there any more has none.
    """
    found: list[dict[str, Any]] = []
    for end in distinct(where, ends):
        with opened(end) as sink:
            found += [{**told(row), "sink": end.name} for row in (sink.dirty(which) if sink else ())]
    found.sort(key=lambda row: (str(row.get("at", "")), str(row["id"])), reverse=True)
    return {"rows": found[: which.limit]}


def row(id: str, where: Sequence[str], ends: Ends) -> dict[str, Any]:
    """The dirty row of that id; raises NotFoundError."""
    found = rows(where, ends, Dirty(ids=(id,)))
    if found["rows"]:
        return found
    raise missing(id, where)


def missing(id: str, where: Sequence[str]) -> NotFoundError:
    """The error for an id that no sink knows."""
    looked = ", ".join(where) or "no sink is known"
    return NotFoundError(
        f"there is no quarantined row {id!r} (looked in: {looked})",
        path=id,
        hint="tongqu quarantine list shows them; name the sink with --in URL if it is not one of these",
    )


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row as people see it: without what only Tongqu reads, with its history only if it has one."""
    shown = {name: value for name, value in row.items() if name not in _INNER}
    for name in ("history", "cause"):
        text = shown.pop(name, None)
        if text:
            shown[name] = json.loads(text)
    if shown.get("fixed") is None:
        shown.pop("fixed", None)
    return shown


def distinct(where: Sequence[str], ends: Ends) -> Iterator[End]:
    """The ends of these places, each system once."""
    seen: set[str] = set()
    for place in where:
        end = ends.end(place)
        if end.identity not in seen and end.connector.sink is not None:
            seen.add(end.identity)
            yield end


@contextmanager
def opened(end: End) -> Iterator[Sink | None]:
    """The end's sink, closed afterwards; None if it is not there: looking makes nothing."""
    path = getattr(end.settings, "path", None)
    if isinstance(path, str) and not Path(path).exists() and not _folder(path).exists():
        yield None
        return
    sink = end.sink()
    try:
        try:
            sink.dirty(replace(Dirty(), limit=1))
        except NotFoundError:
            yield None
            return
        yield sink
    finally:
        sink.close()


def _folder(path: str) -> Path:
    """Where a file target keeps its quarantine, before it is there itself."""
    return Path(path).parent / ".tongqu"
