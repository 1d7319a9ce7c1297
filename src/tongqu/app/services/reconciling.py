"""Entries of `reconcile`: compared as runs that keep the certificate and what differed, repaired as they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app.services.diffing import DiffRequest, of_entry
from tongqu.app.services.execution import Outcome, Recorder, Run
from tongqu.app.services.flows import Names
from tongqu.app.services.hiding import hidden
from tongqu.app.services.scheduling import upcoming
from tongqu.app.services.tasks import RECONCILE, Tasks
from tongqu.app.services.timing import local_zone
from tongqu.core.errors import TongquError

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

_LOOKED_AT = 1000


def command_of(name: str) -> str:
    """What stands as command in the runs of an entry."""
    return f"tongqu reconcile run {name}"


def reconcile(wire: Wire, name: str, *, repair: bool = False) -> Outcome:
    """Compare the two tables of an entry, and repair the right one if `repair` or the entry's policy says so.

    It is a run of the kind `reconcile`, whose document holds the certificate, its digest and what differed, with
    values hidden as the dictionary says. Exit code 3 if rows differ in the end. Raises ConfigError.
    """
    entry = wire.project.reconciliation(name)
    request = of_entry(entry, DiffRequest(name, "", (), repair=repair))
    told = Run("reconcile", command_of(name), (entry.right.connection,), Names({}, entry.right.connection, "run"))
    recorder = Recorder(told, wire.runs, wire.scrubber)
    run = wire.surroundings.new_id()
    document: dict[str, Any] = {"run": run, "reconcile": name, "status": "failed", "attempts": 1, "lane": ""}
    try:
        found = hidden(wire.comparing(command_of(name)).diff(request), wire.project)
        document |= {**found, "status": "succeeded" if found["ok"] else "attention", "streams": _streams(found)}
        return Outcome(document, 0 if found["ok"] else 3)
    except TongquError as error:
        document |= {"ok": False, "problems": [wire.scrubber.problem(error.problem())], "streams": []}
        return Outcome(document, error.exit_code)
    finally:
        recorder.finish(run, document)


def listed(wire: Wire) -> dict[str, Any]:
    """All entries: what they compare, when, and how the last time ended."""
    project, runs = wire.project, _past(wire)
    soon = {one["name"]: one for one in upcoming(Tasks.of(project, wire.env), local_zone(), wire.now())}
    found = []
    for name, entry in project.reconcile.items():
        last = next((run for run in runs if run["command"] == command_of(name)), None)
        timed = soon.get(RECONCILE + name, {})
        found.append(
            {
                "name": name,
                "left": f"{entry.left.connection}.{entry.left.dataset}",
                "right": f"{entry.right.connection}.{entry.right.dataset}",
                "repair": entry.repair,
                "starts": timed.get("starts"),
                "next": next(iter(timed.get("next", ())), None),
                "last": None if last is None else {name: last[name] for name in ("run", "status", "started")},
            }
        )
    return {"reconcile": found}


def shown(wire: Wire, name: str) -> Mapping[str, Any]:
    """The newest comparison of an entry: certificate and differences; `run` is empty if there was none."""
    wire.project.reconciliation(name)
    runs = wire.past_runs()
    try:
        found = [run for run in (runs.list(_LOOKED_AT) if runs else ()) if run["command"] == command_of(name)]
        if runs is None or not found:
            return {"reconcile": name, "run": "", "status": "", "tables": []}
        return {"reconcile": name, "tables": [], **runs.show(found[0]["run"])}
    finally:
        if runs:
            runs.close()


def _past(wire: Wire) -> list[dict[str, Any]]:
    runs = wire.past_runs()
    try:
        return [run for run in (runs.list(_LOOKED_AT) if runs else ()) if run["kind"] == "reconcile"]
    finally:
        if runs:
            runs.close()


def _streams(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    streams = []
    for table in document["tables"]:
        done = table.get("repaired", {})
        written = sum(done.get(name, 0) for name in ("inserted", "updated", "deleted"))
        counts = {name: done.get(name, 0) for name in ("inserted", "updated", "deleted")}
        streams.append({"name": table["name"], "read": table["rows"]["left"], "written": written, "quarantined": 0,
                        **counts})  # fmt: skip
    return streams
