"""Calendars of working days, and the checks of everything in the project that says when something runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tongqu.app.project.connections import connector_of
from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.app.project.schedules import DAYS, WORKDAYS, CalendarEntry, RunEntry, ScheduleEntry, days_of
from tongqu.core.connector import Can
from tongqu.core.errors import ConfigError, InvalidPlanError, TongquError, UnknownNameError

Works = Callable[[date], bool]
"""Whether a day counts."""


def calendar(name: str, entries: Mapping[str, CalendarEntry], folder: Path) -> Works:
    """The calendar of that name; raises InvalidSettingsError or OSError for a file that cannot be read."""
    if name not in entries:
        return working_day
    entry = entries[name]
    own = {**dict.fromkeys(entry.holidays, False), **dict.fromkeys(entry.workdays, True)}
    if entry.file:
        own = {**days_of((folder / entry.file).read_text(encoding="utf-8"), entry.file), **own}
    week = frozenset(DAYS.index(day) for day in entry.weekdays)
    if entry.based_on:
        return lambda day: own.get(day, working_day(day))
    return lambda day: own.get(day, day.weekday() in week)


def working_day(day: date) -> bool:
    """Whether mainland China works that day: the State Council's arrangement with its days worked in exchange; in years
    that are not arranged yet (see `arranged`) Monday to Friday."""
    from chinese_calendar import is_workday  # type: ignore[import-untyped]  # it has no stubs

    try:
        return bool(is_workday(day))
    except NotImplementedError:
        return day.weekday() < 5


def arranged() -> int:
    """The last year whose working days are known."""
    from chinese_calendar.constants import holidays  # type: ignore[import-untyped]  # it has no stubs

    return int(max(holidays).year)


def check_schedules(
    sections: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Any]],
    calendars: Mapping[str, CalendarEntry],
    places: Places,
    problems: list[TongquError],
) -> None:
    """Add what schedules of the entries of sections (`found`) name and is not there, and connections that hold no files
    to wait for."""
    for group, name, entry in ((group, *item) for group, entries in found.items() for item in entries.items()):
        told: ScheduleEntry | None = entry.schedule
        if told is None:
            continue
        key: Key = (group, name, "schedule")
        if told.calendar and told.calendar != WORKDAYS and told.calendar not in calendars:
            problems.append(_unknown("calendar", told.calendar, [WORKDAYS, *calendars], (*key, "calendar"), places))
        for one in told.after:
            if one not in sections["pipelines"]:
                problems.append(_unknown("pipeline", one, list(sections["pipelines"]), (*key, "after"), places))
            elif one in found["pipelines"] and found["pipelines"][one].endless:
                problems.append(_never(name, one, found["pipelines"], (*key, "after"), places))
            elif group == "pipelines" and (way := _way(one, name, found[group])):
                told_way = f": {' → '.join(way)}" if len(way) > 2 else ""
                problems.append(
                    InvalidPlanError(
                        f"{name!r} would run after itself for ever{told_way}", path=places.path((*key, "after"))
                    )
                )
        if told.on_file and told.on_file.connection not in sections["connections"]:
            where = (*key, "on_file", "connection")
            problems.append(
                _unknown("connection", told.on_file.connection, list(sections["connections"]), where, places)
            )
        elif told.on_file and not _shows_files(sections["connections"][told.on_file.connection]):
            where = (*key, "on_file", "connection")
            problems.append(
                InvalidPlanError(f"{told.on_file.connection!r} holds no files to wait for", path=places.path(where))
            )


def _never(name: str, one: str, pipelines: Mapping[str, Any], key: Key, places: Places) -> InvalidPlanError:
    """What is told of a schedule that waits for the end of what has none."""
    ends = sorted(other for other, entry in pipelines.items() if not entry.endless and other != name)
    return InvalidPlanError(
        f"{name!r} would never begin: {one!r} follows changes or messages and has no end",
        path=places.path(key),
        hint=f"read what {one!r} writes, by `mode: cdc` or `incremental`; or use `every: 5m`; pipelines that end:"
        f" {', '.join(ends) or '-'}",
        params={"name": name, "other": one},
    )


def _way(one: str, back: str, pipelines: Mapping[str, Any]) -> list[str]:
    """The pipelines from `back` over `one` to `back` again, each after the next; empty where none leads there."""
    before = {one: back}
    looked = [one]
    for at in looked:  # grows while it is walked
        if at == back:
            way = [back]
            while way[0] != one:
                way.insert(0, before[way[0]])
            return [back, *way]
        told: ScheduleEntry | None = pipelines[at].schedule if at in pipelines else None
        new = [name for name in (told.after if told else ()) if name not in before]
        before |= dict.fromkeys(new, at)
        looked += new
    return []


def check_calendars(
    section: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> dict[str, CalendarEntry]:
    """The valid calendars by name; files that are not there or hold something else are problems."""
    valid: dict[str, CalendarEntry] = {}
    for name, values in section.items():
        entry = parse(CalendarEntry, values or {}, ("calendars", name), places, problems)
        if entry is None:
            continue
        valid[name] = entry
        try:
            calendar(name, valid, places.folder)
        except TongquError as error:
            problems.append(error)
        except (OSError, UnicodeDecodeError):
            problems.append(
                InvalidPlanError(
                    f"the calendar file {entry.file!r} cannot be read", path=places.path(("calendars", name, "file"))
                )
            )
    return valid


def check_run(
    section: Mapping[str, Any], connections: Mapping[str, Any], places: Places, problems: list[TongquError]
) -> RunEntry:
    """How things are run; connections that are limited are there."""
    entry = parse(RunEntry, section, ("run",), places, problems)
    for name in entry.connections if entry else ():
        if name not in connections:
            problems.append(_unknown("connection", name, list(connections), ("run", "connections", name), places))
    return entry or RunEntry()


def _shows_files(values: Any) -> bool:
    try:
        return isinstance(values, Mapping) and bool(Can.TRACKS & connector_of(values).can)
    except ConfigError:
        return True  # what is wrong with the connection is told elsewhere


def _unknown(kind: str, name: str, valid: list[str], key: Key, places: Places) -> UnknownNameError:
    return UnknownNameError(
        f"there is no {kind} {name!r}", path=places.path(key), hint=nearest(name, valid), params={"name": name}
    )
