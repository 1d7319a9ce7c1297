"""`quarantine`: looks at dirty rows where they are kept, in the sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.ends import End, Ends
from tongqu.core.errors import ConfigError, NotFoundError
from tongqu.store.runs import Runs


def places(given: Sequence[str], project: Callable[[], Project], runs: Runs | None) -> list[str]:
    """The sinks to look into: those given, else the sinks of the project's pipelines and of the runs so far."""
    if given:
        return list(given)
    found: dict[str, None] = {}
    try:
        for entry in project().pipelines.values():
            found |= dict.fromkeys(sink.connection for sink in entry.all_sinks.values())
    except ConfigError as error:
        if type(error) is not ConfigError:  # a folder without a project is fine here, a broken project is not
            raise
    for run in runs.list(limit=1000) if runs else []:
        if run["quarantined"] or run["status"] != "succeeded":
            found |= dict.fromkeys(run["sinks"])
    return list(found)


def rows(where: Sequence[str], ends: Ends, *, run: str = "", stream: str = "", limit: int = 100) -> dict[str, Any]:
    """The newest dirty rows of these sinks, each with its cause and original, and the sink it is kept in.

    A sink that is not there any more has none.
    """
    found: list[dict[str, Any]] = []
    for place in where:
        end = ends.end(place)
        if not _there(end):
            continue
        sink = end.sink()
        try:
            listed = sink.quarantined(limit, run=run or None, stream=stream or None)
        except NotFoundError:
            listed = []
        finally:
            sink.close()
        found += [{**row, "sink": end.name} for row in listed]
    found.sort(key=lambda row: (str(row.get("at", "")), str(row["id"])), reverse=True)
    return {"rows": found[:limit]}


def _there(end: End) -> bool:
    """Whether a sink that is a file exists: a sink makes its file when it is opened, looking must not."""
    path = getattr(end.settings, "path", None)
    return not isinstance(path, str) or Path(path).exists()


def row(id: str, where: Sequence[str], ends: Ends) -> dict[str, Any]:
    """The dirty row of that id; raises NotFoundError."""
    for place in where:
        found = next((item for item in rows([place], ends, limit=1_000_000)["rows"] if item["id"] == id), None)
        if found:
            return {"rows": [found]}
    looked = ", ".join(where) or "no sink is known"
    raise NotFoundError(
        f"there is no quarantined row {id!r} (looked in: {looked})",
        path=id,
        hint="tongqu quarantine list shows them; name the sink with --in URL if it is not one of these",
    )
