"""Where rows that leave a filter over changes cannot be taken out of the target, as far as the files alone tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from tongqu.app.project.model import DatasetEntry, PipelineEntry, PipelineSink
from tongqu.app.project.places import Places

_PASSING = frozenset({"check", "drop", "filter", "route", "select", "sort"})
"""Verbs that leave the values of every column they pass on as they are."""


def fellow(pipelines: Mapping[str, PipelineEntry], name: str, sink: str) -> str | None:
    """Another pipeline, or another sink of this one, that writes the same target; None where there is none. Of targets
    that get their names only when the source is looked at, those of the same source may be the same."""
    mine = pipelines[name]
    for other, entry in pipelines.items():
        for there, end in entry.all_sinks.items():
            if (other, there) != (name, sink) and _meet(mine, mine.all_sinks[sink], entry, end):
                return other if other != name else f"{other}.{there}"
    return None


def _meet(entry: PipelineEntry, end: PipelineSink, other: PipelineEntry, there: PipelineSink) -> bool:
    """Whether two sinks may write the same target."""
    if end.connection != there.connection:
        return False
    ours, theirs = _targets(entry, end), _targets(other, there)
    sources = {one.connection for one in entry.all_sources.values()}
    same_source = bool(sources & {one.connection for one in other.all_sources.values()})
    return any(
        one.lower() == two.lower()
        or (same_source and (fnmatchcase(one.lower(), two.lower()) or fnmatchcase(two.lower(), one.lower())))
        for one in ours
        for two in theirs
    )


def left_behind(
    pipelines: Mapping[str, PipelineEntry], dictionary: Mapping[str, DatasetEntry], places: Places
) -> list[dict[str, str]]:
    """A note for each filter over changes whose rows stay in the target when they leave it; `plan` knows the rest."""
    return [
        {
            "path": places.path(("pipelines", name, "steps", at)),
            "code": "project.filter_keeps",
            "message": f"a row that changes so that this filter leaves it out stays in the target as it was: {why}",
            "hint": hint,
            "level": "info",
        }
        for name, entry in pipelines.items()
        if any(end.mode == "incremental" for end in entry.all_sources.values())
        for why, hint in _reasons(pipelines, name, dictionary)
        for at, step in enumerate(entry.steps)
        if "filter" in step
    ]


def _reasons(
    pipelines: Mapping[str, PipelineEntry], name: str, dictionary: Mapping[str, DatasetEntry]
) -> Iterator[tuple[str, str]]:
    """Why rows stay, and what to do about it."""
    entry = pipelines[name]
    for sink, end in entry.all_sinks.items():
        if end.write in ("append", "replace") or end.leaving == "keep":
            continue
        other = fellow(pipelines, name, sink)
        if other is not None:
            hint = "give each its own target, or say `leaving: keep` in the sink if it is meant so"
            yield f"{other!r} writes the same target, and the row may be its", hint
            continue
        made = _made(entry.steps, _key(entry, end, dictionary))
        if made is not None:
            yield (
                f"its key column {made[0]!r} is made by {made[1]!r}",
                f"take a key that comes from the source as it is; or now and then `tongqu run {name} --full` with "
                "`deletes: hard` in the sink",
            )


def _key(entry: PipelineEntry, end: PipelineSink, dictionary: Mapping[str, DatasetEntry]) -> tuple[str, ...]:
    """The key as the files tell it; empty where only the source knows it."""
    if end.key or entry.source is None:
        return tuple(end.key)
    known = dictionary.get(entry.source.as_ or entry.source.dataset or "")
    return tuple(entry.source.key) or (known.keys if known else ())


def _targets(entry: PipelineEntry, end: PipelineSink) -> list[str]:
    """The names, or patterns of names, of what a sink writes; empty where the files do not tell."""
    reads = list(entry.all_sources.values())
    one = reads[0] if len(reads) == 1 else None
    if end.dataset or one is None:
        return [end.dataset] if end.dataset else []
    if name := one.as_ or one.dataset:
        return [name]
    return [pattern for pattern in one.datasets or ["*"] if not pattern.startswith("!")]


def _made(steps: Collection[Mapping[str, Any]], key: Collection[str]) -> tuple[str, str] | None:
    """A key column that does not come from the source as it is, with the verb that makes it."""
    names = list(key)
    for step in reversed(list(steps)):
        verb = next((name for name in step if name not in ("id", "from")), "")
        told = step.get(verb)
        if verb == "rename" and isinstance(told, Mapping):
            back = {str(new): str(old) for old, new in told.items()}
            names = [back.get(name, name) for name in names]
        elif verb in ("python", "sql") and names:
            return names[0], verb
        elif verb not in _PASSING and isinstance(told, Mapping):
            columns = told.get("columns")
            written = {*told, *(columns if isinstance(columns, list | Mapping) else ())}
            if found := next((name for name in names if name in written), None):
                return found, verb
    return None
