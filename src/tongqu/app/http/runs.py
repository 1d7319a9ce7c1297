"""Runs: what ran and how it went, its log as it grows, and starting and stopping one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import InvalidPlanError, NotFoundError, UnknownNameError
from tongqu.core.settings import Names

if TYPE_CHECKING:
    from tongqu.store.runs import Runs

_LOOK_SECONDS = 0.3
_SILENT = 30
"""Looks without news after which a comment keeps the line open."""


class Newest(Given):
    """Which runs, the newest first."""

    limit: int = Field(default=50, ge=1, le=1000)
    """At most so many."""
    status: str = ""
    """With this status."""


class OfRun(Given):
    """One run."""

    run: str
    """Its id, or the beginning of it if only one run has that."""


class Lines(OfRun):
    """Which lines of its log."""

    grep: str = ""
    """That hold this text, whatever its case."""
    level: Literal["", "info", "warning", "error"] = ""
    """Of at least this level."""
    since: str = ""
    """Written since then: a time, or how long ago: `90m`, `2d`."""


class Follow(OfRun):
    """Where to go on."""

    after: int = Field(default=0, ge=0)
    """So many lines are known already (the header `Last-Event-ID` says the same)."""


class Start(Given):
    """What is run."""

    pipelines: Names = Field(min_length=1)
    """Pipelines of the project, in their order."""
    full: bool = False
    """Everything again, whatever the mode."""
    restart: bool = False
    """Forget how far an unfinished run came."""


@contextmanager
def _runs(asked: Asked) -> Iterator[Runs | None]:
    """The ledger; None where nothing has run yet (nothing is created by looking)."""
    runs = asked.wire.past_runs()
    try:
        yield runs
    finally:
        if runs:
            runs.close()


def _needed(runs: Runs | None, run: str) -> Runs:
    if runs is None:
        from tongqu.app.messages import t

        raise NotFoundError(f"there is no run {run!r}", path=run, hint=t("runs.nothing"), params={"run": run})
    return runs


def _list(asked: Asked, given: Newest) -> Mapping[str, Any]:
    """The newest runs."""
    with _runs(asked) as runs:
        return {"runs": runs.list(given.limit, given.status) if runs else []}


def _show(asked: Asked, given: OfRun) -> Mapping[str, Any]:
    """One run: its plan and counts."""
    with _runs(asked) as runs:
        return _needed(runs, given.run).show(given.run)


def _logs(asked: Asked, given: Lines) -> Mapping[str, Any]:
    """The log of one run, or the lines of it that are searched for."""
    from tongqu.app.services.auditing import instant_of

    with _runs(asked) as runs:
        when = instant_of(given.since, "since") if given.since else ""
        return _needed(runs, given.run).logs(given.run, grep=given.grep, level=given.level, since=when)


def _start(asked: Asked, given: Start) -> Mapping[str, Any]:
    """Start pipelines in a process of their own; the answer names the run, whose events can be followed."""
    known = asked.wire.project.pipelines
    for name in given.pipelines:
        if name not in known:
            raise UnknownNameError(f"there is no pipeline {name!r}", path="pipelines", params={"name": name})
    if asked.children is None:
        raise InvalidPlanError("only a running gateway starts runs for others", hint="tongqu run")
    options = [*(["--full"] if given.full else []), *(["--restart"] if given.restart else [])]
    return asked.children.start(asked, given.pipelines, options)


def _cancel(asked: Asked, given: OfRun) -> Mapping[str, Any]:
    """Ask a run to stop: one that is a job, or that was started here; the chunk at hand is committed first."""
    from tongqu.app.services.queueing import Queueing

    if job := Queueing(asked.wire).of_run(given.run):
        Queueing(asked.wire).ask(job, "cancel")
        return {"run": given.run, "status": "stopping"}
    run = _show(asked, given)
    if asked.children is None:
        raise InvalidPlanError("only a running gateway stops runs", hint="stop it where it was started")
    asked.children.cancel(run)
    return {"run": run["run"], "status": "stopping"}


async def _events(asked: Asked, given: Follow) -> AsyncIterator[bytes]:
    """The lines of a run's log as they are written, then what became of it (`event: end`)."""
    with _runs(asked) as runs:
        ledger = _needed(runs, given.run)
        run = (await asyncio.to_thread(ledger.show, given.run))["run"]
        told, silent = given.after, 0
        yield b": begun\n\n"
        while True:
            document = await asyncio.to_thread(ledger.show, run)  # its status first: then no line is missed
            lines = (await asyncio.to_thread(ledger.logs, run))["lines"]
            for line in lines[told:]:
                told += 1
                yield _event(line, "log", told)
            if document["status"] != "running":
                yield _event(document, "end", told)
                return
            if asked.children is not None and asked.children.leaving.is_set():
                return
            silent = silent + 1 if len(lines) == told else 0
            if silent % _SILENT == _SILENT - 1:
                yield b": still running\n\n"
            await asyncio.sleep(_LOOK_SECONDS)


def _event(document: Mapping[str, Any], kind: str, id: int) -> bytes:
    text = json.dumps(document, ensure_ascii=False, default=str)
    return f"id: {id}\nevent: {kind}\ndata: {text}\n\n".encode()


OPERATIONS = (
    Operation("runs.list", "GET", "/runs", "look", _list, Newest),
    Operation("runs.show", "GET", "/runs/{run}", "look", _show, OfRun),
    Operation("runs.logs", "GET", "/runs/{run}/logs", "look", _logs, Lines),
    Operation("runs.events", "GET", "/runs/{run}/events", "look", _show, Follow, stream=_events),
    Operation("runs.start", "POST", "/runs", "run", _start, Start, status=202, about=("pipelines",)),
    Operation("runs.cancel", "POST", "/runs/{run}/cancel", "run", _cancel, OfRun, "runs.show", status=202),
)
