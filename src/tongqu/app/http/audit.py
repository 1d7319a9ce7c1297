"""The audit trail, and the calls of one API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation

if TYPE_CHECKING:
    from tongqu.app.services.auditing import Auditing


class Records(Given):
    """Which records, the newest first."""

    who: str = ""
    """Who did it."""
    what: str = ""
    """What was done."""
    kind: str = ""
    """Kind of record."""
    outcome: str = ""
    """How it went."""
    since: str = ""
    """From when on: a time, or `90m`, `2d`."""
    until: str = ""
    """Until when."""
    limit: int = Field(default=50, ge=1, le=10_000)
    """At most so many."""


class Calls(Given):
    """Which calls of an API, the newest first."""

    name: str
    """The API."""
    client: str = ""
    """Who called."""
    since: str = ""
    """From when on."""
    outcome: str = ""
    """Status of the answer."""
    limit: int = Field(default=50, ge=1, le=10_000)
    """At most so many."""


class Uses(Given):
    """A version of an API."""

    name: str
    """The API."""
    version: str = "v1"
    """Its version."""


def _service(asked: Asked) -> Auditing:
    from tongqu.app.services.auditing import Auditing

    return Auditing(asked.wire.home, asked.wire.scrubber)


def _show(asked: Asked, given: Records) -> Mapping[str, Any]:
    """The newest records."""
    wanted = given.model_dump(exclude={"limit"})
    return _service(asked).show(given.limit, **wanted)


def _verify(asked: Asked, given: Given) -> Mapping[str, Any]:
    """Whether every record is as it was written."""
    return _service(asked).verify()


def _calls(asked: Asked, given: Calls) -> Mapping[str, Any]:
    """The newest calls of an API."""
    return _service(asked).calls(given.name, given.limit, client=given.client, since=given.since, outcome=given.outcome)


def _usage(asked: Asked, given: Uses) -> Mapping[str, Any]:
    """Who used which field of an API."""
    return _service(asked).usage(given.name, given.version)


OPERATIONS = (
    Operation("audit.show", "GET", "/audit", "audit", _show, Records),
    Operation("audit.verify", "GET", "/audit/verdict", "audit", _verify),
    Operation("api.calls", "GET", "/apis/{name}/calls", "calls", _calls, Calls),
    Operation("api.usage", "GET", "/apis/{name}/usage", "calls", _usage, Uses),
)
