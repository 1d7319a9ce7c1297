"""Queues: their topics and readers; reading again, dropping what is old."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names

if TYPE_CHECKING:
    from tongqu.app.services.queues import Queues


class Listed(Given):
    """Which queues."""

    where: Names = ()
    """Their connections; all of the project unless said."""


class OfQueue(Given):
    """One queue."""

    queue: str
    """Its connection."""


class Shown(OfQueue):
    """Which part of it."""

    topic: str = ""
    """Only this topic."""


class Again(OfQueue):
    """Who reads what again."""

    topic: str
    """The topic."""
    reader: str
    """The reader's name."""
    after: int = Field(default=0, ge=0)
    """Behind this record."""


class Trim(OfQueue):
    """What is dropped."""

    topic: str
    """The topic."""
    to: int | None = Field(default=None, ge=0)
    """Up to this record."""
    bytes: int | None = Field(default=None, ge=0)
    """What is beyond so many bytes."""
    days: float | None = Field(default=None, ge=0)
    """What is older."""
    unread: bool = False
    """Although a reader has not read it."""


class Forget(OfQueue):
    """Who."""

    reader: str
    """The reader's name."""


def _queues(asked: Asked, *places: str) -> Queues:
    """Through `/manage` only connections of the project can be named, no address."""
    from tongqu.app.services.queues import Queues

    wire = asked.wire
    if asked.managed is not None:
        unknown = [name for name in places if name not in wire.project.connections]
        if unknown:
            raise InvalidSettingsError(
                f"{unknown[0]!r} is no connection of the project", path="queue", hint="name a connection"
            )
    return Queues(lambda: wire.project, wire.ends)


def _list(asked: Asked, given: Listed) -> Mapping[str, Any]:
    """The queues with their topics, sizes and readers."""
    return _queues(asked, *given.where).list(tuple(given.where))


def _show(asked: Asked, given: Shown) -> Mapping[str, Any]:
    """One queue with how far each reader is behind, and what a damaged disk took."""
    return _queues(asked, given.queue).show(given.queue, given.topic)


def _replay(asked: Asked, given: Again) -> Mapping[str, Any]:
    """Have a pipeline read records again, when it begins next."""
    return _queues(asked, given.queue).replay(given.queue, given.topic, given.reader, given.after)


def _trim(asked: Asked, given: Trim) -> Mapping[str, Any]:
    """Drop the oldest records of a topic."""
    from tongqu.app.services.queues import Cut

    cut = Cut(given.to, given.bytes, given.days, given.unread)
    return _queues(asked, given.queue).trim(given.queue, given.topic, cut)


def _forget(asked: Asked, given: Forget) -> Mapping[str, Any]:
    """Keep nothing for a reader any more."""
    return _queues(asked, given.queue).forget(given.queue, given.reader)


OPERATIONS = (
    Operation("queue.list", "GET", "/queues", "look", _list, Listed),
    Operation("queue.show", "GET", "/queues/{queue}", "look", _show, Shown),
    Operation("queue.replay", "POST", "/queues/{queue}/replays", "run", _replay, Again, about=("topic", "reader")),
    Operation("queue.trim", "POST", "/queues/{queue}/trims", "change", _trim, Trim, about=("topic",)),
    Operation("queue.forget", "POST", "/queues/{queue}/forgotten", "change", _forget, Forget, about=("reader",)),
)
