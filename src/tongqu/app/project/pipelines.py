"""Checks pipelines: their ends exist, their steps are verbs with valid settings, and nothing flows in a circle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tongqu.app.project.connections import connector_of
from tongqu.app.project.histories import check_histories
from tongqu.app.project.limits import share
from tongqu.app.project.mapping import expanded
from tongqu.app.project.model import PipelineEntry
from tongqu.app.project.places import Key, Places, dotted_path, nearest
from tongqu.app.project.problems import parse
from tongqu.core.connector import Can
from tongqu.core.errors import ConfigError, InvalidSettingsError, TongquError, UnknownNameError
from tongqu.core.operator import Step, parse_step
from tongqu.core.plan import Plan, plan, toward


def check_pipelines(
    section: Mapping[str, Any],
    connections: Mapping[str, Any],
    dictionary: Mapping[str, Any],
    places: Places,
    problems: list[TongquError],
) -> dict[str, PipelineEntry]:
    """The valid pipelines by name; what is wrong with the others is added to `problems`."""
    valid: dict[str, PipelineEntry] = {}
    for name, values in section.items():
        key: Key = ("pipelines", name)
        entry = parse(PipelineEntry, values, key, places, problems)
        if entry is None:
            continue
        before = len(problems)
        _check_ends(entry, key, (list(connections), list(dictionary)), places, problems)
        _check_cursors(entry, key, connections, places, problems)
        _check_limit(entry, key, places, problems)
        steps = _steps(entry, key, dictionary, places, problems)
        if len(problems) == before:
            _check_flow(entry, steps, key, places, problems)
        if len(problems) == before:
            valid[name] = entry
            places.steps[name] = (entry, steps)
    return valid


def steps_of(entry: PipelineEntry, name: str, dictionary: Mapping[str, Any], places: Places) -> list[Step]:
    """The steps of a valid pipeline, in the order of the file; parsed once, with the check of the files."""
    parsed = places.steps.get(name)
    if parsed is not None and parsed[0] is entry:
        return list(parsed[1])
    problems: list[TongquError] = []
    steps = _steps(entry, ("pipelines", name), dictionary, places, problems)
    if problems:
        raise problems[0]
    return steps


def _check_ends(
    entry: PipelineEntry,
    key: Key,
    names: tuple[Sequence[str], Sequence[str]],
    places: Places,
    problems: list[TongquError],
) -> None:
    connections, dictionary = names
    for group, single, ends in (
        ("sources", entry.source is not None, entry.all_sources),
        ("sinks", entry.sink is not None, entry.all_sinks),
    ):
        for name, end in ends.items():
            where: Key = (*key, group[:-1]) if single else (*key, group, name)
            if end.connection not in connections:
                problems.append(
                    UnknownNameError(
                        f"there is no connection {end.connection!r}",
                        path=places.path((*where, "connection")),
                        hint=nearest(end.connection, connections),
                        params={"name": end.connection},
                    )
                )
            bound = getattr(end, "as_", None)
            if bound and bound not in dictionary:
                problems.append(
                    UnknownNameError(
                        f"there is no dataset {bound!r} in the data dictionary",
                        path=places.path((*where, "as")),
                        hint=nearest(bound, dictionary),
                    )
                )


def _check_cursors(
    entry: PipelineEntry, key: Key, connections: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> None:
    """An incremental read names its cursor, unless the source itself knows what is new or which cursor tells."""
    for name, end in entry.all_sources.items():
        if end.mode != "incremental" or end.cursor or _knows(connections.get(end.connection)):
            continue
        problems.append(
            InvalidSettingsError(
                "mode incremental needs `cursor`, a column that grows with every change",
                path=places.path((*key, "source") if entry.source is not None else (*key, "sources", name)),
            )
        )


def _knows(connection: Any) -> bool:
    try:
        return isinstance(connection, Mapping) and bool((Can.TRACKS | Can.CURSORS) & connector_of(connection).can)
    except ConfigError:
        return False  # what is wrong with the connection is told elsewhere


def _check_limit(entry: PipelineEntry, key: Key, places: Places, problems: list[TongquError]) -> None:
    try:
        share(entry.limit.quarantined)
    except ValueError:
        problems.append(
            InvalidSettingsError(
                f"quarantined: {entry.limit.quarantined!r} is neither a count nor a share",
                path=places.path((*key, "limit", "quarantined")),
                hint="for example 100 or 1%",
            )
        )


def _steps(
    entry: PipelineEntry,
    key: Key,
    dictionary: Mapping[str, Any],
    places: Places,
    problems: list[TongquError],
) -> list[Step]:
    steps: list[Step] = []
    taken: dict[str, int] = {}
    try:
        raw_steps = expanded(entry.steps, places.folder, f"{key[0]}.{key[1]}")
    except TongquError as error:
        inside = error.path.startswith(f"{key[0]}.")
        error.path = places.located(error.path) if inside else error.path  # else a cell of the sheet
        problems.append(error)
        return []
    for at, raw, sheet in raw_steps:
        verb = next((name for name in raw if name not in ("id", "from")), "step")
        taken[verb] = taken.get(verb, 0) + 1
        default = verb if taken[verb] == 1 else f"{verb}_{taken[verb]}"
        dotted = f"{key[0]}.{key[1]}.steps[{at}]"
        try:
            step = parse_step(raw, dotted, dictionary, folder=str(places.folder), default_id=default)
            steps.append(replace(step, path=places.located(step.path)))
        except TongquError as error:
            error.path = sheet or places.located(error.path or dotted)
            problems.append(error)
    return steps


def _check_flow(
    entry: PipelineEntry, steps: Sequence[Step], key: Key, places: Places, problems: list[TongquError]
) -> None:
    """Names that steps and sinks refer to exist, ids are unique, the steps form no circle, histories can be kept."""
    try:
        whole = shape(entry, str(key[1]), steps)
        for sink in entry.all_sinks:
            check_histories(narrowed(whole, sink), entry)
    except TongquError as error:
        error.path = places.located(error.path or dotted_path(key))
        problems.append(error)


def narrowed(whole: Plan, sink: str) -> Plan:
    """The part of a plan that one sink needs."""
    return toward(whole, {sink: whole.sinks[sink]})


def shape(entry: PipelineEntry, name: str, steps: Sequence[Step]) -> Plan:
    """The pipeline's sources, steps and sinks as a plan; raises InvalidPlanError or UnknownNameError."""
    sinks = {sink: settings.from_ for sink, settings in entry.all_sinks.items()}
    return plan(list(entry.all_sources), steps, sinks, f"pipelines.{name}")
