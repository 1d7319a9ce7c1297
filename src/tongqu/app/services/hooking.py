"""Opens the queues that inbound webhooks are kept in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tongqu.core.errors import InvalidSettingsError

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
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


def make_topics(project: Project, pipelines: Sequence[str], ends: Ends) -> None:
    """Make the topics of the hooks that pipelines read, where they are not there: who follows a hook may be there
    before its first event, and before the gateway. Raises ConfigError, and what the queue does."""
    if not project.hooks:
        return
    from tongqu.gateway.hooks.keeping import Keeper

    read = {
        (source.connection, source.dataset)
        for name in pipelines if name in project.pipelines
        for source in project.pipelines[name].all_sources.values()
    }  # fmt: skip
    for name, entry in project.hooks.items():
        place, topic = entry.to.connection, entry.to.topic or name
        if (place, topic) in read:
            with closing(queues_of(ends)(place)) as queue:
                Keeper(queue, topic, name, 0.0).declare()


def no_queue(name: str) -> Queue:
    """Where nothing is kept: raises InvalidSettingsError."""
    raise InvalidSettingsError(f"no queue is open here for {name!r}", path=name)
