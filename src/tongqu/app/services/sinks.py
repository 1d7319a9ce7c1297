"""Which sinks a command means that looks into all of them where none is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tongqu.core.errors import ConfigError

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.store.runs import Runs


def meant(
    given: Sequence[str], project: Callable[[], Project], past: Callable[[], Runs | None], *, troubled: bool = False
) -> list[str]:
    """Those given, else the sinks of the project's pipelines and of the runs so far; with `troubled` only of runs that
    did not go through or left rows in quarantine."""
    if given:
        return list(given)
    found: dict[str, None] = {}
    try:
        for entry in project().pipelines.values():
            found |= dict.fromkeys(sink.connection for sink in entry.all_sinks.values())
    except ConfigError as error:
        if type(error) is not ConfigError:  # a folder without a project is fine here, a broken project is not
            raise
    runs = past()
    if runs is None:
        return list(found)
    try:
        for run in runs.list(limit=1000):
            if not troubled or run["quarantined"] or run["status"] != "succeeded":
                found |= dict.fromkeys(run["sinks"])
    finally:
        runs.close()
    return list(found)
