"""`cdc doctor`: what following the change logs of connections needs, how it stands, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.kept_logs import give_up, left_over, two_way_of
from tongqu.core.connector import Can
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, TongquError
from tongqu.core.log import Finding
from tongqu.store.scrub import Scrubber

_AT_ONCE = 8
_NAME = "doctor"
"""The log that is asked is one that nobody has begun: what is looked at is all that is kept for us."""


def doctor(
    names: Sequence[str], tables: Sequence[str], ends: Ends, project: Callable[[], Project], scrubber: Scrubber
) -> dict[str, Any]:
    """Examine the logs of the named connections (names or URLs; none = all that a pipeline of the project follows).

    `tables` are globs; none = those that pipelines follow, or all. The document has `ok` (no finding is an error),
    `problems` (what kept a connection from being examined) and per connection its `findings`. Changes nothing.
    """
    followed = _followed(project()) if not names else {name: list[str]() for name in names}
    if not followed:
        raise InvalidSettingsError(
            "no pipeline of this project follows a change log", path="CONNECTION", hint="name a connection or a URL"
        )
    opened = [(ends.end(name), list(tables) or globs) for name, globs in followed.items()]
    known = _pipelines(project)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="doctor") as pool:
        found = list(pool.map(lambda one: _one(one[0], one[1], known, scrubber), opened))
    problems = [problem for connection in found for problem in connection["problems"]]
    errors = any(finding["state"] == "error" for connection in found for finding in connection["findings"])
    return {"ok": not problems and not errors, "problems": problems, "connections": found}


def _followed(project: Project) -> dict[str, list[str]]:
    """The connections whose change logs pipelines follow, with the tables they name."""
    found: dict[str, list[str]] = {}
    for entry in project.pipelines.values():
        for source in entry.all_sources.values():
            if source.mode == "cdc" and source.connection:
                wanted = source.datasets or ([source.dataset] if source.dataset else ["*"])
                found.setdefault(source.connection, []).extend(wanted)
    for sync in project.sync.values():
        for side in sync.between if sync.mode == "cdc" else ():
            found.setdefault(side.connection, []).append(side.dataset)
    return found


def _pipelines(project: Callable[[], Project]) -> Collection[str] | None:
    """The names of the project's pipelines; None where there is no project."""
    try:
        return _known(project())
    except TongquError:
        return None


def _known(project: Project) -> Collection[str]:
    return {*project.pipelines, *(two_way_of(name) for name in project.sync)}


def forget(names: Sequence[str], ends: Ends, project: Callable[[], Project], scrubber: Scrubber) -> dict[str, Any]:
    """Give up the logs that connections (none = all of the project) keep for pipelines that are no more. The document
    has the `forgotten`, and `problems` for those that could not be, such as one that is still read."""
    document: dict[str, Any] = {"ok": True, "forgotten": [], "problems": []}
    for name in names or list(project().connections):
        end = ends.end(name)
        for log, pipeline in left_over(end, _known(project())).items():
            try:
                give_up(end, log)
                document["forgotten"].append({"connection": end.name, "log": log, "pipeline": pipeline})
            except TongquError as error:
                problem = scrubber.problem(error.problem())
                document["problems"].append({**problem, "path": problem["path"] or f"{end.name} {log}"})
    document["ok"] = not document["problems"]
    return document


def _one(end: End, tables: list[str], known: Collection[str] | None, scrubber: Scrubber) -> dict[str, Any]:
    document: dict[str, Any] = {"name": end.name, "type": end.connector.name, "findings": [], "problems": []}
    try:
        if Can.CDC not in end.connector.can:
            raise InvalidPlanError(
                f"{end.connector.name} has no change log that can be followed",
                path=end.name,
                hint="`tongqu connectors` shows which have",
            )
        source = end.source()
        try:
            log = source.log(_NAME, source.datasets(tables or None))
            try:
                document["findings"] = [asdict(finding) for finding in (*log.examine(), *_left_over(end, known))]
            finally:
                log.close()
        finally:
            source.close()
    except TongquError as error:
        problem = scrubber.problem(error.problem())
        problem["path"] = problem["path"] or end.name
        document["problems"] = [problem]
    return document


def _left_over(end: End, known: Collection[str] | None) -> list[Finding]:
    """What the system keeps for pipelines that are no more."""
    found = left_over(end, known) if known is not None else {}
    return [
        Finding("kept_log", "warning", f"{log} is kept for the pipeline {pipeline!r}, which is no more",
                f"tongqu cdc forget {end.name}")
        for log, pipeline in found.items()
    ]  # fmt: skip
