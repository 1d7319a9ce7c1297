"""The project: its files checked, planned and applied; its versions, connections, profiles and lineage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.settings import Names

if TYPE_CHECKING:
    from tongqu.app.services.versioning import Versioning


class Which(Given):
    """Which connections."""

    connections: Names = ()
    """Their names; all of the project unless said."""


class Plan(Given):
    """How far the plan looks."""

    offline: bool = False
    """Ask no system."""


class Apply(Given):
    """Why, and from where."""

    reason: str = ""
    """Why."""
    parent: int | None = Field(default=None, ge=0)
    """The version that the files were made from."""
    accept: bool = False
    """Although callers of live API versions break."""


class OfVersion(Given):
    """One version."""

    number: int = Field(ge=1)
    """Its number."""


class Newest(Given):
    """How many."""

    limit: int = Field(default=50, ge=1, le=1000)
    """At most so many."""


class Difference(Given):
    """Two versions."""

    number: int = Field(ge=1)
    """The later one."""
    before: int = Field(default=0, ge=0)
    """The earlier one (0: nothing)."""


class Undo(Given):
    """Back to where."""

    to: int | None = Field(default=None, ge=1)
    """The version (the one before, unless said)."""
    reason: str = ""
    """Why."""


class OfField(Given):
    """A field."""

    field: str
    """`connection.dataset.field`, or any part of it that is unique."""
    up: bool = True
    """Where it comes from."""
    down: bool = True
    """Where it goes."""


class Look(Given):
    """What is profiled."""

    connection: str = Field(pattern=r"^[\w-]+$")
    """A connection of the project."""
    table: str = ""
    """Its dataset."""
    sample: int | None = Field(default=None, ge=1)
    """At most so many rows."""
    top: int = Field(default=10, ge=1, le=100)
    """So many of the commonest values."""


@contextmanager
def versions_of(asked: Asked) -> Iterator[Versioning]:
    """The versions of the project as who asks sees them, closed at the end of the block."""
    from tongqu.app.services.versioning import Versioning

    wire = asked.wire
    _ = wire.project  # what is wrong with the files is told before anything is made
    store = wire.versions()
    try:
        yield Versioning(
            wire.folder, wire.env, lambda: wire.project, store, wire.scrubber, asked.person, wire.promises
        )  # fmt: skip
    finally:
        store.close()


def _check(asked: Asked, given: Which) -> Mapping[str, Any]:
    """Check the files and whether their APIs can be published, and test connections stage by stage."""
    from tongqu.app.services.apis import checked
    from tongqu.app.services.checking import check
    from tongqu.app.services.pointing import Known

    wire = asked.wire
    for name in given.connections:
        _named(asked, name)
    document = check(given.connections, wire.ends, lambda: wire.project, wire.scrubber, Known.of(wire))
    return document if given.connections else checked(wire, document)


def _connections(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The connections and their types; no settings."""
    entries = asked.wire.project.connections
    return {"connections": [{"name": name, "type": str(entry.get("type", ""))} for name, entry in entries.items()]}


def _plan(asked: Asked, given: Plan) -> Mapping[str, Any]:
    """What applying the files would change, and who is downstream."""
    from tongqu.app.services.planning import plan

    with versions_of(asked) as mine:
        return plan(mine, asked.wire.ends, offline=given.offline, every=False)


def _apply(asked: Asked, given: Apply) -> Mapping[str, Any]:
    """Make the files the version that counts; a stale parent is refused."""
    with versions_of(asked) as mine:
        return mine.apply(given.reason, given.parent, accept=given.accept)


def _list(asked: Asked, given: Newest) -> Mapping[str, Any]:
    """The newest versions."""
    with versions_of(asked) as mine:
        head = mine.store.head(mine.env)
        found = [version.summary() for version in mine.store.list(mine.env, given.limit)]
    return {"env": mine.env, "head": head.version if head else 0, "versions": found}


def _head(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The version that counts."""
    with versions_of(asked) as mine:
        head = mine.store.head(mine.env)
    return {"env": mine.env, "head": head.version if head else 0}


def _show(asked: Asked, given: OfVersion) -> Mapping[str, Any]:
    """One version with its contents and what it changed."""
    with versions_of(asked) as mine:
        version = mine.store.get(mine.env, given.number)
    return {**version.summary(), "shared": version.shared, "overlay": version.overlay}


def _diff(asked: Asked, given: Difference) -> Mapping[str, Any]:
    """What changed from one version to another."""
    with versions_of(asked) as mine:
        found = [change.to_json() for change in mine.difference(given.before, given.number)]
    return {"version": given.number, "env": mine.env, "changes": found, "targets": []}


def _undo(asked: Asked, given: Undo) -> Mapping[str, Any]:
    """Make an earlier version count again."""
    with versions_of(asked) as mine:
        return mine.undo(given.to, given.reason)


def _approve(asked: Asked, given: OfVersion) -> Mapping[str, Any]:
    """Let a proposed version count; never its maker."""
    with versions_of(asked) as mine:
        return mine.approve(given.number)


def _reject(asked: Asked, given: OfVersion) -> Mapping[str, Any]:
    """Refuse a proposed version."""
    with versions_of(asked) as mine:
        return mine.reject(given.number)


def _lineage(asked: Asked, given: OfField) -> Mapping[str, Any]:
    """Where a field comes from and where it goes."""
    from tongqu.app.services import lineage

    runs = asked.wire.past_runs()
    try:
        return lineage.around(runs, given.field, up=given.up, down=given.down)
    finally:
        if runs:
            runs.close()


def _profile(asked: Asked, given: Look) -> Mapping[str, Any]:
    """What is in a dataset; personal values are masked."""
    from tongqu.app.services.profiling import ProfileRequest

    _named(asked, given.connection)
    request = ProfileRequest(given.connection, given.table, sample=given.sample, top=given.top)
    return asked.wire.profiling().profile(request)


def _named(asked: Asked, name: str) -> None:
    """Raises UnknownNameError for what is no connection of the project: no address is ever taken from a caller."""
    from tongqu.app.project.places import nearest
    from tongqu.core.errors import UnknownNameError

    known = asked.wire.project.connections
    if name not in known:
        raise UnknownNameError(
            f"there is no connection {name!r}", hint=nearest(name, sorted(known)), params={"name": name}
        )


OPERATIONS = (
    Operation("check", "GET", "/check", "look", _check, Which),
    Operation("connections", "GET", "/connections", "look", _connections),
    Operation("plan", "GET", "/plan", "look", _plan, Plan),
    Operation("apply", "POST", "/versions", "change", _apply, Apply, "versions.head", status=201),
    Operation("versions.list", "GET", "/versions", "look", _list, Newest),
    Operation("versions.head", "GET", "/versions/head", "look", _head),
    Operation("versions.show", "GET", "/versions/{number}", "look", _show, OfVersion),
    Operation("versions.diff", "GET", "/versions/{number}/changes", "look", _diff, Difference),
    Operation("versions.undo", "POST", "/undo", "change", _undo, Undo, "versions.head", status=201),
    Operation("versions.approve", "POST", "/versions/{number}/approve", "change", _approve, OfVersion, "versions.show"),
    Operation("versions.reject", "POST", "/versions/{number}/reject", "change", _reject, OfVersion, "versions.show"),
    Operation("lineage", "GET", "/lineage", "look", _lineage, OfField),
    Operation("profile", "GET", "/profile", "rows", _profile, Look),
)
