"""Two-way syncs: where they stand, what waits for a person, and the gates between their stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Nothing, Operation
from tongqu.app.services import twoway


class OfSync(Given):
    """One entry of `sync`."""

    name: str
    """Its name."""


class Records(OfSync):
    """Which records."""

    limit: int = Field(default=1000, ge=1, le=10_000)
    """At most so many."""
    after: str = ""
    """Those behind this key, as the answer before gave it."""


class Waiting(Given):
    """What waits."""

    name: str = ""
    """Of one entry; of all unless said."""


class Ruling(OfSync):
    """What somebody chose."""

    id: int
    """The number of what waits."""
    use: str = ""
    """The side whose row counts; its absence too."""
    retry: bool = False
    """A refused record is tried again."""


class Step(OfSync):
    """One stage further."""

    force: bool = False
    """Although conditions of the gate do not hold."""
    reason: str = ""
    """Why; needed by force."""


def _list(asked: Asked, given: Given) -> Mapping[str, Any]:
    """All two-way syncs: sides, stage, and the newest round."""
    return twoway.listed(asked.wire)


def _show(asked: Asked, given: OfSync) -> Mapping[str, Any]:
    """One of them: what keeps its gate shut, its newest rounds, moves and steps."""
    return twoway.shown(asked.wire, given.name)


def _read(asked: Asked, given: Records) -> Mapping[str, Any]:
    """The newest agreed version of each record: where approval is asked, the newest approved one."""
    return twoway.newest(asked.wire, given.name, limit=given.limit, after=given.after)


def _conflicts(asked: Asked, given: Waiting) -> Mapping[str, Any]:
    """What waits for a person, with what each side says."""
    return twoway.conflicts(asked.wire, given.name)


def _resolve(asked: Asked, given: Ruling) -> Mapping[str, Any]:
    """Choose for a record that waits; the next round does it."""
    return twoway.resolve(asked.wire, given.name, given.id, asked.who, use=given.use, retry=given.retry)


def _advance(asked: Asked, given: Step) -> Mapping[str, Any]:
    """Open the gate to the next stage."""
    return twoway.advance(asked.wire, given.name, asked.who, force=given.force, reason=given.reason)


def _forget(asked: Asked, given: OfSync) -> Mapping[str, Any]:
    """Forget what was agreed; the next round agrees on all records anew."""
    return twoway.forget(asked.wire, given.name)


_ONE = "/twoway/{name}"
OPERATIONS = (
    Operation("twoway.list", "GET", "/twoway", "look", _list, Nothing),
    Operation("twoway.show", "GET", _ONE, "look", _show, OfSync),
    Operation("twoway.read", "GET", f"{_ONE}/records", "rows", _read, Records),
    Operation("twoway.conflicts", "GET", "/conflicts", "rows", _conflicts, Waiting),
    Operation("twoway.resolve", "POST", f"{_ONE}/conflicts/{{id}}", "run", _resolve, Ruling),
    Operation("twoway.advance", "POST", f"{_ONE}/stage", "run", _advance, Step),
    Operation("twoway.forget", "DELETE", f"{_ONE}/records", "run", _forget, OfSync),
)
