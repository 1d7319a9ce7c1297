"""Kept answers and outgoing webhooks: forgotten, looked at, delivered again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import UnknownNameError


class Purge(Given):
    """Whose answers."""

    api: str = ""
    """One API; all of them unless said."""


class OfHook(Given):
    """One webhook."""

    name: str
    """Its name, `v1:inspections:erp`, or the last part of it if it is the only one."""

    @property
    def place(self) -> str:
        """Its name as the project writes it, with slashes."""
        return self.name.replace(":", "/")


class Messages(OfHook):
    """Which messages, the newest first."""

    state: Literal["", "waiting", "done", "dead", "skipped"] = ""
    """In this state."""
    limit: int = Field(default=20, ge=1, le=1000)
    """At most so many."""


class Replay(OfHook):
    """Which messages are delivered again."""

    id: str = ""
    """One message; otherwise all of `state`."""
    state: Literal["dead", "done", "skipped"] = "dead"
    """In this state."""
    since: str = ""
    """Made after that time."""


class RotateHook(OfHook):
    """A new secret."""

    overlap: str = "24h"
    """How long the secret before signs too."""


def _purge(asked: Asked, given: Purge) -> Mapping[str, Any]:
    """Forget what is kept of the tables of an API, or of all, in every process within a second. Whoever is told when
    these tables change is told now too."""
    from tongqu.app.project.apis import address
    from tongqu.store.feed import touched

    found = {
        f"{entry.source.connection}/{entry.source.dataset or '*'}"
        for key, entry in asked.wire.project.apis.items()
        if given.api in ("", key, address(key, entry)[1])
    }
    if given.api and not found:
        raise UnknownNameError(f"there is no API {given.api!r}", path="api", params={"name": given.api})
    touched(asked.wire.home, sorted(found), "purge")
    return {"purged": sorted(found)}


def _list(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The webhooks of all APIs: where each stands, and how many messages wait or were given up."""
    return asked.wire.hooks().list()


def _show(asked: Asked, given: Messages) -> Mapping[str, Any]:
    """The newest messages of one webhook, without their content."""
    return asked.wire.hooks().show(given.place, given.limit, given.state)


def _replay(asked: Asked, given: Replay) -> Mapping[str, Any]:
    """Deliver messages again under their ids."""
    return asked.wire.hooks().replay(given.place, given.id, given.since, given.state)


def _rotate(asked: Asked, given: RotateHook) -> Mapping[str, Any]:
    """Make a new secret, shown once; the one before signs too for a while."""
    from tongqu.app.services.identity import seconds

    return asked.wire.hooks().rotate(given.place, seconds(given.overlap))


def _enable(asked: Asked, given: OfHook) -> Mapping[str, Any]:
    """Switch a webhook on again."""
    return {"webhooks": [asked.wire.hooks().enable(given.place, enabled=True)]}


def _disable(asked: Asked, given: OfHook) -> Mapping[str, Any]:
    """Switch a webhook off."""
    return {"webhooks": [asked.wire.hooks().enable(given.place, enabled=False)]}


_HOOK = "/webhooks/{name}"
OPERATIONS = (
    Operation("cache.purge", "POST", "/cache/purge", "system", _purge, Purge, about=("api",)),
    Operation("webhook.list", "GET", "/webhooks", "look", _list),
    Operation("webhook.show", "GET", _HOOK, "look", _show, Messages),
    Operation("webhook.replay", "POST", f"{_HOOK}/replays", "run", _replay, Replay),
    Operation("webhook.rotate", "POST", f"{_HOOK}/secret", "security", _rotate, RotateHook),
    Operation("webhook.enable", "POST", f"{_HOOK}/enable", "change", _enable, OfHook, "webhook.show"),
    Operation("webhook.disable", "POST", f"{_HOOK}/disable", "change", _disable, OfHook, "webhook.show"),
)
