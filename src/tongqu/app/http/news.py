"""What callers are told about the APIs they use, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation


class Newest(Given):
    """How many."""

    limit: int = Field(default=50, ge=1, le=1000)
    """At most so many."""


class Subscribe(Given):
    """A subscription."""

    api: str = ""
    """The API; nothing: all that the subscriber may read."""
    client: str
    """Who is told: a client's name, or `user:NAME`."""
    channel: Literal["webhook", "mail"]
    """How."""
    address: str
    """Where: an address that is called, or a mail address."""


class OfSubscription(Given):
    """One subscription."""

    id: str
    """Its id."""


def _news(asked: Asked, given: Newest) -> Mapping[str, Any]:
    """The newest news, whole."""
    from tongqu.app.services.newsroom import listed

    return listed(asked.wire, given.limit)


def _subscribers(asked: Asked, given: Given) -> Mapping[str, Any]:
    """Who is told of what, and how that goes."""
    from tongqu.app.services.newsroom import subscribers

    return subscribers(asked.wire)


def _subscribe(asked: Asked, given: Subscribe) -> Mapping[str, Any]:
    """Subscribe for a client or person."""
    from tongqu.app.services.newsroom import subscribed

    return subscribed(asked.wire, given.api, given.client, given.channel, given.address)


def _unsubscribe(asked: Asked, given: OfSubscription) -> Mapping[str, Any]:
    """End a subscription."""
    from tongqu.app.services.newsroom import unsubscribed

    return unsubscribed(asked.wire, given.id)


OPERATIONS = (
    Operation("api.news", "GET", "/news", "look", _news, Newest),
    Operation("api.subscribers", "GET", "/subscribers", "security", _subscribers),
    Operation("api.subscribe", "POST", "/subscribers", "security", _subscribe, Subscribe, status=201,
              about=("client", "api")),
    Operation("api.unsubscribe", "DELETE", "/subscribers/{id}", "security", _unsubscribe, OfSubscription),
)  # fmt: skip
