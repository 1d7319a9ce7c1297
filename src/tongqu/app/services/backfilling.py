"""Backfill: a stretch of the cursor cut into windows, each loaded again by a job that leaves the live cursor alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.project.model import PipelineSource
from tongqu.app.project.schedules import seconds
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError

MOST = 10_000
"""Windows of one backfill."""


@dataclass(frozen=True)
class Stretch:
    """From where (included) to where (not included), in which steps: whole numbers, or times and lengths of time."""

    begin: str
    end: str
    step: str = ""


def windows(stretch: Stretch) -> list[tuple[str, str]]:
    """The stretch as windows that touch and do not overlap; raises InvalidSettingsError."""
    cut = _numbers(stretch) if _whole(stretch.begin) and _whole(stretch.end) else _times(stretch)
    if not cut:
        raise InvalidSettingsError(f"{stretch.end} is not later than {stretch.begin}", path="--to")
    return cut


def windowed(project: Project, name: str, window: Sequence[str]) -> Project:
    """The project with a pipeline that reads one window as a whole and writes it by key. Raises InvalidPlanError for a
    pipeline without a cursor, or one that does not write by key."""
    entry = project.pipeline(name)
    source = _cursor_of(project, name)
    cursor = next(told.cursor for told in entry.all_sources.values() if told.cursor)
    begin, end = (_literal(one) for one in window)
    within = {"filter": f'"{cursor}" >= {begin} and "{cursor}" < {end}', "id": "window", "from": source}
    rest = [{**step} for step in entry.steps]
    for step in rest:
        if step.get("from") == source:
            step["from"] = "window"
    steps = [within, *rest]
    sources = {
        key: told.model_copy(update={"mode": "full", "cursor": None}) if told.cursor else told
        for key, told in entry.all_sources.items()
    }
    sinks = {
        key: told.model_copy(
            update={"write": told.write or "upsert", "from_": "window" if told.from_ == source else told.from_}
        )
        for key, told in entry.all_sinks.items()
    }
    if any(told.write in ("append", "replace") for told in sinks.values()):
        raise InvalidPlanError(
            f"{name!r} does not write by key, and rows that are there would be written twice or lost",
            path=project.places.path(("pipelines", name)),
            hint="write: upsert",
        )
    changed = entry.model_copy(
        update={
            "steps": steps,
            "source": sources["source"] if entry.source else None,
            "sources": None if entry.source else sources,
            "sink": sinks["sink"] if entry.sink else None,
            "sinks": None if entry.sink else sinks,
        }
    )
    return replace(project, pipelines={**project.pipelines, name: changed})


def checked(project: Project, name: str, stretch: Stretch) -> list[tuple[str, str]]:
    """The windows of a backfill of a pipeline that can be filled; raises ConfigError."""
    cut = windows(stretch)
    windowed(project, name, cut[0])
    return cut


def _cursor_of(project: Project, name: str) -> str:
    found: Mapping[str, PipelineSource] = project.pipeline(name).all_sources
    with_cursor = [key for key, told in found.items() if told.cursor]
    if len(with_cursor) != 1:
        raise InvalidPlanError(
            f"{name!r} has {'no source' if not with_cursor else 'several sources'} with a cursor",
            path=project.places.path(("pipelines", name)),
            hint="a backfill needs one source with `mode: incremental` and `cursor`",
        )
    return with_cursor[0]


def _numbers(stretch: Stretch) -> list[tuple[str, str]]:
    begin, end = int(stretch.begin), int(stretch.end)
    step = int(stretch.step) if _whole(stretch.step) else 0
    if stretch.step and step < 1:
        raise InvalidSettingsError(f"{stretch.step!r} is no step between numbers", path="--step", hint="--step 100000")
    step = step or max(end - begin, 1)
    _bounded((end - begin) / step)
    return [(str(at), str(min(at + step, end))) for at in range(begin, end, step)]


def _times(stretch: Stretch) -> list[tuple[str, str]]:
    begin, end = _time(stretch.begin, "--from"), _time(stretch.end, "--to")
    if (begin.tzinfo is None) != (end.tzinfo is None):
        raise InvalidSettingsError("one of both times has a zone and the other has none", path="--to")
    try:
        step = timedelta(seconds=seconds(stretch.step)) if stretch.step else max(end - begin, timedelta(seconds=1))
    except ValueError as error:
        raise InvalidSettingsError(str(error), path="--step") from None
    _bounded((end - begin) / step)
    found: list[tuple[str, str]] = []
    while begin < end:
        after = min(begin + step, end)
        found.append((begin.isoformat(sep=" "), after.isoformat(sep=" ")))
        begin = after
    return found


def _bounded(count: float) -> None:
    if count > MOST:
        raise InvalidSettingsError(f"{count:,.0f} windows are too many (at most {MOST:,})", path="--step")


def _time(text: str, path: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSettingsError(
            f"{text!r} is neither a whole number nor a time", path=path, hint="2026-01-31, 2026-01-31T08:00:00, 100000"
        ) from None
    return found if found.tzinfo is None else found.astimezone(UTC)


def _literal(text: str) -> str:
    return text if _whole(text) else f"'{text}'"


def _whole(text: str) -> bool:
    return text.lstrip("-").isdigit()


def shown(cut: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Windows as a document shows them."""
    return [{"from": begin, "to": end} for begin, end in cut]
