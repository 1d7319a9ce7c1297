"""Everything that can be managed, in one table; `/manage` and the command line are two faces of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app.http import (
    apis,
    audit,
    capture,
    drafts,
    identity,
    jobs,
    news,
    people,
    project,
    quarantine,
    queues,
    runs,
    secrets,
    streams,
    twoway,
)
from tongqu.app.http.operation import Asked, Operation

if TYPE_CHECKING:
    from tongqu.app.wire import Wire
    from tongqu.store.versions import Person

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for area in (
        project,
        apis,
        drafts,
        news,
        audit,
        identity,
        people,
        runs,
        jobs,
        capture,
        quarantine,
        queues,
        secrets,
        streams,
        twoway,
    )
    for operation in area.OPERATIONS
}
"""By name. Where two addresses fit a request the first one counts, which has no parameter in that place."""


def here(wire: Wire, name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do it in this process, as the person at this command line."""
    operation = OPERATIONS[name]
    return operation.do(Asked(wire, _at_hand), operation.given.parse(values))


def _at_hand() -> tuple[Person, str]:
    from tongqu.app.services.auditing import operator
    from tongqu.app.services.versioning import person

    return person(), operator()
