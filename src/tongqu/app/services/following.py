"""What can be followed: a connector's log, a pipeline that has one sink, pipelines that are not waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tongqu.core.connector import Can, Connector
from tongqu.core.data import Mode
from tongqu.core.errors import InvalidPlanError

if TYPE_CHECKING:
    from tongqu.app.project.model import PipelineEntry
    from tongqu.app.services.ends import End

FOLLOWING = (Mode.CDC, Mode.STREAM)


def check_follows(connector: Connector, mode: Mode, path: str) -> None:
    """Raise InvalidPlanError if the connector has no log of this mode."""
    need = {Mode.CDC: Can.CDC, Mode.STREAM: Can.STREAM}.get(mode)
    if need is not None and need not in connector.can:
        raise InvalidPlanError(
            f"{connector.name} has no {'change log' if mode is Mode.CDC else 'log of messages'} that could be followed",
            path=path,
            hint="valid: full, incremental",
        )


def check_following(ends: Mapping[str, End], modes: Mapping[str, Mode], entry: PipelineEntry, path: str) -> None:
    """Raise InvalidPlanError where a pipeline's source has no such log, or where a sink would wait for ever."""
    for name, end in ends.items():
        check_follows(end.connector, modes[name], f"{path}.source.mode" if entry.source else f"{path}.sources.{name}")
    if any(mode in FOLLOWING for mode in modes.values()) and len(entry.all_sinks) > 1:
        raise InvalidPlanError(
            "a pipeline that follows a log has one sink: they would not end one after the other",
            path=f"{path}.sinks",
            hint="make a pipeline for each sink; each follows the log by itself",
        )
