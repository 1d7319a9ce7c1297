"""Opens the queues that inbound webhooks are kept in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tongqu.core.errors import InvalidSettingsError

if TYPE_CHECKING:
    from tongqu.app.services.ends import Ends
    from tongqu.kit.queue.queue import Queue


def queues_of(ends: Ends) -> Callable[[str], Queue]:
    """Gives the queue of a connection by its name; raises ConfigError."""

    def queue(name: str) -> Queue:
        settings = ends.end(name).settings
        opened: Callable[[], Queue] | None = getattr(settings, "opened", None)
        if opened is None:
            raise InvalidSettingsError(f"{name!r} is no queue", path=name)
        return opened()

    return queue


def no_queue(name: str) -> Queue:
    """Where nothing is kept: raises InvalidSettingsError."""
    raise InvalidSettingsError(f"no queue is open here for {name!r}", path=name)
