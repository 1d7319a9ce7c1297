"""Change logs: whether they are fit to be followed, and giving up those that are kept for nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names


class OfLogs(Given):
    """Which change logs."""

    connections: Names = ()
    """Of these connections; of all that pipelines follow unless said."""


class Examined(OfLogs):
    """Which change logs, for which tables."""

    tables: Names = ()
    """Globs; those that pipelines follow unless said."""


def _named(asked: Asked, given: OfLogs) -> list[str]:
    """Through `/manage` only connections of the project can be named, no address."""
    unknown = [name for name in given.connections if name not in asked.wire.project.connections]
    if asked.managed is not None and unknown:
        raise InvalidSettingsError(
            f"{unknown[0]!r} is no connection of the project", path="connections", hint="name a connection"
        )
    return list(given.connections)


def _doctor(asked: Asked, given: Examined) -> Mapping[str, Any]:
    """Settings, rights, tables, lag and time to loss of change logs, each with how to mend it."""
    from tongqu.app.services.cdc import doctor

    wire = asked.wire
    return doctor(_named(asked, given), list(given.tables), wire.ends, lambda: wire.project, wire.scrubber)


def _forget(asked: Asked, given: OfLogs) -> Mapping[str, Any]:
    """Give up the logs that systems keep for pipelines that were removed."""
    from tongqu.app.services.cdc import forget

    wire = asked.wire
    return forget(_named(asked, given), wire.ends, lambda: wire.project, wire.scrubber)


OPERATIONS = (
    Operation("cdc.doctor", "GET", "/cdc", "look", _doctor, Examined),
    Operation("cdc.forget", "POST", "/cdc/forgotten", "change", _forget, OfLogs, about=("connections",)),
)
