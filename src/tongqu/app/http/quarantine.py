"""Dirty rows: shown with their cause, mended by rule, and put in again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names

if TYPE_CHECKING:
    from tongqu.core.dirty import Dirty


class Rows(Given):
    """Which dirty rows."""

    where: Names = ()
    """Connections that keep them; all known sinks unless said."""
    run: str = ""
    """Of this run."""
    stream: str = ""
    """Of this stream."""
    code: str = ""
    """With this cause."""
    field: str = ""
    """Because of this field."""
    state: str = ""
    """In these states, with commas between; `all`."""


class Listed(Rows):
    """Which dirty rows, the newest first."""

    limit: int = Field(default=100, ge=1, le=10_000)
    """At most so many."""


class OfRow(Given):
    """One dirty row."""

    id: str
    """Its id."""
    where: Names = ()
    """Connections that may keep it."""


class Chosen(Rows):
    """Which dirty rows are dealt with."""

    ids: Names = ()
    """Their ids."""


class Fix(Chosen):
    """How they are mended."""

    rules: Names
    """Rules, as the command takes them: `qty: 0`."""
    dry_run: bool = False
    """Only show what would be."""


def _list(asked: Asked, given: Listed) -> Mapping[str, Any]:
    """The newest dirty rows."""
    from tongqu.app.services import quarantine
    from tongqu.core.dirty import Dirty

    states = quarantine.states(given.state)
    which = Dirty(
        run=given.run, stream=given.stream, code=given.code, field=given.field, states=states, limit=given.limit
    )
    return quarantine.rows(_places(asked, given.where), asked.wire.ends, which)


def _show(asked: Asked, given: OfRow) -> Mapping[str, Any]:
    """One dirty row."""
    from tongqu.app.services import quarantine

    return quarantine.row(given.id, _places(asked, given.where), asked.wire.ends)


def _fix(asked: Asked, given: Fix) -> Mapping[str, Any]:
    """Mend dirty rows by rule; what would be no better is refused, row by row."""
    from tongqu.app.services.fixing import Fixing
    from tongqu.app.wire import new_id
    from tongqu.meaning.mending import parse

    wire = asked.wire
    mends = [parse(rule, _inside(asked)) for rule in given.rules]
    who = asked.person.actor
    fixing = Fixing(mends, lambda: wire.project, wire.ends, wire.surroundings.now, new_id, who, given.dry_run)
    return fixing.run(_places(asked, given.where), _which(given))


def _replay(asked: Asked, given: Chosen) -> Mapping[str, Any]:
    """Put mended rows in again."""
    from tongqu.app.services.replaying import Replaying
    from tongqu.app.wire import new_id

    wire = asked.wire
    replaying = Replaying(lambda: wire.project, wire.ends, wire.surroundings.now, new_id, wire.stop)
    return replaying.run(_places(asked, given.where), _which(given))


def _which(given: Chosen) -> Dirty:
    from tongqu.app.services.quarantine import states
    from tongqu.core.dirty import Dirty

    return Dirty(
        run=given.run, stream=given.stream, code=given.code, field=given.field, ids=given.ids,
        states=states(given.state, ()),
    )  # fmt: skip


def _places(asked: Asked, where: tuple[str, ...]) -> list[str]:
    """The sinks that are meant; through `/manage` only connections of the project can be named, no address."""
    from tongqu.app.services.sinks import meant

    wire = asked.wire
    if asked.managed is not None:
        unknown = [name for name in where if name not in wire.project.connections]
        if unknown:
            raise InvalidSettingsError(
                f"{unknown[0]!r} is no connection of the project", path="where", hint="name a connection"
            )
    return meant(where, lambda: wire.project, wire.past_runs, troubled=True)


def _inside(asked: Asked) -> Callable[[str], str]:
    """Reads the code lists that a rule names, which lie in the project's folder."""
    folder = asked.wire.folder

    def read(name: str) -> str:
        path = folder / name.removeprefix("file:")
        try:
            if asked.managed is not None and not path.resolve().is_relative_to(folder.resolve()):
                raise FileNotFoundError("it is not in the project's folder")
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettingsError(
                f"{name!r} is neither a list of old=new nor a CSV file that can be read: {error}", path="--rule"
            ) from None

    return read


OPERATIONS = (
    Operation("quarantine.list", "GET", "/quarantine", "rows", _list, Listed),
    Operation("quarantine.show", "GET", "/quarantine/{id}", "rows", _show, OfRow),
    Operation("quarantine.fix", "POST", "/quarantine/fixes", "rows", _fix, Fix),
    Operation("quarantine.replay", "POST", "/quarantine/replays", "run", _replay, Chosen),
)
